"""`vos eval` and `vos parity`; the others are modules of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vos.cli.console import stderr, stdout
from vos.errors import EvaluationError
from vos.results.lock import alone
from vos.settings import DEFAULT_PRESET, Changes, load_settings
from vos.types import FrameResult

from .bench_cli import app as benches
from .compare_cli import compare as compare_presets
from .compose_cli import compose_clips
from .davis import Dataset, Task, open_dataset
from .official import check_official, require_official
from .options import CACHE, changes, chosen
from .parity import SAME_IOU, compare, reference_frames
from .report import Report, counted, percent, write_text
from .run import Progress as RunProgress
from .run import about, run_dataset
from .scoring import SequenceScore, make_counter, score_dataset


def register(app: typer.Typer) -> None:
    """Adds `eval`, `bench`, `parity`, `compare` and `compose` to the main command (group `vos.commands`)."""
    app.command("eval")(evaluate)
    app.add_typer(benches, name="bench")
    app.command("parity")(parity)
    app.command("compare")(compare_presets)
    app.command("compose")(compose_clips)


def evaluate(
    results: Path = typer.Argument(
        metavar="RESULTS", help="Folder of masks, RESULTS/<sequence>/<frame>.png; with --run, where they go."
    ),
    davis: Path = typer.Option(
        ..., "--davis", metavar="ROOT", help="DAVIS folder, with Annotations and ImageSets in it."
    ),
    subset: str = typer.Option(
        "val", "--set", metavar="val|train|FILE", help="A set of ROOT/ImageSets, or a text file of sequences."
    ),
    year: int | None = typer.Option(
        None, "--year", metavar="2016|2017", help="Rules and sets.  [default: 2017 if ROOT has its sets]"
    ),
    task: Task = typer.Option(Task.SEMI_SUPERVISED, "--task", help="How the results were made."),
    sequences: str | None = typer.Option(None, "--sequences", metavar="A,B", help="Only these sequences of the set."),
    resolution: str = typer.Option("480p", "--resolution", metavar="FOLDER", help="Folder below Annotations."),
    strict: bool = typer.Option(
        True, "--strict/--allow-missing", help="Missing results are an error, or count as empty masks."
    ),
    official_decay: bool = typer.Option(
        True,
        "--official-decay/--correct-decay",
        help="Decay as the official tool has it, the correct one beside; or only the latter.",
    ),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Processes to score with."),
    device: str | None = typer.Option(
        None,
        "--device",
        help="Torch device to count pixels on, and with --run to track on.  [default: count without torch]",
    ),
    check: bool = typer.Option(
        False, "--check-official", help="Also run the official tool, and fail on any difference."
    ),
    run: bool = typer.Option(
        False, "--run", help="Track the sequences into RESULTS first; takes up where it was stopped."
    ),
    preset: str | None = typer.Option(
        None, "--preset", "-p", help="With --run: how to track; `vos presets` lists them."
    ),
    override: list[str] = typer.Option([], "--override", metavar="KEY=VALUE", help="With --run: change one setting."),
    cache: Path | None = CACHE,
    overwrite: bool = typer.Option(False, "--overwrite", help="With --run: track everything anew."),
    per_object: bool = typer.Option(False, "--objects", help="One row per object in the table."),
    json_file: str | None = typer.Option(
        None, "--json", metavar="FILE", help="Write every number; - prints them in place of the table."
    ),
    csv_folder: Path | None = typer.Option(
        None, "--csv", metavar="FOLDER", help="Write the official tool's two CSV files."
    ),
    plot: Path | None = typer.Option(
        None, "--plot", metavar="FOLDER", help="Write report.html and PNG plots with the worst frames."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress and no table."),
) -> None:
    """Score masks on DAVIS: J, F and J&F.

    Region similarity J, boundary accuracy F, and their mean over objects.
    """
    dataset = open_dataset(davis, subset, year=year, task=task, sequences=chosen(sequences), resolution=resolution)
    if plot is not None:
        from .plots import require_matplotlib

        require_matplotlib()
    if check:
        require_official()
    began = time.monotonic()
    extra: dict[str, Any] = {}
    if run:
        if jobs > 1 or not strict:
            raise EvaluationError(
                "--run scores frames as they are tracked: --jobs and --allow-missing do not go with it"
            )
        scores, extra = _track(
            dataset, results, preset, changes(override, cache), device, overwrite=overwrite, quiet=quiet
        )
    else:
        if preset is not None or override or overwrite or cache is not None:
            raise EvaluationError(
                "--preset, --override, --cache-embeddings and --overwrite say how to track: they need --run"
            )
        found = score_dataset(dataset, results, allow_missing=not strict, device=device, jobs=jobs)
        scores = list(_with_bar(found, len(dataset.names), quiet))
    seconds = time.monotonic() - began
    report = Report.of(dataset, scores, results.resolve().name, official_decay=official_decay, extra=extra)
    _write(report, results, json_file, csv_folder, plot)
    if json_file != "-" and not quiet:
        _show(report, seconds, per_object=per_object)
    if check:
        agreed = check_official(dataset, results, report.scores)
        stderr.print(f"the official tool gives the same {agreed} numbers")


def parity(
    results: Path = typer.Argument(
        metavar="RESULTS", help="Where our masks go; what is there already is not tracked again."
    ),
    reference: Path = typer.Argument(metavar="REFERENCE", help="Folder of the reference program's masks."),
    davis: Path = typer.Option(..., "--davis", metavar="ROOT", help="DAVIS folder."),
    preset: str = typer.Option("reference", "--preset", "-p", help="What to compare: reference or reference-f."),
    sequences: str | None = typer.Option(None, "--sequences", metavar="A,B", help="Only these sequences."),
    override: list[str] = typer.Option([], "--override", metavar="KEY=VALUE", help="Change one setting."),
    cache: Path | None = CACHE,
    overwrite: bool = typer.Option(False, "--overwrite", help="Track everything anew."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Compare masks with the authors' program's.

    Tracks DAVIS with a faithful preset and compares every mask.
    A sequence agrees if the mean IoU of the masks is at least 0.98, or if its J&F is at most 1.5 under the reference's;
    exit code 1 if one does not.
    """
    dataset = open_dataset(davis, sequences=chosen(sequences))
    for name in dataset.names:
        reference_frames(reference, name)  # before anything is tracked
    _track(dataset, results, preset, changes(override, cache), None, overwrite=overwrite, quiet=quiet)
    found = [compare(dataset, name, results, reference) for name in dataset.names]
    table = Table(title=f"{preset} against {reference}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("sequence", no_wrap=True)
    for column in ("mean IoU", "lowest", "J&F ours", "J&F reference", "difference"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    apart_in = []
    for item in found:
        ours, theirs = ((score.j + score.f) / 2 for score in (item.ours, item.theirs))
        apart = item.apart()
        verdict = "same" if item.mean_iou >= SAME_IOU else "J&F agrees" if item.agrees else "APART"
        numbers = (f"{item.mean_iou:.4f}", f"{item.iou.min():.3f}", percent(ours), percent(theirs))
        table.add_row(item.sequence, *numbers, f"{item.difference:+.2f}", verdict)
        if apart:
            apart_in.append(f"{item.sequence}: {counted(len(apart), 'frame')} under IoU {SAME_IOU}: {', '.join(apart)}")
    stdout.print(table)
    for line in apart_in:
        stdout.print(line, markup=False)
    mean = sum(item.mean_iou for item in found) / len(found)
    worst = min(found, key=lambda item: item.mean_iou)
    stdout.print(
        f"mean IoU {mean:.4f} over {counted(len(found), 'sequence')}; lowest {worst.mean_iou:.4f} ({worst.sequence})"
    )
    if not all(item.agrees for item in found):
        raise typer.Exit(1)


def _track(
    dataset: Dataset,
    out: Path,
    preset: str | None,
    overrides: Changes,
    device: str | None,
    *,
    overwrite: bool,
    quiet: bool,
) -> tuple[list[SequenceScore], dict[str, Any]]:
    """Tracks and scores; returns the scores and what the report should say of the run."""
    from vos.pipeline import track

    name = preset or DEFAULT_PRESET
    overrides = [*overrides, *([f"device={device}"] if device else [])]
    settings = about(name, load_settings(name, overrides), dataset)

    def tracked(source: str, reference: np.ndarray) -> Iterable[FrameResult]:
        return track(source, reference, preset=name, overrides=overrides)

    scores = []
    with alone(out), _RunBar(len(dataset.names), quiet) as bar:
        for score in run_dataset(
            dataset, out, tracked, settings, overwrite=overwrite, counter=make_counter(device), on_progress=bar.update
        ):
            scores.append(score)
            bar.finished(score)
    return scores, {"run": settings}


def _write(report: Report, results: Path, json_file: str | None, csv_folder: Path | None, plot: Path | None) -> None:
    if json_file == "-":
        sys.stdout.write(report.to_json() + "\n")
    elif json_file is not None:
        write_text(Path(json_file), report.to_json() + "\n")
    if csv_folder is not None:
        report.write_csv(csv_folder)
    if plot is not None:
        from .html import write_html
        from .plots import write_pngs

        write_html(report, results, plot / "report.html")
        write_pngs(report, results, plot)
        stderr.print(f"wrote {plot / 'report.html'} and {len(report.scores) + 1} PNG plots", markup=False)


def _show(report: Report, seconds: float, *, per_object: bool) -> None:
    data = report.dataset
    stdout.print(
        f"{report.title}: DAVIS {data.year} {data.subset}, {data.task.value}, {data.resolution}; values in percent",
        markup=False,
    )
    stdout.print(report.table(per_object=per_object))
    for note in report.notes():
        stdout.print(f"note: {note}", markup=False)
    frames = sum(len(score.frames) for score in report.scores)
    stdout.print(
        f"J&F {percent(report.overall['J&F-Mean'])} over {counted(len(report.objects), 'object')} in "
        f"{counted(len(report.scores), 'sequence')}, {counted(frames, 'scored frame')}; took {seconds:.1f} s",
        markup=False,
    )


def _bar(*columns: TextColumn | BarColumn | MofNCompleteColumn | TimeRemainingColumn) -> Progress:
    return Progress(*columns, console=stderr, transient=True)


def _with_bar(scores: Iterator[SequenceScore], total: int, quiet: bool) -> Iterator[SequenceScore]:
    """Passes the scores on, with a bar on a terminal."""
    if quiet or not stderr.is_terminal:
        yield from scores
        return
    with _bar(TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        yield from bar.track(scores, total=total)


class _RunBar:
    """Progress of a run: a bar per sequence on a terminal, a line per sequence everywhere."""

    def __init__(self, sequences: int, quiet: bool) -> None:
        self._quiet = quiet
        self._sequences = sequences
        self._done = 0
        self._resumed = False
        self._began = time.monotonic()
        self._bar: Progress | None = None
        if not quiet and stderr.is_terminal:
            self._bar = _bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._task = self._bar.add_task("tracking", total=None)

    def __enter__(self) -> _RunBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: RunProgress) -> None:
        self._resumed = progress.resumed
        if self._bar is not None:
            title = f"{self._done + 1}/{self._sequences} {progress.sequence}"
            self._bar.update(self._task, description=title, completed=progress.frame, total=progress.frames)

    def finished(self, score: SequenceScore) -> None:
        self._done += 1
        seconds, self._began = time.monotonic() - self._began, time.monotonic()
        if self._bar is not None:
            self._bar.reset(self._task)
        if not self._quiet:
            how = "was done before" if self._resumed else f"{seconds:.1f} s"
            jf = percent((score.j + score.f) / 2)
            stderr.print(f"{self._done}/{self._sequences} {score.name}: J&F {jf} ({how})", markup=False)
