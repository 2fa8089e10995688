"""Ctrl-C, Ctrl-Break, a polite kill and a closed terminal: all end a run in order, with what is written finished."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_PATIENCE = b"vos: finishing what is written; once more to end at once\n"


class Stopped(BaseException):
    """The user wants the program to end. Not a KeyboardInterrupt, which command line libraries catch on their own."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first such signal into `Stopped`, ask for patience at the second, and end at once at the third.

    A signal that is ignored on entry (as under `nohup`) stays ignored. Must be entered in the main thread.
    """
    count = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise Stopped
        if count == 2:
            os.write(2, _PATIENCE)
        else:
            os._exit(STOPPED)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
