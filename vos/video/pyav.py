"""PyAV's peculiarities, in one place: what 19 does in another way than 17 and 18, and what FFmpeg says."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.container
import av.logging
from av.stream import Disposition

if TYPE_CHECKING:
    from av.rational import AVRational

    from vos.video.opening import Pipe

# Metadata that are not UTF-8 must not make a file unreadable. From 19 on they never do; before, PyAV has to be told.
_ANY_METADATA: dict[str, Any] = (
    {"metadata_errors": "ignore"} if hasattr(av.container.Container, "metadata_errors") else {}
)


def silence() -> None:
    """Let PyAV pass on none of what FFmpeg says, where torchvision has made that it does.

    To pass it on takes Python's lock in FFmpeg's threads. Who frees a decoder holds that lock and waits for them: the
    program would hang. Torchvision, where it still reads videos (0.21), asks for errors.
    """
    if av.logging.get_level() == av.logging.ERROR:
        av.logging.set_level(None)


def open_input(what: str | Pipe, **options: Any) -> av.container.InputContainer:
    """`av.open` for reading, whatever bytes the metadata hold."""
    silence()
    return av.open(what, **_ANY_METADATA, **options)


def moving(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The streams of pictures that are no cover."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def exact(ratio: AVRational | Fraction | None) -> Fraction | None:
    """A rate or a unit of time; None where it is unknown, which from 19 on is a ratio of 0 or over 0, before None."""
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None
