"""Reads mask files and arrays of any common kind and says what was understood."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vos.errors import ReferenceInputError
from vos.palette import ids_of, palette_of, tells_apart, values_in
from vos.references.colours import ids_from_colours, is_photograph
from vos.references.grey import ids_from_grey, ids_from_indices

_MAX_PIXELS = 2**27  # more than a 16k frame
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000")
_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True, eq=False)
class UnderstoodMask:
    """What a mask holds.

    Attributes:
        index_map: uint8 (H, W): 0 background, else the object's id; at least one object.
        notes: what the user should know about how it was read, one line each.
    """

    index_map: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects' ids, ascending."""
        return object_ids(self.index_map)

    def __repr__(self) -> str:
        height, width = self.index_map.shape
        return f"UnderstoodMask({width}x{height}, ids={list(self.ids)})"


def object_ids(index_map: np.ndarray) -> tuple[int, ...]:
    """The ids in an index map, uint8 (H, W), ascending, without background."""
    counts = np.bincount(index_map.ravel(), minlength=1)
    return tuple(int(i) for i in np.flatnonzero(counts) if i != 0)


def describe(index_map: np.ndarray) -> str:
    """One line for the user: "2 objects: 1 (9.8 % of the frame), 2 (1.1 %)"; shares that would round to 0 in pixels."""
    counts = np.bincount(index_map.ravel(), minlength=256)
    parts: list[str] = []
    unit = " of the frame"
    for object_id in object_ids(index_map):
        percent = f"{100 * counts[object_id] / index_map.size:.1f}"
        if percent == "0.0":
            parts.append(f"{object_id} ({counts[object_id]} px)")
        else:
            parts.append(f"{object_id} ({percent} %{unit})")
            unit = ""
    if not parts:
        return "0 objects"
    return f"{len(parts)} object{'s' if len(parts) > 1 else ''}: {', '.join(parts)}"


