"""Which object is which row."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from vos.types import ObjectResult, State
from vos.windows import box_of


class ObjectTable:
    """The one owner of object id <-> batch row.

    Invariant: rows are handed out in the order in which objects enter, and are never moved, reused or taken back.
    Nothing derives an id from a predicted label map; a map is painted from rows, never read back into them.
    """

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, object_id: int) -> bool:
        return object_id in self._rows

    @property
    def ids(self) -> tuple[int, ...]:
        """Object ids in row order."""
        return tuple(self._rows)

    def add(self, object_id: int) -> int:
        """Give a new object the next row; ValueError if it has one or if the id is not 1 to 255."""
        if not 1 <= object_id <= 255:
            raise ValueError(f"object id must be 1 to 255, got {object_id}")
        if object_id in self._rows:
            raise ValueError(f"object {object_id} already has row {self._rows[object_id]}")
        self._rows[object_id] = len(self._rows)
        return self._rows[object_id]

    def row(self, object_id: int) -> int:
        """KeyError if the object is not known."""
        return self._rows[object_id]

    def rows_without(self, ids: Iterable[int]) -> np.ndarray:
        """Rows of all objects but `ids`, int64."""
        left_out = set(ids)
        return np.array([row for i, row in self._rows.items() if i not in left_out], dtype=np.int64)


def painted(winner: np.ndarray, ids: Iterable[int]) -> np.ndarray:
    """Index map, uint8 (H, W), from which of up to 255 objects has each pixel: int16 (H, W), -1 for background."""
    # At most 255 rows, so a lookup table of bytes does it.
    table = np.zeros(256, dtype=np.uint8)
    own = list(ids)
    table[1 : 1 + len(own)] = own
    return cv2.LUT((winner + 1).astype(np.uint8), table)


def measure(index_map: np.ndarray, object_id: int, score: float, uncertain_below: float, given: bool) -> ObjectResult:
    """An object's result from the final map, uint8 (H, W): its state, score (cut to 0 to 1), box and area."""
    mask = index_map == object_id
    box = box_of(mask)
    if box is None:
        return ObjectResult(object_id, State.ABSENT, 0.0, None, 0, given)
    state = State.VISIBLE if score >= uncertain_below else State.UNCERTAIN
    return ObjectResult(object_id, state, min(max(score, 0.0), 1.0), box, int(np.count_nonzero(mask)), given)


def measured_again(index_map: np.ndarray, item: ObjectResult) -> ObjectResult:
    """An object's result on a map, uint8 (H, W), on which it may have other pixels: an uncertain one stays uncertain,
    and one without any is absent."""
    return measure(index_map, item.id, item.score, np.inf if item.state is State.UNCERTAIN else 0.0, item.given)
