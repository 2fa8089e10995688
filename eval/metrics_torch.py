"""The counts of `eval.metrics` on a torch device, integer for integer."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from .metrics import Counter, Counts


def torch_counter(device: str | torch.device) -> Counter:
    """A `Counter` that works on `device`; it also takes torch tensors, of any device, as index maps.

    Raises:
        RuntimeError: torch cannot use the device.
    """
    torch.empty(0, device=device)

    def count_on_device(
        gt: np.ndarray, pred: np.ndarray, objects: int, radius: int, proposals: int | None = None
    ) -> Counts:
        return count(_tensor(gt, device), _tensor(pred, device), objects, radius, proposals)

    return count_on_device


@torch.no_grad()
def count(gt: torch.Tensor, pred: torch.Tensor, objects: int, radius: int, proposals: int | None = None) -> Counts:
    """`eval.metrics.count` for integer index maps (H, W) on one device; the six counts cross to the host together.

    Raises:
        ValueError: the tensors are not 2-D or their shapes differ.
    """
    if gt.ndim != 2 or gt.shape != pred.shape:
        raise ValueError(f"masks must be 2-D and of one shape, got {tuple(gt.shape)} and {tuple(pred.shape)}")
    truth = _one_hot(gt, objects)
    found = _one_hot(pred, objects if proposals is None else proposals)
    truth_edges, found_edges = boundary(truth), boundary(found)
    truth_near, found_near = dilate(truth_edges, radius), dilate(found_edges, radius)
    truth_area, found_area = _pixels(truth), _pixels(found)
    truth_length, found_length = _pixels(truth_edges), _pixels(found_edges)
    if proposals is None:
        both = _pixels(truth & found)
        matched = _pixels(truth_edges & found_near), _pixels(found_edges & truth_near)
    else:
        both = _pairs(truth, found)
        matched = _pairs(truth_edges, found_near), _pairs(truth_near, found_edges)
        truth_area, truth_length = truth_area.expand(both.shape), truth_length.expand(both.shape)
        found_area, found_length = found_area[:, None].expand(both.shape), found_length[:, None].expand(both.shape)
    values = torch.stack([both, truth_area + found_area - both, truth_length, found_length, *matched], dim=-1)
    return Counts.from_array(values.cpu().numpy())


def boundary(masks: torch.Tensor) -> torch.Tensor:
    """bool (N, H, W) -> bool (N, H, W); `eval.metrics.boundary` for each."""
    padded = torch.cat([masks, masks[:, -1:]], dim=1)
    padded = torch.cat([padded, padded[:, :, -1:]], dim=2)
    return (masks ^ padded[:, :-1, 1:]) | (masks ^ padded[:, 1:, :-1]) | (masks ^ padded[:, 1:, 1:])


def dilate(masks: torch.Tensor, radius: int) -> torch.Tensor:
    """bool (N, H, W) -> bool (N, H, W): pixels within `radius` of a set one.

    The disk is taken row by row: a run of pixels holds a set one if the running sum differs between its ends.
    """
    height, width = masks.shape[1:]
    padded = functional.pad(masks.to(torch.int32), (radius + 1, radius, radius, radius))
    sums = padded.cumsum(dim=2, dtype=torch.int32)
    near = torch.zeros_like(masks)
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius**2 - dy**2)
        rows = sums[:, radius + dy : radius + dy + height]
        near |= rows[:, :, radius + 1 + half :][:, :, :width] != rows[:, :, radius - half :][:, :, :width]
    return near


def _one_hot(index_map: torch.Tensor, n: int) -> torch.Tensor:
    ids = torch.arange(1, n + 1, device=index_map.device)
    return index_map == ids[:, None, None]


def _pixels(masks: torch.Tensor) -> torch.Tensor:
    return masks.sum(dim=(1, 2), dtype=torch.int64)


def _pairs(truth: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """bool (N, H, W), bool (P, H, W) -> int64 (P, N): pixels set in both."""
    if not len(found):
        return torch.zeros((0, len(truth)), dtype=torch.int64, device=truth.device)
    return torch.stack([_pixels(truth & mask) for mask in found])


def _tensor(index_map: np.ndarray | torch.Tensor, device: str | torch.device) -> torch.Tensor:
    if isinstance(index_map, torch.Tensor):
        return index_map.to(device)
    kept = index_map.astype(np.int32) if index_map.dtype == np.uint16 else np.ascontiguousarray(index_map)
    return torch.tensor(kept, device=device)
