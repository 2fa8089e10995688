"""`vos bench eval`: the time of J and F against the plain full-frame computation of `eval.plain`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vos.errors import EvaluationError

from . import metrics, plain
from .davis import Dataset, describe_missing, read_result
from .machine import machine

Pair = tuple[np.ndarray, np.ndarray, int]  # ground truth and prediction, index maps (H, W), and the number of objects


@dataclass(frozen=True)
class BenchResult:
    """What was measured, on one thread, reading files left out.

    Attributes:
        frames: frames counted.
        pairs: objects times frames.
        ms: milliseconds per frame and object.
        plain_ms: the same for the plain computation.
    """

    frames: int
    pairs: int
    ms: float
    plain_ms: float

    @property
    def ratio(self) -> float:
        return self.plain_ms / self.ms

    def as_dict(self) -> dict[str, Any]:
        """The numbers, the machine and the versions, ready for JSON."""
        return {**asdict(self), "ratio": self.ratio, "machine": machine()}


def bench(pairs: Iterable[Pair], counter: metrics.Counter = metrics.count) -> BenchResult:
    """Times both computations on every pair, and holds one to the other.

    Raises:
        EvaluationError: there is nothing to measure, or the two disagree.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _bench(pairs, counter)
    finally:
        cv2.setNumThreads(threads)


def drawn_pairs(frames: int, objects: int, size: tuple[int, int], seed: int = 0) -> Iterator[Pair]:
    """Blobs that wander, and predictions a little off: the same for the same arguments.

    Args:
        size: (H, W), pixels.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    scale = min(height, width)
    start = rng.uniform(0.2, 0.8, (objects, 2)) * (width, height)
    step = rng.uniform(-0.01, 0.01, (objects, 2)) * scale
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = rng.uniform(0.07, 0.2, (objects, 1)) * scale * rng.uniform(0.75, 1.25, (objects, len(angles)))
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    for t in range(frames):
        gt, pred = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        for k in range(objects):
            outline = start[k] + t * step[k] + radius[k, :, None] * rays
            off = outline + rng.normal(0, 0.01 * scale, outline.shape)
            cv2.fillPoly(gt, [outline.astype(np.int32)], k + 1)
            cv2.fillPoly(pred, [off.astype(np.int32)], k + 1)
        yield gt, pred, objects


def dataset_pairs(dataset: Dataset, results: Path) -> Iterator[Pair]:
    """Every scored frame of real results.

    Raises:
        EvaluationError: a result is missing or cannot be scored.
    """
    for name in dataset.names:
        sequence = dataset.sequence(name)
        for frame in sequence.scored:
            result = read_result(results, sequence, frame)
            if result is None:
                raise EvaluationError(describe_missing(results, sequence, (frame,)))
            yield sequence.annotation(frame)[0], result, sequence.objects


def _bench(pairs: Iterable[Pair], counter: metrics.Counter) -> BenchResult:
    frames = count = 0
    fast = slow = 0.0
    for gt, pred, objects in pairs:
        radius = metrics.tolerance_radius(gt.shape)
        if not frames:
            counter(gt, pred, objects, radius)
            _plain(gt, pred, objects, radius)
        began = time.perf_counter()
        counts = counter(gt, pred, objects, radius)
        ours = np.stack([counts.jaccard(), counts.f_measure()])
        between = time.perf_counter()
        theirs = _plain(gt, pred, objects, radius)
        fast, slow = fast + between - began, slow + time.perf_counter() - between
        if not np.array_equal(ours, theirs):
            raise EvaluationError(
                f"frame {frames} of the benchmark: J and F are {ours.tolist()}, plainly {theirs.tolist()}"
            )
        frames, count = frames + 1, count + objects
    if not count:
        raise EvaluationError("the benchmark has no frame to measure")
    return BenchResult(frames, count, 1000 * fast / count, 1000 * slow / count)


def _plain(gt: np.ndarray, pred: np.ndarray, objects: int, radius: int) -> np.ndarray:
    ids = range(1, objects + 1)
    j = [plain.jaccard(gt == i, pred == i) for i in ids]
    f = [plain.boundary_f(gt == i, pred == i, radius) for i in ids]
    return np.array([j, f])
