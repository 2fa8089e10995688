"""Time stamps of the videos that are written."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

from vos.results.sinks import Clip
from vos.types import Frame

# They have 31 bits for what lies between two frames: pauses of so many seconds, and of so many frames, must fit.
_LONGEST, _LONGEST_STEPS = Fraction(600), 100


class StampWriter:
    """A clip's own time stamps from the first frame on, in units that MP4 and QuickTime can express, ever increasing.

    Times are exact where the clip's clock and rate have a common unit that these can express, else to 1/90000 s (or, of
    very slow clips, to a millisecond). Frames without a time are spaced by the clip's rate.

    Attributes:
        unit: seconds.
    """

    def __init__(self, clip: Clip) -> None:
        clock = Fraction(1) if clip.time_base is None else clip.time_base
        exact = lcm(clock.denominator, clip.rate.numerator)
        longest = max(_LONGEST, _LONGEST_STEPS / clip.rate)
        self.unit = Fraction(1, next((ticks for ticks in (exact, 90_000) if ticks * longest < 2**31), 1000))
        self._rate = clip.rate
        self._first: Fraction | None = None
        self._count = 0
        self._last = -1

    def stamp(self, frame: Frame) -> int:
        """The next frame's time, in units."""
        time = self._count / self._rate if frame.time is None else frame.time
        self._count += 1
        self._first = time if self._first is None else self._first
        self._last = max(round((time - self._first) / self.unit), self._last + 1)
        return self._last
