"""`vos compare`."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from vos.cli.console import stderr, stdout
from vos.cli.track import split_names
from vos.errors import EvaluationError
from vos.results.lock import alone

from .compare import compare as run_comparison
from .compare import hold_entry, preset_entries
from .compare_report import Comparison
from .davis import open_dataset
from .options import CACHE, changes, chosen
from .report import counted, percent, write_text
from .run import Progress

PAGE = "compare.html"


def compare(
    davis: Path = typer.Option(
        ..., "--davis", metavar="ROOT", help="DAVIS folder, with Annotations, JPEGImages and ImageSets in it."
    ),
    presets: str = typer.Option(
        ..., "--presets", "-p", metavar="A,B", help="What to compare; `vos presets` lists them."
    ),
    sequences: str | None = typer.Option(None, "--sequences", metavar="A,B", help="Only these sequences of the set."),
    subset: str = typer.Option(
        "val", "--set", metavar="val|train|FILE", help="A set of ROOT/ImageSets, or a text file of sequences."
    ),
    year: int | None = typer.Option(
        None, "--year", metavar="2016|2017", help="Rules and sets.  [default: 2017 if ROOT has its sets]"
    ),
    resolution: str = typer.Option("480p", "--resolution", metavar="FOLDER", help="Folder below Annotations."),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        help="Folder for the masks; what is done there is not done again.  [default: ROOT's name + '-compare']",
    ),
    override: list[str] = typer.Option(
        [], "--override", metavar="KEY=VALUE", help="Change one setting of every preset."
    ),
    cache: Path | None = CACHE,
    overwrite: bool = typer.Option(False, "--overwrite", help="Do everything anew."),
    csv_file: Path | None = typer.Option(None, "--csv", metavar="FILE", help="Write the table, one line per preset."),
    json_file: str | None = typer.Option(
        None, "--json", metavar="FILE", help="Write every number; - prints them in place of the table."
    ),
    page: bool = typer.Option(False, "--page", help=f"Write OUT/{PAGE}: the table, plots, and the videos of --video."),
    video: list[str] = typer.Option(
        [], "--video", metavar="SEQUENCE", help="Write OUT/SEQUENCE.mp4: the presets' masks beside the truth."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress and no table."),
) -> None:
    """Compare presets on the same DAVIS frames.

    Quality, speed and what was lost, in one table.
    """
    dataset = open_dataset(davis, subset, year=year, sequences=chosen(sequences), resolution=resolution)
    unknown = [name for name in video if name not in dataset.names]
    if unknown:
        raise EvaluationError(f"--video {unknown[0]}: not among the sequences compared: {', '.join(dataset.names)}")
    if page:
        from .plots import require_matplotlib

        require_matplotlib()
    entries = (hold_entry(dataset), *preset_entries(split_names(presets), changes(override, cache), dataset))
    folder = out or Path(f"{davis.resolve().name}-compare")
    began = time.monotonic()
    found = []
    with ExitStack() as locks:
        # `vos eval --run` may go on with a row.
        for entry in entries:
            locks.enter_context(alone(folder / entry.name))
        bar = locks.enter_context(_CompareBar(len(dataset.names), quiet))
        for name, runs in run_comparison(dataset, entries, folder, overwrite=overwrite, on_progress=bar.update):
            found.append((name, runs))
            scores = {row: one.score for row, one in runs.items()}
            bar.finished(name, "  ".join(f"{row} {percent((s.j + s.f) / 2)}" for row, s in scores.items()))
    comparison = Comparison.of(dataset, entries, found)
    _write(comparison, csv_file, json_file)
    videos = {name: folder / f"{name}.mp4" for name in video}
    if videos:
        from .side_by_side import write_side_by_side

        for name, path in videos.items():
            shown = {row.name: row.runs[name].score for row in comparison.rows if row is not comparison.baseline}
            write_side_by_side(dataset.sequence(name), folder, shown, path)
            _say(f"wrote {path}", quiet)
    if page:
        from .compare_page import write_page

        write_page(comparison, folder / PAGE, videos)
        _say(f"wrote {folder / PAGE}", quiet)
    if json_file != "-" and not quiet:
        _show(comparison, time.monotonic() - began)


def _write(comparison: Comparison, csv_file: Path | None, json_file: str | None) -> None:
    if json_file == "-":
        sys.stdout.write(comparison.to_json() + "\n")
    elif json_file is not None:
        write_text(Path(json_file), comparison.to_json() + "\n")
    if csv_file is not None:
        write_text(csv_file, comparison.to_csv())


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        stderr.print(text, markup=False)


def _show(comparison: Comparison, seconds: float) -> None:
    data = comparison.dataset
    objects = comparison.rows[0].report.objects
    stdout.print(
        f"DAVIS {data.year} {data.subset}, {data.resolution}: {counted(len(data.names), 'sequence')}, "
        f"{counted(len(objects), 'object')}; J and F in percent, took {seconds:.1f} s",
        markup=False,
    )
    for table in comparison.tables(stdout):
        stdout.print(table)
    for note in comparison.notes():
        stdout.print(f"note: {note}", markup=False)


class _CompareBar:
    """Progress: a bar per sequence on a terminal, a line per sequence everywhere."""

    def __init__(self, sequences: int, quiet: bool) -> None:
        self._quiet = quiet
        self._sequences = sequences
        self._done = 0
        self._resumed = False
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=quiet or not stderr.is_terminal,
        )
        self._task = self._bar.add_task("loading", total=None)

    def __enter__(self) -> _CompareBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, progress: Progress) -> None:
        self._resumed = progress.resumed
        title = f"{self._done + 1}/{self._sequences} {progress.sequence}"
        self._bar.update(self._task, description=title, completed=progress.frame, total=progress.frames)

    def finished(self, name: str, text: str) -> None:
        self._done += 1
        self._bar.reset(self._task)
        before = " (was done before)" if self._resumed else ""
        _say(f"{self._done}/{self._sequences} {name}: J&F {text}{before}", self._quiet)
