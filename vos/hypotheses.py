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
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.special import expit

from vos.distance import to_nearest
from vos.evidence import Choice
from vos.models.decoder import Window
from vos.models.features import FeatureMap
from vos.types import Evidence, Prompts
from vos.windows import window_of

# Points per hypothesis, and the pixels by which its box is grown.
_POINTS, _MARGIN = 3, 3.0
# Two regions of one object with this IoU are asked for once.
_ALIKE = 0.75
# Parts of a region lighter than this share of its heaviest are noise; a part far from the last mask weighs less.
_LIGHTEST, _ANYWHERE = 0.06, 0.3
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
    """Box and points of a region, float (4,) and (P, 2), xy, in places from the grid's corner; or points that are
    known `on_frame`, float32 (P, 2), pixels. `against`, float (2,), xy, places, is a point that is not meant."""

    box: np.ndarray
    points: np.ndarray | None = None
    on_frame: np.ndarray | None = None
    against: np.ndarray | None = None


def hypotheses(evidence: Evidence, prompts: Prompts, image: FeatureMap) -> Hypotheses:
    """For each object the region of the belief and, where that is another, the mask that motion has carried here.

    Args:
        evidence: of N objects.
        prompts: what `prompts_of` makes of it, whose points are asked for again; not their boxes, which may be gone.
        image: the frame's embedding.
    """
    asked, masks, owners = [], [], []
    for row, (belief, region, carried) in enumerate(
        zip(evidence.belief, evidence.region, evidence.carried, strict=True)
    ):
        moved = carried > 0
        if region.any():
            points = prompts.points[row, prompts.labels[row] == 1]
            asked.append(_Asked(_box(region), on_frame=points))
            masks.append(np.clip(belief, -MASK_LIMIT, MASK_LIMIT))
            owners.append(row)
        if moved.any() and (region & moved).sum() <= _ALIKE * (region | moved).sum():
            asked.append(_Asked(_box(moved), deep_points(moved, expit(carried))))
            masks.append(np.clip(_CARRIED_GAIN * carried, -MASK_LIMIT, MASK_LIMIT))
            owners.append(row)
    return _asking(asked, masks, owners, evidence, image)


def prompts_of(evidence: Evidence, image: FeatureMap) -> Prompts:
    """One row per object: points in the region of the belief, and its box; of the carried mask where there is none."""
    asked = []
    for belief, region, carried in zip(evidence.belief, evidence.region, evidence.carried, strict=True):
        place, weight = (region, belief) if region.any() else (carried > 0, carried)
        asked.append(_Asked(_box(place), deep_points(place, expit(weight))) if place.any() else None)
    found = _on_frame(asked, evidence, image)
    return Prompts(found.points, found.labels, found.boxes, evidence)


def rivalled(belief: np.ndarray) -> np.ndarray:
    """Objects compete: what speaks for another object at a place speaks against this one, once it is likely there.

    Args:
        belief: float32 (N, h, w), log-odds.

    Returns:
        float32 (N, h, w), at no place above 0 for two of them.
    """
    return np.asarray(belief - np.maximum(of_others(belief), 0))


def of_others(maps: np.ndarray) -> np.ndarray:
    """The most that any other object has at each place, float32 (N, h, w) of (N, h, w); -inf if there is no other."""
    best = second = np.full(maps.shape[1:], -np.inf, maps.dtype)
    for own in maps:
        second, best = np.maximum(second, np.minimum(best, own)), np.maximum(best, own)
    return np.where(maps == best, second, best)


def regions(belief: np.ndarray, carried: np.ndarray) -> np.ndarray:
    """The places that each belief speaks for, in parts that weigh enough: `Evidence.region`, bool (N, h, w)."""
    return np.stack([_region(expit(own), expit(last)) for own, last in zip(belief, carried, strict=True)])


