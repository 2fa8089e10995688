"""`vos compose`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.progress import track as progress

from vos.cli.console import stderr, stdout

from .compose import NEEDED, clips_of, compose
from .davis import open_dataset
from .options import chosen
from .report import counted


def compose_clips(
    out: Path = typer.Argument(..., metavar="OUT", help="Folder for the new data set; it must not be there yet."),
    davis: Path = typer.Option(
        ...,
        "--davis",
        metavar="ROOT",
        help="DAVIS folder with sequences of one object each, its set in ImageSets/2016.",
    ),
    sequences: str | None = typer.Option(None, "--sequences", metavar="A,B", help="Only of these sequences."),
    only: list[str] = typer.Option([], "--only", metavar="TEXT", help="Only clips with this in their name."),
    frames: int | None = typer.Option(None, "--frames", min=3, help="The most frames of a clip.  [default: all]"),
    resolution: str = typer.Option("480p", "--resolution", metavar="FOLDER", help="Folder below Annotations."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Compose clips of several objects.

    With exact truth: side by side, over each other, hidden, away for a while.
    """
    made = clips_of(open_dataset(davis, year=2016, sequences=chosen(sequences), resolution=resolution), only, frames)
    count = sum(
        compose(
            progress(made, "composing", console=stderr, transient=True, disable=quiet or not stderr.is_terminal),
            out,
            resolution,
        )
    )
    if not quiet:
        stdout.print(
            f"{out}: {counted(len(made), 'clip')}, {count} frames; to run presets on them: "
            f"vos compare --davis {out} --presets A,B",
            markup=False,
        )
        for kind, needed in NEEDED.items():
            if frames is not None and frames < needed and any(clip.name.startswith(kind) for clip in made):
                stdout.print(f"note: {kind} clips show all that they are for with {needed} frames; give more --frames")
