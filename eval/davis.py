"""DAVIS 2016 and 2017 on disk: which frames and objects are scored, annotations, and results, all checked on reading.

Layout of a data set:

    ROOT/Annotations/480p/<sequence>/<frame>.png               (Annotations_unsupervised for that task)
    ROOT/JPEGImages/480p/<sequence>/<frame>.jpg                (needed to track and to draw reports only)
    ROOT/ImageSets/<year>/<set>.txt                            (one sequence a line)

and of results: RESULTS/<sequence>/<frame>.png, indexed or grey PNGs whose values are object ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from enum import Enum
from glob import escape
from pathlib import Path

import numpy as np
from PIL import Image

from vos.errors import EvaluationError
from vos.paths import IMAGE_SUFFIXES, is_image_name, natural_key

VOID = 255
MAX_PROPOSALS = 20
# What Pillow raises of a file that is no image, a damaged or an enormous one.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Task(str, Enum):
    """How the results were made, which decides what is scored."""

    SEMI_SUPERVISED = "semi-supervised"
    UNSUPERVISED = "unsupervised"


@dataclass(frozen=True)
class Sequence:
    """One annotated sequence.

    Attributes:
        name: folder name.
        year, task: the rules it is scored by.
        annotations: folder of its annotations.
        images: folder of its frames as images; need not exist for scoring.
        frames: names of the annotated frames (file names without suffix), in order.
        size: (H, W) of the first annotation, pixels.
        objects: number of objects, which is the largest id of the first annotation; a gap in the ids counts as one.
    """

    name: str
    year: int
    task: Task
    annotations: Path
    images: Path
    frames: tuple[str, ...]
    size: tuple[int, int]
    objects: int

    @property
    def scored(self) -> tuple[str, ...]:
        """The frames that are scored: without the first and the last if semi-supervised."""
        return self.frames[1:-1] if self.task is Task.SEMI_SUPERVISED else self.frames

    def annotation(self, frame: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Index map (H, W) without void, and the bool map of void pixels to leave out, or None where there are none.

        Raises:
            EvaluationError: the file is missing, unreadable or of another size than the first.
        """
        path = _file(self.annotations, frame, (".png",)) or self.annotations / f"{frame}.png"
        index_map, void = _read_annotation(path, self.name, self.year, self.task)
        if index_map.shape != self.size:
            raise EvaluationError(
                f"sequence {self.name}, frame {frame}: the annotation is {_wxh(index_map.shape)}, but the first one is "
                f"{_wxh(self.size)}"
            )
        return index_map, void

    def image(self, frame: str) -> Path | None:
        """The frame's image, None where the data set has none."""
        return _file(self.images, frame, sorted(IMAGE_SUFFIXES))

    def check_image(self, size: tuple[int, int], frame: str) -> None:
        """EvaluationError where an image's size, (H, W), is not that of the annotations."""
        if size != self.size:
            raise EvaluationError(
                f"sequence {self.name}, frame {frame}: the image is {_wxh(size)}, the annotation {_wxh(self.size)}"
            )

    def check(self, result: np.ndarray, frame: str) -> np.ndarray:
        """A result as ids to score: the same index map, or 0/1 for the 0/255 masks of DAVIS 2016.

        Args:
            result: integers (H, W).

        Raises:
            EvaluationError: another size than the annotation, or an id that cannot be scored.
        """
        where = f"sequence {self.name}, frame {frame}"
        if not isinstance(result, np.ndarray) or result.dtype.kind not in "biu" or (result.size and result.min() < 0):
            kind = result.dtype if isinstance(result, np.ndarray) else type(result).__name__
            raise EvaluationError(f"{where}: the result must be an array of ids, whole numbers from 0, got {kind}")
        if result.shape != self.size:
            raise EvaluationError(
                f"{where}: the result is {_wxh(result.shape)}, the annotation {_wxh(self.size)}; "
                "results must have the annotation's size"
            )
        top = int(result.max())
        if self.year == 2016:
            if top <= 1:
                return result
            if not _is_0_255(result):
                raise EvaluationError(
                    f"{where}: the result holds the values {_listed(_values(result))}; DAVIS 2016 has one object, so a "
                    "mask must be 0/1 or 0/255"
                )
            return (result == VOID).astype(np.uint8)
        limit = self.objects if self.task is Task.SEMI_SUPERVISED else MAX_PROPOSALS
        if top > limit:
            raise EvaluationError(f"{where}: {self._stray(_values(result), limit)}")
        return result

    def _stray(self, values: list[int], limit: int) -> str:
        if set(values) <= {0, VOID}:
            return "the result is a 0/255 mask where object ids are expected; write ids 1, 2, ... or use --year 2016"
        stray = _listed([v for v in values if v > limit])
        if self.task is Task.UNSUPERVISED:
            return f"the result holds the ids {stray}; at most {limit} proposals, ids 1 to {limit}, are allowed"
        return f"the result holds the stray ids {stray}; the first annotation has ids up to {limit}"


