"""What point trackers share: choosing points in and around a mask, moving a box with them, and prompts made of them.

Points are float32 (K, 2), xy, original pixels. Chosen ones lie on pixel centres, and are the same for the same mask,
whatever else there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from pydantic import Field
from scipy.spatial.distance import cdist

from vos.distance import to_nearest
from vos.tracking import Options
from vos.types import Box, Prompts
from vos.windows import box_of, grown_box, window_of

# Pixels of a mask that are looked at: enough for the medoids of any shape, and few enough for all pairs.
_CANDIDATES = 512
_ROUNDS = 10
# Where the background counts as near: from and to, in diagonals of the object's box.
_NEAR, _FAR = 0.15, 0.3
# Per-frame change of size beyond which it is the points that are wrong, not the object that grew.
_MOST_ZOOM = 1.25
_POINTS_FOR_ZOOM = 3
NONE = np.zeros((0, 2), dtype=np.float32)


class PointOptions(Options):
    """Options of any tracker that follows points."""

    points: int = Field(8, ge=1, le=64, description="positive points per object, k-medoids of its mask")
    background: int = Field(0, ge=0, le=16, description="negative points per object on the background around it")
    others: int = Field(0, ge=0, le=16, description="negative points per object: the nearest points of other objects")
    margin: float = Field(10.0, ge=0, description="pixels by which the moved box is grown on every side")
    min_visible: float = Field(
        0.2, ge=0, le=1, description="share of an object's points that must be visible; less is not here"
    )
    reseed_every: int | None = Field(
        None, ge=1, description="frames after which all points are chosen anew; none: lost ones alone"
    )


@dataclass(frozen=True, eq=False)
class Row:
    """One object of a point tracker on one frame.

    Attributes:
        points: float32 (P, 2): the positive ones, then those on the background.
        visible: bool (P,); where False, the coordinates mean nothing.
        box: the object's box; None if it has none.
    """

    points: np.ndarray
    visible: np.ndarray
    box: Box | None


def medoids(mask: np.ndarray, count: int, fixed: np.ndarray = NONE) -> np.ndarray:
    """Points spread over a mask: its k-medoids, as SAM-PT samples them.

    Starts from points far from each other and alternates between assigning pixels to the nearest medoid and
    moving each medoid to the most central of its pixels.

    Args:
        mask: bool (H, W).
        count: points wanted, besides the fixed ones.
        fixed: float32 (F, 2), medoids that are there already and stay where they are.

    Returns:
        float32 (K, 2), all inside the mask and different; K is `count`, or less where the mask has fewer free pixels.
    """
    pixels = _sampled(mask)
    to_fixed = cdist(pixels, fixed)
    if len(fixed):
        free = to_fixed.min(axis=1) >= 1
        pixels, to_fixed = pixels[free], to_fixed[free]
    count = min(count, len(pixels))
    if not count:
        return NONE
    between = cdist(pixels, pixels)
    chosen = _farthest(between, to_fixed, count)
    for _ in range(_ROUNDS):
        nearest = np.concatenate([to_fixed, between[:, chosen]], axis=1).argmin(axis=1) - len(fixed)
        moved = chosen.copy()
        for k in range(count):
            members = np.flatnonzero(nearest == k)
            if members.size:
                moved[k] = members[between[np.ix_(members, members)].sum(axis=1).argmin()]
        if (moved == chosen).all():
            break
        chosen = moved
    return pixels[chosen].astype(np.float32)


def interior(mask: np.ndarray, count: int) -> np.ndarray:
    """Points deep inside a mask: the farthest from its edge, then the farthest from its edge and from those before.

    The frame's border counts as an edge: what lies beyond it is not known.

    Args:
        mask: bool (H, W).
        count: points wanted.

    Returns:
        float32 (K, 2), deepest first; K is `count`, or less where nothing of the mask is left to choose from.
    """
    window = window_of(mask)
    y0, x0 = (side.start for side in window)
    left = np.pad(mask[window].astype(np.uint8), 1)
    points = []
    for _ in range(count):
        depth = _squared_distance(left)
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        if depth[y, x] == 0:
            break
        points.append((x + x0 - 1, y + y0 - 1))
        cv2.circle(left, (int(x), int(y)), int(np.sqrt(depth[y, x]) / 2), 0, thickness=-1)
    return np.array(points, dtype=np.float32).reshape(-1, 2)


def around(mask: np.ndarray, count: int, fixed: np.ndarray = NONE) -> np.ndarray:
    """Points on the background near a mask, spread evenly around it.

    They lie 0.15 to 0.3 diagonals of its box away from the mask, and at least 2 to 4 pixels.

    Args:
        mask: bool (H, W).
        count: points wanted, besides the fixed ones.
        fixed: float32 (F, 2), points that are there already and stay where they are.

    Returns:
        float32 (K, 2), none in the mask; fewer than `count` where the mask leaves no room in the frame.
    """
    box = box_of(mask)
    if box is None or not count:
        return NONE
    diagonal = float(np.hypot(box[2] - box[0] + 1, box[3] - box[1] + 1))
    inner, outer = max(2.0, _NEAR * diagonal), max(4.0, _FAR * diagonal)
    x0, y0 = (max(0, int(v - outer)) for v in box[:2])
    x1, y1 = (int(v + outer) + 2 for v in box[2:])
    away = _squared_distance((~mask[y0:y1, x0:x1]).astype(np.uint8))
    corner = np.array([x0, y0], dtype=np.float32)
    return medoids((away >= inner**2) & (away <= outer**2), count, fixed - corner) + corner


def on_mask(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """bool (K,): points, float32 (K, 2), whose pixel belongs to the mask, bool (H, W); those outside it do not."""
    h, w = mask.shape
    x, y = np.floor(points + 0.5).astype(np.int64).T
    inside = (x >= 0) & (y >= 0) & (x < w) & (y < h)
    return inside & mask[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)]


def on_frame(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which points, float (..., 2), xy, lie on a frame of `size` (H, W): bool (...)."""
    h, w = size
    return np.asarray(((points >= -0.5) & (points < (w - 0.5, h - 0.5))).all(axis=-1))


