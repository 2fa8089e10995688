"""Outlines of masks as polygons along the edges of pixels: what lies inside them is the mask, exactly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vos.results.files import Reserve, TextPart
from vos.results.sinks import Run
from vos.results.summary import Summary
from vos.results.track import about, dump
from vos.types import FrameResult
from vos.windows import window_of

Ring = list[list[float]]
# Steps to the right, down, left and up.
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


class PolygonSink:
    """One JSON object, one line per frame: of every object that is there the polygons of its layer."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._file = TextPart(path, reserve)
        self._labels = run.labels
        self._separator = "\n"
        # How frames were counted depends on who asks.
        source = {name: fact for name, fact in about(run.clip).items() if not name.startswith("frame_count")}
        head = {"format": "vos-polygons", "version": 1, "source": source}
        self._file.append(dump(head)[:-1])
        self._file.append(', "frames": [')

    def write(self, result: FrameResult) -> None:
        frame = result.frame
        objects = []
        for item in result.objects:
            found = polygons_of(result.layer(item.id))
            if found:
                objects.append({"id": item.id, "label": self._labels.of(item.id), "polygons": found})
        time = None if frame.time is None else float(frame.time)
        record = {"frame": frame.index, "name": frame.name, "time": time, "objects": objects}
        self._file.append(self._separator + dump(record))
        self._separator = ",\n"
        self._file.check()

    def close(self, summary: Summary) -> None:
        if summary.frames:
            self._file.finish("\n]}\n")
        else:
            self._file.discard()


def polygons_of(mask: np.ndarray) -> list[list[Ring]]:
    """The 4-connected parts of a mask, bool (H, W), each as a ring around it followed by those around its holes.

    A ring is its corners, [x, y] in pixels with (0, 0) at the centre of the top-left pixel, so on halves; the first is
    not repeated at the end. The object lies to the right of the way along a ring, as seen in the image.
    """
    window = window_of(mask)
    y0, x0 = (side.start for side in window)
    part = np.pad(mask[window], 1)
    count, labels = cv2.connectedComponents(part.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    polygons: list[list[Ring]] = [[] for _ in range(count - 1)]
    for corners, inside in _rings(part):
        ring = [[x + x0 - 1.5, y + y0 - 1.5] for x, y in corners]
        own = polygons[labels[inside] - 1]
        own.insert(0 if _area(corners) > 0 else len(own), ring)
    return polygons


def _rings(part: np.ndarray) -> list[tuple[list[tuple[int, int]], tuple[int, int]]]:
    """Closed ways along the edges of pixels, each with one pixel (y, x) that lies inside beside it.

    Corner (x, y) is the top left one of pixel (y, x); `part`, bool (h, w), has an empty border.
    """
    h, w = part.shape
    inner = part[1:-1, 1:-1]
    # Of each kind of edge, by direction: where the pixel's neighbour is empty, and the corner at which the edge starts.
    neighbours = (part[:-2, 1:-1], part[1:-1, 2:], part[2:, 1:-1], part[1:-1, :-2])
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    leaving = np.zeros((4, h + 1, w + 1), dtype=bool)
    for edge, (empty, (dx, dy)) in enumerate(zip(neighbours, starts, strict=True)):
        leaving[edge, 1 + dy : h - 1 + dy, 1 + dx : w - 1 + dx] = inner & ~empty
    direction, y, x = np.nonzero(leaving)
    to_x, to_y = x + _STEPS[direction, 0], y + _STEPS[direction, 1]
    right, left = (direction + 1) % 4, (direction + 3) % 4
    # Where two pixels touch at a corner only, turning right stays with this one.
    after = np.where(leaving[right, to_y, to_x], right, np.where(leaving[direction, to_y, to_x], direction, left))
    order = np.full(leaving.shape, -1, dtype=np.int64)
    order[direction, y, x] = np.arange(len(x))
    following = order[after, to_y, to_x].tolist()
    turns = (after != direction).tolist()
    corners = list(zip(to_x.tolist(), to_y.tolist(), strict=True))
    shift_x, shift_y = (np.array(starts)[:, k] for k in (0, 1))
    pixels = list(zip((y - shift_y[direction]).tolist(), (x - shift_x[direction]).tolist(), strict=True))
    seen = [False] * len(turns)
    rings = []
    for first in range(len(turns)):
        if seen[first]:
            continue
        ring, at = [], first
        while not seen[at]:
            seen[at] = True
            if turns[at]:
                ring.append(corners[at])
            at = following[at]
        rings.append((ring, pixels[first]))
    return rings


def _area(ring: list[tuple[int, int]]) -> float:
    """Shoelace formula; above 0 for a way that turns right."""
    x, y = np.array(ring, dtype=np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