@dataclass(frozen=True)
class Dataset:
    """A choice of sequences of one data set, and the rules they are scored by.

    Attributes:
        root: the data set's folder.
        subset: name of the set, for reports and file names.
        year, task: the rules.
        resolution: folder below Annotations and JPEGImages, for example 480p or Full-Resolution.
        names: the sequences, in the order of the list.
    """

    root: Path
    subset: str
    year: int
    task: Task
    resolution: str
    names: tuple[str, ...]

    @property
    def annotations(self) -> Path:
        folder = "Annotations" if self.task is Task.SEMI_SUPERVISED else "Annotations_unsupervised"
        return self.root / folder / self.resolution

    @property
    def images(self) -> Path:
        return self.root / "JPEGImages" / self.resolution

    def sequence(self, name: str) -> Sequence:
        """Opens one sequence: lists its frames and reads its first annotation.

        Raises:
            EvaluationError: it has no annotations, too few to score, or no object or too many in the first.
        """
        folder = self.annotations / name
        paths = [p for p in folder.glob("*") if is_image_name(p) and p.suffix.lower() == ".png"]
        frames = tuple(p.stem for p in sorted(paths, key=natural_key))
        least = 3 if self.task is Task.SEMI_SUPERVISED else 1
        if len(frames) < least:
            raise EvaluationError(
                f"sequence {name}: {len(frames)} annotated frames in {folder}, at least {least} are needed to score it"
            )
        path = min(paths, key=natural_key)
        first, _ = _read_annotation(path, name, self.year, self.task)
        objects = int(first.max())
        where = f"sequence {name}, frame {frames[0]}"
        if objects > VOID:
            raise EvaluationError(f"{where}: the first annotation has ids up to {objects}; ids are at most {VOID - 1}")
        if not objects:
            if (read_index_map(path, where) == VOID).any():
                raise EvaluationError(
                    f"{where}: the annotation is a 0/255 mask, not object ids; for DAVIS 2016 use --year 2016"
                )
            raise EvaluationError(f"{where}: the first annotation has no object, so there is nothing to score")
        size = (first.shape[0], first.shape[1])
        return Sequence(name, self.year, self.task, folder, self.images / name, frames, size, objects)


def open_dataset(
    root: Path,
    subset: str = "val",
    *,
    year: int | None = None,
    task: Task = Task.SEMI_SUPERVISED,
    sequences: SequenceOf[str] | None = None,
    resolution: str = "480p",
) -> Dataset:
    """Finds the annotations and the list of sequences.

    Args:
        root: the data set's folder.
        subset: a set's name (val, train, ...) or a text file with one sequence a line.
        year: 2016 or 2017; None takes 2017 where ROOT/ImageSets has it, else 2016.
        task: semi-supervised or unsupervised.
        sequences: only these, in this order; None takes all of the set.
        resolution: folder below Annotations.

    Raises:
        EvaluationError: a folder or a set is not there, or a sequence is not in the set.
    """
    root = Path(root)
    if not root.is_dir():
        raise EvaluationError(f"DAVIS folder not found: {root}")
    if year is None:
        year = 2017 if (root / "ImageSets" / "2017").is_dir() or not (root / "ImageSets" / "2016").is_dir() else 2016
    if year not in (2016, 2017):
        raise EvaluationError(f"year must be 2016 or 2017, got {year}")
    if year == 2016 and task is Task.UNSUPERVISED:
        raise EvaluationError("DAVIS 2016 has one object and no proposals: score it with --task semi-supervised")
    if sequences is not None and not sequences:
        raise EvaluationError("no sequence is named; leave the option out for all of the set")
    listed, label = _read_set(root, subset, year)
    names = tuple(dict.fromkeys(sequences)) if sequences is not None else listed
    unknown = [name for name in names if name not in listed]
    if unknown:
        raise EvaluationError(f"no sequence {unknown[0]!r} in set {label} of {root}; it has {', '.join(listed)}")
    dataset = Dataset(root, label, year, task, resolution, names)
    if not dataset.annotations.is_dir():
        parent = dataset.annotations.parent
        found = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
        has = ", ".join(found) or "nothing"
        raise EvaluationError(f"no annotations in {dataset.annotations}; {parent.name} has {has}")
    return dataset


def result_path(results: Path, sequence: str, frame: str) -> Path:
    return results / sequence / f"{frame}.png"


