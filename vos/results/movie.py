"""The overlay video."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
import av.error
import cv2

from vos.errors import OutputError
from vos.results.files import PartFile, Reserve
from vos.results.overlay import OverlayPainter
from vos.results.summary import Summary
from vos.types import Frame, FrameResult

if TYPE_CHECKING:
    from vos.video.source import Source

_ENCODER: Final = "libx264"
_OPTIONS = {"preset": "veryfast", "crf": "20"}
_BT709 = 1  # the code of BT.709 as a matrix, as primaries and as a transfer function (ITU-T H.273)
_LIMITED_RANGE = 1


def check_encoder() -> None:
    """Raise OutputError if this build of FFmpeg cannot write H.264."""
    if _ENCODER not in av.codecs_available:
        raise OutputError(
            f"overlay.mp4: this PyAV was built without {_ENCODER}; install PyAV's own wheel or do without the overlay"
        )


class OverlaySink:
    """H.264 in MP4, yuv420p, BT.709, with the source's own time stamps.

    Times are exact where the source's clock and rate have a common unit that MP4 can express, else to 1/90000 s.
    Frames without a time are spaced by the source's rate. Odd sizes are padded to even ones by repeating the edge.
    """

    def __init__(self, path: Path, reserve: Reserve, source: Source) -> None:
        self.path = path
        self._rate = source.rate
        self._unit = _time_unit(source)
        self._last_pts = -1
        self._painter = OverlayPainter(source.size)
        height, width = source.size
        self._padding = (height % 2, width % 2)
        self._file = PartFile(path, reserve)
        self._container = av.open(self._file, "w", format="mp4")
        rate = source.rate.limit_denominator(1_001_000)
        self._stream = self._container.add_stream(_ENCODER, rate=rate, options=_OPTIONS)
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._unit
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE

    def write(self, result: FrameResult) -> None:
        image = self._painter.paint(result)
        if any(self._padding):
            image = cv2.copyMakeBorder(image, 0, self._padding[0], 0, self._padding[1], cv2.BORDER_REPLICATE)
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        picture.time_base = self._unit
        picture.pts = self._last_pts = self._next_pts(result.frame)
        self._encode(picture)
        self._file.check()

    def close(self, summary: Summary) -> None:
        if not summary.frames:
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
            self._file.discard()
            return
        try:
            self._encode(None)
            self._container.close()
            self._file.publish()
        except BaseException:
            self._file.discard()
            raise

    def _encode(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def _next_pts(self, frame: Frame) -> int:
        time = frame.index / self._rate if frame.time is None else frame.time
        return max(round(time / self._unit), self._last_pts + 1)


def _time_unit(source: Source) -> Fraction:
    clock = Fraction(1) if source.time_base is None else source.time_base
    ticks = lcm(clock.denominator, source.rate.numerator)
    return Fraction(1, ticks if ticks < 2**31 else 90_000)
