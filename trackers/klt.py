"""A point tracker without a network: pyramidal Lucas-Kanade with a forward-backward check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np
from pydantic import BaseModel, Field

from trackers.points import PointOptions, Row, move_box, on_frame, on_mask, point_prompts, refilled
from vos.models.features import Features
from vos.types import Box, Frame, FrameResult, ObjectResult, Prompts
from vos.windows import box_of

# Variance of grey levels that is noise, not texture: patches that differ by no more are alike.
_NOISE = 25.0


class KltSettings(PointOptions):
    """Options of the Lucas-Kanade point tracker."""

    window: int = Field(21, ge=5, le=63, description="side of the square that is compared around a point, pixels")
    levels: int = Field(4, ge=0, le=8, description="pyramid levels above the frame; each doubles the reach")
    max_error: float = Field(1.0, gt=0, description="pixels that a point may be off after going forth and back")
    min_similarity: float = Field(
        0.6, ge=-1, le=1, description="correlation of a point's surroundings with the frame before; less is covered"
    )
    patience: int = Field(10, ge=0, le=100, description="frames for which an object that is lost is looked for")


@dataclass(frozen=True, eq=False)
class _Grey:
    """A frame as Lucas-Kanade reads it: uint8 (H, W), and its number, counted as they come."""

    number: int
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class _Followed:
    """One object's points.

    Attributes:
        frame: the frame on which the points lie.
        points: float32 (P, 2), xy, pixels: the positive ones, then those on the background.
        visible: bool (P,); where False, the point is lost and its coordinates mean nothing.
        box: the object's box on that frame; None if it had no mask.
        seeded: number of the frame on which all points were chosen last.
    """

    frame: _Grey
    points: np.ndarray
    visible: np.ndarray
    box: Box | None
    seeded: int


class KltTracker:
    """Points followed by optical flow (Lucas-Kanade, OpenCV), checked by following them back.

    Positive points are the k-medoids of the object's mask. A point is invisible when it does not come back to where it
    was, when its surroundings changed, or when it leaves the frame; one that ends up outside the final mask is dropped.
    New points take the place of lost ones as soon as there is a final mask. Box: the last mask's box, moved and scaled
    by the median motion of the visible points.

    An object of whose points too few are visible is not here. For `patience` frames it is looked for where it was last
    seen; after that, and after a cut, only another tracker or a reference brings it back.
    """

    Settings: ClassVar[type[BaseModel]] = KltSettings
    follows_points: ClassVar[bool] = True

    def __init__(self, settings: KltSettings) -> None:
        self._settings = settings
        self._objects: dict[int, _Followed] = {}
        self._located: dict[int, _Followed] = {}
        self._last: tuple[Frame, _Grey] | None = None
        self._count = 0

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        self._objects[object_id] = self._seeded(self._grey(frame), mask, box_of(mask))
        self._located.pop(object_id, None)

    def locate(self, frame: Frame, features: Features) -> Prompts:
        grey = self._grey(frame)
        self._located = self._cut_off(grey) if frame.cut else self._follow(grey)
        return self._prompts([self._located[i] for i in self._objects], grey)

    def update(self, result: FrameResult) -> None:
        grey = self._grey(result.frame)
        for found in result.objects:
            now = self._located.get(found.id, self._objects[found.id])
            if found.box is None:
                self._objects[found.id] = self._without_mask(now, grey)
            else:
                self._objects[found.id] = self._with_mask(now, grey, result.index_map == found.id, found)
        self._located = {}

    def state(self) -> dict[str, Any]:
        greys = {str(now.frame.number): now.frame.image for now in self._objects.values()}
        objects = {str(i): {**vars(now), "frame": now.frame.number} for i, now in self._objects.items()}
        return {"count": self._count, "greys": greys, "objects": objects}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._count = state["count"]
        greys = {int(number): _Grey(int(number), image) for number, image in state["greys"].items()}
        for i, now in state["objects"].items():
            box = None if now["box"] is None else tuple(now["box"])
            self._objects[int(i)] = _Followed(greys[now["frame"]], now["points"], now["visible"], box, now["seeded"])

    def _grey(self, frame: Frame) -> _Grey:
        """The frame in grey, converted once."""
        if self._last is None or self._last[0] is not frame:
            self._count += 1
            self._last = (frame, _Grey(self._count, cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)))
        return self._last[1]

    def _follow(self, grey: _Grey) -> dict[int, _Followed]:
        """All objects on this frame; one that is not seen stays on the frame where it was seen last."""
        located = dict(self._objects)
        groups: dict[int, list[int]] = {}
        for object_id, last in self._objects.items():
            if last.frame.number != grey.number and last.visible.any():
                groups.setdefault(last.frame.number, []).append(object_id)
        for ids in groups.values():
            # Points do not influence each other, and images are prepared once per call: one call for all.
            lasts = [self._objects[i] for i in ids]
            start = np.concatenate([last.points[last.visible] for last in lasts])
            end, seen = lucas_kanade(lasts[0].frame.image, grey.image, start, self._settings)
            ends = np.cumsum([last.visible.sum() for last in lasts])[:-1]
            for object_id, to, ok in zip(ids, np.split(end, ends), np.split(seen, ends), strict=True):
                located[object_id] = self._moved(self._objects[object_id], grey, to, ok)
        return located

    def _cut_off(self, grey: _Grey) -> dict[int, _Followed]:
        """All objects on the first frame of a shot, on which none is where it was but those that are given on it."""
        return {
            i: last
            if last.frame.number == grey.number
            else replace(last, frame=grey, visible=np.zeros_like(last.visible), box=None)
            for i, last in self._objects.items()
        }

    def _moved(self, last: _Followed, grey: _Grey, end: np.ndarray, seen: np.ndarray) -> _Followed:
        """An object whose points that were visible are now at `end`, those of `seen` rightly."""
        points, visible = last.points.copy(), np.zeros_like(last.visible)
        points[last.visible], visible[last.visible] = end, seen
        wanted = np.arange(len(points)) < self._settings.points
        positive = visible & wanted
        followed = np.count_nonzero(last.visible & wanted)
        if np.count_nonzero(positive) < max(1.0, self._settings.min_visible * followed):
            return last
        box = last.box and move_box(last.box, last.points[positive], points[positive], grey.image.shape)
        return _Followed(grey, points, visible, box, last.seeded)

    def _with_mask(self, now: _Followed, grey: _Grey, mask: np.ndarray, found: ObjectResult) -> _Followed:
        """Drop the points that the final mask contradicts, and choose others for all that are lost."""
        every = self._settings.reseed_every
        due = every is not None and grey.number - now.seeded >= every
        if due or now.frame.number != grey.number:
            return self._seeded(grey, mask, found.box)
        wanted = np.arange(len(now.points)) < self._settings.points
        kept = now.visible & (on_mask(mask, now.points) == wanted)
        points, visible = refilled(now.points, kept, mask, self._settings.points)
        return _Followed(grey, points, visible, found.box, now.seeded)

    def _without_mask(self, now: _Followed, grey: _Grey) -> _Followed:
        """No mask on this frame: points that are seen are followed on, others are waited for, but not for ever."""
        if now.frame.number != grey.number and grey.number - now.frame.number > self._settings.patience:
            return replace(now, frame=grey, visible=np.zeros_like(now.visible), box=None)
        return replace(now, box=None)

    def _seeded(self, grey: _Grey, mask: np.ndarray, box: Box | None) -> _Followed:
        """All points chosen anew."""
        none = np.zeros((self._settings.points + self._settings.background, 2), dtype=np.float32)
        points, visible = refilled(none, np.zeros(len(none), dtype=bool), mask, self._settings.points)
        return _Followed(grey, points, visible, box, grey.number)

    def _prompts(self, objects: list[_Followed], grey: _Grey) -> Prompts:
        here = [now.frame.number == grey.number for now in objects]
        rows = [Row(now.points, now.visible & seen, now.box) for now, seen in zip(objects, here, strict=True)]
        return point_prompts(rows, self._settings, (grey.image.shape[0], grey.image.shape[1]))


def lucas_kanade(
    before: np.ndarray, now: np.ndarray, start: np.ndarray, settings: KltSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Follow points, float32 (K, 2), from one grey image to another: where they are, and bool (K,) whether seen."""
    window, levels = (settings.window, settings.window), settings.levels
    end, found, _ = cv2.calcOpticalFlowPyrLK(before, now, start, None, winSize=window, maxLevel=levels)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(now, before, end, None, winSize=window, maxLevel=levels)
    seen = (found[:, 0] == 1) & (returned[:, 0] == 1)
    seen &= np.linalg.norm(back - start, axis=1) <= settings.max_error
    seen &= on_frame(end, (now.shape[0], now.shape[1]))
    seen &= _similarity(before, start, now, end, settings.window) >= settings.min_similarity
    return end, seen


def _similarity(a: np.ndarray, at: np.ndarray, b: np.ndarray, to: np.ndarray, window: int) -> np.ndarray:
    """Correlation, float (K,) in [-1, 1], of the squares around points of two images; about 1 where both are flat."""
    x, y = _patches(a, at, window), _patches(b, to, window)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    covariance, deviations = (x * y).mean(axis=1), np.sqrt((x**2).mean(axis=1) * (y**2).mean(axis=1))
    return (covariance + _NOISE) / (deviations + _NOISE)


def _patches(image: np.ndarray, points: np.ndarray, window: int) -> np.ndarray:
    """Squares around points, float32 (K, window^2)."""
    offsets = np.arange(window, dtype=np.float32) - (window - 1) / 2
    y, x = (plane.ravel() for plane in np.meshgrid(offsets, offsets, indexing="ij"))
    patches = cv2.remap(image, points[:, :1] + x, points[:, 1:] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return patches.astype(np.float32)
