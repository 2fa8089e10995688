"""Where a mask is: the smallest window, and the box, that hold all of it; and what is around it."""

from __future__ import annotations

import cv2
import numpy as np

from vos.types import Box

# Rows and columns.
Window = tuple[slice, slice]


def window_of(mask: np.ndarray, reach: int = 0) -> Window:
    """Rows and columns of the smallest window with all of a mask, bool (H, W), and `reach` farther where there is room.

    The window of an empty mask holds nothing.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    y, x = (
        slice(max(0, int(hit[0]) - reach), min(size, int(hit[-1]) + 1 + reach))
        for hit, size in zip((rows, columns), mask.shape, strict=True)
    )
    return y, x


def box_of(mask: np.ndarray) -> Box | None:
    """The box of a mask, bool (H, W): xyxy, inclusive, in pixels; None where the mask is empty."""
    y, x = window_of(mask)
    return (float(x.start), float(y.start), float(x.stop - 1), float(y.stop - 1)) if y.stop else None


def grown_box(box: Box, margin: float, size: tuple[int, int]) -> Box:
    """A box, xyxy, inclusive, `margin` pixels larger on every side where a frame of a size (H, W) has room."""
    (x0, y0, x1, y1), (h, w) = box, size
    return max(0.0, x0 - margin), max(0.0, y0 - margin), min(w - 1.0, x1 + margin), min(h - 1.0, y1 + margin)


def grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """A mask, bool (H, W), and all that is no more than `reach` rows and columns from it."""
    side = 2 * reach + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
