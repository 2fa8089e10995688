"""`vos track`: a video and what to follow in, masks, overlay and record out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from vos.cli import batch
from vos.cli.reading import reading_of
from vos.cli.run import KEEP_EVERY, Wishes, run
from vos.cli.session import Session
from vos.errors import OutputError, ReferenceInputError, SettingsError, SourceError
from vos.installed import check_trackers
from vos.paths import expanded
from vos.references import Reference, parse_box, parse_click, parse_mask
from vos.results import DEFAULT_KINDS, KINDS, Labels
from vos.results.kinds import kinds_of
from vos.settings import DEFAULT_PRESET, load_settings
from vos.video import READERS


def track(
    source: str = typer.Argument(
        metavar="SOURCE",
        help='A video file, a folder of images, a glob such as "shots/*.png", - (standard input) or cam:0 (a camera). '
        "Many videos: a folder or glob of them, or a table, jobs.csv.",
    ),
    out: str | None = typer.Option(
        None, "-o", "--out", help="Folder for the results.  [default: SOURCE's name + '-vos']"
    ),
    ref: list[str] = typer.Option(
        [],
        "--ref",
        metavar="[FRAME:]MASK[:ID]",
        help="A mask of what to track: image or .npy. May be repeated, as --click and --box.",
    ),
    click: list[str] = typer.Option(
        [],
        "--click",
        metavar="[-][FRAME:]X,Y[:ID]",
        help="A point on an object; with a leading '-' one that is not on it.",
    ),
    box: list[str] = typer.Option([], "--box", metavar="[FRAME:]X0,Y0,X1,Y1[:ID]", help="A box around an object."),
    label: list[str] = typer.Option(
        [], "--label", metavar="NAME[:ID,...]", help="What objects are called: all, or those of these IDs."
    ),
    preset: str = typer.Option(DEFAULT_PRESET, "--preset", "-p", help="How to track; `vos presets` lists them."),
    set_: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting; `vos presets` lists them. May be repeated."
    ),
    model: str | None = typer.Option(None, "--model", help="mobile_sam, sam_vit_b, sam_vit_l or sam_vit_h."),
    features: str | None = typer.Option(
        None, "--features", help="Where matching looks for objects: sam or a DINOv2; for presets such as persam."
    ),
    tracker: str | None = typer.Option(
        None, "--tracker", help="How objects are found in the next frame; `vos trackers` lists them."
    ),
    weights: Path | None = typer.Option(
        None, "--weights", help="The model's checkpoint on disk; nothing is downloaded."
    ),
    device: str | None = typer.Option(None, "--device", help="auto, cpu, cuda, cuda:N or mps."),
    save: str = typer.Option(
        ",".join(DEFAULT_KINDS), "--save", metavar="KIND,...", help=f"What to write: {', '.join(KINDS)}."
    ),
    start_number: str | None = typer.Option(
        None, "--start-number", metavar="N", help="Number of the first image of alpha and cutouts, such as 1001."
    ),
    start: str | None = typer.Option(
        None, "--start", metavar="WHEN", help="First frame to track: 300 (a frame), 12.5s or 1:02.5 (a time)."
    ),
    end: str | None = typer.Option(None, "--end", metavar="WHEN", help="Last frame to track, as --start."),
    every: int = typer.Option(1, "--every", metavar="N", help="Track every Nth frame."),
    fps: str | None = typer.Option(
        None, "--fps", metavar="RATE", help="Of images: pictures per second, such as 10, 30000/1001 or 1/60."
    ),
    both_ways: bool = typer.Option(
        False,
        "--both-ways",
        help="Track objects backwards too, from their first mask or box (or else click).",
    ),
    max_size: int | None = typer.Option(
        None,
        "--max-size",
        metavar="PIXELS",
        help="Longer side of the picture that is tracked in; masks keep the source's size.",
    ),
    autorotate: bool = typer.Option(
        True, "--autorotate/--no-autorotate", help="Turn pictures upright, as the file says."
    ),
    reader: str = typer.Option(READERS[0], "--reader", help=f"Of video files: {' or '.join(READERS)}."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the results that OUT already holds."),
    resume: bool = typer.Option(False, "--resume", help="Go on with an interrupted run; give all else as before."),
    keep_every: int = typer.Option(
        KEEP_EVERY, "--keep-every", metavar="N", min=1, help="Frames that an interrupted run may lose."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Track objects through a video: their masks in every frame.

    Give any mixture of --ref, --click and --box, on any frame (by default the first one read), for any number of
    objects; an ID is 1 to 255 (1 by default).
    """
    short = {"model": model, "features": features, "tracker.name": tracker, "weights": weights, "device": device}
    settings = load_settings(preset, [*set_, *((key, value) for key, value in short.items() if value is not None)])
    check_trackers(settings.tracker.parts)
    if not source:
        raise SourceError("SOURCE is empty; give a video")
    if out == "":
        raise OutputError("OUT is empty; give a folder for the results to -o")
    wishes = Wishes(
        tuple(kind.name for kind in kinds_of(split_names(save))),
        number(start_number),
        overwrite,
        resume,
        keep_every,
        quiet,
        reading=reading_of(start, end, every, max_size, fps, autorotate=autorotate, reader=reader),
        both_ways=both_ways,
    )
    session = Session(settings, preset)
    given = batch.Given(tuple(ref), tuple(click), tuple(box), Labels(tuple(label)))
    if batch.is_batch(source):
        jobs = batch.jobs_in(source, given, None if out is None else expanded(out))

        def run_one(job: batch.Job) -> None:
            _run(job.source, job.given, session, job.out, replace(wishes, reading=job.part(wishes.reading)))

        batch.run_all(jobs, run_one, quiet=quiet)
    else:
        _run(source, given, session, default_out(source) if out is None else expanded(out), wishes)


def _run(source: str, given: batch.Given, session: Session, out: Path, wishes: Wishes) -> None:
    run(source, wanted(given), session, out, replace(wishes, labels=given.labels))


def wanted(given: batch.Given) -> list[Reference]:
    """The references that options name; ReferenceInputError."""
    references: list[Reference] = [
        *(parse_mask(text) for text in given.ref),
        *(parse_click(text) for text in given.click),
        *(parse_box(text) for text in given.box),
    ]
    if not references:
        raise ReferenceInputError("nothing to track; give --ref MASK, --click X,Y or --box X0,Y0,X1,Y1")
    return references


def split_names(text: str) -> list[str]:
    """'masks, csv' -> ['masks', 'csv']"""
    return [name.strip() for name in text.split(",") if name.strip()]


def number(text: str | None) -> str | None:
    """The first number of a sequence, zeros included; SettingsError."""
    if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise SettingsError(f"--start-number {text}: expected a whole number of at most 9 digits, such as 1001")
    return text


def default_out(source: str) -> Path:
    """`clip.mp4` -> `clip-vos` in the current folder."""
    name = Path(source).name
    stem = Path(name).stem if Path(source).is_file() else name
    return Path(f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in stem).strip('-._') or 'results'}-vos")
