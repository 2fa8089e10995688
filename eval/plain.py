"""J and F by the book: whole frames, one object at a time, nothing shared.

Slow and plain on purpose. It is the oracle that the tests hold the fast back ends to, and the opponent of
`vos bench eval`; nothing else uses it.
"""

from __future__ import annotations

import cv2
import numpy as np


def jaccard(gt: np.ndarray, pred: np.ndarray) -> float:
    """J of two bool masks (H, W)."""
    union = np.sum(gt | pred)
    return 1.0 if union == 0 else float(np.sum(gt & pred) / union)


def boundary_f(gt: np.ndarray, pred: np.ndarray, radius: int) -> float:
    """F of two bool masks (H, W), matching within a disk of `radius` pixels."""
    gt_edges, pred_edges = boundary(gt), boundary(pred)
    if not gt_edges.any() or not pred_edges.any():
        return 1.0 if gt_edges.any() == pred_edges.any() else 0.0
    precision = np.sum(pred_edges & dilate(gt_edges, radius)) / np.sum(pred_edges)
    recall = np.sum(gt_edges & dilate(pred_edges, radius)) / np.sum(gt_edges)
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def boundary(mask: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels that differ from the neighbour to the east, south or south-east."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """bool (H, W): pixels within `radius` of a set pixel."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disk) > 0
