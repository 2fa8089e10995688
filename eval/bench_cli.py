"""`vos bench` and what is under it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from vos.cli.console import stderr, stdout
from vos.cli.track import split_names
from vos.errors import EvaluationError, OutputError

from .bench import BenchResult, bench, dataset_pairs, drawn_pairs
from .davis import open_dataset
from .machine import file_name, machine
from .report import write_text
from .scoring import make_counter

if TYPE_CHECKING:
    from vos.settings import Settings

    from .bench_clip import BenchClip

_CLIP = typer.Option(None, "--clip", metavar="SOURCE", help="Measure on this clip.  [default: a drawn one]")
_REF = typer.Option(None, "--ref", metavar="MASK", help="Mask of the clip's first frame.")
_SIZES = typer.Option("854x480", "--sizes", metavar="WxH,...", help="Sizes to draw.")
_SET = typer.Option([], "--set", metavar="KEY=VALUE", help="Change one setting of every preset.")
_JSON = typer.Option(
    None, "--json", metavar="FILE", help="Where the numbers go.  [default: named by machine and versions]"
)
_OUT = typer.Option(Path(), "-o", "--out", metavar="FOLDER", help="Folder for the file of that name.")
_QUIET = typer.Option(False, "--quiet", "-q", help="No progress.")

# Pixels of a side of what is drawn.
_LARGEST = 16_384

app = typer.Typer(help="Measure speed.", invoke_without_command=True)


@app.callback()
def speed(
    context: typer.Context,
    clip: Path | None = _CLIP,
    ref: Path | None = _REF,
    sizes: str = _SIZES,
    objects: str = typer.Option("1", "--objects", metavar="N,...", help="Numbers of objects to draw."),
    presets: str = typer.Option("persam-f", "--presets", metavar="A,B", help="What to measure."),
    set_: list[str] = _SET,
    models: str = typer.Option("", "--models", metavar="A,B", help="Models to measure each preset with."),
    precisions: str = typer.Option("", "--precisions", metavar="A,B", help="Precisions, as the setting."),
    devices: str = typer.Option("", "--devices", metavar="A,B", help="Devices, as the setting."),
    frames: int = typer.Option(24, "--frames", min=4, help="Frames to time; those at the clip's ends come on top."),
    json_file: Path | None = _JSON,
    out: Path = _OUT,
    quiet: bool = _QUIET,
) -> None:
    """Time each stage, the encoder alone and the whole, with memory, and write all numbers as JSON."""
    if context.invoked_subcommand is not None:
        sources = [context.get_parameter_source(name) for name in context.params]
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise EvaluationError(f"options of vos bench do not go with vos bench {context.invoked_subcommand}")
        return
    from .speed import EDGE, Bench
    from .speed_report import SPEED

    _make_room(json_file, out)

    ways = [_changes("model", models), _changes("precision", precisions), _changes("device", devices)]
    cases = list(_cases(presets, set_, ways))
    found: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="vos-bench-") as folder:
        measured = Bench(Path(folder), frames)
        drawn = frames + 3 * EDGE + _looks_ahead(settings for _, settings in cases)
        clips = _clips(Path(folder), clip, ref, sizes, objects, drawn)
        for (name, settings), what in product(cases, clips):
            _tell(f"{name}: {what.name} {what.size}, objects: {what.objects}", quiet)
            case = {"name": name, "clip": what.name, "size": what.size, "objects": what.objects}
            numbers = measured.measure(settings, what).as_dict()
            found.append({**case, **numbers, "settings": settings.model_dump(mode="json")})
    _finish({**_about(SPEED), "cases": found}, "bench", json_file, out)


@app.command()
def reference(
    clip: Path | None = _CLIP,
    ref: Path | None = _REF,
    sizes: str = _SIZES,
    objects: str = typer.Option("1,10", "--objects", metavar="N,...", help="Numbers of objects to draw."),
    presets: str = typer.Option("persam,persam-f", "--presets", metavar="A,B", help="Ours."),
    set_: list[str] = _SET,
    frames: int = typer.Option(16, "--frames", min=4, help="Frames to time ours on, each round."),
    plain_frames: int = typer.Option(3, "--plain-frames", min=1, help="Frames to time the plain loop on, each round."),
    rounds: int = typer.Option(3, "--rounds", min=1, help="How often all are timed in turn; the median counts."),
    fit_steps: int = typer.Option(
        0,
        "--fit-steps",
        min=0,
        help="Also run PerSAM-F's fit as published, one decoder call a step: 800 take a minute or more, fewer are "
        "extrapolated.",
    ),
    json_file: Path | None = _JSON,
    out: Path = _OUT,
    quiet: bool = _QUIET,
) -> None:
    """Time presets against the plain loop: a padded square in float32, one decoder call per object and step."""
    from .speed import EDGE
    from .speed_reference import PERSAM_F, Contestant, ReferenceBench, ten_over_one
    from .speed_report import REFERENCE

    if plain_frames > frames + 2 * EDGE:
        raise EvaluationError(
            f"--plain-frames are at most {frames + 2 * EDGE} for --frames {frames}, got {plain_frames}"
        )
    _make_room(json_file, out)
    ours = [Contestant(name, name, settings) for name, settings in _cases(presets, set_, [])]
    fitted = [one for one in ours if one.recipe == PERSAM_F]
    if fit_steps and not fitted:
        raise EvaluationError("--fit-steps times PerSAM-F's fit; name a preset that has it in --presets: persam-f")
    with TemporaryDirectory(prefix="vos-bench-") as folder:
        contest = ReferenceBench(
            Path(folder),
            frames=frames,
            plain_frames=plain_frames,
            rounds=rounds,
            on_step=lambda text: _tell(text, quiet),
        )
        drawn = frames + 3 * EDGE + _looks_ahead(one.settings for one in ours)
        clips = _clips(Path(folder), clip, ref, sizes, objects, drawn)
        rows = contest.rows(ours, clips)
        fewest = min(clips, key=lambda one: one.objects)
        fit = None
        if fit_steps:
            seconds = contest.fit_seconds(fitted[0].settings, fewest, fit_steps)
            learnt = {
                row["name"]: row["reference_s"]
                for row in rows
                if (row["objects"], row["size"]) == (fewest.objects, fewest.size)
            }
            ours_s = {one.name: learnt[one.name] / fewest.objects for one in fitted}
            fit = {"plain_s": seconds, "steps": fit_steps, "ours_s": ours_s}
    found = {**_about(REFERENCE), "rows": rows, "fit": fit, "ten_over_one": ten_over_one(rows)}
    _finish(found, "bench-reference", json_file, out)


@app.command()
def report(
    files: list[Path] = typer.Argument(metavar="FILE...", help="What vos bench and vos bench reference wrote."),
    into: Path | None = typer.Option(
        None, "--into", metavar="PAGE", help="Put the tables into this Markdown page, between its marks."
    ),
) -> None:
    """Make Markdown tables of measurements."""
    from .speed_report import markdown, put_into, read_measurement

    text = markdown((path.name, read_measurement(path)) for path in files)
    if into is None:
        sys.stdout.write(text)
    else:
        put_into(into, text)


@app.command("eval")
def bench_eval(
    results: Path | None = typer.Argument(
        None, metavar="[RESULTS]", help="Real results to count on.  [default: drawn shapes]"
    ),
    davis: Path | None = typer.Option(None, "--davis", metavar="ROOT", help="DAVIS folder that RESULTS belong to."),
    frames: int = typer.Option(30, "--frames", min=1, help="Frames to draw."),
    objects: int = typer.Option(3, "--objects", min=1, max=255, help="Objects to draw."),
    size: str = typer.Option("854x480", "--size", metavar="WxH", help="Size to draw."),
    device: str | None = typer.Option(None, "--device", help="Torch device to count on.  [default: NumPy and OpenCV]"),
    json_file: Path | None = typer.Option(
        None, "--json", metavar="FILE", help="Write the numbers, the machine and the versions."
    ),
) -> None:
    """Time J and F per frame and object, against a plain full-frame computation."""
    if (results is None) != (davis is None):
        raise EvaluationError("RESULTS and --davis ROOT go together; leave both out to measure on drawn shapes")
    if results is not None and davis is not None:
        pairs = dataset_pairs(open_dataset(davis), results)
        what = f"{results} on {davis}"
    else:
        pairs = drawn_pairs(frames, objects, _size(size, "--size"))
        what = f"{objects} drawn objects, {size}"
    result = bench(pairs, make_counter(device))
    if json_file is not None:
        write_text(json_file, json.dumps({"what": what, "device": device or "numpy", **result.as_dict()}, indent=1))
    stdout.print(_bench_line(result, what), markup=False)


def _cases(presets: str, changes: list[str], ways: list[list[str]]) -> Iterator[tuple[str, Settings]]:
    """Every preset in every combination of `ways`, named by what differs from the preset."""
    from vos.settings import load_settings

    names = split_names(presets)
    if not names:
        raise EvaluationError("nothing to measure; name at least one preset in --presets")
    for preset, *chosen in product(names, *(way or [""] for way in ways)):
        overrides = [*changes, *filter(None, chosen)]
        yield " ".join([preset, *overrides]), load_settings(preset, overrides)


def _looks_ahead(cases: Iterable[Settings]) -> int:
    """The most frames that a tracker wants to have seen after the one that it looks at."""
    from vos.installed import make_tracker
    from vos.tracking import latency

    return max(latency(make_tracker(settings.tracker.parts)) for settings in cases)


def _clips(
    folder: Path, path: Path | None, mask: Path | None, sizes: str, objects: str, frames: int
) -> list[BenchClip]:
    """The clips to measure on: the user's own, or one for each size and number of objects."""
    from .bench_clip import drawn_clip, given_clip

    if (path is None) != (mask is None):
        raise EvaluationError("--clip and --ref go together; leave both out to measure on a drawn clip")
    if path is not None and mask is not None:
        return [given_clip(path, mask)]
    counts = [int(text) if text.isdecimal() else 0 for text in split_names(objects)]
    if not counts or not all(1 <= count <= 255 for count in counts):
        raise EvaluationError(f"--objects must be numbers from 1 to 255, such as 1,10, got {objects!r}")
    shapes = [_size(text, "--sizes") for text in split_names(sizes)]
    if not shapes:
        raise EvaluationError("nothing to measure; give at least one of --sizes")
    return [drawn_clip(folder, size, count, frames) for size, count in product(shapes, counts)]


