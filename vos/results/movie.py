"""The overlay video."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import av
import av.error
import cv2

from vos.errors import OutputError
from vos.results.files import PartFile, Reserve
from vos.results.overlay import OverlayPainter
from vos.results.sinks import Run
from vos.results.sound import Sound
from vos.results.stamps import StampWriter
from vos.results.summary import Summary
from vos.results.yuv import bt709, tag_bt709
from vos.types import FrameResult

if TYPE_CHECKING:
    from vos.video.source import Source

_ENCODER: Final = "libx264"
_LONGEST_SIDE = 16_384
_OPTIONS = {"preset": "veryfast", "crf": "20"}


def check_overlay(size: tuple[int, int]) -> None:
    """Raise OutputError if this build of FFmpeg cannot write H.264, or H.264 no frames of this size, (H, W)."""
    if _ENCODER not in av.codecs_available:
        raise OutputError(
            f"overlay.mp4: this PyAV was built without {_ENCODER}; install PyAV's own wheel or do without the overlay"
        )
    if max(size) > _LONGEST_SIDE:
        raise OutputError(
            f"overlay.mp4: H.264 takes up to {_LONGEST_SIDE} pixels along a side, and the frames are "
            f"{size[1]}x{size[0]}; leave it out, as in --save masks,json"
        )


class OverlaySink:
    """H.264 in MP4, yuv420p, BT.709, with the source's own time stamps from its first frame on, and its sound.

    Times are as in `StampWriter`, sound as in `Sound`. Odd sizes are padded to even ones by repeating the edge.
    """

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        # Where pictures are needed, the clip is an open source.
        source = self._source = cast("Source", run.clip)
        self._clock = StampWriter(source)
        self._end = Fraction(0)
        self._sound: Sound | None = None
        self._begun = False
        self._painter = OverlayPainter(source.size, run.labels)
        height, width = source.size
        self._padding = (height % 2, width % 2)
        self._file = PartFile(path, reserve)
        self._container = av.open(self._file, "w", format="mp4")
        rate = source.rate.limit_denominator(1_001_000)
        self._stream = self._container.add_stream(_ENCODER, rate=rate, options=_OPTIONS)
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base, context.sample_aspect_ratio = self._clock.unit, source.pixel_aspect
        tag_bt709(context)

    def write(self, result: FrameResult) -> None:
        if not self._begun:
            self._sound = Sound.open(self._source.origin, result.frame.time, self._container)
            self._begun = True
        image = self._painter.paint(result)
        if any(self._padding):
            image = cv2.copyMakeBorder(image, 0, self._padding[0], 0, self._padding[1], cv2.BORDER_REPLICATE)
        picture = bt709(image, "yuv420p")
        picture.time_base, picture.pts = self._clock.unit, self._clock.stamp(result.frame)
        self._encode(picture)
        begins = picture.pts * self._clock.unit
        self._end = begins + 1 / self._source.rate
        if self._sound is not None:
            self._sound.copy(begins)
        self._file.check()

    def close(self, summary: Summary) -> None:
        try:
            if not summary.frames:
                with suppress(OSError, av.error.FFmpegError):
                    self._container.close()
                self._file.discard()
                return
            self._encode(None)
            if self._sound is not None:
                self._sound.copy(self._end)
            self._container.close()
            self._file.publish()
        except BaseException:
            self._file.discard()
            raise
        finally:
            if self._sound is not None:
                self._sound.close()

    def _encode(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
