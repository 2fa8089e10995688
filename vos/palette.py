"""The colours of object ids."""

from __future__ import annotations

import numpy as np

_CODE = np.array([65536, 256, 1])


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


def ids_of(colours: np.ndarray) -> np.ndarray | None:
    """The ids of which uint8 RGB (H, W, 3) are the colours, uint8 (H, W); None if one is no id's."""
    found, are = _nearest(colours)
    return found if are.all() else None


def tells_apart(values: np.ndarray, colours: np.ndarray) -> bool:
    """Whether an indexed image's values, uint8 (H, W), are shown in different colours, uint8 RGB (H, W, 3)."""
    codes = colours.astype(np.int64) @ _CODE
    return len(np.unique(codes * 256 + values)) == len(np.unique(codes))


def is_any_id(colours: np.ndarray) -> bool:
    """Whether uint8 RGB (H, W, 3) hold the colour of an id from 1 on."""
    found, are = _nearest(colours)
    return bool((are & (found > 0)).any())


def _nearest(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An id for each colour, uint8 (H, W), and whether the colour is its own."""
    known = davis_palette().astype(np.int64) @ _CODE
    by_code = np.argsort(known)
    codes = colours.astype(np.int64) @ _CODE
    found = by_code[np.minimum(np.searchsorted(known[by_code], codes), len(known) - 1)]
    return found.astype(np.uint8), known[found] == codes
