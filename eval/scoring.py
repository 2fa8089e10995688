"""From masks to scores: one sequence frame by frame, a whole data set in processes.

Memory does not grow with the length of a sequence, but for two numbers per object and frame.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from vos.errors import EvaluationError

from . import metrics
from .davis import MAX_PROPOSALS, Dataset, Sequence, Task, describe_missing, missing_frames, read_result

_BINS = 4
# Processes that Windows can wait for.
_MOST_JOBS = 61


@dataclass(frozen=True)
class Statistic:
    """What is said of one measure over the frames of one object.

    Attributes:
        mean: over the frames.
        recall: share of frames above 0.5, strictly.
        decay: mean of the first quarter less the mean of the last; the quarters share their end frames.
        official_decay: the same as the official tool gives it, whose frame numbers wrap at 256: wrong, and mostly NaN,
            beyond 255 frames.
    """

    mean: float
    recall: float
    decay: float
    official_decay: float

    @classmethod
    def of(cls, values: np.ndarray) -> Statistic:
        """values: float64 (T,), T >= 1."""
        edges = np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10).astype(int) - 1
        first, last = (edges[0], edges[1] + 1), (edges[-2], edges[-1] + 1)
        return cls(
            mean=float(np.mean(values)),
            recall=float(np.mean(values > 0.5)),
            decay=_mean(values, *first) - _mean(values, *last),
            official_decay=_mean(values, *_wrap(first)) - _mean(values, *_wrap(last)),
        )


@dataclass(frozen=True, eq=False)
class ObjectScore:
    """J and F of one object.

    Attributes:
        name: the official tool's name for the row: `<sequence>_<number>`, counted from 1.
        object_id: id in the annotation.
        proposal_id: id in the results: the same, or the one that the assignment gave it (unsupervised). The official
            tool numbers unsupervised rows by ascending proposal, so there `number` need not be `object_id`.
        j, f: float64 (T,), one value per scored frame.
    """

    name: str
    object_id: int
    proposal_id: int
    j: np.ndarray
    f: np.ndarray

    @cached_property
    def j_statistic(self) -> Statistic:
        return Statistic.of(self.j)

    @cached_property
    def f_statistic(self) -> Statistic:
        return Statistic.of(self.f)


@dataclass(frozen=True, eq=False)
class SequenceScore:
    """The scores of one sequence.

    Attributes:
        name: the sequence.
        frames: names of the T scored frames.
        objects: one score per object.
        missing: the scored frames that had no result and were scored as empty.
    """

    name: str
    frames: tuple[str, ...]
    objects: tuple[ObjectScore, ...]
    missing: tuple[str, ...] = ()

    @property
    def j(self) -> float:
        """Mean J over the objects."""
        return float(np.mean([o.j_statistic.mean for o in self.objects]))

    @property
    def f(self) -> float:
        """Mean F over the objects."""
        return float(np.mean([o.f_statistic.mean for o in self.objects]))


class SequenceScorer:
    """Scores one sequence as its results come, in any order.

        scorer = SequenceScorer(dataset.sequence("camel"))
        for result in results:
            scorer.update(frame_name, index_map)
        score = scorer.finish()

    Frames that are not scored may be passed or left out; they are ignored.

    Args:
        sequence: what to score against.
        tolerance: of F, see `eval.metrics.tolerance_radius`.
        counter: the back end.
    """

    def __init__(
        self,
        sequence: Sequence,
        *,
        tolerance: float = metrics.DEFAULT_TOLERANCE,
        counter: metrics.Counter = metrics.count,
    ) -> None:
        self.sequence = sequence
        self._count = counter
        self._radius = metrics.tolerance_radius(sequence.size, tolerance)
        self._position = {frame: t for t, frame in enumerate(sequence.scored)}
        self._seen = np.zeros(len(self._position), dtype=bool)
        self._missing: dict[str, None] = {}
        self._most = 0
        unsupervised = sequence.task is Task.UNSUPERVISED
        self._proposals = max(MAX_PROPOSALS, sequence.objects) if unsupervised else None
        rows = (self._proposals,) if self._proposals else ()
        self._j = np.zeros((*rows, sequence.objects, len(self._position)))
        self._f = np.zeros_like(self._j)

    def update(self, frame: str, result: np.ndarray | None) -> None:
        """Scores one frame.

        Args:
            frame: its name.
            result: integers (H, W), ids; None if there is none, which is scored as empty and counted as missing.

        Raises:
            EvaluationError: the result cannot be scored (see `Sequence.check`), or the annotation cannot be read.
        """
        t = self._position.get(frame)
        if t is None:
            return
        truth, void = self.sequence.annotation(frame)
        if result is None:
            self._missing[frame] = None
            found = np.zeros_like(truth)
        else:
            found = self.sequence.check(result, frame)
            self._missing.pop(frame, None)
        present = None
        if self._proposals is not None:
            # Proposals that a frame lacks all score the same: one empty one stands for them.
            most = int(found.max())
            self._most = max(self._most, most)
            present = most + 1
        if void is not None:
            found = np.where(void, 0, found)
        counts = self._count(truth, found, self.sequence.objects, self._radius, present)
        if present is None:
            self._j[:, t], self._f[:, t] = counts.jaccard(), counts.f_measure()
        else:
            rows = np.minimum(np.arange(len(self._j)), present - 1)
            self._j[:, :, t], self._f[:, :, t] = counts.jaccard()[rows], counts.f_measure()[rows]
        self._seen[t] = True

    def finish(self) -> SequenceScore:
        """The scores.

        Raises:
            EvaluationError: a scored frame was never passed.
        """
        name, scored = self.sequence.name, self.sequence.scored
        if not self._seen.all():
            left = [frame for frame, seen in zip(scored, self._seen, strict=True) if not seen]
            more = f"{len(left)} of {len(scored)} scored frames are missing"
            raise EvaluationError(f"sequence {name}, frame {left[0]}: no result ({more})")
        n = self.sequence.objects
        proposals, objects = np.arange(n), np.arange(n)
        if self._proposals is None:
            j, f = self._j, self._f
        else:
            proposals, objects = self._assign()
            j, f = self._j[proposals, objects], self._f[proposals, objects]
        scores = tuple(
            ObjectScore(f"{name}_{k + 1}", int(objects[k]) + 1, int(proposals[k]) + 1, j[k], f[k]) for k in range(n)
        )
        return SequenceScore(name, scored, scores, tuple(sorted(self._missing)))

    def _assign(self) -> tuple[np.ndarray, np.ndarray]:
        """One proposal for each object, the sum of their mean J&F the largest; rows ordered by proposal."""
        # SciPy is imported here because only this task needs it.
        from scipy.optimize import linear_sum_assignment

        rows = max(self._most, self.sequence.objects)
        value = (np.mean(self._j[:rows], axis=2) + np.mean(self._f[:rows], axis=2)) / 2
        proposals, objects = linear_sum_assignment(-value)
        return proposals, objects


def score_sequence(
    sequence: Sequence,
    results: Path,
    *,
    allow_missing: bool = False,
    tolerance: float = metrics.DEFAULT_TOLERANCE,
    counter: metrics.Counter = metrics.count,
) -> SequenceScore:
    """Scores the results of one sequence on disk.

    Raises:
        EvaluationError: a result is missing (without `allow_missing`), unreadable or cannot be scored.
    """
    scorer = SequenceScorer(sequence, tolerance=tolerance, counter=counter)
    for frame in sequence.scored:
        result = read_result(results, sequence, frame)
        if result is None and not allow_missing:
            raise EvaluationError(describe_missing(results, sequence, (frame,)))
        scorer.update(frame, result)
    return scorer.finish()


def score_dataset(
    dataset: Dataset,
    results: Path,
    *,
    allow_missing: bool = False,
    tolerance: float = metrics.DEFAULT_TOLERANCE,
    device: str | None = None,
    jobs: int = 1,
) -> Iterator[SequenceScore]:
    """Scores every sequence of a data set; yields each when it is done, in any order.

    Args:
        dataset: what to score against.
        results: folder with one folder of PNGs per sequence.
        allow_missing: score frames without a result as empty, in place of an error.
        tolerance: of F, see `eval.metrics.tolerance_radius`.
        device: a torch device for the counts; None counts with NumPy and OpenCV.
        jobs: processes.

    Raises:
        EvaluationError: anything missing is found before the first sequence is scored; the rest when it is read.
    """
    if not results.is_dir():
        raise EvaluationError(f"results folder not found: {results}")
    sequences = [dataset.sequence(name) for name in dataset.names]
    for sequence in sequences if not allow_missing else []:
        if missing := missing_frames(results, sequence):
            raise EvaluationError(describe_missing(results, sequence, missing))
    work = _Work(results, allow_missing, tolerance, device)
    if jobs <= 1 or len(sequences) <= 1:
        yield from map(work, sequences)
        return
    longest_first = sorted(sequences, key=lambda s: -len(s.scored) * s.objects)
    # Spawned, not forked: OpenCV's and torch's threads do not survive a fork.
    with ProcessPoolExecutor(
        min(jobs, len(sequences), _MOST_JOBS), multiprocessing.get_context("spawn"), _one_thread
    ) as pool:
        with _main_module_hidden():
            futures = [pool.submit(work, sequence) for sequence in longest_first]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def make_counter(device: str | None) -> metrics.Counter:
    """The back end for a device (see `vos.device.resolve_device`); NumPy and OpenCV for None.

    Raises:
        DeviceError: it is not there.
    """
    if device is None:
        return metrics.count
    from vos.device import resolve_device

    from .metrics_torch import torch_counter

    return torch_counter(resolve_device(device))


@dataclass(frozen=True)
class _Work:
    """Scoring one sequence, in a form that can be sent to another process."""

    results: Path
    allow_missing: bool
    tolerance: float
    device: str | None

    def __call__(self, sequence: Sequence) -> SequenceScore:
        return score_sequence(
            sequence,
            self.results,
            allow_missing=self.allow_missing,
            tolerance=self.tolerance,
            counter=make_counter(self.device),
        )


def _wrap(bounds: tuple[int, int]) -> tuple[int, int]:
    """A slice's bounds as uint8 holds them."""
    return bounds[0] % 256, bounds[1] % 256


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Processes started inside do not import the caller's script again.

    They need this module only, while the script may import torch, which takes seconds, or have no
    `if __name__ == "__main__"` around its work.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _mean(values: np.ndarray, start: int, stop: int) -> float:
    part = values[start:stop]
    return float(np.mean(part)) if len(part) else float("nan")
