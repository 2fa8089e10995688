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
    """Stop PyAV from forwarding FFmpeg's messages, if torchvision has switched that on (0.21 and before do).

    To forward them takes Python's lock in FFmpeg's threads. Whoever frees a decoder holds that lock and waits for these
    threads, so the program would hang.
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
