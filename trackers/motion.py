"""Motion between two frames on the decoder's grid: dense flow forth and back, and what it carries."""

from __future__ import annotations

import cv2
import numpy as np

from vos.models.features import FeatureMap

# Flow is computed on this many pixels per place of the grid, along each axis.
_FINER = 2
# Trust in a vector halves where forth and back differ by about this many pixels, and more for longer ones.
_RELATIVE, _ABSOLUTE = 0.02, 1.0
# The smallest side of an image that OpenCV's flow takes is 12 pixels.
_SMALLEST = 16


class Grid:
    """The places of the decoder's logits on a frame, `ratio` to a cell of the embedding along each axis.

    Attributes:
        size: (h, w), padding included.
        covered: (h, w) of the part, from the top left, that the frame covers.
    """

    def __init__(self, image: FeatureMap, ratio: int) -> None:
        h, w = image.grid_size
        self.size = h * ratio, w * ratio
        step = image.stride / ratio
        rows, columns = (
            max(1, min(n, round(size / step))) for n, size in zip(self.size, image.input_size, strict=True)
        )
        self.covered = rows, columns

    def shares(self, mask: np.ndarray) -> np.ndarray:
        """How much of every place a mask, bool (H, W), covers: float32 (h, w) in [0, 1], 0 in the padding."""
        shares = np.zeros(self.size, np.float32)
        rows, columns = self.covered
        # One axis after the other: where it enlarges along either, OpenCV averages along neither and loses pixels.
        flat = cv2.resize(mask.astype(np.float32), (mask.shape[1], rows), interpolation=cv2.INTER_AREA)
        shares[:rows, :columns] = cv2.resize(flat, (columns, rows), interpolation=cv2.INTER_AREA)
        return shares

    def grey(self, image: np.ndarray) -> np.ndarray:
        """A frame, uint8 RGB (H, W, 3), as flow reads it: uint8, `_FINER` times the covered grid."""
        rows, columns = (max(_SMALLEST, _FINER * n) for n in self.covered)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)


class Motion:
    """From one frame to the next, on the covered part of a grid.

    Args:
        grid: of both frames.
        before, now: as `Grid.grey` gives them.

    Attributes:
        source: float32 (h, w, 2), xy: the place of the last frame that each place shows.
        trust: float32 (h, w) in [0, 1]: how well flow forth and back agree.
    """

    def __init__(self, grid: Grid, before: np.ndarray, now: np.ndarray, flow: cv2.DISOpticalFlow) -> None:
        forth, back = flow.calc(before, now, None), flow.calc(now, before, None)
        h, w = now.shape
        pixels = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).astype(np.float32)
        returned = cv2.remap(forth, pixels + back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        gap = ((returned + back) ** 2).sum(axis=2)
        length = (returned**2).sum(axis=2) + (back**2).sum(axis=2)
        rows, columns = grid.covered
        scale = np.array([columns / w, rows / h], dtype=np.float32)
        places = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)
        self.source = places + cv2.resize(back, (columns, rows), interpolation=cv2.INTER_AREA) * scale
        agreed = np.exp(-gap / (_RELATIVE * length + _ABSOLUTE))
        self.trust = cv2.resize(agreed, (columns, rows), interpolation=cv2.INTER_AREA)

    def carry(self, logits: np.ndarray, beyond: float) -> np.ndarray:
        """The last frame's logits, float32 (h, w) on the whole grid, where they are now; `beyond` from outside it."""
        rows, columns = self.trust.shape
        carried = np.full_like(logits, beyond)
        carried[:rows, :columns] = cv2.remap(
            np.ascontiguousarray(logits[:rows, :columns]),
            self.source,
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=beyond,
        )
        return carried
