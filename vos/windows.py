"""Where a mask is: the smallest window, and the box, that hold all of it."""

from __future__ import annotations

import numpy as np

from vos.types import Box


def window_of(mask: np.ndarray, reach: int = 0) -> tuple[slice, slice]:
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
