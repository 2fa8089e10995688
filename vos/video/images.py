"""Image files, and arrays in memory, as sources of frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vos.errors import SourceError
from vos.video.reading import RATE_IF_UNCLOCKED, Pending, Reading
from vos.video.source import Source

# Pillow's formats that may hold several pictures which are frames.
_SEVERAL = frozenset({"PNG", "TIFF", "WEBP"})
# 16 bits often hold what a camera has measured in fewer: the narrowest range is taken that holds the numbers of so many
# of a sequence's pictures.
_NARROWER, _SAMPLED = {255: 8, 1023: 10, 4095: 12, 16383: 14}, 16
_WHITE = 65535  # of all 16 bits


def read_image(path: Path, *, upright: bool = True, white: int = _WHITE) -> np.ndarray:
    """Read one image file as uint8 (H, W, 3) RGB.

    16-bit values are scaled by 255 / `white`, alpha is dropped, and `upright` applies the EXIF orientation.

    Raises:
        SourceError: if the file is not an image, is damaged, or holds floating-point values.
    """
    with _readable(f"{path}"), Image.open(path) as opened:
        return _rgb(ImageOps.exif_transpose(opened) if upright else opened, f"{path}", white)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """SourceError for whatever Pillow's readers raise."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # whatever their libraries do
        lines = str(error).splitlines() or [type(error).__name__]
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else lines[0]
        raise SourceError(f"{name}: cannot be read as an image: {reason}") from error


