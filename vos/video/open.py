"""The one way in: from what the user names to a Source."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from glob import glob, has_magic
from pathlib import Path

import numpy as np

from vos.errors import SourceError
from vos.video.container import VideoSource
from vos.video.images import IMAGE_SUFFIXES, ArraySource, ImageSource, natural_key
from vos.video.source import Source


def open_source(source: str | Path | Iterable[np.ndarray], *, rate_if_unclocked: Fraction = Fraction(24)) -> Source:
    """Open a video file, a folder or glob of images, one image, or an iterable of uint8 (H, W, 3) RGB arrays.

    Images are taken in natural order (2 before 10); of a folder, the files with an image's suffix that are not hidden.
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


def _open(source: str | Path | Iterable[np.ndarray], rate: Fraction) -> Source:
    if not isinstance(source, str | Path):
        if not isinstance(source, Iterable):
            raise SourceError(f"a source is a path or an iterable of arrays, got a {type(source).__name__}")
        return ArraySource(source, name="frames", rate=rate)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_folder(path, rate)
    if path.exists():
        return _open_file(path, rate)
    if has_magic(str(path)):
        return _open_glob(path, rate)
    raise SourceError(f"{path}: no such file or folder; check the path")


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
