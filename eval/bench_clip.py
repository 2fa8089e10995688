"""What speed is measured on: a clip with a mask, the user's own or a drawn one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from vos.errors import EvaluationError
from vos.references import ReferencePlan, as_references
from vos.video import count_packets, open_source

_RATE = 24
# Frames of a drawn clip until it begins anew.
_PERIOD = 48


@dataclass(frozen=True, eq=False)
class BenchClip:
    """A clip and what to track in it.

    Attributes:
        path: a video file or a folder of images.
        reference: index map of frame 0, uint8 (H, W).
        name: what to call it.
        objects: in the index map.
        frames: of the clip; None where it was drawn as long as needed.
    """

    path: Path
    reference: np.ndarray
    name: str
    objects: int
    frames: int | None = None

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.reference.shape[1]}x{self.reference.shape[0]}"

    @property
    def plan(self) -> ReferencePlan:
        size = (self.reference.shape[0], self.reference.shape[1])
        return ReferencePlan.build(as_references(self.reference), frame_size=size)


def given_clip(path: Path, mask: Path) -> BenchClip:
    """The user's clip, whose first frame has this mask.

    Raises:
        SourceError, ReferenceInputError: one of them cannot be read, or they do not fit.
    """
    with open_source(path) as source:
        size = source.size
        count = (
            source.frame_count if source.frame_count_exact or source.origin is None else count_packets(source.origin)
        )
    plan = ReferencePlan.build(as_references(mask), frame_size=size)
    return BenchClip(path, plan.at(0).index_map(size), path.resolve().name, len(plan.ids), count)


def drawn_clip(folder: Path, size: tuple[int, int], objects: int, frames: int) -> BenchClip:
    """Write a clip of textured discs that circle over a moving background, H.264.

    Args:
        size: (H, W), pixels, even.

    Raises:
        EvaluationError: H.264 cannot have that size.
    """
    height, width = size
    if height % 2 or width % 2:
        raise EvaluationError(f"a drawn clip is H.264 and needs an even size, got {width}x{height}")
    path = folder / f"{width}x{height}-{objects}.mp4"
    images = [image for image, _ in _drawn(size, objects)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(_RATE), options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(images[index % _PERIOD], format="rgb24")))
        container.mux(stream.encode(None))
    _, reference = next(_drawn(size, objects))
    return BenchClip(path, reference, "drawn", objects)


def _drawn(size: tuple[int, int], objects: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames, uint8 RGB (H, W, 3), and index maps, uint8 (H, W): one period, the same for the same arguments."""
    height, width = size
    columns = math.ceil(math.sqrt(objects * width / height))
    rows = math.ceil(objects / columns)
    cell = min(height / rows, width / columns)
    radius = max(1, round(0.3 * cell))
    skins = [_texture((height, width), 179 * k // objects, 200, seed=k + 1) for k in range(objects)]
    wide = _texture((height, 2 * width), 60, 60, seed=0)
    for t in range(_PERIOD):
        # To and fro, so that the clip begins anew without a jump.
        angle = 2 * math.pi * t / _PERIOD
        left = round((1 - math.cos(angle)) / 4 * width)
        image, index_map = wide[:, left : left + width].copy(), np.zeros(size, np.uint8)
        for k in range(objects):
            x = (k % columns + 0.5) * width / columns + 0.15 * cell * math.cos(angle + k)
            y = (k // columns + 0.5) * height / rows + 0.15 * cell * math.sin(angle + k)
            cv2.circle(index_map, (round(x), round(y)), radius, k + 1, cv2.FILLED)
            own = index_map == k + 1
            image[own] = skins[k][own]
        yield image, index_map


def _texture(size: tuple[int, int], hue: int, saturation: int, seed: int) -> np.ndarray:
    """Smooth random texture in one OpenCV hue, uint8 RGB (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((max(2, size[0] // 12), max(2, size[1] // 12))).astype(np.float32)
    hsv = np.empty((*size, 3), dtype=np.uint8)
    hsv[..., 0], hsv[..., 1] = hue, saturation
    hsv[..., 2] = 90 + 150 * cv2.resize(coarse, (size[1], size[0]))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
