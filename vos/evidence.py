"""What to believe of the decoder's answers about objects of which there is evidence.

Of the answers to all hypotheses (`vos.hypotheses`) that is taken which agrees best with the evidence. Where an occluder
divides the object and no answer has all of it, answers are joined if that agrees better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from vos.types import Candidates, Evidence
from vos.windows import Window, window_of

# What a candidate is worth, per unit: how its places stand out in likeness to the references, its soft IoU with the
# belief, its predicted IoU, and (against it) the logarithm of its change of area.
_CONTRAST, _AGREEMENT, _SCORE, _CHANGE = 0.8, 0.6, 0.15, 0.1
# What is beside a candidate speaks against it half as much as what is in it speaks for it.
_BESIDE = 0.5
# A candidate may join the chosen one if it is at least this sure and adds this much soft IoU; at most so many do.
_JOIN_SCORE, _JOIN_GAIN, _JOINED = 0.6, 0.02, 3

Choice = tuple[torch.Tensor, float] | None


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
        which = slice(*np.searchsorted(owners, (row, row + 1)).tolist())
        logits, scores = candidates.logits[which].flatten(0, 1), candidates.scores[which].flatten().clamp(max=1)
        chosen.append(_chosen(evidence.rows(slice(row, row + 1)), logits, scores) if len(logits) else None)
    return chosen


def completed(evidence: Evidence, chosen: Sequence[Choice], candidates: Candidates, owners: np.ndarray) -> list[Choice]:
    """The choice of `choose`, joined with what was found for its `remainders` where that agrees better."""
    whole = list(chosen)
    for row, logits, scores in zip(owners.tolist(), candidates.logits, candidates.scores, strict=True):
        found = whole[row]
        assert found is not None
        answer, _ = found
        belief = torch.from_numpy(evidence.belief[row])
        believed = _Believed(belief.sigmoid(), window_of(((answer > 0) | (logits > 0).any(0)).numpy()))
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
    reach = _reach(area)
    rows, columns = window_of(masks.any(0).numpy(), reach)
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
    area, masks = float(evidence.area[0]), logits > 0
    real = masks.flatten(1).any(1)
    if not real.any():
        return None
    # All that counts of the maps but for the belief's sum.
    window = window_of(masks.any(0).numpy(), _reach(area))
    known = (torch.from_numpy(maps[0]) for maps in (evidence.recognised, evidence.first_likeness))
    near, like, first = (maps[..., window[0], window[1]] for maps in (masks, *known))
    real &= _mean(like, near.float()) > float(evidence.least[0])
    if (seen := evidence.views[0]) is not None:
        alike = torch.from_numpy(seen)
        real &= recall(alike, _on_cells(masks, alike.shape[1])) >= float(evidence.least_recall[0])
    if not real.any():
        return None
    logits, scores, near = logits[real], scores[real], near[real]
    standing = contrast(first, near, area)
    believed = _Believed(torch.from_numpy(evidence.belief[0]).sigmoid(), window)
    soft = believed.part(logits)
    change = ((soft.flatten(1).sum(1) + 1) / (area + 1)).log().abs()
    worth = _CONTRAST * standing + _AGREEMENT * believed.agreement(soft) + _SCORE * scores - _CHANGE * change
    best = int(worth.argmax())
    return _joined(logits[best], logits, scores, believed, _JOINED)


class _Believed:
    """What is believed of an object, beside masks that are nowhere above 0 outside a window.

    Args:
        probability: float (h, w).
        window: rows and columns.
    """

    def __init__(self, probability: torch.Tensor, window: Window) -> None:
        self._rows, self._columns = window
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


def _reach(area: float) -> int:
    """How far from an object of an area, in places, "just outside" reaches, places."""
    return max(1, int(0.25 * np.sqrt(area)) // 2)


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of values (h, w) under weights (K, h, w): (K,); 0 where all weights are 0."""
    return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp(min=1)
