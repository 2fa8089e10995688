"""What to ask the decoder of objects of which there is evidence.

Segment Anything draws edges well and does not know which of many things is meant; the evidence knows where, and draws
badly. So the decoder is asked for every object with the region that all evidence together speaks for and, where that
is another, with the mask that motion carries here, each as a box, points and a mask; and what the belief has beyond its
answer is asked for once more by itself. Where another object reaches into the box, a point in it says that it is not
meant. What of the answers to believe is said in `vos.evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import expit

from vos.distance import to_nearest
from vos.evidence import Choice
from vos.models.features import PLACES, FeatureMap
from vos.types import Evidence, Prompts
from vos.windows import Window, grown, window_of

# Points per hypothesis, and the pixels by which its box is grown.
_POINTS, _MARGIN = 3, 3.0
# Two regions of one object with this IoU are asked for once.
_ALIKE = 0.75
# The mask prompt: SAM's own low-resolution logits lie within about +-8 in its training.
MASK_LIMIT, _CARRIED_GAIN = 8.0, 1.5
# SAM may answer outside its box: on each side by this share of the box's size and this many places more.
_AROUND_BOX, _AROUND_PLACES = 0.5, 16
# Places between an answer and a part of the belief that counts as its remainder.
_APART = 2
# Least area of a remainder: a share of the answer's, and places.
_REST_SHARE, _REST_PLACES = 0.04, 12
# Places by which the mask prompt for a remainder is larger on every side.
_REST_AROUND = 3
# A negative point is set where another object has at least this many places of a box, this deep inside them.
_THEIRS_PLACES, _THEIRS_DEPTH = 12, 2.0


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """What to ask the decoder for N objects.

    Attributes:
        prompts: R rows, points and a box each.
        masks: float32 (R, h, w), the mask prompts.
        owners: int64 (R,), the object, 0 to N - 1, that each row is about, ascending.
        windows: R windows of cells that hold whatever the answer may be.
    """

    prompts: Prompts
    masks: np.ndarray
    owners: np.ndarray
    windows: list[Window]


@dataclass(frozen=True, eq=False)
class _Asked:
    """One question: about which object, its box, float (4,), x0, y0, x1, y1, in places from the grid's corner, positive
    points, float (P, 2), xy, pixels of the frame, and mask prompt, float (h, w)."""

    owner: int
    box: np.ndarray
    points: np.ndarray
    mask: np.ndarray


def hypotheses(evidence: Evidence, prompts: Prompts, image: FeatureMap) -> Hypotheses:
    """For each object the region of the belief and, where that is another, the mask that motion has carried here.

    Args:
        evidence: of N objects.
        prompts: what `prompts_of` makes of it, whose points are asked for again; not their boxes, which may be gone.
        image: the frame's embedding.
    """
    asked = []
    for row, (belief, region, carried) in enumerate(
        zip(evidence.belief, evidence.region, evidence.carried, strict=True)
    ):
        moved = carried > 0
        if region.any():
            asked.append(_Asked(row, _box(region), prompts.points[row, prompts.labels[row] == 1], belief))
        if moved.any() and (region & moved).sum() <= _ALIKE * (region | moved).sum():
            points = _pixels(deep_points(moved, expit(carried)), image)
            asked.append(_Asked(row, _box(moved), points, _CARRIED_GAIN * carried))
    return _asking(asked, evidence, image)


def prompts_of(evidence: Evidence, image: FeatureMap) -> Prompts:
    """One row per object: points in the region of the belief, and its box; of the carried mask where there is none."""
    n = len(evidence)
    points = np.zeros((n, _POINTS, 2), dtype=np.float32)
    labels = np.full((n, _POINTS), -1, dtype=np.int8)
    boxes = np.full((n, 4), np.nan, dtype=np.float32)
    for row, (belief, region, carried) in enumerate(
        zip(evidence.belief, evidence.region, evidence.carried, strict=True)
    ):
        place, weight = (region, belief) if region.any() else (carried > 0, carried)
        if place.any():
            own = _pixels(deep_points(place, expit(weight)), image)
            points[row, : len(own)], labels[row, : len(own)] = own, 1
            boxes[row] = _grown_box(_box(place), image)
    return Prompts(points, labels, boxes, evidence)


def remainders(evidence: Evidence, chosen: Sequence[Choice], image: FeatureMap) -> Hypotheses:
    """Of each object at most one: the largest part of the belief that its answer does not have, if that is worth it."""
    asked = []
    for row, found in enumerate(chosen):
        if found is None:
            continue
        belief, answer = evidence.belief[row], (found[0] > 0).cpu().numpy()
        left = (belief > 0) & ~grown(answer, _APART)
        count, parts, numbers, _ = cv2.connectedComponentsWithStats(left.astype(np.uint8), connectivity=8)
        areas = numbers[1:count, cv2.CC_STAT_AREA]
        if areas.size and areas.max() >= max(_REST_PLACES, _REST_SHARE * answer.sum()):
            rest = parts == 1 + areas.argmax()
            around = np.where(grown(rest, _REST_AROUND), belief, -MASK_LIMIT)
            asked.append(_Asked(row, _box(rest), _pixels(deep_points(rest, expit(belief)), image), around))
    return _asking(asked, evidence, image)


def _box(region: np.ndarray) -> np.ndarray:
    """Edges of a region, bool (h, w), not empty, in places: x0, y0, x1, y1, from the grid's corner."""
    y, x = window_of(region)
    return np.array([x.start, y.start, x.stop, y.stop], dtype=np.float64)


