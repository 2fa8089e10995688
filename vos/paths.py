"""Paths as people write them, and image files among others."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` and `~user` expanded; as it is where there is no such user, since a file may begin with `~`."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def put(part: Path, path: Path) -> None:
    """Give a file its name, in the place of one that has it; OSError.

    On Windows a file that somebody looks at this moment, such as a virus scanner, cannot be renamed or replaced: there
    it is tried for some seconds.
    """
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
        try:
            part.replace(path)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)
        else:
            return
    part.replace(path)


def natural_key(path: Path) -> tuple[list[list[str | int]], str]:
    """Sort key under which img2 comes before img10, and a/9 before b/1."""
    parts = [re.split(r"(\d+)", part.casefold()) for part in path.parts]
    return [[int(piece) if i % 2 else piece for i, piece in enumerate(part)] for part in parts], str(path)


def is_image_name(path: Path) -> bool:
    """Whether a file is an image by its suffix. Hidden ones are none: other programs keep something else in them."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
