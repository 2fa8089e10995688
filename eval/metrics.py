"""Region similarity J and boundary accuracy F of masks, from exact integer counts.

Definitions: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
section 4. J is intersection over union. F is the harmonic mean of the precision and recall of boundary pixels, a pixel
being matched if the other mask has a boundary pixel within a disk of `radius` pixels around it.

A boundary pixel is one that differs from its neighbour to the east, south or south-east. On the last row only the
eastern neighbour counts, on the last column only the southern, and the last corner is never a boundary; the same as
repeating the last row and column.

All the work is done on windows around the masks. Outside them every count is zero, so the integers are those of the
full frame. This module imports NumPy and OpenCV only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import cv2
import numpy as np

DEFAULT_TOLERANCE = 0.008

_Window = tuple[int, int, int, int]  # top, left, bottom, right; the last two exclusive


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixel counts of mask pairs, all int64 and of one shape: (N,) for N pairs, (P, N) for P proposals by N objects.

    Attributes:
        intersection, union: pixels in both masks, in either.
        gt_boundary, pred_boundary: boundary pixels of each mask.
        gt_matched, pred_matched: those of them within the tolerance of a boundary pixel of the other mask.
    """

    intersection: np.ndarray
    union: np.ndarray
    gt_boundary: np.ndarray
    pred_boundary: np.ndarray
    gt_matched: np.ndarray
    pred_matched: np.ndarray

    @classmethod
    def from_array(cls, values: np.ndarray) -> Counts:
        """values: integers (..., 6), the last axis in the order of the attributes."""
        return cls(*np.moveaxis(np.asarray(values, dtype=np.int64), -1, 0))

    def to_array(self) -> np.ndarray:
        """int64 (..., 6), the inverse of `from_array`."""
        return np.stack([getattr(self, name) for name in self.__dataclass_fields__], axis=-1)

    def jaccard(self) -> np.ndarray:
        """J, float64 in [0, 1], the shape of the counts; 1 where both masks are empty."""
        return np.where(self.union == 0, 1.0, self.intersection / np.maximum(self.union, 1))

    def f_measure(self) -> np.ndarray:
        """F, float64 in [0, 1], the shape of the counts; 1 where neither mask has a boundary, 0 where only one has."""
        precision = np.where(self.pred_boundary == 0, 1.0, self.pred_matched / np.maximum(self.pred_boundary, 1))
        recall = np.where(self.gt_boundary == 0, 1.0, self.gt_matched / np.maximum(self.gt_boundary, 1))
        total = precision + recall
        return np.where(total == 0, 0.0, 2 * precision * recall / np.where(total == 0, 1.0, total))


class Counter(Protocol):
    """A back end: `count` below, or one from `eval.metrics_torch`; all give the same integers."""

    def __call__(
        self, gt: np.ndarray, pred: np.ndarray, objects: int, radius: int, proposals: int | None = None
    ) -> Counts: ...


def jaccard(gt: np.ndarray, pred: np.ndarray, void: np.ndarray | None = None) -> float:
    """Region similarity J = |gt & pred| / |gt | pred|, in [0, 1]; 1 if both masks are empty.

    Args:
        gt, pred: (H, W), bool or numbers; what is not 0 belongs to the object.
        void: (H, W), pixels left out.

    Raises:
        ValueError: an array is not 2-D, or the shapes differ.
    """
    gt, pred = _as_masks(gt, pred, void)
    return float(count(gt, pred, objects=1, radius=0).jaccard()[0])


def boundary_f(
    gt: np.ndarray, pred: np.ndarray, tolerance: float = DEFAULT_TOLERANCE, void: np.ndarray | None = None
) -> float:
    """Boundary accuracy F = 2 P R / (P + R), in [0, 1]; 1 if neither mask has a boundary.

    Args:
        gt, pred: (H, W), bool or numbers; what is not 0 belongs to the object.
        tolerance: below 1, a share of the frame's diagonal, rounded up to whole pixels; else whole pixels.
        void: (H, W), pixels blanked in both masks.

    Raises:
        ValueError: an array is not 2-D, the shapes differ, or the tolerance is negative or a broken number of pixels.
    """
    gt, pred = _as_masks(gt, pred, void)
    return float(count(gt, pred, objects=1, radius=tolerance_radius(gt.shape, tolerance)).f_measure()[0])


def tolerance_radius(shape: tuple[int, ...], tolerance: float = DEFAULT_TOLERANCE) -> int:
    """Radius in pixels of the matching disk for a frame of `shape` (H, W).

    Raises:
        ValueError: the tolerance is negative, or at least 1 and not whole.
    """
    if not tolerance >= 0 or (tolerance >= 1 and not float(tolerance).is_integer()):
        raise ValueError(f"tolerance must be a share of the diagonal below 1 or whole pixels, got {tolerance}")
    return int(tolerance) if tolerance >= 1 else int(np.ceil(tolerance * np.linalg.norm(shape)))


@lru_cache(maxsize=16)
def disk(radius: int) -> np.ndarray:
    """uint8 (2 radius + 1, 2 radius + 1): 1 where x^2 + y^2 <= radius^2 from the centre. Read-only."""
    offset = np.arange(-radius, radius + 1) ** 2
    element = (offset[:, None] + offset[None, :] <= radius**2).astype(np.uint8)
    element.flags.writeable = False
    return element


