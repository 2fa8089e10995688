"""Reading ahead in a background thread."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from queue import Empty, Queue
from threading import Event, Thread, current_thread
from typing import TypeVar

from vos.video.source import Source

T = TypeVar("T")
# Seconds for a thread to end when Python does, and for one that reads what another program may never make.
_PATIENCE, _PATIENCE_WITH_OTHERS = 5.0, 1.0
# What ends the threads of generators that are open, in the order in which they were started: one that reads from
# another ends that one too.
_OPEN: dict[object, Callable[[], None]] = {}


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def source_of(frames: object) -> Source | None:
    """The source that frames come from, where they are one or say so by an attribute `source`."""
    return frames if isinstance(frames, Source) else getattr(frames, "source", None)


def prefetch(frames: Iterable[T], size: int, source: Source | None = None) -> Generator[T, None, None]:
    """Yield the items of `frames`, read by a background thread that stays at most `size` items ahead.

    The thread starts with the first `next`. What it raises is raised here, after the items that came before. Closing
    the generator ends the thread as soon as the item it is reading has come, and waits for that, though not for what a
    pipe may never send. Only Ctrl-C cuts the wait short; the thread then ends later, by itself. Where `frames` is a
    generator, the thread closes it at its end. For what some other program makes as it pleases (`Source.foreign`), it
    is not waited for longer than `_PATIENCE_WITH_OTHERS`.

    A live source is read without this, since its frames would grow old while they wait.

    Args:
        source: where the items come from in the end, unless `frames` says so itself.

    Raises:
        ValueError: if `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"prefetch needs room for at least one item, got {size = }")
    source = source or source_of(frames)
    if source is not None and source.live is not None:
        return _direct(frames)
    return _prefetch(frames, size, source)


def _direct(frames: Iterable[T]) -> Generator[T, None, None]:
    yield from frames


def _prefetch(frames: Iterable[T], size: int, source: Source | None) -> Generator[T, None, None]:
    queue: Queue[T | _End] = Queue(maxsize=size)
    stop = Event()

    def read() -> None:
        end = _End()
        try:
            with closing(frames) if isinstance(frames, Generator) else nullcontext():
                for item in frames:
                    if stop.is_set():
                        return
                    queue.put(item)
        except BaseException as error:
            end = _End(error)
        if not stop.is_set():
            queue.put(end)

    thread = Thread(target=read, name="vos-prefetch", daemon=True)

    def end(patience: float | None = None) -> None:
        stop.set()
        if source is not None:
            source.interrupt()
        # The thread looks at `stop` before each put, so at most one more put follows; an empty queue has room for it.
        while True:
            try:
                queue.get_nowait()
            except Empty:
                break
        # The garbage collector may close this in the very thread.
        if thread is not current_thread():
            thread.join(_PATIENCE_WITH_OTHERS if source is not None and source.foreign else patience)

    _OPEN[stop] = partial(end, _PATIENCE)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        end()
        del _OPEN[stop]


@atexit.register
def _end_all() -> None:
    """A thread that decodes while Python goes down would abort it: a traceback may have kept its generator."""
    for end in tuple(_OPEN.values()):
        end()
