"""Dense optical flow (DIS, OpenCV) between pictures of any size, the same whatever was computed before."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np


class DenseFlow:
    """For one thread at a time.

    Args:
        quality: OpenCV's preset: "ultrafast", "fast" or "medium".
    """

    def __init__(self, quality: str = "medium") -> None:
        self._dis = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{quality.upper()}"))
        # Of smaller pictures OpenCV chooses its scales by the width alone, for good, and may read beyond their rows.
        patch, finest = self._dis.getPatchSize(), self._dis.getFinestScale()
        self._shorter, self._longer = patch << finest, math.ceil(4 * patch * 2 ** (finest - 0.5))

    def between(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Pictures, uint8 (h, w) -> where each pixel of the first is in the second: float32 (h, w, 2), xy, pixels."""
        h, w = a.shape
        rows, columns = max(h, self._shorter), max(w, self._shorter)
        if max(rows, columns) < self._longer:
            columns = self._longer
        if (rows, columns) != (h, w):
            a, b = (cv2.copyMakeBorder(p, 0, rows - h, 0, columns - w, cv2.BORDER_REPLICATE) for p in (a, b))
        return self._dis.calc(a, b, None)[:h, :w]


@lru_cache(maxsize=2)
def places(h: int, w: int) -> np.ndarray:
    """Every place of a grid, float32 (h, w, 2), xy; read-only, since it is kept."""
    found = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).astype(np.float32)
    found.flags.writeable = False
    return found
