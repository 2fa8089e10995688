"""Results read back from their folder, to be written in other forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from vos.errors import OutputError, SettingsError
from vos.objects import measure
from vos.palette import ids_of, palette_of, tells_apart, values_in
from vos.results.kinds import KINDS
from vos.results.labels import Labels
from vos.results.record import print_of
from vos.results.track import not_a_track, read_track
from vos.soft import FULL
from vos.types import OPAQUE, Box, Frame, FrameResult, ObjectResult, State
from vos.video.reading import Reading

_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_MAX_SIDE = 65_536
# Colours of a black and white picture, with what transparency makes of them.
_FEW = 256


@dataclass(frozen=True)
class SavedClip:
    """A source as track.json remembers it."""

    name: str
    rate: Fraction
    size: tuple[int, int]
    frame_count: int
    frame_count_exact: bool = True
    time_base: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    timecode: str | None = None
    origin: Path | None = None


class SavedResults:
    """The masks of a run, its track file, and its soft masks if it saved any.

    What the masks themselves tell (boxes, areas, whether an object is there) is measured on them anew, so that masks
    may be corrected by hand.

    Attributes:
        others: how many frames of the source that `results` was given so far are other pictures than those tracked.
        complete: the run came to its end.
        expected: the objects that were to come, of which a run that ended early may not have all.

    Args:
        out: the folder.

    Raises:
        OutputError: it does not hold masks and a track file, or these cannot be understood.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out
        self.others = 0
        track = read_track(out)
        self.complete = track.get("complete") is True
        try:
            about = track["source"]
            size = (int(about["height"]), int(about["width"]))
            self._records = [_Record.of(entry) for entry in track["frames"]]
            self.clip = SavedClip(
                str(about["name"]),
                Fraction(about["rate"]),
                size,
                len(self._records),
                pixel_aspect=Fraction(about.get("pixel_aspect", 1)),
            )
            self.given: str | None = about.get("given")
            self.reading = Reading.restored(about.get("reading", {}))
            self.expected = frozenset({*map(int, track.get("ids", ())), *self.ids})
            self.labels = Labels(tuple(map(str, track.get("labels", ()))))
            self.first_number: str | None = track.get("first_number")
            self._number = None if self.first_number is None else int(self.first_number)
            self._digits = 5 if self.first_number is None else len(self.first_number)
            if not all(0 < side <= _MAX_SIDE for side in size) or self.clip.rate <= 0 or not self._records:
                raise ValueError(f"{size}, {self.clip.rate}, {len(self._records)} frames")
        except (SettingsError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise not_a_track(out) from error
        if not (out / KINDS["masks"].target.name).is_dir():
            raise OutputError(f"{out}: no masks/ in it; track again with --save masks,json")
        self._alpha = next((out / name for name in ("alpha", "alpha8") if KINDS[name].target.files(out)), None)

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """All objects, in the order in which they entered."""
        return tuple(dict.fromkeys(i for record in self._records for i in record.objects))

    @property
    def soft(self) -> Path | None:
        """The folder of soft masks; None where none were saved."""
        return self._alpha

    def results(self, frames: Iterator[Frame] | None = None) -> Iterator[FrameResult]:
        """The results one by one.

        Args:
            frames: the source's frames, where pictures are wanted; else results have black ones.

        Raises:
            OutputError: a mask is missing, damaged, or does not fit; the frames are too few, or have another size or
                other times.
        """
        black = np.zeros((*self.clip.size, 3), dtype=np.uint8)
        for position, record in enumerate(self._records):
            frame = Frame(record.index, black, record.time, record.name)
            if frames is not None:
                frame = self._shown(record, next(frames, None))
                self.others += record.print not in (None, print_of(frame))
            yield self._result(frame, record, position)

    def _shown(self, record: _Record, found: Frame | None) -> Frame:
        """The source's frame of a record, if it can be that; OutputError if not."""
        if found is None or found.index != record.index:
            raise OutputError(f"{self.folder}: its frame {record.index} is not in the source; give the right one")
        if found.size != self.clip.size:
            here, there = (f"{w}x{h}" for h, w in (self.clip.size, found.size))
            raise OutputError(f"{self.folder}: its masks are {here}, but the source is {there}")
        then, now = record.time, found.time
        if then is not None and now is not None and abs(then - now) * self.clip.rate > Fraction(1, 2):
            raise OutputError(
                f"{self.folder}: its frame {record.index} is at {float(then):.3f} s, but that of the source at "
                f"{float(now):.3f} s; give the right one"
            )
        return found

    def _result(self, frame: Frame, record: _Record, position: int) -> FrameResult:
        path = self.folder / KINDS["masks"].target.name / f"{frame.index:05d}.png"
        index_map = self._index_map(path)
        there = set(np.unique(index_map).tolist()) - {0}
        if strange := there.difference(self.ids):
            raise OutputError(
                f"{path}: holds object {min(strange)}, but the run has only "
                f"{', '.join(map(str, self.ids))}; use these ids"
            )
        objects = []
        for i in self.ids:
            known = record.objects.get(i)
            if (known is None or known.state is State.ABSENT) and i in there:
                # It was not found here, or had not entered yet: the mask is somebody's own.
                objects.append(measure(index_map, i, 1.0, 0.0, given=True))
            elif known is not None:
                # A state that was uncertain stays so; that a mask is empty, it says itself.
                unsure = np.inf if known.state is State.UNCERTAIN else 0.0
                objects.append(measure(index_map, i, known.score, unsure, known.given))
        soft = None
        if self._alpha is not None:
            number = frame.index if self._number is None else self._number + position
            corrected = {item.id for item in objects if not record.has(item)}
            soft = _SavedAlpha(self, self._alpha, number, index_map, tuple(record.objects), frozenset(corrected))
        return FrameResult(frame, index_map, tuple(objects), soft)

    def _index_map(self, path: Path) -> np.ndarray:
        """The ids of a mask, uint8 (H, W), by its colours where these are ids' own: programs reorder palettes."""
        with self._opened(path) as image:
            if (lone := self._lone(image)) is not None:
                return self._fitting(path, lone)
            if image.mode == "P":
                values, there = np.asarray(image), values_in(image)
                table = np.arange(256, dtype=np.uint8)
                shown = palette_of(image)[there]
                ids, are = _by_colour(shown)
                # Where colours say nothing, or are somebody's own, values are the ids.
                if tells_apart(shown) and (are.all() or (are & (ids > 0)).any()):
                    table[there] = self._all(path, ids, are)
                return self._fitting(path, table[values])
            if image.mode in ("RGB", "RGBA"):
                return self._fitting(path, self._all(path, *_by_colour(np.asarray(image.convert("RGBA")))))
        return self._image(path, ("L",)).astype(np.uint8)

    def _lone(self, image: Image.Image) -> np.ndarray | None:
        """The only object's mask in black and white, uint8 (H, W); None if it is no such picture, or of several."""
        if len(self.ids) != 1 or image.mode not in ("1", "L", "P", "RGB", "RGBA"):
            return None
        rgba = image.convert("RGBA")
        if rgba.getcolors(_FEW) is None:
            return None
        shown = _opaque(np.asarray(rgba))
        if not np.isin(shown, (0, 255)).all() or (shown != shown[..., :1]).any():
            return None
        return (shown[..., 0] // 255) * np.uint8(self.ids[0])

    def _all(self, path: Path, ids: np.ndarray, are: np.ndarray) -> np.ndarray:
        if not are.all():
            raise OutputError(f"{path}: has colours that are no object's; save it as an indexed or grey PNG")
        return ids

    def alpha(self, folder: Path, number: int, object_id: int) -> np.ndarray:
        """A saved soft mask, uint16 (H, W), by the number of its file; OutputError."""
        path = folder / str(object_id) / f"{number:0{self._digits}d}.png"
        values = self._image(path, ("L", "I;16", "I"))
        return (values * 257 if folder.name == "alpha8" else values).astype(np.uint16)

    def _image(self, path: Path, modes: tuple[str, ...]) -> np.ndarray:
        """Grey values, int64 (H, W)."""
        with self._opened(path) as image:
            if image.mode not in modes:
                raise OutputError(f"{path}: its pixels are {image.mode}; save it as an indexed or grey PNG")
            return self._fitting(path, np.asarray(image).astype(np.int64))

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Image.Image]:
        try:
            with Image.open(path) as image:
                image.load()
                yield image
        except FileNotFoundError:
            raise OutputError(f"{path}: there is no such file, but track.json has this frame") from None
        except _UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise OutputError(f"{path}: cannot be read as an image: {reason}") from error

    def _fitting(self, path: Path, values: np.ndarray) -> np.ndarray:
        if values.shape != self.clip.size:
            here, there = (f"{w}x{h}" for h, w in (values.shape, self.clip.size))
            raise OutputError(f"{path}: is {here}, but these results are {there}")
        return values


def _by_colour(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `ids_of`, of uint8 RGBA (..., 4)."""
    return ids_of(_opaque(rgba))


def _opaque(rgba: np.ndarray) -> np.ndarray:
    """uint8 RGBA (..., 4) -> RGB (..., 3): what is transparent is black, as background is."""
    return np.where(rgba[..., 3:] < 128, np.uint8(0), rgba[..., :3])


class _Known(NamedTuple):
    """An object on a frame, as it was tracked."""

    state: State
    score: float
    given: bool
    area: int
    box: Box | None


@dataclass(frozen=True)
class _Record:
    """One line of a track file; `print` is the picture's checksum, as in `vos.results.record.print_of`."""

    index: int
    name: str
    time: Fraction | None
    print: int | None
    objects: Mapping[int, _Known]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Record:
        time, objects = entry["time"], {}
        for item in entry["objects"]:
            x0, y0, x1, y1 = map(float, item["box"] or (0, 0, 0, 0))
            box = None if item["box"] is None else (x0, y0, x1, y1)
            objects[int(item["id"])] = _Known(
                State(item["state"]), float(item["score"]), bool(item["given"]), int(item["area"]), box
            )
        if entry["frame"] < 0 or not all(1 <= i <= 255 for i in objects):
            raise ValueError(f"{entry}")
        time = None if time is None else Fraction(float(time))
        return cls(int(entry["frame"]), str(entry["name"]), time, entry.get("print"), objects)

    def has(self, item: ObjectResult) -> bool:
        """Whether an object's mask has the area and the box that it was tracked with: if not, it was corrected."""
        known = self.objects.get(item.id)
        return known is not None and (known.area, known.box) == (item.area, item.box)


@dataclass(frozen=True, eq=False)
class _SavedAlpha:
    """`vos.types.SoftMasks` of one frame, read when they are asked for, with a mask that may be corrected.

    What was given to an object is wholly its own, and what was taken from one is no longer, to the edge. An object
    whose mask was corrected has nothing behind others on this frame: they may have been painted over it.

    Attributes:
        index_map: uint8 (H, W).
        ids: the objects that have a soft mask.
        corrected: those whose masks are not as they were tracked.
    """

    results: SavedResults
    folder: Path
    number: int
    index_map: np.ndarray
    ids: tuple[int, ...]
    corrected: frozenset[int]

    def alpha(self, object_id: int) -> np.ndarray | None:
        changed, own = self._changed, self.index_map == object_id
        if object_id not in self.ids:
            return np.where(own, np.uint16(FULL), np.uint16(0))
        soft = self._saved[object_id]
        former = soft >= OPAQUE
        if object_id in self.corrected:
            changed = changed | (former & ~own & (self.index_map > 0))
        if not changed.any():
            return soft
        alpha = np.where(changed, np.where(own, FULL, 0), soft)
        if former.any():
            nearest = distance_transform_edt(~former, return_distances=False, return_indices=True)
            gone = (changed & ~own)[tuple(nearest)]
            alpha[gone & ~former & ~own] = 0
        return alpha.astype(np.uint16)

    @cached_property
    def _saved(self) -> dict[int, np.ndarray]:
        return {object_id: self.results.alpha(self.folder, self.number, object_id) for object_id in self.ids}

    @cached_property
    def _changed(self) -> np.ndarray:
        """bool (H, W), pixels that no longer are whose they were: a mask is where its own soft mask is opaque."""
        own, anyone = np.zeros(self.index_map.shape, bool), np.zeros(self.index_map.shape, bool)
        for object_id, soft in self._saved.items():
            own |= (soft >= OPAQUE) & (self.index_map == object_id)
            anyone |= soft >= OPAQUE
        return np.where(self.index_map == 0, anyone, ~own)
