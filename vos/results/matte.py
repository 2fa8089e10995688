"""Moving mattes: Apple ProRes 4444 with alpha, one file per object."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.video.plane import VideoPlane

from vos.errors import OutputError
from vos.results.files import PartFile, Reserve
from vos.results.sinks import Run, alpha_of, every_id
from vos.results.stamps import StampWriter
from vos.results.summary import Summary
from vos.results.yuv import bt709, tag_bt709
from vos.types import Frame, FrameResult
from vos.video.timecode import advanced

_ENCODER = "prores_ks"
_OPTIONS = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
_PIXELS = "yuva444p10le"


def check_prores(size: tuple[int, int]) -> None:
    """Raise OutputError if this build of FFmpeg cannot write ProRes."""
    if _ENCODER not in av.codecs_available:
        raise OutputError(
            f"prores/: this PyAV was built without {_ENCODER}; install PyAV's own wheel or save alpha instead"
        )


class ProresSink:
    """A folder of QuickTime files, 1.mov for object 1: the whole picture, and the object's straight alpha.

    ProRes 4444, yuva444p10le, BT.709, alpha without loss, with the clip's own time stamps and timecode. An object that
    is announced is transparent until it enters; the file of one that is not begins where it enters.
    """

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._run, self._reserve = run, reserve
        self._clock = StampWriter(run.clip)
        self._movies: dict[int, _Movie] = {}
        self._created = not path.exists()
        path.mkdir(exist_ok=True)

    def write(self, result: FrameResult) -> None:
        stamp = self._clock.stamp(result.frame)
        picture = bt709(result.frame.image, "yuv444p10le")
        colours = [_plane(picture.planes[k]) for k in range(3)]
        for object_id in every_id(self._run, result):
            if object_id not in self._movies:
                path = self.path / f"{object_id}.mov"
                self._movies[object_id] = _Movie(path, self._reserve, self._run, self._clock, result.frame)
            self._movies[object_id].write(stamp, colours, alpha_of(result, object_id) >> 6)

    def close(self, summary: Summary) -> None:
        failure: Exception | None = None
        for movie in self._movies.values():
            try:
                movie.close(publish=summary.frames > 0)
            except (OSError, av.error.FFmpegError) as error:
                failure = failure or error
        if not summary.frames and self._created:
            with suppress(OSError):
                self.path.rmdir()
        if failure is not None:
            raise failure


class _Movie:
    """One QuickTime file under a temporary name."""

    def __init__(self, path: Path, reserve: Reserve, run: Run, clock: StampWriter, first: Frame) -> None:
        self._clock = clock
        self._file = PartFile(path, reserve)
        self._container = av.open(self._file, "w", format="mov")
        rate = run.clip.rate.limit_denominator(1_001_000)
        self._stream = cast("av.VideoStream", self._container.add_stream(_ENCODER, rate=rate, options=_OPTIONS))
        self._stream.height, self._stream.width = run.clip.size
        self._stream.pix_fmt = _PIXELS
        begins = None if run.clip.timecode is None else advanced(run.clip.timecode, first.index, run.clip.rate)
        if begins is not None:
            self._stream.metadata["timecode"] = begins
        context = self._stream.codec_context
        context.time_base, context.sample_aspect_ratio = clock.unit, run.clip.pixel_aspect
        tag_bt709(context)

    def write(self, stamp: int, colours: list[np.ndarray], alpha: np.ndarray) -> None:
        """Planes Y, Cb and Cr and the alpha, uint16 (H, W) with 10 bits each."""
        height, width = alpha.shape
        picture = av.VideoFrame(width, height, _PIXELS)
        for plane, values in zip(picture.planes, [*colours, alpha], strict=True):
            rows = np.zeros((plane.height, plane.line_size // 2), dtype="<u2")
            rows[:, :width] = values
            plane.update(rows.tobytes())
        picture.time_base, picture.pts = self._clock.unit, stamp
        # Besides the file's, every ProRes frame has a header of its own that says so, which editors go by.
        tag_bt709(picture)
        self._encode(picture)
        self._file.check()

    def close(self, *, publish: bool) -> None:
        try:
            if publish:
                self._encode(None)
            self._container.close()
            if publish:
                self._file.publish()
        finally:
            self._file.discard()

    def _encode(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            self._container.mux(packet)


def _plane(plane: VideoPlane) -> np.ndarray:
    """uint16 (H, W) of a plane of 10 bits."""
    rows = np.frombuffer(bytes(plane), dtype="<u2").reshape(plane.height, plane.line_size // 2)
    return rows[:, : plane.width]
