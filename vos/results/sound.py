"""The source's sound beside the overlay's pictures, copied as it is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import av.container
import av.error

from vos.video.pyav import exact, moving, open_input

# What MP4 can hold and players play.
_COPIED = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})


def why_silent(origin: Path | None) -> str | None:
    """Why the sound of a file cannot be copied, for people; None where it can, or where there is none."""
    try:
        with _opened(origin) as container:
            return _refusal(container)
    except (av.error.FFmpegError, OSError):
        return None


class Sound:
    """Copies the first sound stream of a file into an MP4 from the time of its frame `first` on.

    Packets are copied whole, so the sound may begin and end up to one packet (about 20 ms) late; it stays in step with
    the pictures. Of a damaged file it ends where the damage begins.
    """

    def __init__(self, container: av.container.InputContainer, origin: Fraction, out: av.container.OutputContainer):
        self._container = container
        self._origin = origin
        self._out = out
        self._stream = out.add_stream_from_template(container.streams.audio[0])
        self._packets = self._read()
        self._next = next(self._packets, None)

    @classmethod
    def open(cls, path: Path | None, first: Fraction | None, out: av.container.OutputContainer) -> Sound | None:
        """Before the first picture is written; None where there is no sound that can be copied.

        Args:
            path: the source's file, if it is one.
            first: time of the first picture, seconds since the source's first frame.
            out: where to copy it to; it gets a stream.
        """
        if first is None:
            return None
        try:
            start = _first_frame(path)
            container = _opened(path)
        except (av.error.FFmpegError, OSError):
            return None
        if not container.streams.audio or start is None or _refusal(container):
            container.close()
            return None
        return cls(container, start + first, out)

    def copy(self, until: Fraction) -> None:
        """Write what begins before a time of the overlay, seconds; OSError."""
        while self._next is not None and self._next[0] < until:
            packet = self._next[1]
            packet.stream = self._stream
            self._out.mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._container.close()

    def _read(self) -> Iterator[tuple[Fraction, av.Packet]]:
        """Packets from the origin on, each with its time from there, seconds; times grow."""
        last = -1
        try:
            for packet in self._container.demux(self._container.streams.audio[0]):
                unit = exact(packet.time_base)
                if packet.size == 0 or packet.pts is None or unit is None:
                    continue
                shift = round(self._origin / unit)
                packet.pts -= shift
                packet.dts = packet.pts
                if packet.pts > last and packet.pts >= 0:
                    last = packet.pts
                    yield packet.pts * unit, packet
        except av.error.FFmpegError:
            return


def _opened(path: Path | None) -> av.container.InputContainer:
    if path is None or not path.is_file():
        raise FileNotFoundError(path)
    return open_input(f"file:{path}")


def _first_frame(path: Path | None) -> Fraction | None:
    """When the first picture is shown, seconds on the file's clock; None where that is not known."""
    with _opened(path) as container:
        for frame in container.decode(videos[0]) if (videos := moving(container)) else ():
            unit = exact(frame.time_base)
            return None if frame.pts is None or unit is None else frame.pts * unit
    return None


def _refusal(container: av.container.InputContainer) -> str | None:
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        return "its sound is of an unknown kind"
    name = stream.codec_context.codec.canonical_name
    if name not in _COPIED:
        return f"its sound ({name}) cannot be copied into an MP4"
    try:
        with av.open(BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return f"its sound ({name}) is damaged"
    return None
