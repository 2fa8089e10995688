"""Models that follow points through windows of frames: Lucas-Kanade, which needs no network, and CoTracker's real
classes from its package, small and with random weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch

from trackers import cotracker_online
from trackers.cotracker_online import CoTrackerOnline
from trackers.klt import KltSettings, lucas_kanade

Carried = tuple[np.ndarray, np.ndarray]


class LucasKanadeWindows:
    """Stands in for CoTracker3 behind `trackers.cotracker.WindowModel`; a point that is lost stays lost.

    Attributes:
        encoded: how many frames were encoded.
        followed: how many frames each of the last eight windows had, in the order in which they were followed.
    """

    def __init__(self, window: int = 16) -> None:
        self.window = window
        self.encoded = 0
        self.followed: deque[int] = deque(maxlen=8)

    def encode(self, image: np.ndarray, device: torch.device) -> np.ndarray:
        self.encoded += 1
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    def begin(self, points: np.ndarray, size: tuple[int, int]) -> Carried:
        return points, np.ones(len(points), dtype=bool)

    def follow(self, frames: Sequence[np.ndarray], carried: Carried) -> tuple[np.ndarray, np.ndarray, Carried]:
        assert 1 <= len(frames) <= self.window
        self.followed.append(len(frames))
        ways = [carried]
        for before, now in pairwise(frames):
            points, seen = ways[-1]
            end, found = lucas_kanade(before, now, points, KltSettings())
            seen = seen & found
            ways.append((np.where(seen[:, None], end, points), seen))
        points, scores = (np.stack(part) for part in zip(*ways, strict=True))
        return points, scores.astype(np.float32), ways[min(self.window // 2, len(ways) - 1)]


def small_network() -> Any:
    """What the package's CoTracker3 online is made of, smaller to be quick; ImportError without the package."""
    from cotracker.models.core.cotracker.cotracker3_online import CoTrackerThreeOnline

    return CoTrackerThreeOnline(stride=4, corr_radius=3, window_len=16, model_resolution=(64, 96), num_virtual_tracks=4)


def random_weights(path: Path, motion: float) -> Path:
    """A checkpoint for `small_network`: the larger `motion`, the farther points go astray."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = small_network()
        torch.nn.init.normal_(model.updateformer.flow_head.weight, std=motion)
    torch.save(model.state_dict(), path)
    return path


def small_cotracker(weights: Path, support: int) -> CoTrackerOnline:
    """The adapter on `small_network`."""
    with patch.object(cotracker_online, "_built", small_network):
        return CoTrackerOnline(weights, support)