def refilled(points: np.ndarray, kept: np.ndarray, mask: np.ndarray, positive: int) -> tuple[np.ndarray, np.ndarray]:
    """Points with new ones for those that are not kept: the k-medoids of a mask, and the background around it.

    Args:
        points: float32 (P, 2).
        kept: bool (P,), those that stay where they are.
        mask: bool (H, W).
        positive: how many of them, from the first on, belong in the mask; the others on the background.

    Returns:
        float32 (P, 2), and bool (P,): False where there was no room for a point.
    """
    points, there = points.copy(), kept.copy()
    wanted = np.arange(len(points)) < positive
    for which, choose in ((wanted, medoids), (~wanted, around)):
        lost = np.flatnonzero(which & ~kept)
        if lost.size:
            new = choose(mask, lost.size, points[which & kept])
            points[lost[: len(new)]] = new
            there[lost[: len(new)]] = True
    return points, there


def move_box(box: Box, start: np.ndarray, end: np.ndarray, size: tuple[int, int]) -> Box | None:
    """A box after the median motion of points: p -> zoom p + shift, from `start` to `end`, float32 (K, 2) each.

    The zoom is the median ratio of the points' distances to each other, the shift the median of what is left (as
    Median Flow does; Kalal et al., 2010). None where the box has left a frame of `size` (H, W).
    """
    zoom = 1.0
    if len(start) >= _POINTS_FOR_ZOOM:
        a, b = np.array(list(combinations(range(len(start)), 2))).T
        before = np.linalg.norm(start[a] - start[b], axis=1)
        after = np.linalg.norm(end[a] - end[b], axis=1)
        apart = before > 0
        if apart.any():
            zoom = float(np.clip(np.median(after[apart] / before[apart]), 1 / _MOST_ZOOM, _MOST_ZOOM))
    shift = np.median(end - zoom * start, axis=0)
    # A pixel reaches half a pixel beyond its centre, and so does an inclusive box.
    half = np.array([0.5, 0.5, -0.5, -0.5])
    x0, y0, x1, y1 = zoom * (np.array(box) - half) + np.tile(shift, 2) + half
    if x1 < 0 or y1 < 0 or x0 > size[1] - 1 or y0 > size[0] - 1:
        return None
    if x0 > x1:  # less than a pixel wide
        x0 = x1 = (x0 + x1) / 2
    if y0 > y1:
        y0 = y1 = (y0 + y1) / 2
    return float(x0), float(y0), float(x1), float(y1)


