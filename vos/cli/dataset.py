"""`vos dataset`: the results of several clips as one data set for training."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import typer

from vos.cli.console import FrameProgress, stderr
from vos.cli.report import frames, tell
from vos.cli.track import split_names
from vos.errors import OutputError, SettingsError
from vos.paths import expanded, natural_key
from vos.results.joined import FORMATS, Contents, Member, join
from vos.results.lock import alone
from vos.results.saved import SavedResults
from vos.results.track import TRACK_FILE
from vos.video import open_source

_SUFFIX = "-vos"  # of the folders that `vos track` makes


def dataset(
    results: list[Path] = typer.Argument(
        metavar="OUT", help="Folders of results that hold masks and track.json, or folders of such folders."
    ),
    out: Path = typer.Option(..., "-o", "--out", metavar="DATASET", help="Folder for the data set."),
    to: str = typer.Option(",".join(FORMATS), "--to", metavar="KIND,...", help=f"What for: {', '.join(FORMATS)}."),
    val: list[str] = typer.Option(
        [], "--val", metavar="NAME,...", help="Clips for validation, by name or pattern; all others are for training."
    ),
    every: int = typer.Option(1, "--every", metavar="N", min=1, help="Take every Nth of the frames that can be taken."),
    sure: bool = typer.Option(False, "--sure", help="Leave out frames in which an object is uncertain."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a data set that is there."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Make one data set for training of the results of several clips."""
    formats = split_names(to)
    if unknown := [name for name in formats if name not in FORMATS]:
        raise SettingsError(f"unknown data set {unknown[0]!r}; there are {', '.join(FORMATS)}")
    if not formats:
        raise SettingsError(f"--to names nothing; there are {', '.join(FORMATS)}")
    found = [path for given in results for path in _folders(expanded(given))]
    folders = list({path.resolve(): path for path in found}.values())  # each once
    members, folder = _members(folders, val), expanded(out)
    total = sum(member.saved.clip.frame_count for member in members)
    with alone(folder), FrameProgress(total, quiet=quiet, what="converting") as progress:
        contents = join(members, folder, formats, every=every, sure=sure, overwrite=overwrite, advance=progress.advance)
    tell(quiet, *_told(members, contents), f"{_counted(contents.pictures.total(), 'picture')} -> {folder}")
    for name, count in contents.others.items():
        stderr.print(
            f"vos: note: {name}: {frames(count)} of its source are other pictures than were tracked", markup=False
        )


def _folders(given: Path) -> list[Path]:
    """The folders of results that a path means."""
    if (given / TRACK_FILE).is_file():
        return [given]
    found = sorted((path.parent for path in given.glob(f"*/{TRACK_FILE}")), key=natural_key)
    if not found:
        raise OutputError(
            f"{given}: no finished results in it: there is no {TRACK_FILE}, nor in a folder of it; track with --save "
            "masks,json among others"
        )
    return found


def _members(folders: list[Path], val: list[str]) -> list[Member]:
    names = [folder.resolve().name.removesuffix(_SUFFIX) for folder in folders]
    twice = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
    if twice:
        same = [str(folder) for folder, name in zip(folders, names, strict=True) if name.casefold() == twice[0]]
        raise OutputError(f"{same[0]} and {same[1]} have one name; a data set needs another for each clip")
    validating = {name for text in val for name in _named(text, names)}
    members = []
    for folder, name in zip(folders, names, strict=True):
        saved = SavedResults(folder)
        if saved.given is None:
            raise OutputError(f"{folder}: pictures are needed, and where they came from is not known")
        open_source(saved.given, reading=saved.reading).close()  # what is not there any more is said at once
        members.append(Member(name, saved, saved.given, name in validating))
    if all(member.validates for member in members):
        raise SettingsError("every clip is for validation, and none is left for training; give fewer to --val")
    return members


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _named(text: str, names: list[str]) -> set[str]:
    """Those of the names that a value of --val means: the name itself, or names and patterns between commas."""
    if text in names:
        return {text}
    found = set()
    for pattern in split_names(text):
        own = {name for name in names if name == pattern or fnmatchcase(name, pattern)}
        if not own:
            raise SettingsError(f"--val {pattern}: no clip is called so; there are {', '.join(names)}")
        found |= own
    return found


def _told(members: list[Member], contents: Contents) -> list[str]:
    lines = [f"classes: {', '.join(contents.classes)}"]
    for split in dict.fromkeys(member.split for member in members):
        parts = {
            "clip": sum(member.split == split for member in members),
            "picture": contents.pictures[split],
            "mask": contents.annotations[split],
        }
        lines.append(f"{split}: {', '.join(_counted(count, what) for what, count in parts.items())}")
    lines += [f"left out: {frames(count)} {why}" for why, count in contents.left_out.items() if count]
    if early := [member.name for member in members if not member.saved.complete]:
        lines.append(f"the run ended early of {', '.join(early)}; the frames until then are in it")
    if len(contents.unnamed) > 1:
        lines.append(
            f"objects without a label are of one class wherever they have one id: {', '.join(contents.unnamed)}; "
            "vos export --label names them"
        )
    return lines
