"""Video files through FFmpeg (PyAV): decoding, exact time stamps, orientation, damage."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
from av.buffer import Buffer
from av.stream import Disposition

from vos.errors import SourceError
from vos.types import Frame
from vos.video.source import Source

# Matroska ends without an error where it was cut. It counts as cut when it ends earlier than it says, by more than this
# many of the steps between frames. The length of the file, unlike that of the video stream, may be a little off.
_CUT_STEPS, _CUT_STEPS_OF_FILE, _CUT_SHARE_OF_FILE = Fraction(3, 2), 3, Fraction(1, 100)


class VideoSource(Source):
    """A video file: its first video stream that is not a cover picture, decoded in order.

    Frames come out upright (the container's rotation and mirroring applied) and RGB (alpha dropped), with exact times
    relative to the first. Of a damaged file every frame that decodes is yielded; SourceError follows at the end.
    """

    def __init__(self, path: Path, *, rate_if_unclocked: Fraction) -> None:
        self._container, self._video = _open_video(path)
        video = self._video
        video.thread_type = "AUTO"
        rate = video.average_rate or video.guessed_rate or video.base_rate or rate_if_unclocked
        self._unit = Fraction(video.time_base or 1 / rate)
        self._video_end = self._file_end = Fraction(0)  # of the packets read, seconds on the file's clock
        count = video.frames
        if not count and self._container.duration is not None:
            count = round(Fraction(self._container.duration, av.time_base) * rate)
        super().__init__(
            path.name,
            rate=Fraction(rate),
            frame_count=count or None,
            frame_count_exact=False,
            time_base=self._unit,
            origin=path,
        )

    def _release(self) -> None:
        self._container.close()

    def _read(self) -> Generator[Frame, None, None]:
        clock = _Clock(self._unit, self.rate)
        damage = _Damage()
        for decoded in self._decode(damage):
            if decoded.is_corrupt:
                damage.note("a frame could be decoded only in part")
            index = damage.frames_read
            damage.frames_read += 1
            yield Frame(index, _upright_rgb(decoded), time=clock.read(decoded.pts), name=str(index))
        self._check_length(clock, damage)
        if damage.frames_read == 0:
            raise SourceError(f"{self.name}: no frame can be decoded: {damage.reason or 'its video stream is empty'}")
        if damage.reason:
            header = f"; the header says {self._video.frames}" if self._video.frames else ""
            read = f"{damage.frames_read} frame{'' if damage.frames_read == 1 else 's'} could be read{header}"
            raise SourceError(f"{self.name}: damaged {damage.where} ({read}): {damage.reason}")

    def _decode(self, damage: _Damage) -> Generator[av.VideoFrame, None, None]:
        """Decode to the very end, past what cannot be decoded."""
        decoder = self._video.codec_context
        for packet in chain(self._packets(damage), [None]):
            try:
                frames = decoder.decode(packet)
            except av.error.FFmpegError as error:
                damage.note(error.strerror or str(error))
            else:
                yield from frames

    def _packets(self, damage: _Damage) -> Generator[av.Packet, None, None]:
        """The packets of the video stream that hold data. A last packet that was cut in the middle is left out."""
        cut: av.Packet | None = None
        try:
            for packet in self._container.demux():
                if packet.size == 0:
                    continue
                if packet.pts is not None:
                    ends_at = (packet.pts + (packet.duration or 0)) * packet.time_base
                    self._file_end = max(self._file_end, ends_at)
                    if packet.stream is self._video:
                        self._video_end = max(self._video_end, ends_at)
                if packet.stream is not self._video:
                    continue
                if cut is not None:
                    damage.note("a packet is incomplete")
                    yield cut
                    cut = None
                if packet.is_corrupt:
                    cut = packet
                else:
                    yield packet
        except av.error.FFmpegError as error:
            damage.note_end(error.strerror or str(error))
        if cut is not None:
            damage.note_end("the file is cut short")

    def _check_length(self, clock: _Clock, damage: _Damage) -> None:
        """Notice a Matroska file that ends before its own length."""
        if "matroska" not in self._container.format.name:
            return
        step = max(clock.longest_step, 1 / self.rate)
        length = _tagged_length(self._video)
        if length is not None:
            end, slack = self._video_end, _CUT_STEPS * step
        elif self._container.duration is not None:
            length = Fraction(self._container.duration, av.time_base)
            end, slack = self._file_end, max(_CUT_STEPS_OF_FILE * step, length * _CUT_SHARE_OF_FILE)
        else:
            return
        if length - end > slack:
            damage.note_end(f"the file is cut short at {float(end):.2f} s of {float(length):.2f} s")


def count_packets(path: Path) -> int:
    """Count the packets of the video stream without decoding: an upper bound of the frames that can be read.

    Raises:
        SourceError: if the file cannot be opened as a video.
    """
    container, video = _open_video(path)
    count = 0
    with container:
        try:
            for packet in container.demux(video):
                count += packet.size > 0
        except av.error.FFmpegError:
            pass  # The frames before the damage are still read, so they count; what follows it is out of reach.
    return count


@dataclass
class _Damage:
    """What was wrong in a file, the first thing noticed, and where."""

    frames_read: int = 0
    reason: str = ""
    noted_at: int = 0
    at_end: bool = False

    def note(self, reason: str) -> None:
        if not self.reason:
            self.reason, self.noted_at = reason, self.frames_read

    def note_end(self, reason: str) -> None:
        if not self.reason:
            self.reason, self.at_end = reason, True

    @property
    def where(self) -> str:
        return f"after frame {self.frames_read - 1}" if self.at_end else f"near frame {self.noted_at}"


class _Clock:
    """Strictly increasing times, in seconds since the first frame.

    Attributes:
        longest_step: between two frames so far, seconds.
    """

    def __init__(self, time_base: Fraction, rate: Fraction) -> None:
        self.longest_step = Fraction(0)
        self._unit, self._step = time_base, 1 / rate
        self._origin: Fraction | None = None
        self._last: Fraction | None = None

    def read(self, pts: int | None) -> Fraction:
        """The time stamp `pts`, or one step after the last where it is missing or does not increase."""
        time = Fraction(0) if self._last is None else self._last + self._step
        if pts is not None:
            stamp = pts * self._unit
            if self._origin is None:
                self._origin = stamp - time
            if self._last is None or stamp - self._origin > self._last:
                time = stamp - self._origin
        if self._last is not None:
            self.longest_step = max(self.longest_step, time - self._last)
        self._last = time
        return time


def _open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    try:
        # The prefix keeps a colon in the name from being taken for a protocol.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except av.error.InvalidDataError as error:
        raise SourceError(f"{path}: not a video, or damaged beyond reading: {error.strerror}") from error
    except av.error.FFmpegError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        # FFmpeg reads text files as the output of a terminal and would render them.
        if container.format.name == "tty":
            raise SourceError(f"{path}: not a video but a text file")
        videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            found = "only sound" if container.streams.audio else f"nothing but {container.format.long_name}"
            raise SourceError(f"{path}: there is no video in it, {found}")
        if videos[0].codec_context is None:
            raise SourceError(f"{path}: this build of FFmpeg has no decoder for its video")
    except SourceError:
        container.close()
        raise
    return container, videos[0]


def _tagged_length(video: av.VideoStream) -> Fraction | None:
    """Where the stream's DURATION tag ("00:00:02.500000000") says that it ends, seconds; None without one."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", video.metadata.get("DURATION", ""))
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])


def _upright_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Convert to uint8 (H, W, 3) RGB, with the quarter turns and mirrorings of the display matrix applied."""
    image = frame.to_ndarray(format="rgb24")
    display = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(display, Buffer):
        return image
    # FFmpeg's row-vector convention: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = np.frombuffer(bytes(display), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