def read_result(results: Path, sequence: Sequence, frame: str) -> np.ndarray | None:
    """One result as ids to score, integers (H, W); None where there is no such file.

    Raises:
        EvaluationError: the file is unreadable, or `Sequence.check` refuses it.
    """
    path = result_path(results, sequence.name, frame)
    if not path.is_file():
        return None
    return sequence.check(read_index_map(path, f"sequence {sequence.name}, frame {frame}"), frame)


def missing_frames(results: Path, sequence: Sequence) -> tuple[str, ...]:
    """The scored frames that the results folder has no file for."""
    folder = results / sequence.name
    present = {p.stem for p in folder.glob("*.png")} if folder.is_dir() else set()
    return tuple(frame for frame in sequence.scored if frame not in present)


def describe_missing(results: Path, sequence: Sequence, missing: tuple[str, ...]) -> str:
    """One line that names the sequence and its first missing frame."""
    folder = results / sequence.name
    where = f"sequence {sequence.name}, frame {missing[0]}"
    hint = "`vos eval --allow-missing` scores missing frames as empty"
    if not folder.is_dir():
        return f"{where}: no results, there is no folder {folder}; {hint}"
    more = f" ({len(missing)} of {len(sequence.scored)} scored frames are missing)"
    return f"{where}: no such file {folder / f'{missing[0]}.png'}{more}; {hint}"


def read_index_map(path: Path, where: str) -> np.ndarray:
    """The values of an indexed or grey PNG, integers (H, W); a colour image whose channels are equal is read as grey.

    Args:
        where: what the file is, the start of the error's line.

    Raises:
        EvaluationError: the file is unreadable, or has colours in place of ids.
    """
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except UNREADABLE as error:
        raise EvaluationError(f"{where}: cannot read {path}: {' '.join(str(error).split())}") from error
    if values.ndim == 2:
        return values.view(np.uint8) if values.dtype == bool else values
    colours = values[..., : 1 if values.shape[2] == 2 else 3]
    if (colours != colours[..., :1]).any():
        raise EvaluationError(f"{where}: {path} is a colour image; an indexed or grey PNG of object ids is expected")
    return np.ascontiguousarray(colours[..., 0])


def _read_annotation(path: Path, sequence: str, year: int, task: Task) -> tuple[np.ndarray, np.ndarray | None]:
    where = f"sequence {sequence}, frame {path.stem}"
    values = read_index_map(path, f"{where} (annotation)")
    void = values == VOID
    if year == 2016:
        if void.any() and not _is_0_255(values):
            raise EvaluationError(
                f"{where}: the annotation holds the values {_listed(_values(values))}; DAVIS 2016 annotations are "
                "0/255 masks, or ids without 255"
            )
        return (values != 0).astype(np.uint8), None
    if not void.any():
        return values, None
    return np.where(void, 0, values), void if task is Task.UNSUPERVISED else None


def _read_set(root: Path, subset: str, year: int) -> tuple[tuple[str, ...], str]:
    """The sequences of a set, and its name."""
    folder = root / "ImageSets" / str(year)
    path = Path(subset) if re.search(r"[./\\]", subset) else folder / f"{subset}.txt"
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [name for line in text.splitlines() for name in re.split(r"(?:^|\s)#", line)[0].split()]
    except (OSError, UnicodeDecodeError) as error:
        found = ", ".join(sorted(p.stem for p in folder.glob("*.txt")))
        others = ", ".join(sorted(p.name for p in folder.parent.glob("*/") if p != folder))
        there = f"{folder} has {found or 'no set'}" + (f", other years there are {others}" if others else "")
        raise EvaluationError(f"no list of sequences for set {subset}: cannot read {path}; {there}") from error
    if not lines:
        raise EvaluationError(f"the list of sequences {path} is empty")
    if wrong := [name for name in lines if re.search(r"[/\\]", name) or name in (".", "..")]:
        raise EvaluationError(f"the list of sequences {path} has {wrong[0]!r}; expected names of folders")
    return tuple(dict.fromkeys(lines)), path.stem


def _file(folder: Path, stem: str, suffixes: SequenceOf[str]) -> Path | None:
    """The file of that name with one of these suffixes, small or in capitals; None where there is none."""
    for suffix in suffixes:
        if (path := folder / f"{stem}{suffix}").is_file():
            return path
    alike = folder.glob(f"{escape(stem)}.*")
    return next((path for path in sorted(alike) if path.stem == stem and path.suffix.lower() in suffixes), None)


def _is_0_255(index_map: np.ndarray) -> bool:
    return np.count_nonzero(index_map) == np.count_nonzero(index_map == VOID)


def _values(index_map: np.ndarray) -> list[int]:
    return [int(v) for v in np.unique(index_map)]


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")


def _wxh(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