def remainders(evidence: Evidence, chosen: Sequence[Choice], image: FeatureMap) -> Hypotheses:
    """Of each object at most one: the largest part of the belief that its answer does not have, if that is worth it."""
    asked, masks, owners = [], [], []
    for row, found in enumerate(chosen):
        if found is None:
            continue
        belief, answer = evidence.belief[row], (found[0] > 0).cpu().numpy()
        left = (belief > 0) & ~_grown(answer, _APART)
        count, parts, numbers, _ = cv2.connectedComponentsWithStats(left.astype(np.uint8), connectivity=8)
        areas = numbers[1:count, cv2.CC_STAT_AREA]
        if areas.size and areas.max() >= max(_REST_PLACES, _REST_SHARE * answer.sum()):
            rest = parts == 1 + areas.argmax()
            asked.append(_Asked(_box(rest), deep_points(rest, expit(belief))))
            around = np.where(_grown(rest, _REST_AROUND), belief, -MASK_LIMIT)
            masks.append(np.clip(around, -MASK_LIMIT, MASK_LIMIT).astype(np.float32))
            owners.append(row)
    return _asking(asked, masks, owners, evidence, image)


def _grown(mask: np.ndarray, places: int) -> np.ndarray:
    """A mask, bool (h, w), and the square of so many places around each of its own."""
    side = 2 * places + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def _region(probability: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The places of an object, bool (h, w): more likely than not, in parts that weigh enough."""
    likely = probability > 0.5
    window, region = window_of(likely), np.zeros_like(likely)
    if not likely[window].size:
        return region
    count, parts = cv2.connectedComponents(likely[window].astype(np.uint8), connectivity=8)
    weight = probability[window] * (_ANYWHERE + last[window])
    weights = np.bincount(parts.ravel(), weight.ravel(), minlength=count)
    weights[0] = 0
    region[window] = ((weights >= _LIGHTEST * weights.max()) & (weights > 0))[parts]
    return region


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


def _asking(
    asked: list[_Asked],
    masks: list[np.ndarray],
    owners: list[int],
    evidence: Evidence,
    image: FeatureMap,
) -> Hypotheses:
    stacked = np.stack(masks) if masks else np.zeros((0, *evidence.belief.shape[1:]))
    windows = [_window(one.box, evidence, image) for one in asked]
    theirs = _theirs(evidence)
    asked = [replace(one, against=_deepest(theirs[row], one.box)) for one, row in zip(asked, owners, strict=True)]
    return Hypotheses(
        _on_frame(asked, evidence, image), stacked.astype(np.float32), np.array(owners, dtype=np.int64), windows
    )


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


def _window(box: np.ndarray, evidence: Evidence, image: FeatureMap) -> Window:
    """Cells in which SAM may find what a box, float (4,), xyxy in places of the logits, asks for."""
    ratio = evidence.belief.shape[1] // image.grid_size[0]
    grown = _AROUND_BOX * (box[2:] - box[:2]) + _AROUND_PLACES
    low, high = (box[:2] - grown) / ratio, (box[2:] + grown) / ratio
    x, y = (
        slice(max(0, math.floor(a)), min(n, math.ceil(b)))
        for a, b, n in zip(low, high, reversed(image.grid_size), strict=True)
    )
    return y, x


def _on_frame(asked: Sequence[_Asked | None], evidence: Evidence, image: FeatureMap) -> Prompts:
    """What is asked for in pixels of the frame; None asks for nothing."""
    # A tracker of somebody's own may give more points than ours do.
    most = max((len(one.on_frame) for one in asked if one is not None and one.on_frame is not None), default=0)
    most = max(_POINTS, most)
    width = most + any(one is not None and one.against is not None for one in asked)
    points = np.zeros((len(asked), width, 2), dtype=np.float32)
    labels = np.full(points.shape[:2], -1, dtype=np.int8)
    boxes = np.full((len(asked), 4), np.nan, dtype=np.float32)
    h, w = image.frame_size
    step = image.stride * image.grid_size[0] / evidence.belief.shape[1]
    scale = step * np.array([w / image.input_size[1], h / image.input_size[0]])
    corner = np.array([w - 1, h - 1], dtype=np.float64)
    for row, one in enumerate(asked):
        if one is None:
            continue
        inside = one.on_frame if one.points is None else np.clip(one.points * scale - 0.5, 0, corner)
        if inside is not None:
            points[row, : len(inside)] = inside
            labels[row, : len(inside)] = 1
        if one.against is not None:
            points[row, most], labels[row, most] = np.clip(one.against * scale - 0.5, 0, corner), 0
        low, high = one.box[:2] * scale - 0.5 - _MARGIN, one.box[2:] * scale - 0.5 + _MARGIN
        boxes[row] = [*np.clip(low, 0, corner), *np.clip(high, 0, corner)]
    return Prompts(points, labels, boxes)
