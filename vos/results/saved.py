"""Results read back from their folder, to be written in other forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from vos.errors import OutputError, ResumeError, SettingsError
from vos.objects import measure
from vos.palette import ids_of, palette_of, tells_apart, values_in
from vos.paths import expanded
from vos.results.journal import difference, is_kept
from vos.results.kinds import KINDS, kinds_of
from vos.results.sinks import Run
from vos.results.track import FORMAT, VERSION, dump, head
from vos.soft import FULL
from vos.types import OPAQUE, Frame, FrameResult, State
from vos.video.reading import Reading, moment_text, parse_moment

_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_MAX_SIDE = 65_536
# Ignored when two finished runs are compared: where they were computed, where the source lay, and how it was counted.
_NO_MATTER = (
    ("settings", "device"),
    ("source", "given"),
    ("source", "frame_count"),
    ("source", "frame_count_exact"),
)


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
    origin: Path | None = None


class SavedResults:
    """The masks of a run, its track file, and its soft masks if it saved any.

    What the masks themselves tell (boxes, areas, whether an object is there) is measured on them anew, so that masks
    may be corrected by hand.

    Args:
        out: the folder.

    Raises:
        OutputError: it does not hold masks and a track file, or these cannot be understood.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out
        track = _read_track(out)
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
            self.reading = _reading(about.get("reading", {}))
            first_number = track.get("first_number")
            self._first_number = None if first_number is None else int(first_number)
            self._digits = 5 if first_number is None else len(first_number)
            if not all(0 < side <= _MAX_SIDE for side in size) or self.clip.rate <= 0 or not self._records:
                raise ValueError(f"{size}, {self.clip.rate}, {len(self._records)} frames")
        except (SettingsError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise _not_a_track(out) from error
        if not (out / KINDS["masks"].target.name).is_dir():
            raise OutputError(f"{out}: no masks/ in it; track again with --save masks,json")
        self._alpha = next((out / name for name in ("alpha", "alpha8") if KINDS[name].target.files(out)), None)

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """All objects, in the order in which they entered."""
        return tuple(dict.fromkeys(i for record in self._records for i, *_ in record.objects))

    @property
    def soft(self) -> Path | None:
        """The folder of soft masks; None where none were saved."""
        return self._alpha

    def results(self, frames: Iterator[Frame] | None = None) -> Iterator[FrameResult]:
        """The results one by one.

        Args:
            frames: the source's frames, where pictures are wanted; else results have black ones.

        Raises:
            OutputError: a mask is missing, damaged, or does not fit; the frames are too few or of another size.
        """
        black = np.zeros((*self.clip.size, 3), dtype=np.uint8)
        for position, record in enumerate(self._records):
            frame = Frame(record.index, black, record.time, record.name)
            if frames is not None:
                found = next(frames, None)
                if found is None or found.index != record.index:
                    raise OutputError(
                        f"{self.folder}: its frame {record.index} is not in the source; give the right one"
                    )
                if found.size != self.clip.size:
                    here, there = (f"{w}x{h}" for h, w in (self.clip.size, found.size))
                    raise OutputError(f"{self.folder}: its masks are {here}, but the source is {there}")
                frame = found
            yield self._result(frame, record, position)

    def _result(self, frame: Frame, record: _Record, position: int) -> FrameResult:
        path = self.folder / KINDS["masks"].target.name / f"{frame.index:05d}.png"
        index_map = self._index_map(path)
        there = set(np.unique(index_map).tolist()) - {0}
        if strange := there.difference(self.ids):
            raise OutputError(
                f"{path}: holds object {min(strange)}, but the run has only "
                f"{', '.join(map(str, self.ids))}; use these ids"
            )
        known = {i: (state, score, given) for i, state, score, given in record.objects}
        objects = []
        for i in self.ids:
            state, score, given = known.get(i, (State.ABSENT, 0.0, False))
            if state is State.ABSENT and i in there:
                # It was not found here, or had not entered yet: the mask is somebody's own.
                objects.append(measure(index_map, i, 1.0, 0.0, given=True))
            elif i in known:
                # A state that was uncertain stays so; that a mask is empty, it says itself.
                objects.append(measure(index_map, i, score, 2.0 if state is State.UNCERTAIN else 0.0, given))
        number = frame.index if self._first_number is None else self._first_number + position
        soft = None if self._alpha is None else _SavedAlpha(self, self._alpha, number, index_map, tuple(known))
        return FrameResult(frame, index_map, tuple(objects), soft)

    def _index_map(self, path: Path) -> np.ndarray:
        """The ids of a mask, uint8 (H, W), by its colours where these are ids' own: programs reorder palettes."""
        with self._opened(path) as image:
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
            return self._fitting(path, np.asarray(image).astype(np.int64) if image.mode in modes else np.empty(0))

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
            height, width = self.clip.size
            raise OutputError(f"{path}: not one of these results' images ({width}x{height}, one channel)")
        return values


def _by_colour(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `ids_of`, of uint8 RGBA (..., 4): what is transparent is background."""
    return ids_of(np.where(rgba[..., 3:] < 128, np.uint8(0), rgba[..., :3]))


@dataclass(frozen=True)
class _Record:
    """One line of a track file; objects as (id, state, score, given)."""

    index: int
    name: str
    time: Fraction | None
    objects: tuple[tuple[int, State, float, bool], ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Record:
        time = entry["time"]
        objects = tuple(
            (int(o["id"]), State(o["state"]), float(o["score"]), bool(o["given"])) for o in entry["objects"]
        )
        if entry["frame"] < 0 or not all(1 <= i <= 255 for i, *_ in objects):
            raise ValueError(f"{entry}")
        return cls(int(entry["frame"]), str(entry["name"]), None if time is None else Fraction(float(time)), objects)


@dataclass(frozen=True, eq=False)
class _SavedAlpha:
    """`vos.types.SoftMasks` of one frame, read when they are asked for, with a mask that may be corrected.

    What was given to an object is wholly its own, and what was taken from one is no longer, to the edge.

    Attributes:
        index_map: uint8 (H, W).
        ids: the objects that have a soft mask.
    """

    results: SavedResults
    folder: Path
    number: int
    index_map: np.ndarray
    ids: tuple[int, ...]

    def alpha(self, object_id: int) -> np.ndarray | None:
        changed, own = self._changed, self.index_map == object_id
        if object_id not in self.ids:
            return np.where(own, np.uint16(FULL), np.uint16(0))
        soft = self._saved[object_id]
        if not changed.any():
            return soft
        former = soft >= OPAQUE
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


def as_record(source: str, reading: Reading) -> dict[str, Any]:
    """How a source was opened, as plain data for track.json."""
    return {
        "given": str(expanded(source).absolute()),
        "reading": {
            "start": moment_text(reading.start),
            "end": None if reading.end is None else moment_text(reading.end),
            "every": reading.every,
            "autorotate": reading.autorotate,
            "reader": reading.reader,
            "max_size": reading.max_size,
        },
    }


def _reading(record: Mapping[str, Any]) -> Reading:
    """What `as_record` was given."""
    values = dict(record)
    for name in ("start", "end"):
        if values.get(name) is not None:
            values[name] = parse_moment(values[name])
    return Reading(**values)


def is_finished(out: Path, save: Sequence[str]) -> bool:
    """Whether a folder holds these outputs of a run that came to its end."""
    wanted = kinds_of(save)
    if is_kept(out) or not all(kind.target.files(out) for kind in wanted):
        return False
    return not (out / KINDS["json"].target.name).is_file() or _read_track(out).get("complete") is True


def check_finished(out: Path, run: Run) -> None:
    """Refuse finished results that were made of something else, as far as their track file tells.

    Raises:
        ResumeError.
    """
    if not (out / KINDS["json"].target.name).is_file():
        return
    track = _read_track(out)
    wanted = json.loads(dump(head(run)))
    found = {name: track.get(name) for name in ("source", "references", "both_ways", "first_number", "settings")}
    for record in (found, wanted):
        for section, name in _NO_MATTER:
            if isinstance(facts := record.get(section), dict):
                facts.pop(name, None)
    other = difference(found, {name: wanted[name] for name in found})
    if other is not None:
        raise ResumeError(
            f"{out}: holds the finished results of another run: {other}; give the same again, or track again with "
            "--overwrite"
        )


def _read_track(out: Path) -> dict[str, Any]:
    path = out / KINDS["json"].target.name
    if not path.is_file():
        raise OutputError(
            f"{out}: no finished results: there is no {path.name}; track with --save masks,json, or --resume the run"
        )
    try:
        track = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _not_a_track(out) from error
    if not isinstance(track, dict) or track.get("format") != FORMAT or track.get("version") != VERSION:
        raise _not_a_track(out)
    return track


def _not_a_track(out: Path) -> OutputError:
    return OutputError(f"{out / KINDS['json'].target.name}: damaged, or not a track file of this version of vos")
