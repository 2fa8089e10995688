"""A model that follows points through windows of frames without a network: Lucas-Kanade from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch

from trackers.klt import KltSettings, lucas_kanade

Carried = tuple[np.ndarray, np.ndarray]


class LucasKanadeWindows:
    """Stands in for CoTracker3 behind `trackers.cotracker.WindowModel`; a point that is lost stays lost.

    Attributes:
        encoded: how many frames were encoded.
        followed: how many frames each window had, in the order in which they were followed.
    """

    def __init__(self, window: int = 16) -> None:
        self.window = window
        self.encoded = 0
        self.followed: list[int] = []

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
