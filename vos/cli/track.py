"""`vos track`: a video and what to follow in, masks, overlay and record out."""

from __future__ import annotations

import platform
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from vos.cli.console import FrameProgress, duration, stderr, stdout
from vos.cli.weights import download_progress
from vos.errors import ReferenceInputError, VosError
from vos.references import MaskReference, Reference, ReferencePlan, describe, parse_box, parse_click, parse_mask
from vos.results import ResultWriter, Span, Summary
from vos.settings import DEFAULT_PRESET, Settings, load_settings
from vos.types import Frame
from vos.video import Source, count_packets, open_source
from vos.weights import fetch

if TYPE_CHECKING:
    import torch

_VERSIONS = ("persam-vos", "torch", "timm", "segment-anything", "av", "numpy")
_INTERRUPTED = 130
_SPANS_SHOWN = 5


def track(
    source: str = typer.Argument(
        metavar="SOURCE", help="A video file, a folder of images, or a glob such as 'shots/*.png'."
    ),
    out: Path | None = typer.Option(
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
    overrides = [*set_, *(f"{key}={value}" for key, value in short.items() if value is not None)]
    settings = load_settings(preset, overrides)
    wanted: list[Reference] = [
        *(parse_mask(text) for text in ref),
        *(parse_click(text) for text in click),
        *(parse_box(text) for text in box),
    ]
    if not wanted:
        raise ReferenceInputError("nothing to track; give --ref MASK, --click X,Y or --box X0,Y0,X1,Y1")
    run(source, wanted, settings, preset, out or default_out(source), overwrite=overwrite, quiet=quiet)


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
        count = opened.frame_count if max_frames is None else min(max_frames, opened.frame_count or max_frames)
        _tell(quiet, opened.describe(), *_understood(plan))
        record = {"preset": preset, **settings.model_dump(mode="json")}
        with ResultWriter(out, settings=record, source=opened, versions=_versions(), overwrite=overwrite) as writer:
            # Here, since importing torch takes seconds that a mistake in the input should not cost.
            from vos.models.load import load_models
            from vos.pipeline import VideoTracker

            models = load_models(settings, _fetch_with_bar)
            device = _device_name(models.segmenter.device)
            _tell(quiet, f"{preset}: {settings.model}, tracker {settings.tracker.name}, on {device}")
            tracker = VideoTracker(settings, models)
            problem: VosError | None = None
            with FrameProgress(count, quiet=quiet) as progress, _terminate_as_interrupt():
                try:
                    frames: Iterable[Frame] = opened if max_frames is None else islice(opened, max_frames)
                    with closing(tracker.run(frames, plan)) as results:
                        for result in results:
                            writer.write(result)
                            progress.advance()
                    problem = _never_reached(plan, progress.done)
                except VosError as error:
                    problem = error
                except KeyboardInterrupt:
                    summary = writer.close(error="stopped by the user")
                    _report(summary, progress, quiet)
                    stderr.print(
                        f"vos: stopped after {_frames(summary.frames)}; what is written is valid", markup=False
                    )
                    raise typer.Exit(_INTERRUPTED) from None
            summary = writer.close(error=None if problem is None else str(problem))
            _report(summary, progress, quiet)
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


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let a polite kill end a run as Ctrl-C does: with what is written finished."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