def _rgb(image: Image.Image, name: str, white: int = _WHITE) -> np.ndarray:
    if image.mode == "F":
        raise SourceError(f"{name}: images of floating-point values have no defined range; save it as 8 or 16 bit")
    if _is_wide(image):
        wide = np.asarray(image).astype(np.int64).clip(0, white)
        grey = ((wide * 255 + white // 2) // white).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _is_wide(image: Image.Image) -> bool:
    """Whether its numbers have 16 bits, or more of which 16 count."""
    return image.mode.startswith("I")


def _largest(image: Image.Image) -> int:
    """Its largest number, of 16 bits; that of white where it has no more than 8."""
    return int(np.asarray(image).max(initial=0)) if _is_wide(image) else _WHITE


def _white_of(count: int, largest: Callable[[int], int]) -> int:
    """What is white in a sequence of `count` pictures, of some of which `largest` tells the largest number."""
    found = 0
    for index in np.linspace(0, count - 1, min(count, _SAMPLED)).round().astype(int).tolist():
        # A picture that cannot be read says so when its turn comes.
        with suppress(SourceError):
            found = max(found, largest(index))
        if found > max(_NARROWER):
            break
    # Pictures that are all black say nothing.
    return next((white for white in _NARROWER if 0 < found <= white), _WHITE)


def _bits(white: int) -> list[str]:
    """What to say of a sequence: nothing where it has all 16 bits, or 8 from the outset."""
    return [f"{_NARROWER[white]} of 16 bits"] if white in _NARROWER else []


class StillSource(Source):
    """Pictures one by one: they have a time only where the reading says at which rate they were taken."""

    clocked = False

    def __init__(self, name: str, *, count: int | None, origin: Path | None = None, reading: Reading) -> None:
        super().__init__(
            name,
            rate=reading.rate or RATE_IF_UNCLOCKED,
            frame_count=count,
            frame_count_exact=count is not None,
            time_base=1 / reading.rate if reading.rate else None,
            origin=origin,
            reading=reading,
        )

    def _pending(self, index: int, image: Callable[[], np.ndarray], name: str) -> Pending:
        return Pending(index, image, index / self.reading.rate if self.reading.rate else None, name)


class ImageSource(StillSource):
    """Image files, in the order given."""

    def __init__(self, paths: Sequence[Path], *, name: str, origin: Path, reading: Reading) -> None:
        self._paths = tuple(paths)
        self._names = _names(self._paths)
        super().__init__(name, count=len(paths), origin=origin, reading=reading)

    def _read(self) -> Generator[Pending, None, None]:
        white = _white_of(len(self._paths), self._largest)
        self._traits += _bits(white)
        for index, (path, name) in enumerate(zip(self._paths, self._names, strict=True)):
            image = partial(read_image, path, upright=self.reading.autorotate, white=white)
            yield self._pending(index, image, name)

    def _largest(self, index: int) -> int:
        with _readable(f"{self._paths[index]}"), Image.open(self._paths[index]) as opened:
            return _largest(opened)


def _names(paths: Sequence[Path]) -> list[str]:
    """What images are called: their files' names or, where two are the same, their paths below what all have in
    common."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links are left as they are
        common = os.path.commonpath([path.parent for path in whole])
        names = [path.relative_to(common).as_posix() for path in whole]
    return names


def count_pages(path: Path) -> int:
    """How many pictures of one size an image file holds: pages of a TIFF, frames of an animated PNG or WebP.

    1 for all other files: what a photograph holds besides itself are previews, and what cannot be read says so later.
    """
    try:
        with Image.open(path) as opened:
            count = getattr(opened, "n_frames", 1) if opened.format in _SEVERAL else 1
            size = opened.size
            if opened.format == "TIFF":
                for page in range(1, count):
                    opened.seek(page)
                    if opened.size != size:
                        return 1
            return int(count) - _first_page(opened)
    except Exception:  # Pillow's readers raise whatever their libraries do.
        return 1


def _first_page(opened: Image.Image) -> int:
    """An animated PNG may begin with a picture for programs that show one alone, which is no frame."""
    return int(getattr(opened, "default_image", False))


class PagesSource(StillSource):
    """The pictures in one image file; see `count_pages`."""

    def __init__(self, path: Path, count: int, *, reading: Reading) -> None:
        self._path, self._count = path, count
        super().__init__(path.name, count=count, origin=path, reading=reading)

    def _read(self) -> Generator[Pending, None, None]:
        with Image.open(self._path) as opened:
            first = _first_page(opened)
            white = _white_of(self._count, lambda index: self._largest(opened, first + index))
            self._traits += _bits(white)
            for index in range(self._count):
                yield self._pending(index, partial(self._page, opened, first + index, white), str(index))

    def _largest(self, opened: Image.Image, page: int) -> int:
        with _readable(f"{self._path}: picture {page}"):
            opened.seek(page)
            return _largest(opened)

    def _page(self, opened: Image.Image, page: int, white: int) -> np.ndarray:
        name = f"{self._path}: picture {page}"
        with _readable(name):
            opened.seek(page)
            return _rgb(ImageOps.exif_transpose(opened) if self.reading.autorotate else opened, name, white)


class ArraySource(StillSource):
    """Uint8 (H, W, 3) RGB arrays or Pillow images, as many as `count` says; None if that is not known.

    Arrays are copied, since who makes them may use one for all frames, which are read ahead; images become RGB as
    `read_image` makes it, but are not turned. What is iterated over is closed in the end if it has a `close`, as
    generators do.
    """

    def __init__(
        self, arrays: Iterator[np.ndarray | Image.Image], count: int | None, *, name: str, reading: Reading
    ) -> None:
        self._arrays = arrays
        super().__init__(name, count=count, reading=reading)
        self.foreign = count is None

    def _read(self) -> Generator[Pending, None, None]:
        for index, item in enumerate(self._arrays):
            yield self._pending(index, partial(self._checked, index, item), str(index))

    def _checked(self, index: int, item: object) -> np.ndarray:
        array = _rgb(item, f"{self.name}: frame {index}") if isinstance(item, Image.Image) else item
        if not isinstance(array, np.ndarray):
            raise SourceError(
                f"{self.name}: frame {index} has the type {type(array).__name__}; frames must be NumPy arrays, "
                "uint8 (H, W, 3) RGB, or Pillow images (paths of images go in a list)"
            )
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
            raise SourceError(
                f"{self.name}: frame {index} is {array.dtype} {array.shape}; frames must be uint8 (H, W, 3), RGB"
            )
        return array.copy()

    def _release(self) -> None:
        close = getattr(self._arrays, "close", None)
        if callable(close):
            close()
