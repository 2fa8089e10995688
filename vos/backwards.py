"""Objects in the frames before they enter, tracked backwards from there.

A pass takes the frames in reverse order, from the last one with which an object enters to the first one read. What it
finds of each object before that object enters waits on disk, and joins the results of the way forwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import NamedTuple

import numpy as np

from vos.errors import OutputError, SourceError
from vos.objects import measured_again
from vos.references import ReferencePlan
from vos.results.plain import pack, unpack
from vos.results.record import print_of, record_of, result_of
from vos.soft import LowLogits
from vos.types import Frame, FrameResult
from vos.video import Reading, Source, open_source

# No source is read backwards: it is opened again for each part of so many bytes of pictures, the last part first.
_PART = 128_000_000
_AGAIN = "to go both ways takes a source that can be read again and again, such as a file"

Reopen = Callable[[Reading], Source]
Track = Callable[[Iterator[Frame], ReferencePlan], Generator[FrameResult, None, None]]


def reopening(opened: Source) -> Reopen:
    """What opens a source again, as `open_source` was given it.

    Raises:
        SourceError: it can be read only once.
    """
    source = opened.given
    if source is None or (opened.origin is None and isinstance(source, str | PathLike | Iterator)):
        raise SourceError(f"{opened.name}: {_AGAIN}")
    return lambda reading: open_source(source, reading=reading)


class _Seen(NamedTuple):
    """Frames, in order: their numbers, checksums where they come from no file, and those with which a shot begins."""

    numbers: array[int]
    prints: array[int]
    cuts: set[int]


class Backwards:
    """What there is of objects before they enter. Use it as a context manager, or call `close`.

    Args:
        plan: what is tracked.
        reopen: opens the source anew, to be read like that.
        reading: how it is read forwards.
    """

    def __init__(self, plan: ReferencePlan, reopen: Reopen, reading: Reading) -> None:
        self._plan = plan
        self._reopen = reopen
        self._reading = reading
        self._entries = plan.entries
        try:
            self._folder = TemporaryDirectory(prefix="vos-")
        except OSError as error:
            raise _no_room(error, gettempdir()) from error

    @property
    def entry(self) -> int:
        """The frame with which the last object enters: there the pass is to begin."""
        return max(self._entries.values())

    @property
    def begins(self) -> int:
        """The last frame of the pass that can be read."""
        return self._seen.numbers[-1]

    @property
    def count(self) -> int:
        """How many frames the pass takes; for this the source is read up to the last of them.

        Raises:
            ReferenceInputError: it ends before that.
            SourceError: it cannot be read at all.
        """
        return len(self._seen.numbers)

    def find(self, track: Track) -> Iterator[int]:
        """Run the pass.

        Args:
            track: runs a fresh pass of the plan for the way back over frames that come in reverse order but keep their
                own numbers, and yields the results.

        Yields:
            The number of every frame that is done.

        Raises:
            OutputError: the folder for temporary files is full.
            VosError: whatever `count`, `track` and the source raise. That a source is damaged is left for the way
                forwards to say.
        """
        with closing(track(self._reversed(), self._plan.way_back())) as results:
            for result in results:
                earlier = self._earlier(result)
                if earlier.objects:
                    self._keep(earlier)
                yield result.frame.index

    def join(self, result: FrameResult) -> FrameResult:
        """A result of the way forwards, and with it the objects that enter later.

        Where both claim a pixel, the object that has already entered keeps it.
        """
        path = self._path(result.frame.index)
        if not path.is_file():
            return result
        earlier = result_of(result.frame, unpack(path))
        index_map = np.where(result.index_map == 0, earlier.index_map, result.index_map)
        found = {item.id: item for item in result.objects} | {
            item.id: measured_again(index_map, item) for item in earlier.objects
        }
        objects = tuple(found[object_id] for object_id in self._entries if object_id in found)
        return FrameResult(result.frame, index_map, objects, _together(result.soft, earlier.soft))

    def close(self) -> None:
        """Remove what waits."""
        self._folder.cleanup()

    def __enter__(self) -> Backwards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self, earlier: FrameResult) -> None:
        try:
            self._path(earlier.frame.index).write_bytes(pack(record_of(earlier, soft=True)))
        except OSError as error:
            raise _no_room(error, self._folder.name) from error

    def _path(self, frame: int) -> Path:
        return Path(self._folder.name) / f"{frame:08d}.npz"

    @cached_property
    def _seen(self) -> _Seen:
        """What there is up to the last frame."""
        seen = _Seen(array("q"), array("Q"), set())
        with self._reopen(self._reading) as source:
            try:
                for frame in source:
                    if frame.index > self.entry:
                        return seen
                    seen.numbers.append(frame.index)
                    if source.origin is None:
                        seen.prints.append(print_of(frame))
                    if frame.cut:
                        seen.cuts.add(frame.index)
            except SourceError:
                return seen
        count = seen.numbers[-1] + 1
        if count <= self.entry:
            raise self._plan.never_reached(count)
        return seen

    def _reversed(self) -> Iterator[Frame]:
        """These frames, the last one first; where a shot begins, a new one begins with the frame before."""
        numbers, prints, cuts = self._seen
        later, room, left = None, 1, len(numbers)
        while left:
            part = slice(max(0, left - room), left)
            for frame in self._part(numbers[part], prints[part]):
                room = max(1, _PART // frame.image.nbytes)
                yield replace(frame, cut=later in cuts)
                later = frame.index
            left = part.start

    def _part(self, numbers: array[int], prints: array[int]) -> Iterator[Frame]:
        """Neighbouring frames, the last one first, each let go once it is passed on."""
        frames: list[Frame] = []
        with self._reopen(replace(self._reading, start=numbers[0], end=numbers[-1])) as source, suppress(SourceError):
            frames.extend(source)
        if [frame.index for frame in frames] != list(numbers) or (prints and prints != _prints(frames)):
            raise SourceError(
                f"frames {numbers[0]} to {numbers[-1]} of {source.name} are others when read again; {_AGAIN}"
            )
        while frames:
            yield frames.pop()

    def _earlier(self, result: FrameResult) -> FrameResult:
        """Of a result, the objects that enter on a later frame."""
        kept = tuple(item for item in result.objects if self._entries[item.id] > result.frame.index)
        ids = [item.id for item in kept]
        return FrameResult(
            result.frame,
            np.where(np.isin(result.index_map, ids), result.index_map, np.uint8(0)),
            kept,
            _only(result.soft, ids),
        )


def _no_room(error: OSError, folder: str) -> OutputError:
    return OutputError(
        f"{folder}: {error.strerror or error}; what is found on the way back waits there: make room, or set TMPDIR to "
        "another folder"
    )


def _prints(frames: list[Frame]) -> array[int]:
    return array("Q", map(print_of, frames))


def _only(soft: object, ids: list[int]) -> LowLogits | None:
    if not isinstance(soft, LowLogits):
        return None
    kept = [row for row, object_id in enumerate(soft.ids) if object_id in ids]
    return replace(soft, ids=tuple(soft.ids[row] for row in kept), logits=soft.logits[kept]) if kept else None


def _together(soft: object, other: object) -> LowLogits | None:
    if not isinstance(other, LowLogits):
        return soft if isinstance(soft, LowLogits) else None
    if not isinstance(soft, LowLogits):
        return other
    return replace(soft, ids=(*soft.ids, *other.ids), logits=np.concatenate([soft.logits, other.logits]))
