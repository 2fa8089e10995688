"""Many videos with one loaded model: a folder or glob of videos, or a table of jobs."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

import typer

from vos.cli.console import printable, stderr
from vos.cli.report import tell
from vos.errors import ReferenceInputError, SettingsError, SourceError, VosError
from vos.paths import IMAGE_SUFFIXES, expanded, is_image_name, natural_key
from vos.results.kinds import targets
from vos.results.labels import UNNAMED, Labels
from vos.results.track import TRACK_FILE
from vos.video.reading import Moment, Reading, parse_moment

FAILED = 1
# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
    ".webm", ".wmv",
})
# fmt: on
_MASK_SUFFIXES = (".png", ".npy", *sorted(IMAGE_SUFFIXES - {".png"}))
_COLUMNS = ("source", "ref", "click", "box", "label", "start", "end", "out")
_SINGLE = ("source", "start", "end", "out")
_SEVERAL = ";"
# What Windows takes for a device, whatever follows after a dot.
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)


@dataclass(frozen=True)
class Given:
    """What to track, as the options --ref, --click and --box give it, true where there is any, and its labels."""

    ref: tuple[str, ...] = ()
    click: tuple[str, ...] = ()
    box: tuple[str, ...] = ()
    labels: Labels = UNNAMED

    def __bool__(self) -> bool:
        return bool(self.ref or self.click or self.box)


@dataclass(frozen=True)
class Job:
    """One video: what to read, what to track, and where the results go.

    Attributes:
        mask: the mask that must be there for it to be tracked, where it was not named but looked for: a path without
            a suffix; None otherwise.
        start, end: of its own, as `Reading` has them; None where it has none.
    """

    source: str
    given: Given
    out: Path
    mask: Path | None = None
    start: Moment | None = None
    end: Moment | None = None

    def part(self, reading: Reading) -> Reading:
        """How it is read, where options ask for `reading`; SettingsError if nothing of it is left."""
        return replace(
            reading,
            start=reading.start if self.start is None else self.start,
            end=reading.end if self.end is None else self.end,
        )

    def ready(self) -> Job:
        """The same with its mask found; ReferenceInputError if there is none, SourceError if there is no source."""
        if self.mask is None:
            return self
        if not has_magic(self.source) and not expanded(self.source).exists():
            raise SourceError(f"{self.source}: no such file or folder")
        for suffix in _MASK_SUFFIXES:
            path = self.mask.with_name(self.mask.name + suffix)
            if path.is_file():
                return replace(self, given=replace(self.given, ref=(*self.given.ref, str(path))), mask=None)
        raise ReferenceInputError(f"no mask for it; looked for {self.mask}.png; or give --ref, --click or --box")


def is_batch(source: str) -> bool:
    """Whether a source is many videos: a table of jobs, a folder with videos or with folders of images, or a glob."""
    path = expanded(source)
    if path.suffix.lower() == ".csv":
        return True
    return bool(_videos_of(path))


def jobs_in(source: str, given: Given, out: Path | None) -> list[Job]:
    """The jobs that a source names, in natural order or in that of the table.

    Args:
        given: what to track in each video. A folder as --ref holds a mask for each, under its name: clip.png for
            clip.mp4. Nothing at all means masks beside the videos. A row of a table that names something is for itself,
            but for its labels, which come after all others. The jobs have the same classes.
        out: folder for the folders of results; by default the source's name + '-vos' in the current folder.

    Raises:
        SourceError: a table that cannot be read, or a label in it that is none.
    """
    path = expanded(source)
    if path.suffix.lower() == ".csv":
        base = out or Path(f"{path.stem}-vos")
        rows = _rows(path)
        names = _names([Path(row["source"][0]) for row in rows])
        jobs = [_row_job(row, name, given, base, path.parent) for row, name in zip(rows, names, strict=True)]
        _check_apart(path, jobs)
        return _same_classes(jobs)
    masks = {expanded(text).resolve() for text in given.ref}
    videos = [video for video in _videos_of(path) if video.resolve() not in masks]
    base = out or Path(f"{path.resolve().name if path.is_dir() else 'videos'}-vos")
    names = _names(videos)
    return [_with_masks(Job(str(video), given, base / name)) for video, name in zip(videos, names, strict=True)]


def run_all(jobs: Sequence[Job], run: Callable[[Job], None], *, quiet: bool) -> None:
    """Run jobs one after the other, whatever becomes of each, and sum up; exit code 1 if any failed."""
    failed: list[str] = []
    done = 0
    try:
        for number, job in enumerate(jobs, start=1):
            tell(quiet, f"[{number}/{len(jobs)}] {job.source} -> {job.out}")
            try:
                run(job.ready())
                done += 1
            except typer.Exit:
                raise
            except Exception as error:
                several = sum(other.source == job.source for other in jobs) > 1
                name = f"{job.source} -> {job.out}" if several else job.source
                failed.append(f"{name}: {_reason(job.source, error)}")
                stderr.print(f"vos: error: {printable(failed[-1])}", markup=False)
    finally:
        left = len(jobs) - done - len(failed)
        parts = [f"{done} done", f"{len(failed)} failed", *([f"{left} not begun or not finished"] if left else [])]
        tell(quiet, f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}: {', '.join(parts)}")
        tell(quiet, *(f"failed: {text}" for text in failed))
    if failed:
        raise typer.Exit(FAILED)


def _reason(source: str, error: Exception) -> str:
    """What went wrong in one line, which need not begin with the source's name, as many do."""
    text = " ".join(str(error).split())
    if not isinstance(error, VosError):
        return f"{type(error).__name__}: {text}"
    return text.removeprefix(f"{source}: ").removeprefix(f"{Path(source).name}: ")


