"""The one way in: from what the user names to a Source."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence, Sized
from glob import glob, has_magic
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from PIL import Image

from vos.errors import SourceError
from vos.paths import IMAGE_SUFFIXES, expanded, is_image_name, natural_key
from vos.video.container import VideoSource
from vos.video.decord_reader import DecordSource
from vos.video.images import ArraySource, ImageSource, Pages, PagesSource, pages_of
from vos.video.live import LiveSource
from vos.video.opening import STDIN, open_camera, open_file, open_pipe
from vos.video.reading import EVERYTHING, Reading
from vos.video.source import Source

Given = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Iterable[np.ndarray | Image.Image]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_CAMERA = re.compile(r"cam:(\d{1,3})")
_LONGEST_SHOWN = 200


def open_source(source: Given, *, reading: Reading = EVERYTHING) -> Source:
    """Open a video file, a folder or glob of images, one image or a list of them, or an iterable of frames in memory.

    "-" is a video on standard input; "cam:0" or /dev/video0 is a camera, which gives its newest frame (`LiveSource`).

    Images are taken in natural order (2 before 10), those of a list or tuple of paths in the order given; of a folder,
    the files with an image's suffix that are not hidden. Frames in memory are uint8 (H, W, 3) RGB arrays or Pillow
    images.
    The first frame is decoded at once, so that what cannot be read at all is refused here.

    Args:
        reading: which frames to read, and how.

    Raises:
        SourceError: if there is nothing there, or nothing in it that can be read as a frame.
    """
    opened = _open(source, reading)
    opened.given = source
    try:
        opened.first()
    except BaseException:
        opened.close()
        raise
    return opened


def _open(source: Given, reading: Reading) -> Source:
    if isinstance(source, str | os.PathLike):
        return _open_path(source, reading)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return _open_list([expanded(item) for item in source], reading)
    try:
        frames = iter(cast("Iterable[np.ndarray | Image.Image]", source))
    except TypeError:
        raise SourceError(
            f"a source is a path, a list of paths of images, or an iterable of frames, got {type(source).__name__}"
        ) from None
    count = len(source) if isinstance(source, Sized) else None
    return ArraySource(frames, count, name="frames", reading=reading)


def _open_path(source: str | os.PathLike[str], reading: Reading) -> Source:
    text = os.fsdecode(source)
    if not text:
        raise SourceError("the source is empty text; give the path of a video")
    if text == "-":
        return _open_stdin(reading)
    if match := _CAMERA.fullmatch(text):
        return _open_camera(f"/dev/video{match[1]}", text, reading)
    try:
        path = expanded(text)
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        # A name that is too long, or a folder that may not be looked into.
        raise SourceError(f"{_shown(text)}: cannot be opened: {error.strerror}; check the path") from error
    if is_folder:
        return _open_folder(path, reading)
    if exists:
        return _open_file(path, reading)
    if _ADDRESS.match(text):
        raise SourceError(f"{_shown(text)}: addresses are not read; download it first and give the file")
    if has_magic(str(path)):
        return _open_glob(path, reading)
    raise SourceError(f"{_shown(str(path))}: no such file or folder; check the path")


def _open_stdin(reading: Reading) -> Source:
    # None where the program was started without one.
    stream = cast("TextIO | None", sys.stdin)
    if stream is None or stream.isatty():
        raise SourceError(f"{STDIN} is no video; pipe one in, as in 'ffmpeg -i … -f matroska - | vos track - …'")
    return VideoSource(open_pipe(stream.buffer, STDIN), reading=reading)


def _open_camera(device: str, name: str, reading: Reading) -> Source:
    if reading.every != 1 or reading.start:
        raise SourceError(f"{name}: of a camera the newest frame is taken, from now on; leave out --start and --every")
    return LiveSource(open_camera(device, name), reading=reading)


def _open_list(paths: list[Path], reading: Reading) -> Source:
    for path in paths:
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on a name that is too long
            raise SourceError(f"{_shown(str(path))}: no such file; a list as a source holds the paths of images")
    return ImageSource(paths, name="images", origin=paths[0].parent, reading=reading)


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"


def _open_folder(folder: Path, reading: Reading) -> Source:
    try:
        images = [p for p in folder.iterdir() if _is_image(p)]
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    if not images:
        raise SourceError(f"{folder}: no images in this folder (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
    return ImageSource(sorted(images, key=natural_key), name=folder.resolve().name, origin=folder, reading=reading)


def _is_image(path: Path) -> bool:
    return is_image_name(path) and not path.is_dir() and not path.is_fifo()


def _open_glob(pattern: Path, reading: Reading) -> Source:
    matches = [p for p in map(Path, glob(str(pattern), recursive=True)) if p.is_file()]  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise SourceError(f"{pattern}: no file matches this pattern")
    images = sorted(matches, key=natural_key)
    return ImageSource(images, name=str(pattern), origin=images[0].parent, reading=reading)


def _open_file(path: Path, reading: Reading) -> Source:
    if path.is_char_device():
        return _open_camera(str(path), str(path), reading)
    if path.is_fifo():
        return VideoSource(open_pipe(open(path, "rb", buffering=0), str(path)), reading=reading)
    if not path.is_file():
        raise SourceError(f"{path}: neither a file nor a folder, nor a pipe or a camera")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        pages = pages_of(path)
        if pages != Pages():
            return PagesSource(path, pages, reading=reading)
        return ImageSource([path], name=path.name, origin=path, reading=reading)
    if reading.reader == "decord":
        if not reading.autorotate:
            raise SourceError(f"{path}: decord always turns frames upright; give --no-autorotate to --reader pyav")
        return DecordSource(path, reading=reading)
    return VideoSource(open_file(path), reading=reading)
