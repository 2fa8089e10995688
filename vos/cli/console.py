"""Where and how the command line prints."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from io import TextIOWrapper
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class _Console(Console):
    """A console that goes quiet when nobody reads it any more, or where it leads to a full disk: a run goes on, since
    its results are files."""

    def print(self, *objects: Any, **how: Any) -> None:
        try:
            super().print(*objects, **how)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        let_go(self.file)


def let_go(stream: IO[str]) -> None:
    """What Python still flushes at its end must go somewhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """In one line, and nothing that a terminal would obey: file names may hold anything. Spaces of all kinds stay."""

    def shown(c: str) -> str:
        kept = c.isprintable() or unicodedata.category(c) == "Zs"
        return c if kept else c.encode("unicode_escape", "surrogatepass").decode()

    return "".join(map(shown, text))


def show_all_characters() -> None:
    """What the terminal's encoding cannot show, as a file name may hold, is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


# Names of files are no codes of emojis.
stdout = _Console(highlight=False, soft_wrap=True, emoji=False)
stderr = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


class FrameProgress:
    """Frames done, frames per second, time left: a bar on a terminal, a plain line now and then elsewhere.

    Args:
        total: frames expected, or None where unknown. An estimate may be wrong; the count never is.
        quiet: show nothing.
        done: frames that an earlier run has done.
        what: is being done to them.
    """

    _EVERY_SECONDS = 10.0

    def __init__(self, total: int | None, *, quiet: bool, done: int = 0, what: str = "tracking") -> None:
        self._total = total
        self._quiet = quiet
        self._what = what
        self._done = self._kept = done
        self._began = self._last = time.monotonic()
        self._bar: Progress | None = None
        if stdout.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn(what),
                BarColumn(),
                TextColumn("frame {task.fields[frame]}  {task.fields[rate]} frames/s"),
                TimeRemainingColumn(),
                console=stdout,
            )
            self._task = self._bar.add_task("", total=total, completed=done, frame=self._of(), rate="-")

    def __enter__(self) -> FrameProgress:
        self._began = self._last = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def done(self) -> int:
        """Frames so far."""
        return self._done

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Frames per second so far."""
        return (self._done - self._kept) / max(self.seconds, 1e-9)

    def advance(self) -> None:
        """One more frame is done."""
        self._done += 1
        if self._bar is not None:
            total = self._total if self._total is None or self._total >= self._done else None
            self._bar.update(self._task, completed=self._done, total=total, frame=self._of(), rate=f"{self.rate:.2f}")
        elif not self._quiet and time.monotonic() - self._last >= self._EVERY_SECONDS:
            self._last = time.monotonic()
            what = "" if self._what == "tracking" else f"{self._what}: "
            stdout.print(f"{what}frame {self._of()}  {self.rate:.2f} frames/s{self._left()}")

    def _of(self) -> str:
        known = self._total is not None and self._total >= self._done
        return f"{self._done}/{self._total}" if known else str(self._done)

    def _left(self) -> str:
        if self._total is None or self._total <= self._done:
            return ""
        return f"  {duration((self._total - self._done) / self.rate)} left"


def duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
