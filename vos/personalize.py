"""PerSAM and PerSAM-F: what one reference mask teaches a frozen SAM.

Zhang et al., Personalize Segment Anything Model with One Shot, 2023. Target embedding and location prior: section 3.1
("location confidence map"); scale weights: section 3.2 (PerSAM-F).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from vos.models.features import FeatureMap
from vos.settings import FitSettings

# Logits closer than this are one sample to the fit.
_BIN = 0.25
# Of the published optimiser: AdamW's decay and epsilon, and the focal loss's weight of the object and exponent.
_WEIGHT_DECAY, _EPS, _ALPHA, _GAMMA = 0.01, 1e-4, 0.25, 2.0
# A cell belongs to the object if the mask covers more than this share of it.
_COVERED = 0.5


def target_embedding(prior: FeatureMap, cells: torch.Tensor) -> torch.Tensor:
    """The object's embedding: (mean + max) / 2 of its features, L2-normalised.

    Args:
        prior: the reference frame's features, (C, h, w).
        cells: bool (h, w), the cells that belong to the object; at least one.

    Returns:
        float (C,), unit length.
    """
    own = prior.features[:, cells]
    if own.shape[1] == 0:
        raise ValueError("an object needs at least one cell of the feature grid")
    return F.normalize((own.mean(1) + own.amax(1)) / 2, dim=0)


def covered_cells(prior: FeatureMap, mask: np.ndarray) -> torch.Tensor:
    """Cells of the feature grid that a mask, bool (H, W) and not empty, covers: bool (h, w).

    More than half of a cell counts. Where no cell is covered that far (an object smaller or thinner than a cell), those
    covered at least half as much as the best one count, so that every object has some.
    """
    coverage = prior.coverage(mask)
    best = coverage.max().item()
    if best == 0:
        raise ValueError("an empty mask covers no cell")
    return coverage > _COVERED if best > _COVERED else coverage >= best / 2


def location_priors(prior: FeatureMap, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cosine similarity of every location with each object's references, per object their pixel-wise maximum.

    Args:
        prior: the frame's features, (C, h, w).
        embeddings: one of float (K, C) for each of N objects, N > 0, unit length, one row per reference.

    Returns:
        float (N, h, w) in [-1, 1].
    """
    likeness = torch.einsum("kc,chw->khw", torch.cat(list(embeddings)), prior.unit)
    return torch.stack([own.amax(0) for own in likeness.split([len(own) for own in embeddings])])


def fit_scale_weights(logits: np.ndarray, target: np.ndarray, fit: FitSettings) -> np.ndarray:
    """PerSAM-F's two parameters, by the published optimiser on a problem a hundred times smaller.

    The mixed logit of a pixel is sum_k w_k logits_k with w = (1 - a - b, a, b); a and b start at 1/3 and follow AdamW
    with a cosine schedule on dice + focal loss. The decoder's output does not depend on them, so it is computed once;
    and the loss sees a pixel only through its three logits and its label, so pixels that agree in both (to 1/4, then
    averaged) are one sample with a count.

    Args:
        logits: float (3, H, W), the decoder's three scales on the reference frame.
        target: bool (H, W), the reference mask.
        fit: optimiser settings.

    Returns:
        float64 (3,), summing to 1; within 1e-3 of optimising over every pixel.
    """
    values, labels, counts = _merged_samples(logits, target)
    # d(mixed)/d(a, b): how the mixed logit moves with either weight.
    slopes = values[1:] - values[:1]
    focal_scale = counts / counts.sum() * np.where(labels, _ALPHA, 1 - _ALPHA)
    sign = np.where(labels, 1.0, -1.0)
    n_target = float(counts[labels].sum())
    weights = np.full(2, 1 / 3)
    mean, square = np.zeros(2), np.zeros(2)
    for step in range(fit.steps):
        mixed = values[0] + weights @ slopes
        probability = 1 / (1 + np.exp(-mixed))
        # Dice: 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1).
        overlap = float((counts * probability)[labels].sum())
        total = float(counts @ probability) + n_target + 1
        d_dice = counts * ((2 * overlap + 1) / total**2 - labels * (2 / total))
        d_dice *= probability * (1 - probability)
        # Focal: -alpha_t (1 - p_t)^gamma log(p_t), with m = signed logit, p_t = sigmoid(m).
        margin = sign * mixed
        p_t = np.where(labels, probability, 1 - probability)
        log_p_t = -np.logaddexp(0, -margin)
        d_focal = focal_scale * sign * (1 - p_t) ** _GAMMA * (_GAMMA * p_t * log_p_t - (1 - p_t))
        gradient = slopes @ (d_dice + d_focal)
        # AdamW (Loshchilov & Hutter, 2019), beta = (0.9, 0.999), learning rate cosine-annealed to 0.
        rate = fit.learning_rate * (1 + np.cos(np.pi * step / fit.steps)) / 2
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        weights = weights * (1 - rate * _WEIGHT_DECAY)
        unbiased = np.sqrt(square / (1 - 0.999 ** (step + 1))) + _EPS
        weights = weights - rate * mean / (1 - 0.9 ** (step + 1)) / unbiased
    return np.array([1 - weights.sum(), *weights])


def _merged_samples(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels as (values float64 (3, M), labels bool (M,), counts float64 (M,)), near-equal ones merged.

    Nothing is clipped: the optimiser normalises gradients, so that on an easy reference even the far background's
    vanishing ones steer it.
    """
    flat = logits.reshape(3, -1).astype(np.float64)
    labels = target.reshape(-1)
    bins = np.rint(flat / _BIN).astype(np.int64)
    bins -= bins.min(axis=1, keepdims=True)
    side = bins.max() + 1
    key = ((bins[0] * side + bins[1]) * side + bins[2]) * 2 + labels
    _, first, inverse, counts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    values = np.stack([np.bincount(inverse, weights=scale) for scale in flat]) / counts
    return values, labels[first], counts.astype(np.float64)
