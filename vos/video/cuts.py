"""Hard cuts: where one shot ends and the next begins, seen as the frames come by."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import cv2
import numpy as np

# Frames are compared at this size, (W, H): what moves a little stays where it is.
_THUMBNAIL = (64, 36)
_BLUR = 1.5
_SHADES = 8
# A thumbnail whose grey values vary by less than this, standard deviation, has no layout to compare.
_FLAT = 2.0
# Of neighbouring frames: 0.45 and more between different shots, 0.18 and less within one, but fast pans and frames left
# out come near 0.45. There every frame differs much from the one before, at a cut one does.
_LEAST, _TIMES_USUAL = 0.32, 2.2
# The share of the newest difference in what is usual.
_PACE = 0.25


@dataclass(frozen=True, eq=False)
class _Look:
    """A frame as it is compared: `layout` float32 (h, w), mean 0; `colours`, two histograms whose bins are half off."""

    layout: np.ndarray
    colours: tuple[np.ndarray, np.ndarray]


class CutDetector:
    """Says of each frame whether a new shot begins with it; O(1) memory.

    A cut is where both the layout (correlation of small grey pictures: a change of light is none) and the colours
    (histograms: motion is none) change much, and more than they did in the frames before. Where a frame looks like the
    last but one, that in between was a flash, and its end is no cut. Dissolves and fades are not found.
    """

    def __init__(self) -> None:
        self._last: list[_Look] = []
        self._usual = 0.0

    def is_cut(self, image: np.ndarray) -> bool:
        """Take in the next frame, uint8 (H, W, 3)."""
        look = _look(image)
        changes = [_change(look, before) for before in self._last]
        self._last = [look, *self._last[:1]]
        if not changes:
            return False
        if min(changes) > max(_LEAST, _TIMES_USUAL * self._usual):
            return True
        self._usual += _PACE * (changes[0] - self._usual)
        return False


def _look(image: np.ndarray) -> _Look:
    small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _BLUR)
    step = 256 // _SHADES
    return _Look(grey - grey.mean(), (_histogram(small // step), _histogram((small.astype(int) + step // 2) // step)))


def _histogram(shades: np.ndarray) -> np.ndarray:
    """Shares of the colours, float (B,), of (h, w, 3) whole numbers from 0 to _SHADES."""
    base = _SHADES + 1
    codes = shades.astype(int) @ (base * base, base, 1)
    return np.bincount(codes.ravel(), minlength=base**3) / codes.size


def _change(a: _Look, b: _Look) -> float:
    """How much differs, 0 to 1.41: the geometric mean of the change of layout and that of colours."""
    flat = a.layout.std() < _FLAT or b.layout.std() < _FLAT
    correlation = 0.0 if flat else float(np.corrcoef(a.layout.ravel(), b.layout.ravel())[0, 1])
    colours = min(float(np.abs(x - y).sum()) / 2 for x, y in zip(a.colours, b.colours, strict=True))
    return sqrt(max(0.0, 1 - correlation) * colours)
