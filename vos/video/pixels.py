"""The pixels of one picture in an image file, whatever it stores, as 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vos.errors import SourceError

# 16 bits often hold what a camera has measured in fewer: the narrowest range is taken that holds the numbers of so many
# of a sequence's pictures.
_NARROWER, _SAMPLED = {255: 8, 1023: 10, 4095: 12, 16383: 14}, 16
WHITE = 65535  # of all 16 bits
# Pages of a stack of such colours that are read at a time, and bytes of them.
_AHEAD, _BYTES_AHEAD = 32, 64_000_000
# Tags of a TIFF, and their values where 0 is white, and where nothing has to be turned.
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_ORIENTATION, _UPRIGHT = 274, 1


def read_image(path: Path, *, upright: bool = True, white: int = WHITE) -> np.ndarray:
    """Read one image file as uint8 (H, W, 3) RGB.

    16-bit values are scaled by 255 / `white`, alpha is dropped, and `upright` applies the EXIF orientation.

    Raises:
        SourceError: if the file is not an image, is damaged, or holds floating-point values or whole numbers that are
            none of 16 bits.
    """
    with readable(f"{path}"), Image.open(path) as opened:
        return rgb(opened, f"{path}", DeepColours(path), upright=upright, white=white)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """SourceError for whatever Pillow's readers raise."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # whatever their libraries do
        lines = str(error).splitlines() or [type(error).__name__]
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else lines[0]
        raise SourceError(f"{name}: cannot be read as an image: {reason}") from error


def rgb(
    image: Image.Image, name: str, deep: DeepColours | None = None, *, upright: bool = False, white: int = WHITE
) -> np.ndarray:
    """An image that is open, as `read_image` makes it.

    Args:
        image: at the page that is meant.
        name: what to call it in messages.
        deep: of the file that it is of; None for one in memory.
        upright, white: as there.
    """
    white_is_zero = _white_is_zero(image)
    wide = None if deep is None or not _is_deep(image) else deep.page(image)
    if wide is None:
        image = ImageOps.exif_transpose(image) if upright else image
        wide = _wide(image, name)
    if wide is None:
        return np.array(image.convert("RGB"))
    eight = ((wide.clip(0, white) * 255 + white // 2) // white).astype(np.uint8)
    if white_is_zero:
        eight = 255 - eight
    return eight if eight.ndim == 3 else np.repeat(eight[:, :, None], 3, axis=2)


def largest(image: Image.Image, name: str, path: Path) -> int:
    """The largest number of an open image, of 16 bits; that of white where it has no more than 8."""
    wide = DeepColours(path, ahead=1).page(image) if _is_deep(image) else _wide(image, name)
    return WHITE if wide is None or _white_is_zero(image) else int(wide.max(initial=0))


def white_of(count: int, largest: Callable[[int], int]) -> int:
    """What is white in a sequence of `count` pictures, of some of which `largest` tells the largest number."""
    found = 0
    for index in np.linspace(0, count - 1, min(count, _SAMPLED)).round().astype(int).tolist():
        # A picture that cannot be read says so when its turn comes.
        with suppress(SourceError):
            found = max(found, largest(index))
        if found > max(_NARROWER):
            break
    # Pictures that are all black say nothing.
    return next((white for white in _NARROWER if 0 < found <= white), WHITE)


def bits(white: int) -> list[str]:
    """What to say of a sequence: nothing where it has all 16 bits, or 8 from the outset."""
    return [f"{_NARROWER[white]} of 16 bits"] if white in _NARROWER else []


class DeepColours:
    """Colours of 16 bits in a PNG or TIFF, of which Pillow keeps the upper 8.

    Args:
        path: the file.
        ahead: pages of a TIFF that are read at a time: to come to one, all before it are passed.
    """

    def __init__(self, path: Path, ahead: int = _AHEAD) -> None:
        self._path, self._ahead = path, ahead
        self._first, self._pages = 0, list[np.ndarray]()

    def page(self, image: Image.Image) -> np.ndarray | None:
        """Of the page that an open image is at: int64 (H, W, 3), RGB; None where OpenCV makes something else of it."""
        image.load()  # what is damaged is said here, and not by a library on standard error
        number = image.tell() - self._first
        if not 0 <= number < len(self._pages):
            self._first, number = image.tell(), 0
            size = 8 * image.width * image.height
            self._pages = _read_pages(self._path, self._first, max(1, min(self._ahead, _BYTES_AHEAD // size)))
        found = self._pages[number] if self._pages else np.zeros(0)
        if found.dtype != np.uint16 or found.ndim != 3 or found.shape[2] < 3:
            return None
        return np.asarray(found[:, :, 2::-1], dtype=np.int64)


def _read_pages(path: Path, first: int, count: int) -> list[np.ndarray]:
    """As OpenCV reads them. From memory, since it takes names of files in some encodings only."""
    data = np.memmap(path, np.uint8, "r")
    said = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it warns of what it can read
    try:
        return list(cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(first, first + count))[1])
    except cv2.error:
        return []
    finally:
        cv2.utils.logging.setLogLevel(said)


def _wide(image: Image.Image, name: str) -> np.ndarray | None:
    """The numbers of a grey image of 16 bits, int64 (H, W); None where it has no more than 8."""
    if image.mode == "F":
        raise SourceError(f"{name}: images of floating-point values have no defined range; save it as 8 or 16 bit")
    if not image.mode.startswith("I"):
        return None
    numbers = np.asarray(image).astype(np.int64)
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if low < 0 or high > WHITE:
        raise SourceError(f"{name}: whole numbers from {low} to {high} have no defined range; save it as 8 or 16 bit")
    return numbers


def _is_deep(image: Image.Image) -> bool:
    """Whether it has 16 bits a colour, of which Pillow keeps 8, and lies upright in its file."""
    tiles = getattr(image, "tile", [])
    deep = image.mode in ("RGB", "RGBA", "RGBX") and bool(tiles) and ";16" in str(tiles[0][3])
    return deep and image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF of 16 bits says that 0 is white, which Pillow turns round for 8 bits only."""
    return image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
