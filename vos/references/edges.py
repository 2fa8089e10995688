"""Gives the blended pixels along the borders of flat areas back to those areas."""

from __future__ import annotations

import cv2
import numpy as np

_REACH = 7  # pixels, the side of the neighbourhood in which a blended pixel's own areas are looked for


def settle_edges(image: np.ndarray, labels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Assigns each open pixel to the level nearest in colour among those in its neighbourhood, else among all.

    Looking nearby first keeps the blend of two areas from being taken for a third whose colour happens to lie between.

    Args:
        image: any real type (H, W, C).
        labels: integers (H, W): a row of `levels`, or -1 where open.
        levels: float32 (K, C), the colour of each flat area, background included.

    Returns:
        int32 (H, W), each a row of `levels`.
    """
    labels = labels.astype(np.int32)
    open_pixels = labels < 0
    pixels = image[open_pixels].astype(np.float32)
    window = np.ones((_REACH, _REACH), np.uint8)
    best = np.full(len(pixels), -1, np.int32)
    nearby = np.full(len(pixels), np.inf, np.float32)
    anywhere = np.full(len(pixels), np.inf, np.float32)
    fallback = np.zeros(len(pixels), np.int32)
    for k, level in enumerate(levels):
        distance = np.square(pixels - level).sum(axis=1)
        closer = distance < anywhere
        anywhere[closer], fallback[closer] = distance[closer], k
        reached = cv2.dilate((labels == k).astype(np.uint8), window)[open_pixels] > 0
        closer = reached & (distance < nearby)
        nearby[closer], best[closer] = distance[closer], k
    labels[open_pixels] = np.where(best >= 0, best, fallback)
    return labels
