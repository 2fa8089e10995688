"""From evidence to masks: which hypotheses to decode, and which of their candidates to believe.

Segment Anything draws edges well and does not know which of many things is meant; the evidence knows where, and draws
badly. So the decoder is asked for every object with the region that all evidence together speaks for and, where that
is another, with the mask that motion carries here, each as a box, points and a mask; and of its answers that is taken
which agrees best with the evidence. Where an occluder divides the object and no answer has all of it, answers are
joined if that agrees better; and what the belief has beyond the answer is asked for once more by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from vos.distance import to_nearest
from vos.models.decoder import Window
from vos.models.features import FeatureMap
from vos.types import Candidates, Evidence, Prompts

# Points per hypothesis, and the pixels by which its box is grown.
_POINTS, _MARGIN = 3, 3.0
# Two regions of one object with this IoU are asked for once.
_ALIKE = 0.85
# Parts of a region lighter than this share of its heaviest are noise; a part far from the last mask weighs less.
_LIGHTEST, _ANYWHERE = 0.06, 0.3
# The mask prompt: SAM's own low-resolution logits lie within about +-8 in its training.
_MASK_LIMIT, _CARRIED_GAIN = 8.0, 1.5
# What a candidate is worth, per unit: how its places stand out in likeness to the references, its soft IoU with the
# belief, its predicted IoU, and (against it) the logarithm of its change of area.
_CONTRAST, _AGREEMENT, _SCORE, _CHANGE = 0.8, 0.6, 0.15, 0.1
# What is beside a candidate speaks against it half as much as what is in it speaks for it.
_BESIDE = 0.5
# A candidate may join the chosen one if it is at least this sure and adds this much soft IoU; at most so many do.
_JOIN_SCORE, _JOIN_GAIN, _JOINED = 0.6, 0.02, 3
# SAM may answer outside its box: this share of the box's size, and so many places, farther on each side.
_AROUND_BOX, _AROUND_PLACES = 0.5, 16
# A remainder is this many places away from the answer, and at least this large a share of it and as many places. It is
# asked for with a mask that ends so many places around it.
_APART, _REST_SHARE, _REST_PLACES, _REST_AROUND = 2, 0.04, 12, 3

Choice = tuple[torch.Tensor, float] | None


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


def hypotheses(evidence: Evidence, image: FeatureMap) -> Hypotheses:
    """For each object the region of the belief and, where that is another, the mask that motion has carried here."""
    asked, masks, owners = [], [], []
    for row, (belief, carried) in enumerate(zip(evidence.belief, evidence.carried, strict=True)):
        probability, last = _sigmoid(belief), _sigmoid(carried)
        believed, moved = _region(probability, last), carried > 0
        alike = (believed & moved).sum() > _ALIKE * (believed | moved).sum()
        for region, weight, mask in (
            (believed, probability, belief),
            (moved & (not alike), last, _CARRIED_GAIN * carried),
        ):
            if region.any():
                asked.append((_points(region, weight), _box(region)))
                masks.append(np.clip(mask, -_MASK_LIMIT, _MASK_LIMIT))
                owners.append(row)
    return _asking(asked, masks, owners, evidence, image)


def prompts_of(evidence: Evidence, image: FeatureMap) -> Prompts:
    """One row per object, for a decoder that takes no more: points in the region of the belief, and its box."""
    asked = []
    for belief, carried in zip(evidence.belief, evidence.carried, strict=True):
        probability = _sigmoid(belief)
        region = _region(probability, _sigmoid(carried))
        if not region.any():
            region, probability = carried > 0, _sigmoid(carried)
        asked.append((_points(region, probability), _box(region)) if region.any() else None)
    found = _on_frame(asked, evidence, image)
    return Prompts(found.points, found.labels, found.boxes, evidence)


def rivalled(evidence: Evidence) -> Evidence:
    """Objects compete: what speaks for another object at a place speaks against this one, once it is likely there."""
    belief = evidence.belief
    if len(belief) < 2:
        return evidence
    ordered = np.sort(belief, axis=0)
    best, second = ordered[-1], ordered[-2]
    others = np.where(belief == best, second, best)
    return replace(evidence, belief=belief - np.maximum(others, 0))


def choose(evidence: Evidence, candidates: Candidates, owners: np.ndarray) -> list[Choice]:
    """For each object the most credible of its candidates, logits float (h, w), and its soft IoU with the belief.

    Args:
        evidence: of N objects.
        candidates: R rows, K candidates each.
        owners: int64 (R,), as in `Hypotheses`.

    Returns:
        N entries; None where nothing looks like the object.
    """
    chosen: list[Choice] = []
    for row in range(len(evidence)):
        which = torch.from_numpy(np.flatnonzero(owners == row)).to(candidates.logits.device)
        logits, scores = candidates.logits[which].flatten(0, 1), candidates.scores[which].flatten().clamp(max=1)
        chosen.append(_chosen(evidence.rows(np.array([row])), logits, scores) if len(logits) else None)
    return chosen


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
            asked.append((_points(rest, _sigmoid(belief)), _box(rest)))
            around = np.where(_grown(rest, _REST_AROUND), belief, -_MASK_LIMIT)
            masks.append(np.clip(around, -_MASK_LIMIT, _MASK_LIMIT).astype(np.float32))
            owners.append(row)
    return _asking(asked, masks, owners, evidence, image)


def completed(evidence: Evidence, chosen: Sequence[Choice], candidates: Candidates, owners: np.ndarray) -> list[Choice]:
    """The choice of `choose`, joined with what was found for its `remainders` where that agrees better."""
    whole = list(chosen)
    for row, logits, scores in zip(owners.tolist(), candidates.logits, candidates.scores, strict=True):
        found = whole[row]
        assert found is not None
        answer, _ = found
        belief = torch.from_numpy(evidence.belief[row]).to(logits.device)
        believed = _Believed(belief.sigmoid(), (answer > 0) | (logits > 0).any(0))
        whole[row] = _joined(answer, logits, scores, believed, 1)
    return whole


def contrast(likeness: torch.Tensor, masks: torch.Tensor, area: float) -> torch.Tensor:
    """How far masks stand out: mean likeness inside, less half the mean just outside.

    Args:
        likeness: float (h, w).
        masks: bool (K, h, w), none empty.
        area: of the object, in places; it decides how wide "just outside" is.

    Returns:
        float (K,).
    """
    reach = max(1, int(0.25 * np.sqrt(area)) // 2)
    rows, columns = _around(masks.any(0), reach)
    likeness, hard = likeness[rows, columns], masks[:, None, rows, columns].float()
    grown = F.max_pool2d(hard, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    grown = F.max_pool2d(grown, (1, 2 * reach + 1), stride=1, padding=(0, reach))[:, 0]
    ring = grown - hard[:, 0]
    return _mean(likeness, hard[:, 0]) - _BESIDE * _mean(likeness, ring)


def recall(alike: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """How much of a view masks show: of each of its cells the likeness to the most alike one in the mask, their mean.

    Args:
        alike: float (P, h, w), as in `Evidence.views`.
        masks: bool (K, h, w), of cells.

    Returns:
        float (K,), -1 for an empty mask.
    """
    return torch.where(masks[:, None], alike[None], -1).flatten(2).amax(2).mean(1)


def _chosen(evidence: Evidence, logits: torch.Tensor, scores: torch.Tensor) -> Choice:
    """One object's choice among candidates, logits (K, h, w) and scores (K,)."""
    device, area = logits.device, float(evidence.area[0])
    belief, like, first = (
        torch.from_numpy(maps[0]).to(device) for maps in (evidence.belief, evidence.recognised, evidence.first_likeness)
    )
    real = (logits > 0).flatten(1).any(1)
    if not real.any():
        return None
    logits, scores = logits[real], scores[real]
    masks = logits > 0
    real = _mean(like, masks.float()) > float(evidence.least[0])
    if (seen := evidence.views[0]) is not None:
        alike = torch.from_numpy(seen).to(device)
        real &= recall(alike, _on_cells(masks, alike.shape[1])) >= float(evidence.least_recall[0])
    if not real.any():
        return None
    logits, scores, masks = logits[real], scores[real], masks[real]
    standing = contrast(first, masks, area)
    believed = _Believed(belief.sigmoid(), (logits > 0).any(0))
    soft = believed.part(logits)
    change = ((soft.flatten(1).sum(1) + 1) / (area + 1)).log().abs()
    worth = _CONTRAST * standing + _AGREEMENT * believed.agreement(soft) + _SCORE * scores - _CHANGE * change
    best = int(worth.argmax())
    return _joined(logits[best], logits, scores, believed, _JOINED)


