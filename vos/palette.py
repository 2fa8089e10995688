"""The colours of object ids."""

from __future__ import annotations

import numpy as np


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
