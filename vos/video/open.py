"""The one way in: from what the user names to a Source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from glob import glob, has_magic
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from vos.errors import SourceError
from vos.video.container import VideoSource
from vos.video.images import IMAGE_SUFFIXES, ArraySource, ImageSource, natural_key
from vos.video.source import Source

Given = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Iterable[np.ndarray | Image.Image]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LONGEST_SHOWN = 200


def open_source(source: Given, *, rate_if_unclocked: Fraction = Fraction(24)) -> Source:
    """Open a video file, a folder or glob of images, one image or a list of them, or an iterable of frames in memory.

    Images are taken in natural order (2 before 10), those of a list or tuple of paths in the order given; of a folder,
    the files with an image's suffix that are not hidden. Frames in memory are uint8 (H, W, 3) RGB arrays or Pillow
    images.
    The first frame is decoded at once, so that what cannot be read at all is refused here.

    Args:
        rate_if_unclocked: frames per second of a source without a clock (images, arrays, raw streams).

    Raises:
        SourceError: if there is nothing there, or nothing in it that can be read as a frame.
    """
    opened = _open(source, rate_if_unclocked)
    try:
        opened.first()
    except BaseException:
        opened.close()
        raise
    return opened


def _open(source: Given, rate: Fraction) -> Source:
    if isinstance(source, str | os.PathLike):
        return _open_path(source, rate)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return _open_list([Path(item).expanduser() for item in source], rate)
    if isinstance(source, Iterable):
        return ArraySource(cast("Iterable[np.ndarray | Image.Image]", source), name="frames", rate=rate)
    raise SourceError(
        f"a source is a path, a list of paths of images, or an iterable of frames, got {type(source).__name__}"
    )


def _open_path(source: str | os.PathLike[str], rate: Fraction) -> Source:
    text = os.fsdecode(source)
    try:
        path = Path(text).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:
        # A name that is too long, a folder that may not be looked into, or a home folder that is not known.
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{_shown(text)}: cannot be opened: {reason}; check the path") from error
    if is_folder:
        return _open_folder(path, rate)
    if exists:
        return _open_file(path, rate)
    if _ADDRESS.match(text):
        raise SourceError(f"{_shown(text)}: addresses are not read; download it first and give the file")
    if has_magic(str(path)):
        return _open_glob(path, rate)
    raise SourceError(f"{_shown(str(path))}: no such file or folder; check the path")


def _open_list(paths: list[Path], rate: Fraction) -> Source:
    for path in paths:
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on a name that is too long
            raise SourceError(f"{_shown(str(path))}: no such file; a list as a source holds the paths of images")
    return ImageSource(paths, name="images", rate=rate, origin=paths[0].parent)


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"


def _open_folder(folder: Path, rate: Fraction) -> Source:
    try:
        images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    if not images:
        raise SourceError(f"{folder}: no images in this folder (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
    return ImageSource(sorted(images, key=natural_key), name=folder.resolve().name, rate=rate, origin=folder)


def _open_glob(pattern: Path, rate: Fraction) -> Source:
    matches = [p for p in map(Path, glob(str(pattern), recursive=True)) if p.is_file()]  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise SourceError(f"{pattern}: no file matches this pattern")
    images = sorted(matches, key=natural_key)
    return ImageSource(images, name=str(pattern), rate=rate, origin=images[0].parent)


def _open_file(path: Path, rate: Fraction) -> Source:
    if not path.is_file():
        raise SourceError(f"{path}: neither a file nor a folder; a source must be one that can be read again")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource([path], name=path.name, rate=rate, origin=path)
    return VideoSource(path, rate_if_unclocked=rate)
