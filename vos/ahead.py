"""Encoding ahead of the tracker, two frames at a time.

On a CPU no core then waits for another; a GPU has work while one frame is made ready for it, and another is handed on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Lock, get_ident
from typing import TypeVar

import torch

from vos.video.prefetch import source_of

T = TypeVar("T")
E = TypeVar("E")

# More would take more memory.
_AT_A_TIME = 2
# Frames that wait beside those in work while the caller is busy, so that encoders need not wait for it: with many
# objects it takes longest where the tracker learns.
_READY = 1
# Threads where a GPU encodes: what is left are small maps, and on many cores a step would wait for more of them.
_BESIDE_A_GPU = 4


class _Cores:
    """Remembers how many threads torch had before the first of the runs that are under way. Runs may overlap and change
    that number; it is set back as the last run of a thread ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cores = 0
        self._runs: Counter[int] = Counter()  # by the thread that began them

    @contextmanager
    def used(self) -> Iterator[int]:
        with self._lock:
            if not self._runs:
                self._cores = torch.get_num_threads()
            cores, thread = self._cores, get_ident()
            self._runs[thread] += 1
        try:
            yield cores
        finally:
            with self._lock:
                self._runs[thread] -= 1
                if not self._runs[thread]:
                    del self._runs[thread]
                    torch.set_num_threads(cores)


_CORES = _Cores()


@contextmanager
def encoders(device: torch.device, compiled: bool, frames: object) -> Iterator[int]:
    """How many frames to encode at a time; on a CPU, each with its share of the cores.

    The calling thread gets the same share: with more, its parallel sections would wait for cores that the encoders
    hold. Beside a GPU it computes with a few.

    Args:
        device: what encodes them.
        compiled: whether the network is compiled; on a CPU such a network uses all threads for one frame.
        frames: where they come from; those of a live source come one by one.
    """
    source = source_of(frames)
    live = source is not None and source.live is not None
    with _CORES.used() as cores:
        several = device.type == "cuda" or (device.type == "cpu" and cores >= _AT_A_TIME)
        count = _AT_A_TIME if several and not compiled and not live else 1
        torch.set_num_threads(cores // count if device.type == "cpu" else min(cores, _BESIDE_A_GPU))
        yield count


def encoded(
    items: Generator[T, None, None], encode: Callable[[T], E], count: int
) -> Generator[tuple[T, E], None, None]:
    """Each item with what `encode` makes of it, in order; `items` are closed at the end.

    What `items` or `encode` raises is raised here, after the items that came before.

    Args:
        count: how many at a time, as told by `encoders`. Several are encoded in threads, ahead of what is asked for;
            a single one by the calling thread, when it is asked for.
    """
    with closing(items):
        if count == 1:
            for item in items:
                yield item, encode(item)
            return
        waiting: deque[tuple[T, Future[E]]] = deque()
        broken = None
        # Each thread is told its number of threads: libraries that torch calls would go by the number of cores.
        with ThreadPoolExecutor(count, "vos-encode", torch.set_num_threads, (torch.get_num_threads(),)) as pool:
            try:
                while broken is None:
                    try:
                        item = next(items)
                    except StopIteration:
                        break
                    except Exception as error:
                        broken = error
                    else:
                        waiting.append((item, pool.submit(encode, item)))
                        if len(waiting) > count + _READY:
                            yield _first(waiting)
                while waiting:
                    yield _first(waiting)
            finally:
                for _, found in waiting:
                    found.cancel()
        if broken is not None:
            raise broken


def _first(waiting: deque[tuple[T, Future[E]]]) -> tuple[T, E]:
    item, found = waiting.popleft()
    return item, found.result()
