"""Pillow's bilinear resizing on any device: equal to the bit, or to a level where Pillow takes rows before columns.

A GPU resizes a frame in a fraction of the time that Pillow takes on the CPU, and is sent the frame's own bytes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

# Pillow's fixed point: bits after the binary point of its weights for 8-bit pixels.
_BITS = 22


def resize(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """`PIL.Image.resize` with the bilinear filter: uint8 (H, W, C) -> uint8 (h, w, C), on the same device.

    Args:
        size: (h, w), pixels. Where it is smaller, the filter widens as Pillow's does, so nothing aliases.
    """
    # Pillow rounds to 8 bits in between. Version 13 takes rows before columns for some shapes, seldom those of frames.
    for axis in (1, 0):
        if image.shape[axis] != size[axis]:
            places, weights = _taps(image.shape[axis], size[axis], image.device)
            shape = [1, 1, 1]
            shape[axis] = -1
            total = torch.full((), 1 << (_BITS - 1), dtype=torch.int32, device=image.device)
            for place, weight in zip(places, weights, strict=True):
                total = total + image.index_select(axis, place).int() * weight.view(shape)
            image = (total >> _BITS).clamp(0, 255).to(torch.uint8)
    return image


@lru_cache(maxsize=8)
def _taps(count: int, wanted: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For every output the inputs that it reads, int64 (taps, wanted), and their weights in fixed point, int32."""
    scale = count / wanted
    support = max(scale, 1.0)
    centre = (np.arange(wanted) + 0.5) * scale
    low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + support + 0.5).astype(np.int64), count)
    places = low + np.arange((high - low).max())[:, None]
    weights = np.maximum(1 - np.abs((places - centre + 0.5) * (1 / support)), 0) * (places < high)
    weights = weights / weights.sum(axis=0)
    fixed = (weights * (1 << _BITS) + 0.5).astype(np.int32)
    return torch.from_numpy(np.minimum(places, count - 1)).to(device), torch.from_numpy(fixed).to(device)