class _Believed:
    """What is believed of an object, beside masks that are nowhere above 0 outside a window.

    Args:
        probability: float (h, w).
        hit: bool (h, w), not empty: the window is the smallest around it.
    """

    def __init__(self, probability: torch.Tensor, hit: torch.Tensor) -> None:
        self._rows, self._columns = _around(hit, 0)
        self._inside = self._cut(probability)
        self._outside = probability.sum() - self._inside.sum()

    def part(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities in the window, of logits (..., h, w)."""
        return self._cut(logits).clamp(-12, 12).sigmoid()

    def _cut(self, maps: torch.Tensor) -> torch.Tensor:
        return maps[..., self._rows, self._columns]

    def agreement(self, soft: torch.Tensor) -> torch.Tensor:
        """Soft IoU of probabilities in the window, (K, ...): (K,)."""
        common, either = torch.minimum(soft, self._inside), torch.maximum(soft, self._inside)
        return common.flatten(1).sum(1) / (either.flatten(1).sum(1) + self._outside).clamp(min=1e-6)


def _joined(
    answer: torch.Tensor,
    logits: torch.Tensor,
    scores: torch.Tensor,
    believed: _Believed,
    times: int,
) -> tuple[torch.Tensor, float]:
    """An answer, logits (h, w), with those of the candidates (K, h, w) that bring it nearer to what is believed."""
    whole, others = believed.part(answer), believed.part(logits)
    agreed = float(believed.agreement(whole[None])[0])
    for _ in range(times):
        joined = torch.maximum(whole, others)
        agreement = torch.where(scores >= _JOIN_SCORE, believed.agreement(joined), 0)
        more = int(agreement.argmax())
        if float(agreement[more]) <= agreed + _JOIN_GAIN:
            break
        whole, answer = joined[more], torch.maximum(answer, logits[more])
        agreed = float(agreement[more])
    return answer, agreed


def _on_cells(masks: torch.Tensor, height: int) -> torch.Tensor:
    """Masks of places, bool (K, H, W), none empty, as cells, bool (K, h, w): those half covered, or covered most."""
    shares = F.avg_pool2d(masks.float(), masks.shape[1] // height)
    return shares >= shares.flatten(1).amax(1).clamp(max=0.5)[:, None, None]


def _around(hit: torch.Tensor, reach: int) -> tuple[slice, slice]:
    """The smallest window, rows and columns, with all of a bool (h, w) that has some, and `reach` farther."""
    rows, columns = hit.any(1).nonzero(), hit.any(0).nonzero()
    y, x = (slice(max(0, int(n[0]) - reach), int(n[-1]) + 1 + reach) for n in (rows, columns))
    return y, x


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of values (h, w) under weights (K, h, w): (K,); 0 where all weights are 0."""
    return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp(min=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)


def _grown(mask: np.ndarray, places: int) -> np.ndarray:
    """A mask, bool (h, w), and the square of so many places around each of its own."""
    side = 2 * places + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def _region(probability: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The places of an object, bool (h, w): more likely than not, in parts that weigh enough."""
    likely = probability > 0.5
    window = _window_of(likely)
    count, parts = cv2.connectedComponents(likely[window].astype(np.uint8), connectivity=8)
    weight = probability[window] * (_ANYWHERE + last[window])
    weights = np.bincount(parts.ravel(), weight.ravel(), minlength=count)
    weights[0] = 0
    region = np.zeros_like(likely)
    region[window] = ((weights >= _LIGHTEST * weights.max()) & (weights > 0))[parts]
    return region


def _window_of(region: np.ndarray) -> tuple[slice, slice]:
    """The smallest window, rows and columns, around a region, bool (h, w); the first place if it is empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not rows.size:
        return slice(1), slice(1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _box(region: np.ndarray) -> np.ndarray:
    """Edges of a region, bool (h, w), not empty, in places: x0, y0, x1, y1, from the grid's corner."""
    y, x = _window_of(region)
    return np.array([x.start, y.start, x.stop, y.stop], dtype=np.float64)


def _points(region: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Middles of up to `_POINTS` places deep inside a region, not close together, where it weighs much: (P, 2), xy."""
    window = _window_of(region)
    left, weight = np.pad(region[window], 1), np.pad(weight[window], 1)
    corner = np.array([window[1].start, window[0].start]) - 0.5
    points: list[np.ndarray] = []
    for _ in range(_POINTS):
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
    asked: list[tuple[np.ndarray, np.ndarray]],
    masks: list[np.ndarray],
    owners: list[int],
    evidence: Evidence,
    image: FeatureMap,
) -> Hypotheses:
    stacked = np.stack(masks) if masks else np.zeros((0, *evidence.belief.shape[1:]))
    windows = [_window(box, evidence, image) for _, box in asked]
    return Hypotheses(
        _on_frame(asked, evidence, image), stacked.astype(np.float32), np.array(owners, dtype=np.int64), windows
    )


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


def _on_frame(
    asked: list[tuple[np.ndarray, np.ndarray] | None] | list[tuple[np.ndarray, np.ndarray]],
    evidence: Evidence,
    image: FeatureMap,
) -> Prompts:
    """Points and boxes on the grid, from its corner, as prompts in pixels of the frame; None asks for nothing."""
    points = np.zeros((len(asked), _POINTS, 2), dtype=np.float32)
    labels = np.full(points.shape[:2], -1, dtype=np.int8)
    boxes = np.full((len(asked), 4), np.nan, dtype=np.float32)
    h, w = image.frame_size
    step = image.stride * image.grid_size[0] / evidence.belief.shape[1]
    scale = step * np.array([w / image.input_size[1], h / image.input_size[0]])
    corner = np.array([w - 1, h - 1], dtype=np.float64)
    for row, one in enumerate(asked):
        if one is None:
            continue
        inside, box = one
        points[row, : len(inside)] = np.clip(inside * scale - 0.5, 0, corner)
        labels[row, : len(inside)] = 1
        low, high = box[:2] * scale - 0.5 - _MARGIN, box[2:] * scale - 0.5 + _MARGIN
        boxes[row] = [*np.clip(low, 0, corner), *np.clip(high, 0, corner)]
    return Prompts(points, labels, boxes)
