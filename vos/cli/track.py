"""`vos track`: a video and what to follow in, masks, overlay and record out."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from contextlib import closing
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vos.cli.console import FrameProgress, duration, stderr, stdout
from vos.cli.stopping import STOPPED, Stopped
from vos.cli.weights import download_progress
from vos.errors import OutputError, ReferenceInputError, VosError
from vos.references import Click, MaskReference, Reference, ReferencePlan, describe, parse_box, parse_click, parse_mask
from vos.results import ResultWriter, Span, Summary
from vos.settings import DEFAULT_PRESET, Settings, load_settings
from vos.types import Frame
from vos.video import Source, count_packets, open_source
from vos.weights import fetch

if TYPE_CHECKING:
    import torch

_VERSIONS = ("persam-vos", "torch", "timm", "segment-anything", "av", "numpy")
_SPANS_SHOWN = 5


def track(
    source: str = typer.Argument(
        metavar="SOURCE", help="A video file, a folder of images, or a glob such as 'shots/*.png'."
    ),
    out: str | None = typer.Option(
        None, "-o", "--out", help="Folder for the results.  [default: SOURCE's name + '-vos']"
    ),
    ref: list[str] = typer.Option(
        [], "--ref", metavar="[FRAME:]MASK[:ID]", help="A mask of what to track: image or .npy."
    ),
    click: list[str] = typer.Option(
        [],
        "--click",
        metavar="[-][FRAME:]X,Y[:ID]",
        help="A point on an object; with a leading '-' one that is not on it.",
    ),
    box: list[str] = typer.Option([], "--box", metavar="[FRAME:]X0,Y0,X1,Y1[:ID]", help="A box around an object."),
    preset: str = typer.Option(DEFAULT_PRESET, "--preset", "-p", help="How to track; `vos presets` lists them."),
    set_: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change one setting; `vos presets` lists them."
    ),
    model: str | None = typer.Option(None, "--model", help="mobile_sam, sam_vit_b, sam_vit_l or sam_vit_h."),
    features: str | None = typer.Option(
        None, "--features", help="Where the location prior comes from: sam or a DINOv2."
    ),
    tracker: str | None = typer.Option(None, "--tracker", help="How objects are found in the next frame."),
    weights: Path | None = typer.Option(
        None, "--weights", help="The model's checkpoint on disk; nothing is downloaded."
    ),
    device: str | None = typer.Option(None, "--device", help="auto, cpu, cuda, cuda:N or mps."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the results that OUT already holds."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Track objects through a video: their masks in every frame.

    Give any mixture of --ref, --click and --box, on any frame (0 by default), for any number of objects; an ID is
    1 to 255 (1 by default).
    """
    short = {"model": model, "features": features, "tracker.name": tracker, "weights": weights, "device": device}
    settings = load_settings(preset, [*set_, *((key, value) for key, value in short.items() if value is not None)])
    wanted: list[Reference] = [
        *(parse_mask(text) for text in ref),
        *(parse_click(text) for text in click),
        *(parse_box(text) for text in box),
    ]
    if not wanted:
        raise ReferenceInputError("nothing to track; give --ref MASK, --click X,Y or --box X0,Y0,X1,Y1")
    if out == "":
        raise OutputError("OUT is empty; give a folder for the results to -o")
    folder = default_out(source) if out is None else Path(out)
    run(source, wanted, settings, preset, folder, overwrite=overwrite, quiet=quiet)


def run(
    source: str,
    wanted: list[Reference],
    settings: Settings,
    preset: str,
    out: Path,
    *,
    overwrite: bool,
    quiet: bool,
    max_frames: int | None = None,
) -> None:
    """Track and write results, telling on the way what was understood and what is being done.

    Whatever goes wrong after the first frame, what was written is finished properly and stays valid.
    """
    with open_source(source) as opened:
        plan = ReferencePlan.build(
            wanted, frame_size=opened.size, frame_count=_known_frames(opened, wanted, max_frames)
        )
        _tell(quiet, opened.describe(), *_understood(plan))
        # Here, since importing torch takes seconds that a mistake in the input should not cost.
        from vos.device import resolve_device
        from vos.models.load import load_models
        from vos.pipeline import VideoTracker

        device = resolve_device(settings.device)
        record = {"preset": preset, **settings.model_dump(mode="json"), "device": str(device)}
        asked = [_as_option(reference) for reference in plan.references]
        with ResultWriter(
            out, settings=record, references=asked, source=opened, versions=_versions(), overwrite=overwrite
        ) as writer:
            tracker = VideoTracker(settings, load_models(settings, _fetch_with_bar))
            _tell(quiet, f"{preset}: {settings.model}, tracker {settings.tracker.name}, on {_device_name(device)}")
            count = opened.frame_count if max_frames is None else min(max_frames, opened.frame_count or max_frames)
            frames: Iterable[Frame] = opened if max_frames is None else islice(opened, max_frames)
            problem: VosError | Stopped | None = None
            with FrameProgress(count, quiet=quiet) as progress:
                try:
                    with closing(tracker.run(frames, plan)) as results:
                        for result in results:
                            writer.write(result)
                            progress.advance()
                    problem = _never_reached(plan, progress.done)
                except (VosError, Stopped) as error:
                    problem = error
            said = "stopped by the user" if isinstance(problem, Stopped) else str(problem)
            summary = writer.close(error=None if problem is None else said)
            _report(summary, progress, quiet)
            if isinstance(problem, Stopped):
                kept = f"after {_frames(summary.frames)}; what is written is valid"
                stderr.print(f"vos: stopped {kept if summary.frames else 'before the first frame'}", markup=False)
                raise typer.Exit(STOPPED)
            if problem is not None:
                raise problem


