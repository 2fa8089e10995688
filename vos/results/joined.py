"""One data set for training of the results of several clips."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from vos.errors import OutputError
from vos.results.datasets import annotation, beginning, categories
from vos.results.labels import Labels
from vos.results.saved import SavedResults
from vos.results.sinks import jpeg, picture_name
from vos.results.track import dump
from vos.results.yolo import data_yaml, label_lines
from vos.types import FrameResult, State
from vos.versions import versions
from vos.video import open_source

FORMATS = ("coco", "yolo")
TRAIN, VAL = "train", "val"
# Says that a folder is such a data set, and what is in it.
_RECORD, _FORMAT = "dataset.json", "vos-dataset"
_OWN = ("images", "labels", "annotations", "data.yaml", _RECORD)


@dataclass(frozen=True)
class Member:
    """A clip of a data set.

    Attributes:
        name: what it is called there, a folder's name, different from all others'.
        saved: its results.
        given: its source, as `open_source` takes it.
        validates: it is for validation, not for training.
    """

    name: str
    saved: SavedResults
    given: str
    validates: bool = False

    def __post_init__(self) -> None:
        if self.name.casefold() == "images":  # YOLO puts "labels" in the place of the last "images" of a path
            raise OutputError(f"{self.saved.folder}: no clip of a data set may be called images; rename the folder")

    @property
    def split(self) -> str:
        return VAL if self.validates else TRAIN


@dataclass
class Contents:
    """What a data set holds.

    Attributes:
        pictures, annotations: how many of each, by split.
        left_out: frames that would have been taken, by why they were not.
        others: frames of which the source now shows other pictures than were tracked, by clip.
        classes: their names, in order.
        unnamed: clips with an object that has no label, whose id is its class in all of them.
    """

    pictures: Counter[str] = field(default_factory=Counter)
    annotations: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    classes: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()


def join(
    members: Sequence[Member],
    folder: Path,
    formats: Sequence[str] = FORMATS,
    *,
    every: int = 1,
    sure: bool = False,
    overwrite: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Contents:
    """Write a data set: pictures, and for training and validation each a COCO file and YOLO's labels.

    images/train/CLIP/00000.jpg, labels/train/CLIP/00000.txt and data.yaml, annotations/instances_train.json; the same
    with val. Numbers of images and annotations are unique, and one class has one number in all clips.

    Frames before the last of a clip's objects has entered are left out: what is not known there would be taught as
    background.

    Args:
        members: the clips.
        folder: where to; it appears when it is whole.
        formats: of `FORMATS`.
        every: take every so manieth of the frames that can be taken.
        sure: leave frames out in which an object is uncertain.
        overwrite: replace a data set that is there.
        advance: called after every frame that was read.

    Raises:
        OutputError: the folder is there already or cannot be written, or results do not fit their source.
        SourceError: a source cannot be read.
    """
    folder = folder.absolute()
    _check_folder(folder, overwrite=overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
            made = Path(aside, "new")
            made.mkdir()
            contents = _write(members, made, formats, every, advance, sure=sure)
            _publish(made, folder, Path(aside, "old"))
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    return contents


def _write(
    members: Sequence[Member],
    folder: Path,
    formats: Sequence[str],
    every: int,
    advance: Callable[[], None],
    *,
    sure: bool,
) -> Contents:
    """All of a data set, into an empty folder."""
    contents = Contents()
    names = tuple(dict.fromkeys(name for member in members for name in member.saved.labels.names))
    classes = Labels(tuple(f"{name}:" for name in names))
    unnamed = {i for member in members for i in member.saved.ids if member.saved.labels.of(i) is None}
    with ExitStack() as files:
        splits = {name: _Split(folder, name, files) for name in dict.fromkeys(member.split for member in members)}
        for member in members:
            labels = member.saved.labels.among(names)
            taken = 0
            for result in _chosen(member, every, contents, advance, sure=sure):
                splits[member.split].add(member, result, labels, formats)
                taken += 1
            if not taken:
                why = "in all, an object has not entered yet" + (" or is uncertain" if sure else "")
                raise OutputError(f"{member.saved.folder}: not one of its frames can be taken: {why}")
        for name, split in splits.items():
            contents.pictures[name], contents.annotations[name] = len(split.images), split.count
            split.finish(classes, sorted(unnamed), formats)
    contents.classes = tuple(classes.classes(unnamed).values())
    contents.unnamed = tuple(one.name for one in members if any(one.saved.labels.of(i) is None for i in one.saved.ids))
    if "yolo" in formats:
        folders = {name: f"images/{name if name in splits else TRAIN}" for name in (TRAIN, VAL)}
        (folder / "data.yaml").write_text(data_yaml(classes, unnamed, **folders), encoding="utf-8")
    clips = [{"name": one.name, "split": one.split, "results": str(one.saved.folder.absolute())} for one in members]
    about = {"format": _FORMAT, "version": 1, "clips": clips, "every": every, "sure": sure, "versions": versions()}
    (folder / _RECORD).write_text(dump(about) + "\n", encoding="utf-8")
    return contents


class _Split:
    """The pictures for training, or those for validation."""

    def __init__(self, folder: Path, name: str, files: ExitStack) -> None:
        self.images: list[str] = []
        self.count = 0
        self._folder, self._name = folder, name
        waiting = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115 - `files` closes it
        self._annotations: IO[str] = files.enter_context(waiting)

    def add(self, member: Member, result: FrameResult, labels: Labels, formats: Sequence[str]) -> None:
        name, number = f"{member.name}/{picture_name(result.frame)}", len(self.images)
        height, width = result.frame.size
        layers = {item.id: result.layer(item.id) for item in result.objects}
        self._save(f"images/{self._name}/{name}", jpeg(result.frame.image))
        image = {"id": number, "file_name": name, "width": width, "height": height}
        self.images.append(dump({**image, "clip": member.name, "frame": result.frame.index}))
        if "yolo" in formats:
            lines = label_lines(layers, labels)
            self._save(f"labels/{self._name}/{Path(name).with_suffix('.txt')}", lines.encode("ascii"))
        for item in result.objects:
            if not layers[item.id].any():
                continue
            self.count += 1
            one = annotation(self.count, number, labels.number(item.id), item, layers[item.id])
            self._annotations.write((",\n" if self.count > 1 else "\n") + dump(one))

    def _save(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def finish(self, labels: Labels, unnamed: Sequence[int], formats: Sequence[str]) -> None:
        self._annotations.seek(0)
        if "coco" in formats:
            path = self._folder / "annotations" / f"instances_{self._name}.json"
            path.parent.mkdir(exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(beginning(f"masks of several clips, {self._name}") + ', "annotations": [')
                shutil.copyfileobj(self._annotations, file)
                file.write('\n], "images": [\n' + ",\n".join(self.images))
                file.write('\n], "categories": ' + dump(categories(labels, unnamed)) + "}\n")


def _chosen(
    member: Member, every: int, contents: Contents, advance: Callable[[], None], *, sure: bool
) -> Iterator[FrameResult]:
    """The results that are taken of a clip, with their pictures."""
    saved, taken, late, unsure = member.saved, 0, 0, 0
    with open_source(member.given, reading=saved.reading) as source:
        for result in saved.results(iter(source)):
            if len(result.objects) < len(saved.expected):
                late += 1
            elif sure and any(item.state is State.UNCERTAIN for item in result.objects):
                unsure += 1
            else:
                if taken % every == 0:
                    yield result
                taken += 1
            advance()
    # Of these, as of the others, only every so manieth would have been taken.
    contents.left_out["before all objects have entered"] += -(-late // every)
    contents.left_out["with an object that is uncertain"] += -(-unsure // every)
    if saved.others:
        contents.others[member.name] = saved.others


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not _is_ours(folder):
        raise OutputError(f"{folder}: is there already, and holds no data set of vos; choose another folder")
    if not overwrite:
        raise OutputError(f"{folder}: holds a data set already; pass --overwrite or choose another folder")


def _is_ours(folder: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        return bool(json.loads((folder / _RECORD).read_text(encoding="utf-8")).get("format") == _FORMAT)
    return False


def _publish(made: Path, folder: Path, old: Path) -> None:
    """Put what is whole in the place of what may be there, which goes to `old`; or nothing of it.

    What somebody has put beside a data set stays; what is inside its folders goes with them.
    """
    if not folder.exists():
        made.rename(folder)
        return
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in _OWN:
            for here, there in ((folder / name, old / name), (made / name, folder / name)):
                if here.exists():
                    here.rename(there)
                    moved.append((here, there))
    except BaseException:
        for here, there in reversed(moved):
            there.rename(here)
        raise
