"""Which frames of a source are read: from where, to where, and how many of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isfinite
from numbers import Rational, Real
from operator import index
from typing import Any

import numpy as np

from vos.errors import SettingsError

# A place in a clip: an int is a frame's number, from 0; a Fraction is a time, seconds since the first frame.
Moment = int | Fraction

_SMALLEST = 32
READERS = ("pyav", "decord")
# Frames per second of what has no clock.
RATE_IF_UNCLOCKED = Fraction(24)
_FASTEST, _SLOWEST = 100_000, 43_200

_FRAME = re.compile(r"\d{1,9}", re.ASCII)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})s", re.ASCII)
_RATE = re.compile(r"(\d{1,32}(?:\.\d{0,32})?|\.\d{1,32})(?:/(\d{1,32}))?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}(?:\.\d{0,9})?)", re.ASCII)


def parse_moment(text: str) -> Moment:
    """Reads a frame's number, "300", or a time: "12.5s", "1:02.5", "1:00:02".

    Raises:
        SettingsError: another form.
    """
    given = text.strip()
    if _FRAME.fullmatch(given):
        return int(given)
    if match := _SECONDS.fullmatch(given):
        return Fraction(match[1])
    if match := _CLOCK.fullmatch(given):
        hours, minutes, seconds = match.groups()
        return Fraction(int(hours or 0) * 3600 + int(minutes) * 60) + Fraction(seconds)
    raise SettingsError(f"{text!r} is neither a frame nor a time; write 300 (a frame), 12.5s, 1:02.5 or 1:00:02.5")


def parse_rate(text: str) -> Fraction:
    """Reads frames per second: "10", "29.97", "30000/1001", "1/300".

    Raises:
        SettingsError: another form, or a rate that `Reading` refuses.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or int(match[2] or 1) == 0:
        raise SettingsError(f"{text!r} is no rate; write frames per second, such as 10, 29.97, 30000/1001 or 1/300")
    return _rate(Fraction(match[1]) / int(match[2] or 1))


def moment_text(moment: Moment) -> str:
    """A moment as `parse_moment` reads it."""
    return str(moment) if isinstance(moment, int) else f"{float(moment):.9f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True)
class Pending:
    """A frame that has come by, as in `vos.types.Frame`, whose pixels are made only if they are wanted.

    Attributes:
        image: makes them, uint8 (H, W, 3) RGB; SourceError.
    """

    index: int
    image: Callable[[], np.ndarray]
    time: Fraction | None
    name: str