def default_out(source: str) -> Path:
    """`clip.mp4` -> `clip-vos` in the current folder."""
    name = Path(source).name
    stem = Path(name).stem if Path(source).is_file() else name
    return Path(f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in stem).strip('._') or 'results'}-vos")


def _known_frames(source: Source, wanted: list[Reference], max_frames: int | None) -> int | None:
    """How many frames there are at most, where a reference on a later frame makes it worth knowing beforehand."""
    if source.frame_count_exact or source.origin is None or all(reference.frame == 0 for reference in wanted):
        count = source.frame_count if source.frame_count_exact else None
    else:
        count = count_packets(source.origin)
    return count if max_frames is None or count is None else min(count, max_frames)


def _understood(plan: ReferencePlan) -> list[str]:
    """One line per reference, and the notes on how they were read."""
    lines = []
    for reference in plan.references:
        at = f" on frame {reference.frame}" if reference.frame else ""
        if isinstance(reference, MaskReference):
            lines.append(f"{reference.source}{at}: {describe(reference.mask)}")
        else:
            lines.append(f"{reference.source}{at}: object {reference.id}")
    return [*lines, *plan.notes]


def _as_option(reference: Reference) -> str:
    """A reference as the option that gives it, for the record."""
    if isinstance(reference, MaskReference):
        return f"--ref {reference.frame}:{reference.source}"
    if isinstance(reference, Click):
        sign = "" if reference.positive else "-"
        return f"--click {sign}{reference.frame}:{reference.x:g},{reference.y:g}:{reference.id}"
    corners = ",".join(f"{value:g}" for value in (reference.x0, reference.y0, reference.x1, reference.y1))
    return f"--box {reference.frame}:{corners}:{reference.id}"


def _never_reached(plan: ReferencePlan, frames: int) -> ReferenceInputError | None:
    missed = plan.beyond(frames)
    if not missed:
        return None
    first = missed[0]
    return ReferenceInputError(
        f"{first.source}: reference on frame {first.frame}, but the clip ended after {_frames(frames)} "
        f"(0 to {frames - 1})"
    )


def _report(summary: Summary, progress: FrameProgress, quiet: bool) -> None:
    if summary.frames == 0:
        return
    _tell(quiet, *_lost(summary))
    where = ", ".join(str(path) for path in summary.outputs)
    _tell(quiet, f"{_frames(summary.frames)} in {duration(progress.seconds)} ({progress.rate:.2f} frames/s) -> {where}")


def _lost(summary: Summary) -> list[str]:
    """Where each object was lost or doubtful, one line per object that was."""
    lines = []
    for item in summary.objects:
        parts = [(what, spans) for what, spans in (("absent", item.absent), ("uncertain", item.uncertain)) if spans]
        if parts:
            lines.append(f"object {item.id}: " + "; ".join(f"{what} in {_spans(spans)}" for what, spans in parts))
    return lines


def _spans(spans: Sequence[Span]) -> str:
    texts = [str(s.first) if s.first == s.last else f"{s.first}-{s.last}" for s in spans[:_SPANS_SHOWN]]
    more = f" and {len(spans) - _SPANS_SHOWN} more spans (see track.json)" if len(spans) > _SPANS_SHOWN else ""
    only = len(spans) == 1 and spans[0].first == spans[0].last
    return f"frame{'' if only else 's'} {', '.join(texts)}{more}"


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _tell(quiet: bool, *lines: str) -> None:
    if not quiet:
        for line in lines:
            stdout.print(line, markup=False)


def _fetch_with_bar(name: str) -> Path:
    with download_progress(name) as progress:
        return fetch(name, progress=progress)


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}
