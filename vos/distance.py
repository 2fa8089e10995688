"""Distances on masks, the same to the last bit however often they are computed."""

from __future__ import annotations

import cv2
import numpy as np


def to_nearest(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance from every pixel to the nearest True one of a mask, bool (H, W): float32 (H, W), pixels.

    Infinite everywhere if there is none.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    rough = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last bit differs from call to call; distances are roots of whole numbers.
    return np.sqrt(np.rint(rough * rough))