def deep_points(region: np.ndarray, weight: np.ndarray, count: int = _POINTS) -> np.ndarray:
    """Middles of up to `count` places deep inside a region, bool (h, w), not close together, where it weighs much.

    Returns:
        float64 (P, 2), xy, in places from the grid's corner.
    """
    window = window_of(region)
    left, weight = np.pad(region[window], 1), np.pad(weight[window], 1)
    corner = np.array([window[1].start, window[0].start]) - 0.5
    points: list[np.ndarray] = []
    for _ in range(count):
        depth = to_nearest(~left) * weight
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        if depth[y, x] <= (0.3 if points else 0):
            break
        points.append(np.array([x, y]) + corner)
        taken = np.zeros(left.shape, np.uint8)
        cv2.circle(taken, (int(x), int(y)), max(1, int(0.7 * depth[y, x])), 1, thickness=-1)
        left &= taken == 0
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _asking(asked: Sequence[_Asked], evidence: Evidence, image: FeatureMap) -> Hypotheses:
    """The questions as one batch; where another object reaches into a box, with a point that is not meant."""
    theirs = _theirs(evidence)
    against = [_deepest(theirs[one.owner], one.box) for one in asked]
    # A tracker of somebody's own may give more points than ours do.
    most = max([_POINTS, *(len(one.points) for one in asked)])
    width = most + any(place is not None for place in against)
    points = np.zeros((len(asked), width, 2), dtype=np.float32)
    labels = np.full(points.shape[:2], -1, dtype=np.int8)
    boxes = np.zeros((len(asked), 4), dtype=np.float32)
    masks = np.zeros((len(asked), *evidence.belief.shape[1:]), dtype=np.float32)
    for row, (one, place) in enumerate(zip(asked, against, strict=True)):
        points[row, : len(one.points)], labels[row, : len(one.points)] = one.points, 1
        if place is not None:
            points[row, most], labels[row, most] = _pixels(place, image), 0
        boxes[row], masks[row] = _grown_box(one.box, image), np.clip(one.mask, -MASK_LIMIT, MASK_LIMIT)
    owners = np.array([one.owner for one in asked], dtype=np.int64)
    return Hypotheses(Prompts(points, labels, boxes), masks, owners, [_window(one.box, image) for one in asked])


def _theirs(evidence: Evidence) -> np.ndarray:
    """What is believed to be another object's, and was: bool (N, h, w)."""
    carried = evidence.carried > 0
    held = carried & (evidence.belief > 0)
    return np.asarray(held.any(axis=0) & ~carried)


def _deepest(region: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Where the part of a region, bool (h, w), that a box holds is deepest; None where that part is small or thin.

    Args:
        region: places.
        box: float (4,), x0, y0, x1, y1, in places from the grid's corner.

    Returns:
        float (2,), xy, the middle of the deepest place, in places from the grid's corner.
    """
    x0, y0, x1, y1 = (int(edge) for edge in box)
    part = np.pad(region[y0:y1, x0:x1], 1)
    if part.sum() < _THEIRS_PLACES:
        return None
    depth = to_nearest(~part)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([x0 + x - 0.5, y0 + y - 0.5]) if depth[y, x] >= _THEIRS_DEPTH else None


def _window(box: np.ndarray, image: FeatureMap) -> Window:
    """Cells in which SAM may find what a box, float (4,), xyxy in places of the logits, asks for."""
    room = _AROUND_BOX * (box[2:] - box[:2]) + _AROUND_PLACES
    low, high = (box[:2] - room) / PLACES, (box[2:] + room) / PLACES
    x, y = (
        slice(max(0, math.floor(a)), min(n, math.ceil(b)))
        for a, b, n in zip(low, high, reversed(image.grid_size), strict=True)
    )
    return y, x


def _pixels(places: np.ndarray, image: FeatureMap, margin: float = 0.0) -> np.ndarray:
    """Points in places from the grid's corner, float (..., 2), xy, in pixels of the frame, inside of it."""
    h, w = image.frame_size
    return np.clip(places * image.place - 0.5 + margin, 0, (w - 1, h - 1))


def _grown_box(box: np.ndarray, image: FeatureMap) -> np.ndarray:
    """A box, float (4,), xyxy in places, in pixels of the frame: grown, and inside of it."""
    return np.concatenate([_pixels(box[:2], image, -_MARGIN), _pixels(box[2:], image, _MARGIN)])