def read_mask(path: str | Path) -> UnderstoodMask:
    """Reads a mask from an image file or a `.npy` array; the content decides which, not the name.

    Indexed images: the indices are ids, unless a program has ordered the palette anew; then colours count. Others: see
    `understand`. A transparent pixel (alpha below half) is background, and a photograph cut out by its alpha is one
    object. EXIF rotation is ignored.

    Raises:
        ReferenceInputError: a file that is missing, empty, truncated, too large or not an image, or as `understand`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        raise ReferenceInputError(f"mask {path}: cannot be read: {reason}") from None
    try:
        if not head:
            raise ReferenceInputError("is empty (0 bytes)")
        if head.startswith(_NPY_MAGIC):
            return understand(_load_array(path))
        if head.startswith(_ZIP_MAGIC):
            raise ReferenceInputError("is an archive; save the one mask with numpy.save as .npy, or as PNG")
        return _load_image(path)
    except ReferenceInputError as error:
        raise ReferenceInputError(f"mask {path}: {error}") from None


def understand(given: object) -> UnderstoodMask:
    """What an array means as a mask.

    - bool (H, W): object 1.
    - integers (H, W): {0, v} is one object (1 where v is 1, 255 or 65535, else v); a soft or anti-aliased mask is one
      object, cut at half of its maximum (inclusive); anything else are ids, 255 beside small ids being DAVIS void.
    - floats (H, W): within [0, 1] soft, cut at 0.5 (inclusive); other whole numbers as integers.
    - uint8 (H, W, 3) or (H, W, 4): colours, as in an RGB or RGBA file.
    - A third axis of length 1, last or first, is dropped; nested lists and the like become arrays.

    Raises:
        ReferenceInputError: another shape or type, nothing but background, ids above 255, or a photograph.
    """
    array = _as_array(given)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8 and array.size:
        alpha = array[..., 3] if array.shape[2] == 4 else None
        return _understand_colours(array[..., :3], alpha, lossy=False)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3:
        raise ReferenceInputError(
            f"is an array of shape {array.shape}, but a mask is (height, width): for several objects, merge the layers "
            "into one array of ids (0 background, 1 for the first object, 2 for the second, …)"
        )
    if array.ndim != 2 or not array.size:
        raise ReferenceInputError(
            f"is an array of shape {array.shape}, but a mask is (height, width), neither of them 0"
        )
    if array.dtype == bool:
        return UnderstoodMask(*ids_from_indices(array.astype(np.uint8)))
    if np.issubdtype(array.dtype, np.integer):
        return UnderstoodMask(*ids_from_grey(array))
    if np.issubdtype(array.dtype, np.floating):
        return _understand_floats(array)
    raise ReferenceInputError(f"is an array of {array.dtype}, but a mask is of bool, integers or floats")


def understand_image(image: Image.Image, *, lossy: bool = False) -> UnderstoodMask:
    """What an image means as a mask, as `read_mask`; raises ReferenceInputError.

    Args:
        image: any mode.
        lossy: its file's format does not keep values exactly; a JPEG is known to be so.
    """
    lossy = lossy or image.format == "JPEG"
    if image.mode == "La":
        image = image.convert("LA")  # the one way on from there
    mode = image.mode
    if mode == "P" and not _has_grey_ramp(image):
        if _is_reordered(image):
            rgba = np.asarray(image.convert("RGBA"))
            return _understand_colours(rgba[..., :3], rgba[..., 3], lossy=lossy)
        return UnderstoodMask(*ids_from_indices(np.asarray(image), indexed=True))
    if mode in ("P", "L", "1", "F") or mode.startswith("I"):
        values = np.asarray(image)
        return UnderstoodMask(*ids_from_grey(values, lossy=True)) if lossy else understand(values)
    if mode in ("LA", "PA", "RGBA", "RGBa"):
        rgba = np.asarray(image.convert("RGBA"))
        return _understand_colours(rgba[..., :3], rgba[..., 3], lossy=lossy)
    return _understand_colours(np.asarray(image.convert("RGB")), None, lossy=lossy)


def _as_array(given: object) -> np.ndarray:
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of uneven length, tensors on another device
        raise ReferenceInputError(f"a {type(given).__name__} that is not an array: {_one_line(error)}") from None
    if array.dtype.kind not in "biufc":
        raise ReferenceInputError(f"must be an array of numbers or an image, got {type(given).__name__}")
    return array


def _understand_floats(array: np.ndarray) -> UnderstoodMask:
    if not np.isfinite(array).all():
        raise ReferenceInputError("holds values that are not finite (NaN or infinity): replace them by 0")
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        if high < 0.5:
            raise ReferenceInputError(f"all background: soft values count from 0.5, the largest is {high:.3g}")
        soft = bool(((array > 0) & (array < 1)).any())
        return UnderstoodMask((array >= 0.5).astype(np.uint8), ("soft values were cut at 0.5",) if soft else ())
    if not (array == np.round(array)).all() or max(-low, high) > 2**31:
        raise ReferenceInputError(
            f"holds floats from {low:.3g} to {high:.3g}: give values from 0 to 1, whole ids, or cut them to bool first"
        )
    return UnderstoodMask(*ids_from_grey(array.astype(np.int64)))


def _understand_colours(rgb: np.ndarray, alpha: np.ndarray | None, *, lossy: bool) -> UnderstoodMask:
    if alpha is None or (alpha == 255).all():
        return UnderstoodMask(*ids_from_colours(rgb, lossy=lossy))
    opaque = alpha >= 128
    if not opaque.any():
        raise ReferenceInputError("all background: every pixel is transparent")
    cut_out = not opaque.all() and is_photograph(rgb, opaque)
    if cut_out or not rgb[opaque].any():
        return UnderstoodMask(opaque.astype(np.uint8), ("what is not transparent was read as one object",))
    return UnderstoodMask(*ids_from_colours(np.where(opaque[..., None], rgb, 0).astype(np.uint8), lossy=lossy))


def _has_grey_ramp(image: Image.Image) -> bool:
    """Whether the palette of an indexed image is grey n at place n: a grey image that was merely stored so."""
    palette = np.asarray(image.getpalette() or [], np.int64).reshape(-1, 3)
    return len(palette) > 0 and bool((palette == np.arange(len(palette))[:, None]).all())


def _is_reordered(image: Image.Image) -> bool:
    """Whether colours, not indices, say what is what in an indexed image: a program has ordered its palette anew.

    Then index 0 is of an object and the background, black or transparent, has another; or all colours are ids' own, and
    not of the ids that they have as indices.
    """
    values = values_in(image)
    shown = palette_of(image)[values]
    if not tells_apart(shown):
        return False
    background = (shown[:, 3] < 128) | ~shown[:, :3].any(axis=1)
    if values[0] == 0 and background.any() and not background[0]:
        return True
    ids, are = ids_of(shown[:, :3])
    return bool((shown[:, 3] == 255).all() and are.all() and (ids != values).any())


def _load_image(path: Path) -> UnderstoodMask:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise _too_large("it") from None
    except UnidentifiedImageError:
        raise ReferenceInputError("is not an image: give a PNG (or another image file), or a .npy array") from None
    except Exception as error:  # damage makes Pillow's readers raise anything
        raise ReferenceInputError(f"is not an image that can be read: {_one_line(error)}") from None
    with image:
        if image.width * image.height > _MAX_PIXELS:
            raise _too_large(f"{image.width}x{image.height}")
        try:
            image.load()
        except Exception as error:
            raise ReferenceInputError(f"is damaged or truncated: {_one_line(error)}") from None
        return understand_image(image, lossy=image.format == "WEBP" and b"VP8L" not in path.read_bytes())


def _load_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises anything
        raise ReferenceInputError(f"is not a .npy array that can be read: {_one_line(error)}") from None
    if array.size > 4 * _MAX_PIXELS:
        raise _too_large(f"an array of shape {array.shape}")
    return np.array(array)


def _too_large(what: str) -> ReferenceInputError:
    return ReferenceInputError(f"is too large: {what} has more than {_MAX_PIXELS // 10**6} million pixels")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:200]
