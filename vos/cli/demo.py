"""`vos demo`: the main job on a short real clip, from one click."""

from __future__ import annotations

from pathlib import Path

import typer

from vos.cli.console import stdout
from vos.cli.run import Wishes, run
from vos.cli.session import Session
from vos.cli.weights import download_progress
from vos.demo_clip import fetch_demo_clip
from vos.references import Click
from vos.settings import DEFAULT_PRESET, load_settings

# On the rabbit's chest in the first frame, original pixels.
_CLICK = (352.0, 452.0)


def demo(
    out: Path = typer.Option(Path("demo-vos"), "-o", "--out", help="Folder for the results."),
    preset: str = typer.Option(DEFAULT_PRESET, "--preset", "-p", help="How to track; `vos presets` lists them."),
    frames: int = typer.Option(60, "--frames", min=1, help="Frames to track; the clip has 132."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda, cuda:N or mps."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the results that OUT already holds."),
) -> None:
    """Track the rabbit of a short real clip from one click."""
    settings = load_settings(preset, [f"device={device}"])
    with download_progress("demo clip") as progress:
        clip = fetch_demo_clip(progress)
    x, y = _CLICK
    stdout.print(f"vos track {clip} --click {x:g},{y:g} -o {out}", markup=False)
    click = Click(frame=0, x=x, y=y, id=1, positive=True)
    run(str(clip), [click], Session(settings, preset), out, Wishes(overwrite=overwrite, max_frames=frames))
    stdout.print(
        f"look at {out / 'overlay.mp4'} (the rabbit, tinted) and {out / 'masks'} (one indexed PNG per frame)",
        markup=False,
    )
