"""What every source of frames promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType

from vos.errors import SourceError
from vos.types import Frame


class Source(ABC):
    """A stream of frames of one size, read once from start to end, one frame at a time.

    Use it as a context manager, or call `close`. Sources are not thread-safe: one thread reads.

    Attributes:
        name: what to call it in messages.
        rate: frames per second, the average where it varies.
        frame_count: how many frames to expect; None if unknown.
        frame_count_exact: False where `frame_count` is only a container header's word, good for a progress bar at most.
        time_base: seconds; frame times are whole multiples of it, as far as the source knows. None without a clock.
        origin: the file or folder that is read; None for arrays.
    """

    def __init__(
        self,
        name: str,
        *,
        rate: Fraction,
        frame_count: int | None,
        frame_count_exact: bool,
        time_base: Fraction | None = None,
        origin: Path | None = None,
    ) -> None:
        self.name = name
        self.rate = rate
        self.frame_count = frame_count
        self.frame_count_exact = frame_count_exact
        self.time_base = time_base
        self.origin = origin
        self._frames = self._read_checked()
        self._first: Frame | None = None
        self._started = False
        self._closed = False

    @abstractmethod
    def _read(self) -> Generator[Frame, None, None]:
        """Yield the frames in order; SourceError on damage."""

    def _release(self) -> None:  # noqa: B027 - most sources hold nothing
        """Free what the source holds; called once or more, never while `_read` runs."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels, of the first frame and so of all."""
        return self.first().size

    def first(self) -> Frame:
        """The first frame, which iteration will still yield. SourceError if there is none."""
        if self._first is None:
            self._first = next(self._frames, None)
            if self._first is None:
                raise SourceError(f"{self.name}: there is not a single frame in it")
        return self._first

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over all frames, once.

        Raises:
            SourceError: when read a second time; when a frame has another size than the first; after the last frame
                that could be read, when the source is damaged.
        """
        if self._started:
            raise SourceError(f"{self.name}: it has been read already; open it again to read it again")
        self._started = True
        return chain([self.first()], self._frames)

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

    def describe(self) -> str:
        """One line for people: 'clip.mp4: 854x480, 24 fps, about 82 frames'."""
        height, width = self.size
        parts = [f"{width}x{height}", f"{float(self.rate):.5g} fps"]
        if self.frame_count is not None:
            about = "" if self.frame_count_exact else "about "
            parts.append(f"{about}{self.frame_count} frame{'' if self.frame_count == 1 else 's'}")
        return f"{self.name}: {', '.join(parts)}"

    def _read_checked(self) -> Generator[Frame, None, None]:
        size = None
        try:
            with closing(self._read()) as frames:
                for frame in frames:
                    if self._closed:
                        return
                    size = size or frame.size
                    if frame.size != size:
                        found, wanted = f"{frame.size[1]}x{frame.size[0]}", f"{size[1]}x{size[0]}"
                        raise SourceError(
                            f"{self.name}: frame {frame.index} ({frame.name}) is {found} but the first is {wanted}; "
                            "all frames must have one size"
                        )
                    yield frame
        finally:
            self._release()
