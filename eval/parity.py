"""How close results are to the reference program's: mask by mask, and in J&F."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vos.errors import EvaluationError

from . import metrics
from .davis import Dataset, Sequence, read_result, result_path
from .scoring import SequenceScore, score_sequence

# Masks that overlap this far are the same up to rounding.
SAME_IOU = 0.98
# Percent of J&F.
MARGIN = 1.5


@dataclass(frozen=True)
class Parity:
    """Our masks of one sequence beside the reference program's.

    Attributes:
        sequence: its name.
        frames: the frames that the reference program wrote, in order.
        iou: float64 (frames, objects), overlap of our mask with the reference's; two empty masks agree.
        ours, theirs: both scored against the truth.
    """

    sequence: str
    frames: tuple[str, ...]
    iou: np.ndarray
    ours: SequenceScore
    theirs: SequenceScore

    @property
    def mean_iou(self) -> float:
        return float(self.iou.mean())

    @property
    def difference(self) -> float:
        """Our J&F less the reference's, percent."""
        return 100 * (_jf(self.ours) - _jf(self.theirs))

    @property
    def agrees(self) -> bool:
        """The same masks, or (where the reference flips on single pixels) at least its J&F within a margin."""
        return self.mean_iou >= SAME_IOU or self.difference >= -MARGIN

    def apart(self, below: float = SAME_IOU) -> tuple[str, ...]:
        """Frames in which some object's overlap is less than `below`."""
        return tuple(frame for frame, row in zip(self.frames, self.iou, strict=True) if row.min() < below)


def compare(dataset: Dataset, name: str, results: Path, reference: Path) -> Parity:
    """Compare the masks in `results/<name>` with those in `reference/<name>`.

    Raises:
        EvaluationError: a mask that is missing, unreadable or of another size.
    """
    sequence = dataset.sequence(name)
    frames = reference_frames(reference, name)
    overlaps = [_overlap(sequence, frame, results, reference) for frame in frames]
    scores = [score_sequence(sequence, folder) for folder in (results, reference)]
    return Parity(name, frames, np.array(overlaps), *scores)


def reference_frames(reference: Path, name: str) -> tuple[str, ...]:
    """The frames of a sequence that the reference program wrote, in order.

    Raises:
        EvaluationError: there is none.
    """
    frames = tuple(sorted(path.stem for path in (reference / name).glob("*.png")))
    if not frames:
        raise EvaluationError(f"sequence {name}: no masks of the reference in {reference / name}")
    return frames


def _overlap(sequence: Sequence, frame: str, results: Path, reference: Path) -> Seq[float]:
    masks = []
    for folder in (results, reference):
        found = read_result(folder, sequence, frame)
        if found is None:
            path = result_path(folder, sequence.name, frame)
            raise EvaluationError(f"sequence {sequence.name}, frame {frame}: no such file {path}")
        masks.append(found)
    ours, theirs = masks
    return [metrics.jaccard(theirs == k, ours == k) for k in range(1, sequence.objects + 1)]


def _jf(score: SequenceScore) -> float:
    return (score.j + score.f) / 2
