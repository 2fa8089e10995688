"""SMPTE timecode (ST 12-1): hours, minutes, seconds and frames of the day."""

from __future__ import annotations

import re
from fractions import Fraction

_FORM = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d\d)", re.ASCII)


def advanced(timecode: str, frames: int, rate: Fraction) -> str | None:
    """A timecode so many frames later, or None where a text is none of that rate.

    Frames are counted at the nearest whole rate. With a semicolon or a point before the frames (drop frame), at 29.97
    and 59.94 frames per second, the first two (four) numbers of every minute are left out but in every tenth, so that
    it keeps time.
    """
    match = _FORM.fullmatch(timecode.strip())
    per_second = round(rate)
    if match is None or not 1 <= per_second <= 99 or int(match[5]) >= per_second:
        return None
    hours, minutes, seconds, frame = (int(match[k]) for k in (1, 2, 3, 5))
    drops = match[4] in ";."
    if drops and (per_second % 30 or rate.denominator != 1001):
        return None
    left_out = per_second // 15 if drops else 0
    in_ten = 600 * per_second - 9 * left_out
    minute = 60 * hours + minutes
    number = (60 * minute + seconds) * per_second + frame - left_out * (minute - minute // 10) + frames
    number %= 24 * 6 * in_ten
    tens, rest = divmod(number, in_ten)
    # Within ten minutes the first minute has all of its numbers.
    passed = max(0, (rest - left_out) // (60 * per_second - left_out)) if drops else 0
    number += left_out * (9 * tens + passed)
    second, frame = divmod(number, per_second)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{match[4]}{frame:02d}"
