"""What is believed of where an object is: its looks weighed against where motion carries it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from trackers.known import Known
from trackers.memory_settings import MemorySettings
from trackers.motion import Grid, Motion
from vos.distance import to_nearest
from vos.hypotheses import of_others

# Of the largest area: an object is all there from the second share on, and something is missing below the first.
_MISSING, _WHOLE = 0.7, 0.95
# Motion in and around an object counts as clear by this power of its mean trust.
_SURROUNDINGS, _CLEAR = np.ones((9, 9), np.uint8), 4
# Carried logits count as sure from this one on.
_SURELY = 4
# What another object uncovers is this close to it.
_NEXT_TO = np.ones((3, 3), np.uint8)


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
    edge = cv2.dilate((others > 0).astype(np.uint8), _NEXT_TO) > 0
    beyond = np.where(edge, others, np.float32(1)) * np.clip(-carried, 0, _SURELY) / _SURELY
    against = hold * away + trust * (settings.beside * beyond + settings.others * others)
    # An object that is all there, and whose motion is clear, grows by being carried; what comes up beside it is
    # another. One of which a part was covered may get it back.
    whole = min(max((inside.sum() / known.largest - _MISSING) / (_WHOLE - _MISSING), 0.0), 1.0)
    clear = float(trust[cv2.dilate(inside.astype(np.uint8), _SURROUNDINGS) > 0].mean()) ** _CLEAR
    against += settings.outside * hold * whole * clear * beyond
    return looks + np.where(inside, hold * settings.motion * trust * np.clip(carried, 0, _SURELY), -against)


def rivals(carried: np.ndarray) -> np.ndarray:
    """How surely another object is carried to each place: of logits float32 (N, h, w), float32 (N, h, w) in [0, 1]."""
    return np.asarray(np.clip(of_others(carried), 0, _SURELY) / _SURELY)
