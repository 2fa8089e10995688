"""Video through FFmpeg (PyAV): decoding, exact time stamps, orientation, damage."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import numpy as np
from av.buffer import Buffer

from vos.errors import SourceError
from vos.video.clock import StampReader
from vos.video.declared import missing_bytes
from vos.video.opening import PIPE_ADVICE, Opened, open_file
from vos.video.pyav import exact
from vos.video.reading import RATE_IF_UNCLOCKED, Pending, Reading
from vos.video.source import Source

# Many a file ends without an error where it was cut. It counts as cut when it ends earlier than it says, by more than
# this many of the steps between frames. The length of the file, unlike that of the video stream, may be a little off.
_CUT_STEPS, _CUT_STEPS_OF_FILE, _CUT_SHARE_OF_FILE = Fraction(3, 2), 3, Fraction(1, 100)
_MATROSKA, _MP4, _AVI = "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "avi"
_LENGTH_IN_HEADER = frozenset({_MATROSKA, _MP4, _AVI})
# In these files a packet of these codecs is a frame.
_FRAME_PER_PACKET = frozenset(
    {"av1", "dnxhd", "ffv1", "h264", "hevc", "libdav1d", "mjpeg", "png", "prores", "qtrle", "vp9"}
)
_REORDERED = frozenset({"h264", "hevc"})
# A decoder that is emptied stops at what it cannot decode, and goes on when asked again.
_FLUSHES = 100


class VideoSource(Source):
    """An open video, decoded in order and counted: a header's number of frames is a guess.

    Frames come out upright (the container's rotation and mirroring applied, unless the reading says otherwise) and RGB
    (alpha dropped), with exact times relative to the first. Of a damaged file every frame that decodes is yielded;
    SourceError follows at the end.
    """

    def __init__(self, opened: Opened, *, reading: Reading) -> None:
        self._opened = opened
        self._container, self._video = opened.container, opened.video
        video = self._video
        video.thread_type = "AUTO"
        rate = exact(video.average_rate or video.guessed_rate or video.base_rate) or RATE_IF_UNCLOCKED
        self._unit = exact(video.time_base) or 1 / rate
        self._video_end = self._file_end = Fraction(0)  # of the packets read, seconds on the file's clock
        self._damage = _Damage()
        self._displays: dict[int, tuple[int, int, int, int] | None] = {}  # display matrices by rotation, degrees
        count = video.frames
        if not count and self._container.duration is not None:
            begin = (self._container.start_time or 0) if _in_fragments(self._opened) else 0
            count = round(Fraction(self._container.duration - begin, av.time_base) * rate)
        super().__init__(
            opened.name,
            rate=rate,
            frame_count=count or None,
            frame_count_exact=False,
            time_base=self._unit,
            origin=opened.origin,
            reading=reading,
        )
        if reading.every == 1 and is_steady(self._video):
            self.timecode = self._timecode()

    def _timecode(self) -> str | None:
        """As the file tells it, of the video, of a stream of its own, or of the whole."""
        places = (self._video, *self._container.streams, self._container)
        return next((place.metadata["timecode"] for place in places if "timecode" in place.metadata), None)

    def _release(self) -> None:
        self._container.close()
        if self._opened.pipe is not None:
            self._opened.pipe.close()

    def interrupt(self) -> None:
        if self._opened.pipe is not None:
            self._opened.pipe.end()

    def _read(self) -> Generator[Pending, None, None]:
        clock = StampReader(self._unit, self.rate * self.reading.every, steady=is_steady(self._video))
        damage = self._damage
        for decoded in self._decode(damage):
            if decoded.is_corrupt:
                damage.note("a frame could be decoded only in part")
            index = damage.frames_read
            damage.frames_read += 1
            if index == 0:
                self._note_traits(decoded)
            yield Pending(index, partial(self._picture, decoded, index), clock.read(decoded.pts), str(index))
        self._check_length(clock, damage)
        if damage.frames_read == 0:
            advice = "" if self._opened.pipe is None else f" ({PIPE_ADVICE})"
            reason = damage.reason or "its video stream is empty"
            raise SourceError(f"{self.name}: no frame can be decoded: {reason}{advice}")
        self._check_read()

    def _note_traits(self, first: av.VideoFrame) -> None:
        aspect = exact(self._video.sample_aspect_ratio)
        if aspect and aspect != 1:
            display = self._display(first) if self.reading.autorotate else None
            self.pixel_aspect = 1 / aspect if display is not None and _lies_on_its_side(display) else aspect
            self._traits.append(f"pixels {self.pixel_aspect.numerator}:{self.pixel_aspect.denominator}")
        if first.interlaced_frame:
            self._traits.append("interlaced")
        if self.timecode is not None:
            self._traits.append(f"timecode {self.timecode}")

    def _check_read(self) -> None:
        damage = self._damage
        if damage.reason:
            header = f"; the header says {self._video.frames}" if self._video.frames else ""
            read = f"{damage.frames_read} frame{'' if damage.frames_read == 1 else 's'} could be read{header}"
            raise SourceError(f"{self.name}: damaged {damage.where} ({read}): {damage.reason}")

    def _picture(self, decoded: av.VideoFrame, index: int) -> np.ndarray:
        try:
            if self.reading.autorotate:
                return _upright_rgb(decoded, self._display(decoded))
            return decoded.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            what = f"{decoded.width}x{decoded.height} {decoded.format.name}"
            raise SourceError(f"{self.name}: frame {index} ({what}) cannot be made a picture: {error}") from error

    def _display(self, decoded: av.VideoFrame) -> tuple[int, int, int, int] | None:
        # A frame that is asked for its side data holds it, and is held by it, before PyAV 19: its pixels stay in memory
        # until the garbage collector comes by. So one frame is asked for each rotation that the stream has.
        if decoded.rotation not in self._displays:
            self._displays[decoded.rotation] = _display_matrix(decoded)
        return self._displays[decoded.rotation]

    def _decode(self, damage: _Damage) -> Generator[av.VideoFrame, None, None]:
        """Decode to the very end, past what cannot be decoded."""
        decoder = self._video.codec_context
        owed, stamps = _Owed(), deque[int]()
        # AVI has no time stamps, and FFmpeg's guess for these codecs is of the order in which frames are decoded.
        guessed = self._container.format.name == _AVI and decoder.name in _REORDERED and decoder.has_b_frames
        counts = decoder.name in _FRAME_PER_PACKET and self._container.format.name in _LENGTH_IN_HEADER
        for packet in chain(self._packets(damage), repeat(None, _FLUSHES)):
            if packet is not None and packet.pts is not None and counts and not packet.is_discard:
                owed.send(packet.pts)
            if guessed and packet is not None and packet.pts is not None:
                stamps.append(packet.pts)
            try:
                frames = decoder.decode(packet)
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                damage.note(error.strerror or str(error))
                continue
            for frame in frames:
                # Of interlaced video a packet may hold half a frame.
                counts = counts and not frame.interlaced_frame
                if stamps:
                    frame.pts = stamps.popleft()
                if counts and frame.pts is not None and owed.receive(frame.pts):
                    damage.note("a frame is lost")
                yield frame
            if packet is None:
                break
        if counts and owed.waiting:
            damage.note_end("a frame is lost")

    def _packets(self, damage: _Damage) -> Generator[av.Packet, None, None]:
        """The packets of the video stream that hold data. A last packet that was cut in the middle is left out."""
        cut: av.Packet | None = None
        try:
            for packet in self._container.demux():
                if packet.size == 0:
                    continue
                shown = packet.dts if packet.pts is None else packet.pts
                if shown is not None:
                    ends_at = (shown + (packet.duration or 0)) * packet.time_base
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
        if self._opened.pipe is not None:
            self._opened.pipe.check()
        if cut is not None:
            damage.note_end("the file is cut short")

    def _check_length(self, clock: StampReader, damage: _Damage) -> None:
        """Notice a file that ends before its own length."""
        name = self._container.format.name
        ends = self._ends_early(clock) if name in _LENGTH_IN_HEADER else None
        if ends is not None:
            damage.note_end(f"the file is cut short at {float(ends[0]):.2f} s of {float(ends[1]):.2f} s")
        missing = 0 if self.origin is None else missing_bytes(self.origin, name)
        if missing:
            damage.note_end(f"the file is cut short by {missing} byte{'' if missing == 1 else 's'} or more")

    def _ends_early(self, clock: StampReader) -> tuple[Fraction, Fraction] | None:
        """Where it ends and where it should, seconds; None where that is the same."""
        step = max(clock.longest_step, self.reading.every / self.rate)
        length = _length(self._video, whole=_in_fragments(self._opened))
        end, slack = self._video_end, _CUT_STEPS * step
        if length is None and self._container.format.name == _MATROSKA and self._container.duration is not None:
            length = Fraction(self._container.duration, av.time_base)
            end, slack = self._file_end, max(_CUT_STEPS_OF_FILE * step, length * _CUT_SHARE_OF_FILE)
        return None if length is None or length - end <= slack else (end, length)


def count_packets(path: Path) -> int:
    """Count the packets of the video stream without decoding: an upper bound of the frames that can be read.

    Raises:
        SourceError: if the file cannot be opened as a video.
    """
    opened = open_file(path)
    count = 0
    with opened.container as container:
        try:
            for packet in container.demux(opened.video):
                count += packet.size > 0
        except av.error.FFmpegError:
            pass  # The frames before the damage are still read, so they count; what follows it is out of reach.
    return count


class Stamps(NamedTuple):
    """Time stamps of all frames of a file in order, in `unit` seconds; its `rate`, and whether that is constant."""

    unit: Fraction
    rate: Fraction | None
    steady: bool
    all: list[int]


def stamps(path: Path) -> Stamps:
    """The time stamps of a video file, without decoding.

    Raises:
        SourceError: if the file cannot be opened as a video, is damaged, or has no time stamps.
    """
    opened = open_file(path)
    video = opened.video
    try:
        with opened.container as container:
            packets = [packet for packet in container.demux(video) if packet.size > 0 and not packet.is_discard]
            found = sorted(packet.pts for packet in packets if packet.pts is not None)
            rate = exact(video.average_rate or video.guessed_rate)
            unit, steady = exact(video.time_base), is_steady(video)
    except av.error.FFmpegError as error:
        raise SourceError(f"{path}: damaged: {error.strerror}") from error
    if unit is None or not found or len(found) != len(packets):
        raise SourceError(f"{path}: its frames have no time stamps")
    return Stamps(unit, rate, steady, found)


def is_steady(video: av.VideoStream) -> bool:
    """Whether a stream says that it has one rate, which every frame is shown at a multiple of."""
    return video.average_rate is not None and video.average_rate == video.base_rate == video.guessed_rate


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


class _Owed:
    """The frames that packets promise, by their time stamps; those that decoders leave out without a word are lost.

    Before the first frame that comes, some may be left out for good reason: a cut clip may begin within a group.
    """

    def __init__(self) -> None:
        self._sent: set[int] = set()
        self._first: int | None = None

    def send(self, pts: int) -> None:
        self._sent.add(pts)

    def receive(self, pts: int) -> bool:
        """A frame has come, in the order in which frames are shown; whether one before it is lost."""
        self._first = pts if self._first is None else self._first
        passed = {sent for sent in self._sent if sent <= pts}
        self._sent -= passed
        return any(self._first < sent < pts for sent in passed)

    @property
    def waiting(self) -> bool:
        """Whether a frame has not come yet."""
        return self._first is not None and any(sent > self._first for sent in self._sent)


def _in_fragments(opened: Opened) -> bool:
    """Whether it is MP4 in fragments, whose durations FFmpeg counts from 0, wherever the first fragment begins."""
    return opened.container.format.name == _MP4 and not opened.video.frames


def _length(video: av.VideoStream, *, whole: bool) -> Fraction | None:
    """Where the stream says that it ends, seconds: in its header, or in its tag DURATION ("00:00:02.500000000").

    Args:
        whole: its duration is that already, and does not begin where the stream does.
    """
    unit = exact(video.time_base)
    if video.duration is not None and unit is not None:
        return (video.duration + (0 if whole else video.start_time or 0)) * unit
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", video.metadata.get("DURATION", ""))
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """The frame's display matrix (a, b, c, d), in FFmpeg's row-vector convention: x' = a x + c y, y' = b x + d y."""
    display = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(display, Buffer):
        return None
    a, b, _, c, d = np.frombuffer(bytes(display), np.int32)[:5].tolist()
    return a, b, c, d


def _lies_on_its_side(display: tuple[int, int, int, int]) -> bool:
    """Whether rows become columns."""
    return abs(display[1]) > abs(display[0])


def _upright_rgb(frame: av.VideoFrame, display: tuple[int, int, int, int] | None) -> np.ndarray:
    """Convert to uint8 (H, W, 3) RGB, with the quarter turns and mirrorings of the display matrix applied."""
    image = frame.to_ndarray(format="rgb24")
    if display is None:
        return image
    a, b, c, d = display
    if _lies_on_its_side(display):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