def point_prompts(rows: Sequence[Row], options: PointOptions, size: tuple[int, int]) -> Prompts:
    """Prompts of the visible points and, where a positive one is visible, the box.

    Args:
        rows: the objects.
        options: how many points of each are positive, how many are on the background, and how many of others' are added
            as negative ones; and by how much boxes are grown.
        size: the frame's, (H, W).
    """
    own = options.points, options.background
    count = sum(own)
    points = np.zeros((len(rows), count + options.others, 2), dtype=np.float32)
    labels = np.full(points.shape[:2], -1, dtype=np.int8)
    boxes = np.full((len(rows), 4), np.nan, dtype=np.float32)
    signs = np.repeat(np.array([1, 0], dtype=np.int8), own)
    for k, row in enumerate(rows):
        points[k, :count] = np.where(row.visible[:, None], row.points, 0)
        labels[k, :count] = np.where(row.visible, signs, -1)
        if row.box is not None and (labels[k] == 1).any():
            boxes[k] = grown_box(row.box, options.margin, size)
    if options.others:
        points, labels = _with_others(points, labels, count)
    return Prompts(points, labels, boxes)


def _with_others(points: np.ndarray, labels: np.ndarray, own: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill the columns from `own` on: for each row that is seen, the nearest positive points of other rows."""
    points, labels = points.copy(), labels.copy()
    wanted = points.shape[1] - own
    positive = labels[:, :own] == 1
    for row in np.flatnonzero(positive.any(axis=1)):
        middle = np.median(points[row, :own][positive[row]], axis=0)
        others = positive.copy()
        others[row] = False
        theirs = points[:, :own][others]
        order = np.lexsort((theirs[:, 1], theirs[:, 0], np.linalg.norm(theirs - middle, axis=1)))[:wanted]
        points[row, own : own + len(order)] = theirs[order]
        labels[row, own : own + len(order)] = 0
    return points, labels


def _squared_distance(inside: np.ndarray) -> np.ndarray:
    """Of each pixel that is not 0, uint8 (H, W), to the nearest that is, squared: float64 (H, W), whole numbers."""
    return np.rint(to_nearest(inside == 0).astype(np.float64) ** 2)


def _sampled(mask: np.ndarray) -> np.ndarray:
    """At most about `_CANDIDATES` pixels of a mask, int64 (M, 2), xy: a regular grid laid over its box."""
    box = box_of(mask)
    if box is None:
        return np.zeros((0, 2), dtype=np.int64)
    x0, y0, x1, y1 = map(int, box)
    inside = mask[y0 : y1 + 1, x0 : x1 + 1]
    every = max(1, int(np.sqrt(np.count_nonzero(inside) / _CANDIDATES)))
    ys, xs = np.nonzero(inside[::every, ::every])
    if len(xs) < _CANDIDATES // 8 and every > 1:  # a shape too thin for the grid: every n-th of its pixels
        all_ys, all_xs = np.nonzero(inside)
        step = -(-len(all_xs) // _CANDIDATES)
        return np.stack([all_xs[::step] + x0, all_ys[::step] + y0], axis=1)
    return np.stack([xs * every + x0, ys * every + y0], axis=1)


def _farthest(between: np.ndarray, to_fixed: np.ndarray, count: int) -> np.ndarray:
    """Indices int64 (count,): each the farthest from those before it and from the fixed ones, all different.

    The first, where nothing is fixed, is the most central.
    """
    chosen: list[int] = []
    gap = to_fixed.min(axis=1) if to_fixed.shape[1] else np.full(len(between), np.inf)
    for _ in range(count):
        index = int(gap.argmax() if np.isfinite(gap).all() else between.sum(axis=1).argmin())
        chosen.append(index)
        gap = np.minimum(gap, between[index])
        gap[chosen] = -1.0
    return np.array(chosen, dtype=np.int64)
