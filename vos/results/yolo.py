"""A data set as YOLO's segmentation reads it: pictures, and for each a text file of outlines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import KDTree

from vos.results.files import Reserve
from vos.results.labels import Labels
from vos.results.polygons import polygons_of
from vos.results.sinks import FileFolder, Run, jpeg, picture_name
from vos.results.summary import Summary
from vos.results.track import dump
from vos.types import FrameResult

# Pixels that corners may be off which are left out: less than from a pixel's centre to the outline, half a diagonal.
_OFF = 0.35


class YoloSink(FileFolder):
    """images/00000.jpg, labels/00000.txt, and data.yaml, which names both and the classes of `Labels`, numbered from 0.

    Clips with the same labels have the same numbers. YOLO wants them without gaps: where an object has no label, there
    is a class for each id up to its own.

    A label is a line per object: its class, then x and y of the corners of one polygon (`outline_of`), as shares of the
    picture's width and height. A picture without an object has an empty file, which says that there is none.
    """

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        super().__init__(path, reserve)
        self._run = run
        self._ids = set(run.ids)

    def write(self, result: FrameResult) -> None:
        self.begin()
        self._ids.update(item.id for item in result.objects)
        picture = picture_name(result.frame)
        layers = {item.id: result.layer(item.id) for item in result.objects}
        self.save(f"images/{picture}", jpeg(result.frame.image))
        self.save(f"labels/{Path(picture).stem}.txt", label_lines(layers, self._run.labels).encode("ascii"))

    def close(self, summary: Summary) -> None:
        if summary.frames:
            self.save("data.yaml", data_yaml(self._run.labels, self._ids).encode())
        super().close(summary)


def label_lines(layers: Mapping[int, np.ndarray], labels: Labels) -> str:
    """A picture's label file, of masks by object, bool (H, W) each."""
    lines = []
    for object_id, mask in layers.items():
        outline = outline_of(mask)
        if len(outline):
            shares = (outline + 0.5) / mask.shape[::-1]
            number = labels.number(object_id) - 1
            lines.append(" ".join([str(number), *(f"{share:.6f}" for share in shares.flat)]) + "\n")
    return "".join(lines)


def data_yaml(labels: Labels, ids: Iterable[int], *, train: str = "images", val: str = "images") -> str:
    """What names the folders of pictures and the classes."""
    unnamed = max((i for i in ids if labels.of(i) is None), default=0)
    classes = [*labels.names, *(f"object {i}" for i in range(1, unnamed + 1))]
    names = "".join(f"  {k}: {dump(name)}\n" for k, name in enumerate(classes))
    return f"train: {train}\nval: {val}\nnames:\n{names}"


def outline_of(mask: np.ndarray) -> np.ndarray:
    """A mask, bool (H, W), as one polygon: float64 (N, 2), x and y in pixels, (0, 0) the centre of the top-left one.

    From its longest ring it goes to every other one, of parts and of holes alike, around it and back on the same way,
    so that with the even-odd rule the centres of the mask's pixels are inside and no others. (0, 2) where there is no
    mask.
    """
    rings = sorted((_smooth(ring) for polygon in polygons_of(mask) for ring in polygon), key=len, reverse=True)
    if not rings:
        return np.zeros((0, 2))
    first, *others = rings
    tree = KDTree(first)
    detours: dict[int, list[np.ndarray]] = {}
    for ring in others:
        distances, corners = tree.query(ring)
        nearest = int(distances.argmin())
        around = np.roll(ring, -nearest, axis=0)
        corner = int(corners[nearest])
        detours.setdefault(corner, []).extend([around, around[:1], first[corner : corner + 1]])
    parts, begin = [], 0
    for corner, detour in sorted(detours.items()):
        parts += [first[begin : corner + 1], *detour]
        begin = corner + 1
    return np.concatenate([*parts, first[begin:]])


def _smooth(ring: list[list[float]]) -> np.ndarray:
    """The way from the middle of one pixel's edge to the next, which makes of steps a slanted line; (N, 2)."""
    corners = np.array(ring)
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.abs(sides).max(axis=1).astype(int)
    along = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths) + 0.5
    steps = np.repeat(sides / lengths[:, None], lengths, axis=0)
    middles = np.repeat(corners, lengths, axis=0) + along[:, None] * steps
    # Halves are whole numbers twice over, which OpenCV's single precision holds exactly.
    fewer = cv2.approxPolyDP((2 * middles).astype(np.int32), 2 * _OFF, closed=True)[:, 0] / 2
    return fewer if len(fewer) > 2 else middles
