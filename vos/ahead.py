"""Encoding ahead of the tracker, several frames at a time where processor cores do it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import TypeVar

import torch

from vos.video.prefetch import source_of

T = TypeVar("T")
E = TypeVar("E")

# Two frames at a time keep cores busy that one would leave waiting for each other; more would take more memory.
_AT_A_TIME = 2


def encoders(device: torch.device, compiled: bool, frames: object) -> int:
    """How many frames to encode at a time.

    Args:
        device: what encodes them. A GPU is filled by one.
        compiled: by a network that was compiled for all threads.
        frames: where they come from; those of a live source come one by one.
    """
    source = source_of(frames)
    alone = compiled or device.type != "cpu" or (source is not None and source.live is not None)
    return 1 if alone else min(_AT_A_TIME, torch.get_num_threads())


def encoded(
    items: Generator[T, None, None], encode: Callable[[T], E], count: int
) -> Generator[tuple[T, E], None, None]:
    """Each item with what `encode` makes of it, in order, `count` at a time; `items` are closed at the end.

    The cores are shared out among as many threads; with a `count` of 1, the calling thread does it. What `items` or
    `encode` raises is raised here, after the items that came before.
    """
    with closing(items):
        if count == 1:
            for item in items:
                yield item, encode(item)
            return
        waiting: deque[tuple[T, Future[E]]] = deque()
        broken = None
        with _pool(count) as pool:
            while broken is None:
                try:
                    item = next(items)
                except StopIteration:
                    break
                except Exception as error:
                    broken = error
                else:
                    waiting.append((item, pool.submit(encode, item)))
                    # One more than are in work, so that no thread waits for a slower one.
                    if len(waiting) > count:
                        first, found = waiting.popleft()
                        yield first, found.result()
            for first, found in waiting:
                yield first, found.result()
        if broken is not None:
            raise broken


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads that each use their share of the cores."""
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "vos-encode", _use, (max(1, cores // count),))
    # torch keeps one number per thread and one for threads to come; the latter is put back once all have begun.
    begun = Barrier(count + 1)
    for _ in range(count):
        pool.submit(begun.wait)
    begun.wait()
    torch.set_num_threads(cores)
    return pool


def _use(threads: int) -> None:
    torch.get_num_threads()  # else the number for new threads is taken over later, at the first work
    torch.set_num_threads(threads)
