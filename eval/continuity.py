"""What J and F do not tell: whether an object was lost and found again, whether ids were swapped or parts taken."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

LOST_BELOW = 0.1
FOUND_FROM = 0.5
RETURN_WITHIN = 10
GHOST_FROM = 0.001
MIXED_FROM = 0.1


@dataclass(frozen=True)
class Continuity:
    """Counts over the objects and the scored frames of one or more sequences.

    Attributes:
        lost: objects times frames in which the object is there but its mask is empty or has IoU < 0.1.
        losses: times that an object was lost. It counts as lost until its IoU is 0.5 or more.
        recovered: those of the losses that ended so.
        swaps: objects times frames in which the object's mask overlaps another object more than its own.
        mixed: objects times frames in which more than a tenth of the object's mask is what some other object covers.
        returns: times that an object was there again after frames in which it was not there at all.
        met: those of the returns on which its IoU was 0.5 or more within 10 frames.
        ghosts: objects times frames in which the object is not there and its mask takes more than 0.1 % of the frame.
    """

    lost: int = 0
    losses: int = 0
    recovered: int = 0
    swaps: int = 0
    mixed: int = 0
    returns: int = 0
    met: int = 0
    ghosts: int = 0

    def __add__(self, other: Continuity) -> Continuity:
        return Continuity(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class ContinuityCounter:
    """Counts as frames come, in order; keeps O(objects)."""

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._away = np.zeros(objects, dtype=bool)
        self._gone = np.zeros(objects, dtype=bool)
        self._back = np.zeros(objects, dtype=np.int64)  # frames since it came back and was not met; 0 where it was
        self._total = Continuity()

    @property
    def total(self) -> Continuity:
        return self._total

    def update(self, truth: np.ndarray, found: np.ndarray) -> None:
        """Takes in one frame.

        Args:
            truth, found: integers (H, W); 0 is background, 1 to `objects` the objects, other ids are background.
        """
        n = self._objects + 1
        pairs = _known(truth, n) * n + _known(found, n)
        overlap = np.bincount(pairs.ravel(), minlength=n * n).reshape(n, n)
        there, answered, shared = overlap.sum(axis=1)[1:], overlap.sum(axis=0)[1:], overlap.diagonal()[1:]
        iou = shared / np.maximum(there + answered - shared, 1)
        lost = (there > 0) & (iou < LOST_BELOW)
        found_again = self._away & (iou >= FOUND_FROM)
        others = overlap[1:, 1:].copy()
        np.fill_diagonal(others, 0)
        taken = others.max(axis=0, initial=0)
        swapped, mixed = taken > shared, taken > MIXED_FROM * answered
        returned = self._gone & (there > 0)
        self._back = np.where(returned, 1, np.where(self._back > 0, self._back + 1, 0))
        met = (self._back > 0) & (self._back <= RETURN_WITHIN) & (iou >= FOUND_FROM)
        ghosts = (there == 0) & (answered > GHOST_FROM * truth.size)
        counted = (lost, lost & ~self._away, found_again, swapped, mixed, returned, met, ghosts)
        self._total += Continuity(*(int(which.sum()) for which in counted))
        self._away = (self._away | lost) & ~found_again
        self._back[met | (there == 0)] = 0
        self._gone = there == 0


def _known(index_map: np.ndarray, n: int) -> np.ndarray:
    """int64 (H, W), ids from n on as background."""
    ids = index_map.astype(np.int64)
    return np.where(ids < n, ids, 0)