def boundary(mask: np.ndarray) -> np.ndarray:
    """Boundary map, uint8 0/1 (H, W), of a mask bool or uint8 0/1 (H, W); see the module's text. ValueError for another
    dtype."""
    if mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"a mask must be bool or uint8, got {mask.dtype}")
    mask = np.ascontiguousarray(mask).view(np.uint8)
    padded = cv2.copyMakeBorder(mask, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    edges = mask ^ padded[:-1, 1:]
    edges |= mask ^ padded[1:, :-1]
    edges |= mask ^ padded[1:, 1:]
    return edges


def count(gt: np.ndarray, pred: np.ndarray, objects: int, radius: int, proposals: int | None = None) -> Counts:
    """Counts between the masks of two index maps.

    Args:
        gt, pred: integers or bool (H, W), 0 background; ids above `objects` and `proposals` are ignored.
        objects: N; the objects are the ids 1 to N of `gt`.
        radius: of the matching disk, pixels.
        proposals: None compares id i with id i, giving counts (N,); P compares every id 1 to P of `pred` with every
            object, giving counts (P, N).

    Raises:
        ValueError: the arrays are not 2-D or their shapes differ.
    """
    _check_shapes(gt, pred)
    truth = [_Region(gt == i, radius) for i in range(1, objects + 1)]
    if proposals is None:
        rows = [_compare(region, _Region(pred == i, radius)) for i, region in enumerate(truth, 1)]
        return Counts.from_array(np.reshape(rows, (objects, 6)))
    found = [_Region(pred == i, radius) for i in range(1, proposals + 1)]
    table = [[_compare(region, proposal) for region in truth] for proposal in found]
    return Counts.from_array(np.reshape(table, (proposals, objects, 6)))


class _Region:
    """One mask, kept as a window around it; its boundary and the dilated boundary are made once, when asked for.

    The window is the bounding box grown by one pixel: boundary pixels lie up to one pixel up and left of the mask, and
    the empty row and column below and right make `boundary`'s repeated edge mean the same as on the full frame.
    """

    def __init__(self, mask: np.ndarray, radius: int) -> None:
        self._frame = mask.shape
        self._radius = radius
        mask = np.ascontiguousarray(mask).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        self.window: _Window = (0, 0, 0, 0)
        if width:
            self.window = self._clip(top - 1, left - 1, top + height + 1, left + width + 1)
        self.mask = _crop(mask, (0, 0, *mask.shape), self.window)
        self.area = cv2.countNonZero(self.mask) if width else 0

    @cached_property
    def boundary(self) -> np.ndarray:
        return boundary(self.mask) if self.area else self.mask

    @cached_property
    def boundary_length(self) -> int:
        return cv2.countNonZero(self.boundary) if self.area else 0

    @cached_property
    def near(self) -> tuple[np.ndarray, _Window]:
        """The pixels within the tolerance of the boundary, and their window."""
        top, left, bottom, right = self.window
        r = self._radius
        window = self._clip(top - r, left - r, bottom + r, right + r)
        padded = np.zeros((window[2] - window[0], window[3] - window[1]), np.uint8)
        _crop(padded, window, self.window)[:] = self.boundary
        return cv2.dilate(padded, disk(r)), window

    def _clip(self, top: int, left: int, bottom: int, right: int) -> _Window:
        return max(top, 0), max(left, 0), min(bottom, self._frame[0]), min(right, self._frame[1])


def _compare(gt: _Region, pred: _Region) -> tuple[int, int, int, int, int, int]:
    both = _count_both(gt.mask, gt.window, pred.mask, pred.window)
    gt_matched = pred_matched = 0
    if gt.boundary_length and pred.boundary_length:
        gt_matched = _count_both(gt.boundary, gt.window, *pred.near)
        pred_matched = _count_both(pred.boundary, pred.window, *gt.near)
    union = gt.area + pred.area - both
    return both, union, gt.boundary_length, pred.boundary_length, gt_matched, pred_matched


def _count_both(a: np.ndarray, a_window: _Window, b: np.ndarray, b_window: _Window) -> int:
    """Pixels set in both of two windowed maps."""
    common = (
        max(a_window[0], b_window[0]),
        max(a_window[1], b_window[1]),
        min(a_window[2], b_window[2]),
        min(a_window[3], b_window[3]),
    )
    if common[0] >= common[2] or common[1] >= common[3]:
        return 0
    return cv2.countNonZero(cv2.bitwise_and(_crop(a, a_window, common), _crop(b, b_window, common)))


def _crop(array: np.ndarray, window: _Window, wanted: _Window) -> np.ndarray:
    """The part `wanted` of an array that covers `window`, as a view."""
    return array[wanted[0] - window[0] : wanted[2] - window[0], wanted[1] - window[1] : wanted[3] - window[1]]


def _as_masks(gt: np.ndarray, pred: np.ndarray, void: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    _check_shapes(gt, pred)
    gt, pred = np.asarray(gt) != 0, np.asarray(pred) != 0
    if void is not None:
        _check_shapes(gt, void)
        keep = np.asarray(void) == 0
        gt, pred = gt & keep, pred & keep
    return gt, pred


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if np.ndim(a) != 2 or np.shape(a) != np.shape(b):
        raise ValueError(f"masks must be 2-D and of one shape, got {np.shape(a)} and {np.shape(b)}")
