"""Times of frames out of a file's time stamps."""

from __future__ import annotations

from fractions import Fraction


class StampReader:
    """Strictly increasing times, in seconds since the first frame.

    Args:
        time_base: unit of the stamps, seconds.
        rate: frames per second.
        steady: that is the rate of every frame. Where the unit is too coarse for it (Matroska rounds to milliseconds),
            stamps are taken for the multiple of 1 / rate that they are the rounding of.

    Attributes:
        longest_step: between two frames so far, seconds.
    """

    def __init__(self, time_base: Fraction, rate: Fraction, *, steady: bool) -> None:
        self.longest_step = Fraction(0)
        self._unit, self._step = time_base, 1 / rate
        self._steady = steady
        self._origin: Fraction | None = None
        self._last: Fraction | None = None

    def read(self, pts: int | None) -> Fraction:
        """The time stamp `pts`, or one step after the last where it is missing or does not increase."""
        time = Fraction(0) if self._last is None else self._last + self._step
        if pts is not None:
            stamp = pts * self._unit
            if self._origin is None:
                self._origin = stamp - time
            since = stamp - self._origin
            for stated in (self._unrounded(since), since):  # as it is where the rate does not hold after all
                if self._last is None or stated > self._last:
                    time = stated
                    break
        if self._last is not None:
            self.longest_step = max(self.longest_step, time - self._last)
        self._last = time
        return time

    def _unrounded(self, time: Fraction) -> Fraction:
        # The first stamp is rounded as well.
        exact = round(time / self._step) * self._step
        return exact if self._steady and abs(exact - time) <= self._unit else time
