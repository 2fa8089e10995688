"""Drawn results with soft, overlapping objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vos.objects import measure
from vos.types import Frame, FrameResult

IDS = (1, 7)


@dataclass(frozen=True, eq=False)
class Alphas:
    """Soft masks by id, uint16 (H, W)."""

    known: Mapping[int, np.ndarray]

    def alpha(self, object_id: int) -> np.ndarray | None:
        return self.known.get(object_id)


def soft_disc(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """Logit, about 8 in its middle and 0 on its edge."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    return 8 * (1 - np.hypot(xs - x, ys - y) / radius)


def soft_results(count: int, size: tuple[int, int] = (48, 64), texture: int = 0) -> list[FrameResult]:
    """Two discs that overlap; object 7 enters on frame 1 and is absent on frame 3."""
    rng = np.random.default_rng(texture)
    results = []
    for index in range(count):
        logits = {1: soft_disc(size, 20 + index, 22, 14)}
        if index >= 1:
            logits[7] = soft_disc(size, 36 + index, 26, 12) if index != 3 else np.full(size, -20.0)
        stacked = np.stack(list(logits.values()))
        winner = np.where(stacked.max(axis=0) > 0, stacked.argmax(axis=0), -1)
        index_map = np.array([*logits, 0], np.uint8)[winner]
        alphas = {i: np.rint(65535 / (1 + np.exp(-logit))).astype(np.uint16) for i, logit in logits.items()}
        objects = tuple(measure(index_map, i, 0.9 - 0.5 * (index == 2), 0.5, index == 0) for i in logits)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        frame = Frame(index, image, Fraction(index, 24), str(index))
        results.append(FrameResult(frame, index_map, objects, Alphas(alphas)))
    return results
