"""Measurements of masks, and the table of them: one line per frame and object."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import numpy as np

from vos.results.files import Reserve, TextPart
from vos.results.sinks import Run
from vos.results.summary import Summary
from vos.types import FrameResult, ObjectResult
from vos.windows import window_of

COLUMNS = (
    "frame", "name", "time", "id", "label", "state", "score", "given", "area", "centroid_x", "centroid_y",
    "x0", "y0", "x1", "y1", "perimeter",
)  # fmt: skip


class MeasurementSink:
    """CSV with a header line; what has no value (no clock, an absent object's box) is empty."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._labels = run.labels
        self._file = TextPart(path, reserve)
        self._file.append(_line(COLUMNS))

    def write(self, result: FrameResult) -> None:
        frame = result.frame
        time = "" if frame.time is None else f"{float(frame.time):.6f}"
        lines = [
            _line((frame.index, frame.name, time, item.id, self._labels.of(item.id) or "", *_measured(result, item)))
            for item in result.objects
        ]
        self._file.append("".join(lines))
        self._file.check()

    def close(self, summary: Summary) -> None:
        if summary.frames:
            self._file.finish()
        else:
            self._file.discard()


def _measured(result: FrameResult, item: ObjectResult) -> tuple[object, ...]:
    known = (item.state.value, f"{item.score:.4f}", int(item.given), item.area)
    if item.box is None:
        return (*known, *[""] * 7)
    mask = result.index_map == item.id
    ys, xs = np.nonzero(mask)
    box = (f"{value:g}" for value in item.box)
    return (*known, f"{xs.mean():.3f}", f"{ys.mean():.3f}", *box, f"{perimeter(mask):.2f}")


def perimeter(mask: np.ndarray) -> float:
    """Length of a mask's outline, holes included, pixels: the Cauchy-Crofton formula with lines in four directions.

    P = pi/8 (n_0 + n_90 + (n_45 + n_135) / sqrt 2), with n the number of times that all lines of a direction through
    pixel centres cross the outline. Right on average over directions; up to 6 % off for straight ones.

    Args:
        mask: bool (H, W).
    """
    m = np.pad(mask[window_of(mask)], 1)
    straight = np.count_nonzero(m[1:] != m[:-1]) + np.count_nonzero(m[:, 1:] != m[:, :-1])
    diagonal = np.count_nonzero(m[1:, 1:] != m[:-1, :-1]) + np.count_nonzero(m[1:, :-1] != m[:-1, 1:])
    return float(np.pi / 8 * (straight + diagonal / np.sqrt(2)))


def _line(values: tuple[object, ...]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
