"""Sources that do not wait for whoever reads them: the newest frame is the one that counts."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Condition, Thread

from vos.video.container import VideoSource
from vos.video.cuts import CutDetector
from vos.video.reading import Pending
from vos.video.source import Frames


@dataclass
class LiveCount:
    """What a live source left out, and how old its frames were when they were answered.

    Attributes:
        dropped: frames that a newer one replaced before they could be taken.
        answered: frames taken and answered.
        latency: of the last one answered, from its arrival to its answer, seconds.
        mean_latency, worst_latency: of all, seconds.
    """

    dropped: int = 0
    answered: int = 0
    latency: float = 0.0
    mean_latency: float = 0.0
    worst_latency: float = 0.0
    _arrived: float | None = None

    def take(self, arrived: float) -> None:
        """A frame that arrived at a time of `time.monotonic` goes to work."""
        self._arrived = arrived

    def answer(self) -> None:
        """The frame that was taken last has its result."""
        if self._arrived is None:
            return
        self.latency = time.monotonic() - self._arrived
        self.answered += 1
        self.mean_latency += (self.latency - self.mean_latency) / self.answered
        self.worst_latency = max(self.worst_latency, self.latency)

    def __str__(self) -> str:
        frames = f"{self.dropped} frame{'' if self.dropped == 1 else 's'} dropped"
        return f"latency {self.mean_latency:.2f} s on average, {self.worst_latency:.2f} s at most; {frames}"


class LiveSource(VideoSource):
    """A camera: its newest frame is handed out; those that came while nobody asked are dropped and counted.

    Frames are numbered and timed as they arrive, the dropped ones too, from the first one of the iteration, which is a
    new one however long ago the source was opened.
    """

    live: LiveCount
    _restarts = False

    def __iter__(self) -> Frames:
        super().__iter__()
        self._restarts = True
        return Frames(self, self._frames)

    def _read(self) -> Generator[Pending, None, None]:
        base: Pending | None = None
        with closing(newest(super()._read())) as frames:
            for frame, arrived, dropped in frames:
                if base is None or self._restarts:
                    base, self._restarts = frame, False
                    self.live, self._cuts = LiveCount(), CutDetector()
                else:
                    self.live.dropped += dropped
                self.live.take(arrived)
                index = frame.index - base.index
                time = None if frame.time is None or base.time is None else frame.time - base.time
                yield replace(frame, index=index, time=time, name=str(index))


def newest(frames: Iterable[Pending]) -> Generator[tuple[Pending, float, int], None, None]:
    """Read in a background thread; yield the newest frame once, when it arrived, and how many it replaced.

    Arrival is by `time.monotonic`. Closing waits for the frame that is being read.
    """
    state = Condition()
    slot: list[tuple[Pending, float]] = []
    replaced, ended, stopped = 0, False, False
    error: BaseException | None = None

    def read() -> None:
        nonlocal replaced, ended, error
        try:
            for frame in frames:
                with state:
                    if stopped:
                        return
                    replaced += len(slot)
                    slot[:] = [(frame, time.monotonic())]
                    state.notify()
        except BaseException as problem:
            error = problem
        finally:
            with state:
                ended = True
                state.notify()

    thread = Thread(target=read, name="vos-live", daemon=True)
    thread.start()
    try:
        while True:
            with state:
                state.wait_for(lambda: slot or ended)
                if not slot:
                    break
                frame, arrived = slot.pop()
                count, replaced = replaced, 0
            yield frame, arrived, count
        if error is not None:
            raise error
    finally:
        with state:
            stopped = True
        thread.join()