def _about(kind: str) -> dict[str, Any]:
    """How a measurement was made, ready for JSON."""
    command = shlex.join(["vos", *sys.argv[1:]])
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"kind": kind, "command": command, "made": now, "machine": machine()}


def _make_room(json_file: Path | None, out: Path) -> None:
    """Make the folder for the numbers before they are measured; OutputError."""
    folder = out if json_file is None else json_file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error


def _finish(data: dict[str, Any], prefix: str, json_file: Path | None, out: Path) -> None:
    from .speed_report import made, notes, show

    stdout.print(made(data), markup=False)
    for table in show(data, stdout.width):
        stdout.print(table)
    for note in notes(data):
        stdout.print(note, markup=False)
    # Last, so that the numbers are seen where they cannot be written.
    path = json_file or out / f"{prefix}-{file_name(data['machine'])}.json"
    write_text(path, json.dumps(data, indent=1) + "\n")
    stdout.print(f"wrote {path}", markup=False)


def _changes(key: str, values: str) -> list[str]:
    return [f"{key}={value}" for value in split_names(values)]


def _tell(text: str, quiet: bool) -> None:
    if not quiet:
        stderr.print(text, markup=False)


def _bench_line(result: BenchResult, what: str) -> str:
    return (
        f"{what}: {result.ms:.3f} ms per frame and object, plain full-frame {result.plain_ms:.3f} ms, "
        f"{result.ratio:.1f} times as fast ({result.frames} frames, {result.pairs} masks, one thread)"
    )


def _size(text: str, option: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0):
        raise EvaluationError(f"{option} must be WIDTHxHEIGHT in pixels, such as 854x480, got {text!r}")
    if max(int(width), int(height)) > _LARGEST:
        raise EvaluationError(f"{option}: sides are at most {_LARGEST} pixels, got {text!r}")
    return int(height), int(width)
