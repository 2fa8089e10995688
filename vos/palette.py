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
    known = davis_palette().astype(np.int64) @ _CODE
    by_code = np.argsort(known)
    codes = colours.astype(np.int64) @ _CODE
    found = by_code[np.minimum(np.searchsorted(known[by_code], codes), len(known) - 1)]
    return found.astype(np.uint8) if (known[found] == codes).all() else None
