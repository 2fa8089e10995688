"""What every source of frames promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vos.errors import SourceError
from vos.types import Frame
from vos.video.cuts import CutDetector
from vos.video.reading import EVERYTHING, Pending, Reading

if TYPE_CHECKING:
    from vos.video.live import LiveCount


class Frames(Iterator[Frame]):
    """The frames of a source, which whoever takes them may ask about."""

    def __init__(self, source: Source, frames: Iterator[Frame]) -> None:
        self.source = source
        self._frames = frames

    def __next__(self) -> Frame:
        return next(self._frames)


class Source(ABC):
    """A stream of frames of one size, read once from start to end, one frame at a time.

    Use it as a context manager, or call `close`. Sources are not thread-safe: one thread reads.

    Attributes:
        name: what to call it in messages.
        rate: frames per second, the average where it varies; those left out by `reading` do not count.
        frame_count: how many frames to expect; None if unknown.
        frame_bound: a number that no frame to come has or exceeds; None if unknown.
        frame_count_exact: False where these two are only a container header's word, good for a progress bar at most.
        time_base: seconds; frame times are whole multiples of it or, at a constant rate that it is too coarse for, of a
            frame's length. None without a clock.
        pixel_aspect: how wide a pixel is to be shown over how high; 1 but for some videos.
        timecode: of frame 0 (see `vos.video.timecode`), where frames have one rate; None where the source has none.
        origin: the file or folder that is read; None where it cannot be read again (arrays, standard input, a camera).
        given: what `open_source` was given; None for a source that was made in another way.
        reading: which frames come, and how.
        live: counts what a source that does not wait leaves out; None for all others.
        clocked: frames have times of their own, so that none can be given to them.
        foreign: frames are made by another program as it pleases, perhaps from the results of those before.
    """

    live: LiveCount | None = None
    clocked = True
    foreign = False
    pixel_aspect = Fraction(1)
    timecode: str | None = None
    given: Any = None

    def __init__(
        self,
        name: str,
        *,
        rate: Fraction,
        frame_count: int | None,
        frame_count_exact: bool,
        time_base: Fraction | None = None,
        origin: Path | None = None,
        reading: Reading = EVERYTHING,
    ) -> None:
        """As the attributes of the same names, but `rate` and `frame_count` are those of the whole source."""
        self.name = name
        self.rate = rate / reading.every
        self.frame_count = reading.expected(frame_count, rate)
        self.frame_bound = reading.bound(frame_count)
        self.frame_count_exact = frame_count_exact
        self.reading = reading
        if reading.needs_clock and time_base is None:
            raise SourceError(
                f"{name}: images have no times; give their rate (--fps), or the start and the end as numbers of frames"
            )
        if reading.rate is not None and self.clocked:
            raise SourceError(f"{name}: a video has times of its own; leave out --fps, which is for images")
        self.time_base = time_base
        self.origin = origin
        self._traits: list[str] = []
        self._last_seen: int | None = None
        self._cuts = CutDetector()
        self._frames = self._read_checked()
        self._first: Frame | None = None
        self._started = False
        self._closed = False
        self._ended = False

    @abstractmethod
    def _read(self) -> Generator[Pending, None, None]:
        """All frames of the whole source in order; SourceError on damage."""

    def _check_read(self) -> None:  # noqa: B027 - most sources find damage only where it is
        """Called where reading ends early: SourceError if something was damaged until here."""

    def interrupt(self) -> None:  # noqa: B027 - most sources never wait
        """Make a read that waits for frames which may never come end; may be called from another thread."""

    def _release(self) -> None:  # noqa: B027 - most sources hold nothing
        """Free what the source holds; called once or more, never while `_read` runs."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels, of the first frame and so of all."""
        return self.first().size

    def first(self) -> Frame:
        """The first frame, which iteration will still yield. SourceError if there is none, or none any more."""
        if self._first is None:
            if self._closed:
                raise self._gone()
            self._first = next(self._frames, None)
            if self._first is None:
                raise SourceError(f"{self.name}: {self._why_empty()}")
        return self._first

    def __iter__(self) -> Frames:
        """Iterate over all frames, once.

        Raises:
            SourceError: when read a second time, or closed before its end; when a frame has another size than the
                first; after the last frame that could be read, when the source is damaged.
        """
        if self._started:
            raise SourceError(f"{self.name}: it has been read already; open it again to read it again")
        self._started = True
        return Frames(self, self._all(self.first()))

    def _all(self, first: Frame) -> Iterator[Frame]:
        if self._closed:
            raise self._gone()
        yield first
        yield from self._frames
        if self._closed and not self._ended:
            raise self._gone()

    def _gone(self) -> SourceError:
        return SourceError(f"{self.name}: it was closed before all of it was read; keep it open as long as it is read")

    def close(self) -> None:
        """Free the file and the decoder; a second call does nothing.

        Where another thread is just reading a frame, nothing is freed under its hands: it does so itself, after that
        frame.
        """
        self._closed = True
        try:
            self._frames.close()
        except ValueError as error:
            if "already executing" not in str(error):
                raise
        else:
            self._release()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _why_empty(self) -> str:
        if self._last_seen is None:
            return "there is not a single frame in it"
        return f"there is no frame to read {self.reading.span}: it ends with frame {self._last_seen}"

    def describe(self) -> str:
        """One line for people: 'clip.mp4: 854x480, 24 fps, about 82 frames'."""
        height, width = self.size
        parts = [f"{width}x{height}"]
        if self.time_base is not None:
            parts.append(f"{float(self.rate):.5g} fps")
        if self.frame_count is not None:
            about = "" if self.frame_count_exact else "about "
            parts.append(f"{about}{self.frame_count} frame{'' if self.frame_count == 1 else 's'}")
        parts += [part for part in (self.reading.span, *self._traits) if part]
        return f"{self.name}: {', '.join(parts)}"

    def _read_checked(self) -> Generator[Frame, None, None]:
        size = None
        try:
            with closing(self._read()) as pending:
                for wanted in self.reading.select(self._seen(pending)):
                    image = wanted.image()
                    if self._closed:
                        return
                    frame = Frame(wanted.index, image, wanted.time, wanted.name, cut=self._cuts.is_cut(image))
                    size = size or frame.size
                    if frame.size != size:
                        found, expected = f"{frame.size[1]}x{frame.size[0]}", f"{size[1]}x{size[0]}"
                        raise SourceError(
                            f"{self.name}: frame {frame.index} ({frame.name}) is {found} but the first is {expected}; "
                            "all frames must have one size"
                        )
                    yield frame
                self._ended = True
                self._check_read()
        finally:
            self._release()

    def _seen(self, pending: Iterable[Pending]) -> Iterator[Pending]:
        for frame in pending:
            self._last_seen = frame.index
            yield frame
