"""The outputs there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vos.errors import SettingsError
from vos.results.arrays import ArraySink
from vos.results.datasets import CocoSink, YoutubeSink
from vos.results.files import Reserve, Target
from vos.results.matte import ProresSink, check_prores
from vos.results.measure import MeasurementSink
from vos.results.movie import OverlaySink, check_overlay
from vos.results.polygons import PolygonSink
from vos.results.sinks import AlphaSink, CutoutSink, MaskSink, PictureSink, Run, Sink
from vos.results.track import TRACK_FILE, TrackSink
from vos.results.yolo import YoloSink


@dataclass(frozen=True)
class Kind:
    """An output.

    Attributes:
        name: as `--save` takes it.
        target: where it goes.
        make: path, reserve, run -> Sink; raises OSError.
        pixels: needs the pictures, not the masks alone.
        takes_soft: uses each object's own soft mask where there is one, parts hidden behind other objects included.
        needs_soft: shows soft edges, which nothing but soft masks can tell.
        labelled: says what objects are called.
        check: raises OutputError where it cannot be had at all, of frames of a size, (H, W).
    """

    name: str
    target: Target
    make: Callable[[Path, Reserve, Run], Sink]
    pixels: bool = False
    takes_soft: bool = False
    needs_soft: bool = False
    labelled: bool = False
    check: Callable[[tuple[int, int]], None] = lambda _: None


_SEQUENCE = r"\d+/\d+\.png"
_ALL = (
    Kind("masks", Target("masks", r"\d{5,}\.png"), MaskSink),
    Kind(
        "overlay",
        Target("overlay.mp4"),
        OverlaySink,
        pixels=True,
        labelled=True,
        check=check_overlay,
    ),
    Kind("json", Target(TRACK_FILE), TrackSink),
    Kind("alpha", Target("alpha", _SEQUENCE), AlphaSink, takes_soft=True, needs_soft=True),
    Kind("alpha8", Target("alpha8", _SEQUENCE), partial(AlphaSink, bits=8), takes_soft=True, needs_soft=True),
    Kind("cutouts", Target("cutouts", _SEQUENCE), CutoutSink, pixels=True, takes_soft=True, needs_soft=True),
    Kind(
        "prores",
        Target("prores", r"\d+\.mov"),
        ProresSink,
        pixels=True,
        takes_soft=True,
        needs_soft=True,
        check=check_prores,
    ),
    Kind("pictures", Target("pictures", r"\d{5,}\.jpg"), PictureSink, pixels=True),
    Kind("coco", Target("coco.json"), CocoSink, takes_soft=True, labelled=True),
    Kind("youtube", Target("youtube.json"), YoutubeSink, takes_soft=True, labelled=True),
    Kind(
        "yolo",
        Target("yolo", r"images/\d{5,}\.jpg|labels/\d{5,}\.txt|data\.yaml"),
        YoloSink,
        pixels=True,
        takes_soft=True,
        labelled=True,
    ),
    Kind("npz", Target("masks.npz"), ArraySink, takes_soft=True),
    Kind("polygons", Target("polygons.json"), PolygonSink, takes_soft=True, labelled=True),
    Kind("csv", Target("measurements.csv"), MeasurementSink, labelled=True),
)
KINDS = {kind.name: kind for kind in _ALL}
DEFAULT_KINDS = ("masks", "overlay", "json")
# For training, to which a picture without a mask says that nothing is there.
DATA_SETS = ("coco", "youtube", "yolo")


def kinds_of(names: Iterable[str]) -> tuple[Kind, ...]:
    """The outputs of these names, each once; SettingsError lists those there are."""
    names = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise SettingsError(f"unknown output {unknown[0]!r}; there are {', '.join(KINDS)}")
    if not names:
        raise SettingsError(f"no output was named; there are {', '.join(KINDS)}")
    return tuple(KINDS[name] for name in names)


def targets(kinds: Sequence[Kind] = _ALL) -> list[Target]:
    """Where outputs go, all there are by default."""
    return [kind.target for kind in kinds]