@dataclass(frozen=True)
class Reading:
    """How a source is read. Frames keep the numbers and the times that they have in the whole source.

    Attributes:
        start: the first frame, or the time from which on frames are read.
        end: the last frame, or the time up to which frames are read, itself included; None reads to the end.
        every: read each frame whose distance from the first one read is a multiple of this.
        autorotate: turn pictures upright, as the file says.
        reader: of video files: "pyav", or "decord" where that is installed.
        max_size: of the picture's longer side, pixels, as trackers see it; frames and results keep their own size. See
            `vos.reduced`.
        rate: frames per second of images and arrays, which then have times; None leaves them without. Videos have
            their own, and are refused.

    Raises:
        SettingsError: nothing lies between start and end, or one is no moment; `every` or `max_size` is too small; an
            unknown reader; `rate` is none.
    """

    start: Moment = 0
    end: Moment | None = None
    every: int = 1
    autorotate: bool = True
    reader: str = READERS[0]
    max_size: int | None = None
    rate: Fraction | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _moment(self.start, "start"))
        object.__setattr__(self, "end", None if self.end is None else _moment(self.end, "end"))
        object.__setattr__(self, "every", _count(self.every, "every", 1))
        size = None if self.max_size is None else _count(self.max_size, "max_size", _SMALLEST)
        object.__setattr__(self, "max_size", size)
        object.__setattr__(self, "rate", None if self.rate is None else _rate(self.rate))
        if self.rate is not None and self.rate / self.every < Fraction(1, _SLOWEST):
            raise SettingsError(
                f"every {_ordinal(self.every)} of {self.rate} frames a second are less than one in {_SLOWEST} seconds"
            )
        if self.start < 0 or (self.end is not None and self.end < 0):
            raise SettingsError(f"start and end must be 0 or more, got {self.start} and {self.end}")
        comparable = self.end is not None and isinstance(self.start, int) == isinstance(self.end, int)
        if comparable and self.end is not None and self.end < self.start:
            raise SettingsError(f"there is nothing {self.span}; the end must not lie before the start")
        if self.reader not in READERS:
            raise SettingsError(f"unknown reader {self.reader!r}; there are {', '.join(READERS)}")

    @property
    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "start": moment_text(self.start),
            "end": None if self.end is None else moment_text(self.end),
            "every": self.every,
            "autorotate": self.autorotate,
            "reader": self.reader,
            "max_size": self.max_size,
            "rate": None if self.rate is None else str(self.rate),
        }

    @classmethod
    def restored(cls, record: Mapping[str, Any]) -> Reading:
        """From a `record`."""
        values = dict(record)
        for name in ("start", "end"):
            if values.get(name) is not None:
                values[name] = parse_moment(values[name])
        if values.get("rate") is not None:
            values["rate"] = parse_rate(values["rate"])
        return cls(**values)

    @property
    def needs_clock(self) -> bool:
        """Whether a time is asked for."""
        return isinstance(self.start, Fraction) or isinstance(self.end, Fraction)

    @property
    def span(self) -> str:
        """In words: "from frame 300 to 12.5s, every 2nd frame"; empty where it is everything."""
        first = f"from {_named(self.start)}" if self.start else ""
        last = "" if self.end is None else f"to {_named(self.end)}"
        which = "" if self.every == 1 else f"every {_ordinal(self.every)} frame"
        return ", ".join(part for part in (" ".join(part for part in (first, last) if part), which) if part)

    def select(self, frames: Iterable[Pending]) -> Iterator[Pending]:
        """Those that are wanted, of all frames in order; asks for none after the last one of these."""
        first = None
        for frame in frames:
            if _is_after(frame, self.end):
                return
            if first is None and not _is_before(frame, self.start):
                first = frame.index
            if first is not None and (frame.index - first) % self.every == 0:
                yield frame
            if isinstance(self.end, int) and frame.index >= self.end:
                return

    def includes(self, frame: int, first: int) -> bool:
        """Whether a frame is wanted, as far as can be told without times; `first` is the first one that is."""
        after = isinstance(self.end, int) and frame > self.end
        return frame >= first and (frame - first) % self.every == 0 and not after

    def bound(self, count: int | None) -> int | None:
        """A number that no wanted frame has or exceeds, of `count` frames."""
        bounds = [bound for bound in (count, self.end + 1 if isinstance(self.end, int) else None) if bound is not None]
        return min(bounds, default=None)

    def expected(self, count: int | None, rate: Fraction) -> int | None:
        """How many frames of `count` are wanted; about, where times are asked for; None if that is not known."""
        bound = self.bound(count)
        if isinstance(self.end, Fraction):
            last = floor(self.end * rate)
            bound = last + 1 if bound is None else min(bound, last + 1)
        start = self.start if isinstance(self.start, int) else ceil(self.start * rate)
        return None if bound is None else max(0, -(-(bound - start) // self.every))


def _whole(value: object) -> int | None:
    """A whole number, NumPy's included; None for anything else."""
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _moment(value: object, name: str) -> Moment:
    moment = value if isinstance(value, Fraction) else _whole(value)
    if moment is None:
        raise SettingsError(f"{name} must be a frame's number or a Fraction of seconds, got {value!r}")
    return moment


def _rate(value: object) -> Fraction:
    rate = None
    if isinstance(value, Real) and not isinstance(value, bool) and isfinite(value):
        # As text, 29.97 is 2997/100, and not the binary fraction beside it.
        rate = Fraction(value if isinstance(value, Rational) else str(value))
    if rate is None or not Fraction(1, _SLOWEST) <= rate <= _FASTEST:
        raise SettingsError(
            f"rate must be a number of frames per second, from one in {_SLOWEST} seconds to {_FASTEST}, got {value}"
        )
    return rate


def _count(value: object, name: str, least: int) -> int:
    number = _whole(value)
    if number is None or number < least:
        raise SettingsError(f"{name} must be {least} or more, a whole number, got {value}")
    return number


def _named(moment: Moment) -> str:
    return f"frame {moment}" if isinstance(moment, int) else moment_text(moment)


def _ordinal(number: int) -> str:
    """2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


EVERYTHING = Reading()


def _is_before(frame: Pending, moment: Moment) -> bool:
    return frame.index < moment if isinstance(moment, int) else frame.time is not None and frame.time < moment


def _is_after(frame: Pending, moment: Moment | None) -> bool:
    if moment is None:
        return False
    return frame.index > moment if isinstance(moment, int) else frame.time is not None and frame.time > moment
