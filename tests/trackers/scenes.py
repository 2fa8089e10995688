"""Clips for trackers: textured objects that move by known maps over a moving background, rendered below a pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch

from vos.models.features import FeatureMap, Features
from vos.types import Frame, FrameResult, ObjectResult, State

SIZE = (200, 260)
# An outline without symmetry, whose deepest point is unmistakable; pixels, about its middle.
_OUTLINE = np.array([(-40, -16), (44, -30), (2, 42)], dtype=np.float64)

Map = np.ndarray
Path = Callable[[int], Map]


def place(x: float, y: float, turn: float = 0.0, zoom: float = 1.0) -> Map:
    """Object to frame, float64 (2, 3): turned by degrees and zoomed about its middle, which comes to (x, y)."""
    angle = np.deg2rad(turn)
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def carry(points: np.ndarray, start: Map, end: Map) -> np.ndarray:
    """Where points of the object, (K, 2) in the frame of `start`, are in that of `end`."""
    on_object = np.linalg.solve(start[:, :2], (points - start[:, 2]).T)
    return (end[:, :2] @ on_object).T + end[:, 2]


@cache
def texture(size: tuple[int, int], seed: int, grain: int = 5) -> np.ndarray:
    """Random texture with details of `grain` pixels, uint8 RGB (H, W, 3)."""
    h, w = size
    small = np.random.default_rng(seed).integers(0, 256, (h // grain + 2, w // grain + 2, 3), dtype=np.uint8)
    return cv2.resize(small, None, fx=grain, fy=grain, interpolation=cv2.INTER_CUBIC)[:h, :w]


@dataclass(frozen=True)
class Thing:
    """An object: its id, its motion (frame number -> `place(...)`), the seed of its texture."""

    id: int
    path: Path
    seed: int


@dataclass(frozen=True, eq=False)
class Scene:
    """One drawn frame: what trackers are given, and the truth."""

    frame: Frame
    features: Features
    masks: Mapping[int, np.ndarray]

    def result(self, masks: Mapping[int, np.ndarray] | None = None) -> FrameResult:
        """The final answer for this frame: the true masks, or others."""
        return result(self.frame, self.masks if masks is None else masks)


def draw(things: list[Thing], t: int, pan: float = 1.5, world: int = 0) -> Scene:
    """Frame t; later things cover earlier ones.

    Args:
        things: what to draw.
        t: frame number.
        pan: motion of the background, pixels per frame.
        world: seed of the background; another one is another shot.
    """
    h, w = SIZE
    shift = np.array([[1.0, 0.0, -20.0 + pan * t], [0.0, 1.0, -20.0]])
    image = cv2.warpAffine(
        texture((h + 40, w + 40), 1000 + world, 9 + 6 * (world > 0)),
        shift,
        (w, h),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    masks: dict[int, np.ndarray] = {}
    for thing in things:
        to_frame = thing.path(t)
        fine = np.array([[1.0, 0.0, -60.0], [0.0, 1.0, -60.0], [0.0, 0.0, 1.0]])
        own = cv2.warpAffine(texture((121, 121), thing.seed), (to_frame @ fine), (w, h), flags=cv2.INTER_LINEAR)
        outline = np.round((_OUTLINE @ to_frame[:, :2].T + to_frame[:, 2]) * 256).astype(np.int32)
        drawn = np.zeros((h, w), dtype=np.uint8)
        cv2.fillPoly(drawn, [outline], 1, shift=8)
        mask = drawn.astype(bool)
        image[mask] = own[mask]
        masks = {i: m & ~mask for i, m in masks.items()} | {thing.id: mask}
    return Scene(Frame(t, image), flat_features(), masks)


def flat_features() -> Features:
    """Features in which everything looks the same, for trackers that look at pixels alone."""
    h, w = SIZE
    features = FeatureMap(torch.ones(4, h // 10, w // 10), SIZE, SIZE, 10)
    return Features(features, features)


def result(frame: Frame, masks: Mapping[int, np.ndarray]) -> FrameResult:
    """The final answer for a frame, from masks by id, bool (H, W); an empty one is an absent object."""
    index_map = np.zeros(frame.size, dtype=np.uint8)
    objects = []
    for object_id, mask in masks.items():
        index_map[mask] = object_id
        ys, xs = np.nonzero(mask)
        box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())) if len(xs) else None
        state = State.VISIBLE if len(xs) else State.ABSENT
        objects.append(ObjectResult(object_id, state, 0.9 if len(xs) else 0.0, box, len(xs)))
    return FrameResult(frame, index_map, tuple(objects))
