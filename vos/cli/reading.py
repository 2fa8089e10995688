"""What `vos track` reads of a source: the options, and what is told about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from vos.cli.report import tell
from vos.errors import SettingsError
from vos.references import ReferencePlan
from vos.results.kinds import DATA_SETS, KINDS
from vos.results.sound import why_silent
from vos.video import Reading, Source, parse_moment, parse_rate

T = TypeVar("T")

_EVERY_SECONDS = 10.0
_CUTS_SHOWN = 10


def reading_of(
    start: str | None,
    end: str | None,
    every: int,
    max_size: int | None,
    fps: str | None,
    *,
    autorotate: bool,
    reader: str,
) -> Reading:
    """What the options ask for; SettingsError."""
    first, last = _parsed("--start", start, parse_moment), _parsed("--end", end, parse_moment)
    return Reading(first or 0, last, every, autorotate, reader, max_size, _parsed("--fps", fps, parse_rate))


def _parsed(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except SettingsError as error:
        raise SettingsError(f"{option}: {error}") from None


def notes(source: Source, plan: ReferencePlan, save: Sequence[str]) -> list[str]:
    """What does not come out as somebody may expect."""
    lines = []
    if "overlay" in save and (reason := why_silent(source.origin)) is not None:
        lines.append(f"{source.name}: {reason}; overlay.mp4 is silent")
    late = {i: frame for i, frame in plan.entries.items() if frame > source.first().index and not plan.both_ways}
    sets = [KINDS[name].target for name in save if name in DATA_SETS]
    if late and sets:
        who = ", ".join(f"{i} before frame {frame}" for i, frame in late.items())
        lines.append(
            f"{' and '.join(map(str, sets))}: no object {who}, whatever the pictures show; --both-ways tracks it there"
        )
    if "pictures" in save and not source.clocked and any(name in save for name in ("coco", "youtube")):
        lines.append("pictures/ is numbered by frames; coco.json and youtube.json name the images of the source")
    return lines


class Watch:
    """What is noticed while frames are answered: cuts, and how a live source keeps up.

    Attributes:
        reached: frames up to this number, itself excluded, have come by.
    """

    def __init__(self, source: Source, *, quiet: bool) -> None:
        self.reached = 0
        self._source = source
        self._quiet = quiet
        self._cuts: list[int] = []
        self._told = time.monotonic()

    def answered(self, index: int, *, cut: bool) -> None:
        """A frame has its result."""
        self.reached = index + 1
        if cut:
            self._cuts.append(index)
        if self._source.live is None:
            return
        self._source.live.answer()
        if time.monotonic() - self._told >= _EVERY_SECONDS:
            self._told = time.monotonic()
            tell(self._quiet, f"{self._source.name}: {self._source.live}")

    def lines(self) -> list[str]:
        """What there is to say at the end."""
        told = []
        if self._cuts:
            several = "" if len(self._cuts) == 1 else "s"
            hidden = len(self._cuts) - _CUTS_SHOWN
            more = f" and {hidden} more (see track.json)" if hidden > 0 else ""
            numbers = ", ".join(map(str, self._cuts[:_CUTS_SHOWN]))
            told.append(f"cut{several} at frame{several} {numbers}{more}")
        if self._source.live is not None:
            told.append(f"{self._source.name}: {self._source.live}")
        return told