def _check_apart(table: Path, jobs: Sequence[Job]) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(os.path.abspath(job.out).casefold(), job)  # noqa: PTH100 - '..' is taken out
        if other is not job:
            raise SourceError(
                f"{table}: {other.source} and {job.source} have the same folder for their results, {job.out}; "
                "give each its own 'out'"
            )


def _videos_of(path: Path) -> list[Path]:
    """The videos, and folders of images, in a folder; of a folder that holds images alone, and of a file, none."""
    try:
        if path.is_dir():
            own = _results_in(path)
            found = [p for p in path.iterdir() if not p.name.startswith(".") and p.name not in own]
        elif has_magic(str(path)) and not path.exists():
            found = [Path(name) for name in glob(str(path), recursive=True)]  # noqa: PTH207 - takes absolute patterns
            return sorted((p for p in found if _is_video(p)), key=natural_key)
        else:
            return []
        videos = [p for p in found if _is_video(p)]
        folders = [p for p in found if p.is_dir() and _holds_images(p)]
        # An image beside a folder of its name is that one's mask.
        named = {p.name for p in folders}
        images = [p for p in found if is_image_name(p) and p.is_file() and p.stem not in named]
        return [] if images and not videos else sorted([*videos, *folders], key=natural_key)
    except OSError:
        return []  # opening it as a source says what is wrong


def _results_in(folder: Path) -> set[str]:
    """What `vos` writes, where it has written into a folder."""
    return {target.name for target in targets()} if (folder / TRACK_FILE).is_file() else set()


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _holds_images(folder: Path) -> bool:
    return any(is_image_name(p) for p in folder.iterdir())


def _names(sources: Iterable[Path]) -> list[str]:
    """A folder's name for each source: its stem, or its whole name where two have the same stem.

    All are different, on systems too that tell no capitals from small letters, and such as every system takes.
    """
    sources = list(sources)
    stems = [_stem(source) for source in sources]
    names: list[str] = []
    taken: set[str] = set()
    for source, stem in zip(sources, stems, strict=True):
        alike = {other for other, its in zip(sources, stems, strict=True) if its.casefold() == stem.casefold()}
        wanted = _for_folders(stem if len(alike) == 1 else source.name)
        count, name = 1, wanted
        while name.casefold() in taken:
            count, name = count + 1, f"{wanted}-{count + 1}"
        names.append(name)
        taken.add(name.casefold())
    return names


