"""Motion between two frames on the decoder's grid: dense flow forth and back, and what it carries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from vos.dense_flow import DenseFlow, places
from vos.models.features import PLACES, FeatureMap
from vos.resample import shares
from vos.types import Frame

# Flow is computed on this many pixels per place of the grid, along each axis, and on no fewer than these.
_FINER, _SMALLEST = 2, 16
# Trust in a vector halves where forth and back differ by about this many pixels, and more for longer ones.
_RELATIVE, _ABSOLUTE = 0.02, 1.0
# Brightness, 0 to 255, that a thing may change by from frame to frame, and the blur in which it is compared, in places.
_SAME, _BLUR = 12.0, 1.5


class Grid:
    """The places of the decoder's logits on a frame.

    Attributes:
        size: (h, w), padding included.
        covered: (h, w) of the part, from the top left, that the frame covers.
    """

    def __init__(self, image: FeatureMap) -> None:
        self.size, self.covered = image.places, image.covered_places

    def shares(self, mask: np.ndarray) -> np.ndarray:
        """How much of every place a mask, bool (H, W), covers: float32 (h, w) in [0, 1], 0 in the padding."""
        whole = np.zeros(self.size, np.float32)
        rows, columns = self.covered
        whole[:rows, :columns] = shares(mask, self.covered)
        return whole

    def averaged(self, shares: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
        """Shares of places, float32, averaged over what of each cell is no padding: float32, (h, w) as `cells`."""
        rows, columns = self.covered
        # A cell that shows so little of the frame that none of its places does is as its neighbour's last place.
        lack = [(0, PLACES * n - of) for n, of in zip(cells, (rows, columns), strict=True)]
        whole = np.pad(shares[:rows, :columns], lack, mode="edge")
        h, w = cells
        return np.asarray(whole.reshape(h, PLACES, w, PLACES).mean(axis=(1, 3)), dtype=np.float32)

    def grey(self, image: np.ndarray) -> np.ndarray:
        """A frame, uint8 RGB (H, W, 3), as flow reads it: uint8, `_FINER` times the covered grid."""
        rows, columns = (max(_SMALLEST, _FINER * n) for n in self.covered)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)


class Flow:
    """Dense flow (DIS, OpenCV) between two pictures, forth and back side by side; for one thread at a time."""

    def __init__(self) -> None:
        self._forth, self._back = DenseFlow(), DenseFlow()
        self._beside = ThreadPoolExecutor(1, "vos-flow")

    def between(self, before: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 (h, w) -> flow forth and back, float32 (h, w, 2) each, xy, pixels."""
        forth = self._beside.submit(self._forth.between, before, now)
        back = self._back.between(now, before)
        return forth.result(), back


class Motion:
    """From one frame to the next, on the covered part of a grid.

    Args:
        grid: of both frames.
        before, now: as `Grid.grey` gives them.
        flow: what computes it.

    Attributes:
        source: float32 (h, w, 2), xy: the place of the last frame that each place shows.
        trust: float32 (h, w) in [0, 1]: how well flow forth and back agree.
    """

    def __init__(self, grid: Grid, before: np.ndarray, now: np.ndarray, flow: Flow) -> None:
        forth, back = flow.between(before, now)
        h, w = now.shape
        returned = cv2.remap(forth, places(h, w) + back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        gap, length = _squared(returned + back), _squared(returned) + _squared(back)
        rows, columns = grid.covered
        scale = np.array([columns / w, rows / h], dtype=np.float32)
        self.source = places(rows, columns) + cv2.resize(back, (columns, rows), interpolation=cv2.INTER_AREA) * scale
        agreed = np.exp(-gap / (_RELATIVE * length + _ABSOLUTE))
        self.trust = cv2.resize(agreed, (columns, rows), interpolation=cv2.INTER_AREA)
        self._pictures = before, now

    @cached_property
    def same(self) -> np.ndarray:
        """How surely each place shows what its source has shown, float32 (h, w) in [0, 1].

        That flow is trusted does not say so: where something comes up before a still background, it stands still too.
        """
        rows, columns = self.trust.shape
        before, now = (
            cv2.resize(cv2.GaussianBlur(grey, (0, 0), _BLUR), (columns, rows), interpolation=cv2.INTER_AREA)
            for grey in self._pictures
        )
        moved = cv2.remap(before, self.source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        change = cv2.GaussianBlur((moved.astype(np.float32) - now) ** 2, (0, 0), _BLUR)
        return np.asarray(np.minimum(1, 2 * self.trust) * np.exp(-change / _SAME**2), dtype=np.float32)

    def keep(self, shares: np.ndarray) -> np.ndarray:
        """What was known of the last frame's things, float32 (h, w) >= 0, where they are still seen to be the same."""
        rows, columns = self.trust.shape
        kept = self.carry(shares, 0)
        kept[:rows, :columns] *= self.same
        return kept

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


def _squared(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths, float32 (h, w), of vectors (h, w, 2)."""
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2


@dataclass(frozen=True, eq=False)
class _Step:
    """A frame's grey picture, and the motion to it from the frame of a number; no motion after a cut."""

    grey: np.ndarray
    before: int
    motion: Motion | None


class Motions:
    """Motion from each frame to the next, worked out when it is asked for, or ahead by another thread.

    Attributes:
        last: grey picture of the last frame, uint8 (h, w); None before the first.
    """

    def __init__(self) -> None:
        self.last: np.ndarray | None = None
        self._last_index: int | None = None
        self._now: tuple[Frame, np.ndarray, Motion | None] | None = None
        self._flow = Flow()
        self._ahead: dict[int, _Step] = {}
        # The other thread's own.
        self._flow_ahead = Flow()
        self._shown: tuple[int, np.ndarray] | None = None

    def prepare(self, before: Frame, frame: Frame, grid: Grid) -> None:
        """Work out the motion between two frames and keep it until it is asked for; another thread may call this."""
        shown = self._shown
        last = shown[1] if shown is not None and shown[0] == before.index else grid.grey(before.image)
        grey = grid.grey(frame.image)
        self._shown = frame.index, grey
        self._ahead[frame.index] = _Step(grey, before.index, _between(grid, last, grey, frame.cut, self._flow_ahead))

    def to(self, frame: Frame, grid: Grid) -> Motion | None:
        """From the last frame to this one; None where there is no last one, or none like it, and after a cut."""
        if self._now is None or self._now[0] is not frame:
            step = self._ahead.pop(frame.index, None)
            if step is not None and step.before == self._last_index:
                self._now = frame, step.grey, step.motion
            else:
                grey = grid.grey(frame.image)
                self._now = frame, grey, _between(grid, self.last, grey, frame.cut, self._flow)
        return self._now[2]

    def advance(self, frame: Frame, grid: Grid) -> None:
        """This frame is the last one from now on."""
        self.to(frame, grid)
        assert self._now is not None
        self.last, self._last_index, self._now = self._now[1], frame.index, None


def _between(grid: Grid, before: np.ndarray | None, now: np.ndarray, cut: bool, flow: Flow) -> Motion | None:
    return None if cut or before is None or before.shape != now.shape else Motion(grid, before, now, flow)
