"""Encoding ahead of the tracker, two frames at a time.

On a CPU no core then waits for another; a GPU has work while one frame is made ready for it, and another is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Lock
from typing import NamedTuple, TypeVar

import torch

from vos.settings import Settings
from vos.video.prefetch import prefetch, source_of
from vos.video.source import Source

T = TypeVar("T")
E = TypeVar("E")

# More would take more memory.
_AT_A_TIME = 2
# Frames that wait beside those in work while the caller is busy, so that encoders need not wait for it: with many
# objects it takes longest where the tracker learns.
_READY = 1
# Threads where a GPU encodes: what is left are small maps, and on many cores a step would wait for more of them.
_BESIDE_A_GPU = 4


class Share(NamedTuple):
    """How a run shares the cores.

    Attributes:
        at_a_time: frames that are encoded at a time.
        threads: with which each of torch's callers computes meanwhile.
        cores: threads that a caller has otherwise.
    """

    at_a_time: int
    threads: int
    cores: int


class _Cores:
    """Remembers how many threads torch had before the first of the runs that are under way, which may overlap: whatever
    one thread sets is also what threads begin with that come later."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cores = self._runs = 0

    @contextmanager
    def used(self) -> Iterator[int]:
        with self._lock:
            if not self._runs:
                self._cores = torch.get_num_threads()
            self._runs += 1
            cores = self._cores
        try:
            yield cores
        finally:
            with self._lock:
                self._runs -= 1
            torch.set_num_threads(cores)


_CORES = _Cores()


@contextmanager
def share(device: torch.device, settings: Settings, frames: object) -> Iterator[Share]:
    """How a run encodes: on a CPU each frame with its share of the cores that torch may use. Ends with the run.

    The tracker gets the same share: with more, its parallel sections would wait for cores that the encoders hold.
    Beside a GPU it computes with a few.

    Args:
        device: what encodes them.
        settings: whether the network is compiled; on a CPU such a network uses all threads for one frame. Without
            `channels_last` products on a CPU are Intel's library's, which has one number of threads for all that call
            it: its sums, to the last bit, would depend on what the caller does between results, so that has no more.
        frames: where they come from; those of a live source come one by one.
    """
    source = source_of(frames)
    live = source is not None and source.live is not None
    with _CORES.used() as cores:
        several = device.type == "cuda" or (device.type == "cpu" and cores >= _AT_A_TIME)
        count = _AT_A_TIME if several and not settings.compile and not live else 1
        threads = cores // count if device.type == "cpu" else min(cores, _BESIDE_A_GPU)
        one_for_all = device.type == "cpu" and not settings.channels_last
        yield Share(count, threads, threads if one_for_all else cores)


@contextmanager
def computing(how: Share) -> Iterator[None]:
    """A with-block in which this thread computes with its share of the cores; otherwise it has all of them."""
    torch.set_num_threads(how.threads)
    try:
        yield
    finally:
        torch.set_num_threads(how.cores)


def encoded(
    items: Generator[T, None, None], encode: Callable[[T], E], how: Share, source: Source | None = None
) -> Generator[tuple[T, E], None, None]:
    """Each item with what `encode` makes of it, in order; `items` are closed at the end.

    What `items` or `encode` raises is raised here, after the items that came before.

    Args:
        how: several at a time are encoded in threads, ahead of what is asked for; a single one by the calling thread,
            when it is asked for.
        source: where the items come from in the end.
    """
    if how.at_a_time == 1:
        with closing(items):
            for item in items:
                with computing(how):
                    found = encode(item)
                yield item, found
        return
    # Each thread is told its number of threads: libraries that torch calls would go by the number of cores.
    pool = ThreadPoolExecutor(how.at_a_time, "vos-encode", torch.set_num_threads, (how.threads,))

    def begun() -> Generator[tuple[T, Future[E]], None, None]:
        with closing(items):
            for item in items:
                yield item, pool.submit(encode, item)

    try:
        # One more than wait is in the hand of the thread that begins them.
        with closing(prefetch(begun(), how.at_a_time + _READY - 1, source)) as waiting:
            for item, future in waiting:
                yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
