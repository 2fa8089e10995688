"""Where video comes from: a file, a pipe, a camera; each opened as FFmpeg's container and the video stream in it."""

from __future__ import annotations

import os
import select
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import av
import av.container
import av.error

from vos.errors import SourceError
from vos.video.pyav import moving, open_input

STDIN = "standard input"
PIPE_ADVICE = "a pipe cannot be rewound: MP4 and MOV must be written with '-movflags faststart'; Matroska needs nothing"
_CAMERA_FORMAT = "v4l2"
# Seconds without a frame after which a camera counts as gone.
_CAMERA_PATIENCE = 10.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class Opened:
    """An open video.

    Attributes:
        name: what to call it in messages.
        container, video: FFmpeg's, and its first video stream that is not a cover picture.
        origin: the file; None where it cannot be read again.
        pipe: what the container reads from, where that is no file.
    """

    name: str
    container: av.container.InputContainer
    video: av.VideoStream
    origin: Path | None = None
    pipe: Pipe | None = None


class Pipe:
    """Bytes that come when they come, and a read of them that can be ended from another thread.

    Attributes:
        received: how many have come.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.received = 0
        self._stream = stream
        self._ended = Event()
        self._interruption: BaseException | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end, or when it was ended."""
        try:
            data = self._wait_and_read(size)
        except BaseException as error:
            # FFmpeg, which calls this, would drop it and ask again: Ctrl-C would do nothing.
            self._interruption = error
            self._ended.set()
            return b""
        self.received += len(data)
        return data

    def _wait_and_read(self, size: int) -> bytes:
        number = self._stream.fileno()
        while not self._ended.is_set():
            try:
                ready = select.select([number], [], [], _POLL_SECONDS)[0]
            except (OSError, ValueError):
                ready = [number]  # A system whose pipes cannot be waited for, or more open files than select knows.
            if ready:
                return os.read(number, size)
        return b""

    def end(self) -> None:
        """Make this and every later read return nothing."""
        self._ended.set()

    def close(self) -> None:
        """Close the stream, which nobody reads any more; standard input is not ours to close."""
        if self._stream is not getattr(sys.stdin, "buffer", None):
            self._stream.close()

    def check(self) -> None:
        """Raise what ended a read, such as Ctrl-C."""
        if self._interruption is not None:
            raise self._interruption


def open_file(path: Path) -> Opened:
    """SourceError if it cannot be opened as a video."""
    # The prefix keeps a colon in the name from being taken for a protocol.
    container = _open(f"file:{path}", f"{path}")
    return Opened(path.name, container, _video_of(container, f"{path}"), origin=path)


def open_pipe(stream: BinaryIO, name: str) -> Opened:
    """A video that arrives on a stream with a file descriptor; SourceError as `open_file`.

    The stream is closed with the video, or where there is none; not so standard input.
    """
    pipe = Pipe(stream)
    try:
        try:
            container = _open(pipe, name)
        except SourceError as error:
            pipe.check()
            if not pipe.received:
                raise SourceError(f"{name}: it ended before a single byte came") from error
            raise SourceError(f"{error} ({PIPE_ADVICE})") from error
        return Opened(name, container, _video_of(container, name), pipe=pipe)
    except BaseException:
        pipe.close()
        raise


def open_camera(device: str, name: str) -> Opened:
    """A camera by its device, /dev/video0, through Video4Linux; SourceError if there is none or it is silent."""
    if not sys.platform.startswith("linux"):
        raise SourceError(f"{name}: cameras are read on Linux only; elsewhere pipe one in: 'ffmpeg … | vos track -'")
    if _CAMERA_FORMAT not in av.formats_available and f"video4linux2,{_CAMERA_FORMAT}" not in av.formats_available:
        raise SourceError(f"{name}: this build of FFmpeg reads no cameras; pipe its frames in and give -")
    try:
        container = _open(device, name, format=_CAMERA_FORMAT, timeout=(_CAMERA_PATIENCE, _CAMERA_PATIENCE))
    except SourceError as error:
        raise SourceError(f"{error}; is {device} a camera, and free?") from error
    return Opened(name, container, _video_of(container, name))


def _open(what: str | Pipe, name: str, **options: Any) -> av.container.InputContainer:
    try:
        container = open_input(what, **options)
    except av.error.InvalidDataError as error:
        raise SourceError(f"{name}: not a video, or damaged beyond reading: {error.strerror}") from error
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(f"{name}: cannot be opened: {error.strerror}") from error
    return container


def _video_of(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The stream to read; closes the container where there is none."""
    try:
        # FFmpeg reads text files as the output of a terminal and would render them.
        if container.format.name == "tty":
            raise SourceError(f"{name}: not a video but a text file")
        videos = moving(container)
        if not videos:
            found = "only sound" if container.streams.audio else f"nothing but {container.format.long_name}"
            raise SourceError(f"{name}: there is no video in it, {found}")
        if videos[0].codec_context is None:
            raise SourceError(f"{name}: this build of FFmpeg has no decoder for its video")
    except SourceError:
        container.close()
        raise
    return videos[0]
