"""Files that training programs read: COCO's instances and YouTube-VOS's tracks, masks as COCO's run lengths (RLE)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from vos.results.files import Reserve, TextPart
from vos.results.labels import Labels
from vos.results.sinks import Run, every_id, picture_name
from vos.results.summary import Summary
from vos.results.track import dump
from vos.types import Frame, FrameResult, ObjectResult


class CocoSink:
    """COCO instances: an image per frame, an annotation per object that is there, a category per class of `Labels`."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._height, self._width = run.clip.size
        self._labels, self._ids = run.labels, set(run.ids)
        self._count = 0
        self._file = TextPart(path, reserve)
        self._file.append(beginning(f"masks of {run.clip.name}") + ', "annotations": [')
        self._images = TextPart(path.with_name(path.name + ".images"), reserve)

    def write(self, result: FrameResult) -> None:
        frame = result.frame
        self._ids.update(item.id for item in result.objects)
        for item in result.objects:
            layer = result.layer(item.id)
            if layer.any():
                self._count += 1
                one = annotation(self._count, frame.index, self._labels.number(item.id), item, layer)
                self._file.append((",\n" if self._count > 1 else "\n") + dump(one))
        image = {"id": frame.index, "file_name": _file_name(frame), "width": self._width, "height": self._height}
        time = None if frame.time is None else float(frame.time)
        self._images.append(dump({**image, "frame": frame.index, "time": time}) + "\n")
        self._file.check()
        self._images.check()

    def close(self, summary: Summary) -> None:
        try:
            if summary.frames:
                self._file.append('\n], "images": [')
                for k, line in enumerate(self._images.lines()):
                    self._file.append((",\n" if k else "\n") + line.rstrip("\n"))
                self._file.finish('\n], "categories": ' + dump(categories(self._labels, self._ids)) + "}\n")
        finally:
            self._images.discard()
            self._file.discard()


class YoutubeSink:
    """YouTube-VOS as the toolkit of its challenges reads it: one video, one annotation per object with all its masks.

    Each object's masks wait in a temporary file of their own, so that memory does not grow with the video.
    """

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._run, self._reserve = run, reserve
        self._frames = 0
        self._names = TextPart(path.with_name(path.name + ".names"), reserve)
        self._tracks: dict[int, TextPart] = {}
        for object_id in run.ids:
            self._enter(object_id)

    def write(self, result: FrameResult) -> None:
        known = {item.id for item in result.objects}
        for object_id in every_id(self._run, result):
            if object_id not in self._tracks:
                self._enter(object_id)
            layer = result.layer(object_id) if object_id in known else None
            shape = None if layer is None or not layer.any() else _shape(layer)
            self._tracks[object_id].append(dump(shape) + "\n")
        self._names.append(dump(_file_name(result.frame)) + "\n")
        self._frames += 1
        for part in (*self._tracks.values(), self._names):
            part.check()

    def close(self, summary: Summary) -> None:
        file = None
        try:
            if summary.frames:
                file = TextPart(self.path, self._reserve)
                self._assemble(file, summary.frames)
        finally:
            for part in (*self._tracks.values(), self._names, file):
                if part is not None:
                    part.discard()

    def _assemble(self, file: TextPart, frames: int) -> None:
        height, width = self._run.clip.size
        video = {"id": 1, "width": width, "height": height, "length": frames}
        file.append(
            beginning(f"masks of {self._run.clip.name}") + ', "videos": [' + dump(video)[:-1] + ', "file_names": ['
        )
        for k, line in enumerate(islice(self._names.lines(), frames)):
            file.append(("," if k else "") + line.rstrip("\n"))
        file.append(']}], "annotations": [')
        for number, (object_id, part) in enumerate(sorted(self._tracks.items()), start=1):
            category = self._run.labels.number(object_id)
            head = {"id": number, "video_id": 1, "category_id": category, "track_id": object_id, "iscrowd": 0}
            file.append((",\n" if number > 1 else "\n") + dump({**head, "width": width, "height": height})[:-1])
            for name, field in (("segmentations", "segmentation"), ("bboxes", "bbox"), ("areas", "area")):
                file.append(f', "{name}": [')
                for k, line in enumerate(islice(part.lines(), frames)):
                    shape = json.loads(line)
                    file.append(("," if k else "") + dump(shape and shape[field]))
                file.append("]")
            file.append("}")
        file.finish('\n], "categories": ' + dump(categories(self._run.labels, self._tracks)) + "}\n")

    def _enter(self, object_id: int) -> None:
        """An object that comes late was nowhere before."""
        part = self._tracks[object_id] = TextPart(self.path.with_name(f"{self.path.name}.{object_id}"), self._reserve)
        part.append("null\n" * self._frames)


def beginning(description: str) -> str:
    """How such a file begins."""
    return '{"info": ' + dump({"description": description}) + ', "licenses": []'


def annotation(number: int, image: int, category: int, item: ObjectResult, layer: np.ndarray) -> dict[str, Any]:
    """An object on an image as COCO has it; `layer` is its mask, bool (H, W), not empty."""
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "track_id": item.id,
        **_shape(layer),
        "iscrowd": 0,
        "score": round(float(item.score), 4),
    }


def _shape(layer: np.ndarray) -> dict[str, Any]:
    """Run lengths, box (x, y, width, height) and area of a mask that is not empty, bool (H, W)."""
    encoded = coco_mask.encode(np.asfortranarray(layer, dtype=np.uint8))
    height, width = layer.shape
    return {
        "segmentation": {"size": [height, width], "counts": encoded["counts"].decode("ascii")},
        "bbox": [float(value) for value in coco_mask.toBbox(encoded)],
        "area": int(coco_mask.area(encoded)),
    }


def categories(labels: Labels, ids: Iterable[int]) -> list[dict[str, Any]]:
    """The classes as COCO has them."""
    return [{"id": k, "name": name, "supercategory": "object"} for k, name in labels.classes(ids).items()]


def _file_name(frame: Frame) -> str:
    """An image's own name; that of a video's frame among the pictures that are written."""
    return frame.name if Path(frame.name).suffix else picture_name(frame)
