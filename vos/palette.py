"""The colours of object ids."""

from __future__ import annotations

import numpy as np
from PIL import Image

CODES = 1 << 24


def davis_palette() -> np.ndarray:
    """The colour map of PASCAL VOC and DAVIS, uint8 (256, 3) RGB, by its rule.

    Bit 3 k of an id (counted from 0) is bit 7 - k of its red, bit 3 k + 1 of its green, bit 3 k + 2 of its blue.
    """
    ids = np.arange(256)[:, None]
    channels = np.arange(3)
    colours = np.zeros((256, 3), np.uint8)
    for k in range(3):
        colours |= ((ids >> (3 * k + channels) & 1) << (7 - k)).astype(np.uint8)
    return colours


def codes_of(rgb: np.ndarray) -> np.ndarray:
    """Colours, uint8 RGB (..., 3), as one number each, int32 (...), from 0 to `CODES` - 1."""
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def ids_of(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids of which uint8 RGB (..., 3) are the colours, uint8 (...), and whether they are one's, bool (...)."""
    place = np.zeros(CODES, np.uint16)
    place[codes_of(davis_palette())] = np.arange(1, 257)
    found = place[codes_of(rgb)]
    return (found - (found > 0)).astype(np.uint8), found > 0


def palette_of(image: Image.Image) -> np.ndarray:
    """How each value of an indexed image is shown, uint8 RGBA (256, 4)."""
    values = Image.frombytes("P", (256, 1), bytes(range(256)))
    values.putpalette(image.getpalette("RGB") or [0, 0, 0])
    if "transparency" in image.info:
        values.info["transparency"] = image.info["transparency"]
    return np.asarray(values.convert("RGBA"))[0]


def values_in(image: Image.Image) -> np.ndarray:
    """The values that occur in an indexed image, int64 (n,), ascending."""
    return np.flatnonzero(np.bincount(np.asarray(image).ravel(), minlength=256))


def tells_apart(rgba: np.ndarray) -> bool:
    """Whether the colours of an image's values, uint8 RGBA (n, 4), differ, whatever is transparent."""
    return len(np.unique(codes_of(rgba[:, :3]))) == len(rgba)
