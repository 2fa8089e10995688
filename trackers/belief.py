"""What is believed of where an object is: its looks weighed against where motion carries it."""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy.special import expit

from trackers.known import Known
from trackers.memory_settings import MemorySettings
from trackers.motion import Grid, Motion
from vos.distance import to_nearest
from vos.windows import grown, window_of

# Of the largest area: an object is all there from the second share on, and something is missing below the first.
_MISSING, _WHOLE = 0.7, 0.95
# Motion in an object and so many places around it counts as clear by this power of its mean trust.
_SURROUNDINGS, _CLEAR = 4, 4
# Carried logits count as sure from this one on.
_SURELY = 4
# What another object uncovers is this close to it.
_NEXT_TO = 1
# Parts of a region lighter than this share of its heaviest are noise; a part far from the last mask weighs less.
_LIGHTEST, _ANYWHERE = 0.06, 0.3


def belief(
    settings: MemorySettings,
    known: Known,
    like: np.ndarray,
    unlike: np.ndarray,
    carried: np.ndarray,
    others: np.ndarray,
    motion: Motion | None,
    grid: Grid,
) -> np.ndarray:
    """Log-odds that a place is the object's, float32 (h, w), whatever is believed of other objects.

    Args:
        settings: the weights.
        known: the object.
        like: float32 (h, w), how much a place looks like it.
        unlike: float32 (h, w), how much less like it a place is than it looks.
        carried: float32 (h, w), its last logits where they are now.
        others: float32 (h, w) in [0, 1], how surely another is carried to a place (see `rivals`).
        motion: to this frame; None where nothing is known of it.
        grid: the frame's places.
    """
    hold = known.hold
    limit = 1.25 * settings.appearance
    looks = np.clip(settings.appearance * like, -limit, limit) - settings.appearance * unlike
    inside = carried > 0
    if not inside.any():
        return looks
    trust = np.ones(grid.size, np.float32)
    if motion is not None:
        rows, columns = grid.covered
        trust[:rows, :columns] = motion.trust
    away = np.minimum(settings.away_limit, settings.away * to_nearest(inside) / max(4.0, math.sqrt(known.largest)))
    # Another that leaves may uncover what is this one's own, along its edge.
    edge = grown(others > 0, _NEXT_TO)
    beyond = np.where(edge, others, np.float32(1)) * np.clip(-carried, 0, _SURELY) / _SURELY
    against = hold * away + trust * (settings.beside * beyond + settings.others * others)
    # An object that is all there, and whose motion is clear, grows by being carried; what comes up beside it is
    # another. One of which a part was covered may get it back.
    whole = min(max((inside.sum() / known.largest - _MISSING) / (_WHOLE - _MISSING), 0.0), 1.0)
    clear = float(trust[grown(inside, _SURROUNDINGS)].mean()) ** _CLEAR
    against += settings.outside * hold * whole * clear * beyond
    return looks + np.where(inside, hold * settings.motion * trust * np.clip(carried, 0, _SURELY), -against)


def rivals(carried: np.ndarray) -> np.ndarray:
    """How surely another object is carried to each place: of logits float32 (N, h, w), float32 (N, h, w) in [0, 1]."""
    return np.asarray(np.clip(of_others(carried), 0, _SURELY) / _SURELY)


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
