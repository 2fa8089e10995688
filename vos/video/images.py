"""Image files, and arrays in memory, as sources of frames."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from vos.errors import SourceError
from vos.video.pixels import DeepColours, bits, largest, read_image, readable, rgb, white_of
from vos.video.reading import RATE_IF_UNCLOCKED, Pending, Reading
from vos.video.source import Source

# Pillow's formats besides TIFF that may hold several pictures which are frames.
_SEVERAL = frozenset({"PNG", "WEBP"})
# A tag of TIFF's pages, and the bit in it that says that one is a smaller copy of another.
_SUBFILE, _REDUCED = 254, 1


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
        white = white_of(len(self._paths), self._largest)
        self._traits += bits(white)
        for index, (path, name) in enumerate(zip(self._paths, self._names, strict=True)):
            image = partial(read_image, path, upright=self.reading.autorotate, white=white)
            yield self._pending(index, image, name)

    def _largest(self, index: int) -> int:
        path = self._paths[index]
        with readable(f"{path}"), Image.open(path) as opened:
            return largest(opened, f"{path}", path)


def _names(paths: Sequence[Path]) -> list[str]:
    """What images are called: their files' names or, where two are the same, their paths below what all have in
    common."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links are left as they are
        common = os.path.commonpath([path.parent for path in whole])
        names = [path.relative_to(common).as_posix() for path in whole]
    return names


@dataclass(frozen=True)
class Pages:
    """The pictures of one image file that are frames.

    Attributes:
        numbers: of these among all that it holds.
        trait: what to say of them; empty where there is nothing to say.
        problem: why there may be more, in one line; empty where there are not.
    """

    numbers: tuple[int, ...] = (0,)
    trait: str = ""
    problem: str = ""


def pages_of(path: Path) -> Pages:
    """Pages of a TIFF, frames of an animated PNG or WebP; of all other files one.

    What a photograph holds besides itself are previews, and so are pages that a TIFF calls reduced; of pages which are
    all of other sizes than the first (a picture in several resolutions) it is the first alone. A file that cannot be
    read at all says so later.
    """
    try:
        with Image.open(path) as opened:
            if opened.format == "TIFF":
                return _tiff_pages(opened)
            if opened.format not in _SEVERAL:
                return Pages()
            # An animated PNG may begin with a picture for programs that show one alone, which is no frame.
            first = int(getattr(opened, "default_image", False))
            return Pages(tuple(range(first, getattr(opened, "n_frames", 1))))
    except Exception:  # Pillow's readers raise whatever their libraries do.
        return Pages()


def _tiff_pages(opened: Image.Image) -> Pages:
    sizes, problem = {0: opened.size}, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is damaged; it is said as a problem
        for number in count(1):
            try:
                opened.seek(number)
                if not opened.tag_v2.get(_SUBFILE, 0) & _REDUCED:  # type: ignore[attr-defined]
                    sizes[number] = opened.size
            except EOFError:
                break
            except Exception as error:
                problem = f"damaged after picture {number - 1}: {' '.join(str(error).split()) or type(error).__name__}"
                break
    same = tuple(number for number, size in sizes.items() if size == sizes[0])
    if len(same) == 1 < len(sizes):
        return Pages((0,), f"the first of {len(sizes)} pages, which differ in size", problem)
    return Pages(tuple(sizes), "", problem)


class PagesSource(StillSource):
    """The pictures in one image file."""

    def __init__(self, path: Path, pages: Pages, *, reading: Reading) -> None:
        self._path, self._pages = path, pages
        super().__init__(path.name, count=len(pages.numbers), origin=path, reading=reading)
        self.frame_count_exact = not pages.problem
        if pages.trait:
            self._traits.append(pages.trait)

    def _read(self) -> Generator[Pending, None, None]:
        deep = DeepColours(self._path)
        with Image.open(self._path) as opened:
            numbers = self._pages.numbers
            white = white_of(len(numbers), lambda index: self._largest(opened, numbers[index]))
            self._traits += bits(white)
            for index, number in enumerate(numbers):
                yield self._pending(index, partial(self._page, opened, number, white, deep), str(index))
        if self._pages.problem:
            raise SourceError(f"{self._path}: {self._pages.problem}")

    def _largest(self, opened: Image.Image, page: int) -> int:
        name = f"{self._path}: picture {page}"
        with readable(name):
            opened.seek(page)
            return largest(opened, name, self._path)

    def _page(self, opened: Image.Image, page: int, white: int, deep: DeepColours) -> np.ndarray:
        name = f"{self._path}: picture {page}"
        with readable(name):
            opened.seek(page)
            return rgb(opened, name, deep, upright=self.reading.autorotate, white=white)


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
        array = rgb(item, f"{self.name}: frame {index}") if isinstance(item, Image.Image) else item
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
