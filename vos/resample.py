"""Maps on a grid enlarged to the frame, bilinearly through intermediate sizes as SAM does it: whole, or a part of them.

Bilinear interpolation is linear and works on one axis at a time, so the whole chain of sizes is one matrix per axis,
and a part of the answer is a product of parts of the matrices.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from vos.windows import Window

Size = tuple[int, int]


class Enlargement:
    """From maps (N, h, w) on a grid to the frame (H, W).

    Args:
        grid: (h, w).
        factors: sizes passed through, as multiples of (h, w).
        covered: (h, w) at the last of these that the frame covers, from the top left; the rest is padding.
        frame: (H, W), pixels.
        device: where the maps are.
    """

    def __init__(self, grid: Size, factors: tuple[int, ...], covered: Size, frame: Size, device: torch.device) -> None:
        self._y, self._x = (_Axis(*axis, factors, device) for axis in zip(grid, covered, frame, strict=True))

    def whole(self, maps: torch.Tensor) -> torch.Tensor:
        """float (N, h, w) -> float (N, H, W)."""
        return self._y.matrix @ maps @ self._x.matrix.T

    def reach(self, cells: Window) -> Window:
        """The pixels of the frame that cells of the grid have a part in."""
        return self._y.reached(cells[0]), self._x.reached(cells[1])

    def part(self, maps: torch.Tensor, window: Window) -> torch.Tensor:
        """A window of `whole`, float (N, h', w')."""
        y, x = window
        rows, columns = self._y.needed(y), self._x.needed(x)
        return self._y.matrix[y, rows] @ maps[:, rows, columns] @ self._x.matrix[x, columns].T


@lru_cache(maxsize=8)
def enlargement(grid: Size, factors: tuple[int, ...], covered: Size, frame: Size, device: torch.device) -> Enlargement:
    """An `Enlargement`, the latest ones kept."""
    return Enlargement(grid, factors, covered, frame, device)


class _Axis:
    """One axis: a matrix (out, n) whose rows hold the weights of an output's inputs, which are neighbours."""

    def __init__(self, n: int, covered: int, out: int, factors: tuple[int, ...], device: torch.device) -> None:
        weights = torch.eye(n)[None]
        for factor in factors:
            weights = F.interpolate(weights, n * factor, mode="linear", align_corners=False)
        weights = F.interpolate(weights[..., :covered], out, mode="linear", align_corners=False)
        self.matrix = weights[0].T.contiguous().to(device)
        used = self.matrix.cpu().numpy() > 0
        self._first, self._end = used.argmax(axis=1), n - used[:, ::-1].argmax(axis=1)

    def reached(self, cells: slice) -> slice:
        hit = np.flatnonzero((self._end > cells.start) & (self._first < cells.stop))
        return slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0)

    def needed(self, pixels: slice) -> slice:
        if pixels.start == pixels.stop:
            return slice(0, 0)
        return slice(int(self._first[pixels].min()), int(self._end[pixels].max()))


def shares(mask: np.ndarray, size: Size) -> np.ndarray:
    """How much of every place of a grid (h, w) a mask, bool (H, W), covers: float32 (h, w) in [0, 1]."""
    flat = np.zeros((size[0], mask.shape[1]), np.float32)
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size:
        # One axis after the other: where it enlarges along either, OpenCV averages along neither and loses pixels.
        held = slice(int(columns[0]), int(columns[-1]) + 1)
        part = mask[:, held].astype(np.float32)
        flat[:, held] = cv2.resize(part, (part.shape[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(flat, (size[1], size[0]), interpolation=cv2.INTER_AREA))
