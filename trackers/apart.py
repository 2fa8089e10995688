"""What tells objects of one video from each other, not from the rest of the frame.

Ridge regression with one target per object, of their own cells alone: all objects share the sum over cells, so it is
solved once for all of them, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from trackers.appearance import Cells, likeness, ridge
from trackers.belief import of_others

# An object that is this unlikely at a place, in log-odds, does not compete for it.
_UNLIKELY = -4.0
# What is given back is carried on as its owner's with this logit.
_CARRIED = 2.0


def told_apart(own: Iterable[tuple[torch.Tensor, torch.Tensor]], damping: float) -> torch.Tensor:
    """Weights of N objects, float32 (N, D + 1): (mean of the grams + damping I)^-1 mean / N, each.

    Args:
        own: of every object the means of x x' and of x over its own cells (see `Sums`).
        damping: as of the classifier of one object.
    """
    total, means = None, []
    for gram, mean in own:  # one at a time: those of many objects are hundreds of megabytes
        total = gram.clone() if total is None else total.add_(gram)
        means.append(mean)
    assert total is not None, "there are no objects"
    return ridge(total, torch.stack(means, dim=1), damping * len(means)).T


def leads(cells: Cells, weights: torch.Tensor) -> torch.Tensor:
    """How much more than any other object every cell looks like each of N >= 2: float32 (N, h, w), below 0 for less.

    Args:
        cells: the frame.
        weights: float32 (N, D + 1), of `told_apart`.
    """
    looks = likeness(cells, weights)
    first, second = looks.topk(2, dim=0).values
    return looks - torch.where(looks == first, second, first)


def contested(alone: np.ndarray, lead: np.ndarray, weight: float) -> np.ndarray:
    """Beliefs, where what looks more like another object counts less, as much as that is likely to be there.

    Args:
        alone: float32 (N, h, w), log-odds, each object's as if there were no other.
        lead: float32 (N, h, w), of `leads`.
        weight: log-odds against a place that looks wholly like another.

    Returns:
        float32 (N, h, w), nowhere more than `alone`.
    """
    others = of_others(alone)
    where = (others > _UNLIKELY) & (lead < 0)
    beliefs = alone.copy()
    beliefs[where] += np.float32(weight) * np.maximum(lead[where], -1) / (1 + np.exp(-others[where]))
    return beliefs


def given_back(logits: np.ndarray, beliefs: np.ndarray, surely: float) -> np.ndarray:
    """The last answers, corrected before they are carried to the next frame: places that an object got, but that surely
    belong to another, go back to that one.

    The decoder may answer beyond what it was asked for. Carried along, that would be the object's own from then on. The
    answers that the user sees stay as they are.

    Args:
        logits: float32 (N, h, w), of the answers.
        beliefs: float32 (N, h, w), log-odds, at no place above 0 for two objects.
        surely: log-odds for the owner, and against the other, from which on a place is given back.

    Returns:
        float32 (N, h, w).
    """
    taken = (logits > 0) & (beliefs < -surely)
    y, x = np.nonzero(taken.any(axis=0))
    owner = beliefs[:, y, x].argmax(axis=0)
    sure = beliefs[owner, y, x] > surely
    owner, y, x = owner[sure], y[sure], x[sure]
    carried = logits.copy()
    carried[:, y, x] = np.where(taken[:, y, x], -_CARRIED, logits[:, y, x])
    carried[owner, y, x] = _CARRIED
    return carried