def _stem(source: Path) -> str:
    return source.stem if source.suffix.lower() in VIDEO_SUFFIXES else source.name


def _for_folders(name: str) -> str:
    """A name for a folder on Windows too, which drops dots and spaces at the end and has devices with names."""
    name = name.rstrip(" .") or "results"
    return f"{name}_" if _DEVICE.fullmatch(name.split(".")[0]) else name


def _with_masks(job: Job) -> Job:
    """A folder as --ref, or no reference at all, stands for the mask under the video's name."""
    source = Path(job.source)
    name = _stem(source)
    # os.path takes any name; a path that is too long is refused when it is read.
    folders = [expanded(text) for text in job.given.ref if os.path.isdir(expanded(text))]  # noqa: PTH112
    if folders:
        files = tuple(text for text in job.given.ref if not os.path.isdir(expanded(text)))  # noqa: PTH112
        return replace(job, given=replace(job.given, ref=files), mask=folders[0] / name)
    return job if job.given else replace(job, mask=source.parent / name)


def _row_job(row: dict[str, tuple[str, ...]], name: str, given: Given, base: Path, here: Path) -> Job:
    """A row of a table; its paths are relative to the table."""
    source = str(here / expanded(row["source"][0]))
    own = Given(tuple(_below(here, text) for text in row["ref"]), row["click"], row["box"])
    out = base / (row["out"][0] if row["out"] else name)
    try:
        labels = Labels((*given.labels.given, *row["label"]))
        start, end = (parse_moment(row[name][0]) if row[name] else None for name in ("start", "end"))
    except SettingsError as error:
        raise SourceError(f"{here / row['source'][0]}: {error}") from error
    return _with_masks(Job(source, replace(own or given, labels=labels), out, start=start, end=end))


def _same_classes(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with every label of each in all of them, in one order, so that the same number is the same class."""
    every = Labels(tuple(text for job in jobs for text in job.given.labels.given))
    return [replace(job, given=replace(job.given, labels=job.given.labels.among(every.names))) for job in jobs]


def _below(here: Path, text: str) -> str:
    """A value of --ref, "[FRAME:]MASK[:ID]", with the path of its mask relative to a folder."""
    frame, colon, rest = text.partition(":")
    if colon and frame.isdigit():
        return f"{frame}:{here / expanded(rest)}"
    return str(here / expanded(text))


def _rows(table: Path) -> list[dict[str, tuple[str, ...]]]:
    """The rows of a table: for each column the values in the cell, which a semicolon divides."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip().casefold() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise SourceError(f"{table}: not UTF-8; in Excel, save it as 'CSV UTF-8'") from error
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{table}: not a table that can be read: {reason}") from error
    if len(columns) == 1 and _SEVERAL in columns[0]:
        raise SourceError(f"{table}: its cells are divided by semicolons; divide them by commas")
    for name in columns:
        if name not in _COLUMNS:
            raise SourceError(f"{table}: unknown column '{name[:40]}'; there are {', '.join(_COLUMNS)}")
    if "source" not in columns:
        raise SourceError(f"{table}: the first line must name the columns, 'source' among them")
    rows = []
    for line, row in lines:
        if None in row:
            raise SourceError(f"{table}: line {line} has more cells than there are columns; put quotes around a comma")
        cells = {name: _values(row.get(name)) for name in _COLUMNS}
        if not any(cells.values()):
            continue
        for name in _SINGLE:
            if len(cells[name]) > 1 or (name == "source" and not cells[name]):
                what = "frame or time" if name in ("start", "end") else "path"
                raise SourceError(f"{table}: line {line}: '{name}' is one {what}, found {len(cells[name]) or 'none'}")
        rows.append(cells)
    if not rows:
        raise SourceError(f"{table}: there is no job in it")
    return rows


def _values(cell: str | None) -> tuple[str, ...]:
    return tuple(text.strip() for text in (cell or "").split(_SEVERAL) if text.strip())
