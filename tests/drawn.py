"""Clips with exact ground truth, drawn: textured objects over a moving textured background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Path2D = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Thing:
    """A textured shape.

    Attributes:
        radius: half its size, pixels.
        hue: OpenCV hue, 0 to 179.
        path: frame number -> centre (x, y), pixels; outside the frame means gone.
        shape: "disc" or "square".
        seed: of its texture.
    """

    radius: int
    hue: int
    path: Path2D
    shape: str = "disc"
    seed: int = 1


def texture(height: int, width: int, hue: int, seed: int, saturation: int = 200) -> np.ndarray:
    """Smooth random texture in one hue, uint8 RGB (height, width, 3)."""
    rng = np.random.default_rng(seed)
    value = cv2.resize(rng.random((max(2, height // 12), max(2, width // 12))).astype(np.float32), (width, height))
    hsv = np.empty((height, width, 3), dtype=np.uint8)
    hsv[..., 0] = hue
    hsv[..., 1] = saturation
    hsv[..., 2] = 90 + 150 * value
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def clip(
    things: Sequence[Thing], n_frames: int, size: tuple[int, int] = (240, 320), pan: float = 1.0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw a clip; later things cover earlier ones.

    Args:
        things: object i + 1 is things[i].
        n_frames: frames to draw.
        size: (H, W), pixels.
        pan: background motion, pixels per frame.

    Returns:
        Frames, uint8 RGB (H, W, 3), and index maps, uint8 (H, W).
    """
    h, w = size
    wide = texture(h, w + int(pan * n_frames) + 1, hue=60, seed=0, saturation=60)
    frames, truth = [], []
    for t in range(n_frames):
        left = int(pan * t)
        image, ids = wide[:, left : left + w].copy(), np.zeros(size, dtype=np.uint8)
        for number, thing in enumerate(things, start=1):
            cx, cy = thing.path(t)
            mask = _shape(size, thing, cx, cy)
            if not mask.any():
                continue
            side = 2 * thing.radius + 1
            own = texture(side, side, thing.hue, thing.seed)
            ys, xs = np.nonzero(mask)
            image[ys, xs] = own[
                np.clip(ys - round(cy) + thing.radius, 0, side - 1), np.clip(xs - round(cx) + thing.radius, 0, side - 1)
            ]
            ids[mask] = number
        frames.append(image)
        truth.append(ids)
    return frames, truth


def _shape(size: tuple[int, int], thing: Thing, cx: float, cy: float) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    if thing.shape == "disc":
        return (x - cx) ** 2 + (y - cy) ** 2 <= thing.radius**2
    return (abs(x - cx) <= thing.radius) & (abs(y - cy) <= thing.radius)
