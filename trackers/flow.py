"""Dense optical flow: the last logits, carried to this frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, ClassVar

import cv2
import numpy as np
from pydantic import BaseModel, Field

from trackers.points import interior, on_frame, on_mask
from vos.dense_flow import DenseFlow, places
from vos.models.features import Features
from vos.soft import LowLogits
from vos.tracking import Options
from vos.types import Frame, FrameResult, Prompts
from vos.windows import box_of, grown_box

# Forth and back agree where |f + b|^2 <= 0.01 (|f|^2 + |b|^2) + 0.5 pixels^2 (Sundaram, Brox and Keutzer, 2010).
_RELATIVE, _ABSOLUTE = 0.01, 0.5
# Side of the square over which grey levels are compared, pixels, and the variance of grey levels that is noise.
_SQUARE, _NOISE = 9, 25.0
# Logits are carried within these bounds, so that a pixel that is sure does not outvote the edge beside it; where only a
# mask is known, it counts as so sure. The least keeps every pixel of the final mask, whatever its own logit.
_LEAST, _SURE = 0.1, 6.0


class Quality(str, Enum):
    """OpenCV's presets of dense inverse search."""

    ULTRAFAST = "ultrafast"
    FAST = "fast"
    MEDIUM = "medium"


class FlowSettings(Options):
    """Options of the dense flow tracker."""

    points: int = Field(4, ge=0, le=16, description="positive points per object, from deep inside its last mask")
    quality: Quality = Field(Quality.MEDIUM, description="OpenCV's preset of dense inverse search")
    min_similarity: float = Field(
        0.6, ge=-1, le=1, description="correlation of a pixel's surroundings with the frame before; less is covered"
    )
    min_visible: float = Field(
        0.1, ge=0, le=1, description="share of the carried mask that must agree with the last frame; less is not here"
    )
    min_agreement: float = Field(
        0.2, ge=0, le=1, description="share of the whole frame that must agree with the last one; less is a cut"
    )
    margin: float = Field(10.0, ge=0, description="pixels by which the carried mask's box is grown on every side")


@dataclass(frozen=True, eq=False)
class _Field:
    """Motion between the last frame and this one.

    Attributes:
        forth: float32 (H, W, 2), xy, where each pixel of the last frame is in this one.
        back: float32 (H, W, 2), xy, where each pixel of this frame was in the last one.
        trusted: bool (H, W), pixels of this frame where the two agree.
    """

    forth: np.ndarray
    back: np.ndarray
    trusted: np.ndarray


class FlowTracker:
    """The last logits carried along dense optical flow (DIS, OpenCV), trusted where flow forth and back agree.

    The carried mask is where they are above 0. Positive points are carried from deep inside the last mask, and left out
    where they end up in something that cannot be trusted; the box is the carried mask's. An object that had no mask in
    the last frame, or of whose carried mask too little can be trusted, is not here, and neither is any after a cut:
    only another tracker or a reference brings it back.
    """

    Settings: ClassVar[type[BaseModel]] = FlowSettings
    follows_points: ClassVar[bool] = True

    def __init__(self, settings: FlowSettings) -> None:
        self._settings = settings
        self._flow = DenseFlow(settings.quality.value)
        self._ids: list[int] = []
        self._given: dict[int, np.ndarray] = {}
        self._last: FrameResult | None = None
        self._field: tuple[Frame, _Field] | None = None

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        if object_id not in self._ids:
            self._ids.append(object_id)
        self._given[object_id] = mask

    def locate(self, frame: Frame, features: Features) -> Prompts:
        n, settings = len(self._ids), self._settings
        points = np.zeros((n, settings.points, 2), dtype=np.float32)
        labels = np.full(points.shape[:2], -1, dtype=np.int8)
        boxes = np.full((n, 4), np.nan, dtype=np.float32)
        for row, object_id in enumerate(self._ids):
            mask, trusted, inside = self._carried(object_id, frame)
            box = box_of(mask)
            if box is None or np.count_nonzero(trusted) < max(1, settings.min_visible * np.count_nonzero(mask)):
                continue
            here = np.flatnonzero(on_mask(trusted, inside))
            points[row, here] = inside[here]
            labels[row, here] = 1
            boxes[row] = grown_box(box, settings.margin, frame.size)
        return Prompts(points, labels, boxes)

    def update(self, result: FrameResult) -> None:
        self._last = result
        self._given = {}
        self._field = None

    def state(self) -> dict[str, Any]:
        last = self._last
        if last is None:
            return {"objects": list(self._ids), "last": None}
        known: dict[str, Any] = {"frame": last.frame.index, "image": last.frame.image, "ids": last.index_map}
        soft = asdict(last.soft) if isinstance(last.soft, LowLogits) else None
        return {"objects": list(self._ids), "last": {**known, "soft": soft}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._ids = list(state["objects"])
        if (last := state["last"]) is not None:
            soft = None
            if (kept := last["soft"]) is not None:
                # Plain data has lists where there were tuples.
                kept = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
                soft = LowLogits(**kept)
            self._last = FrameResult(Frame(last["frame"], last["image"]), last["ids"], (), soft)

    def _carried(self, object_id: int, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An object's mask on this frame, bool (H, W), the part of it that can be trusted, and points (K, 2)."""
        if object_id in self._given:
            given = self._given[object_id]
            return given, given, interior(given, self._settings.points)
        assert self._last is not None, "an object is given on a frame before it is carried to the next"
        last = (self._last.index_map == object_id) & (not frame.cut)
        start = interior(last, self._settings.points)
        if not last.any():
            return last, last, start
        field = self._field_to(frame, self._last.frame)
        carried = cv2.remap(
            _logits(self._last, object_id, last),
            field.back,
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=-_SURE,
        )
        mask = carried > 0
        x, y = start.astype(np.int64).T
        return mask, mask & field.trusted, field.forth[y, x]

    def _field_to(self, frame: Frame, last: Frame) -> _Field:
        """Computed once per frame, however many objects there are."""
        if self._field is None or self._field[0] is not frame:
            grey, before = (cv2.cvtColor(f.image, cv2.COLOR_RGB2GRAY) for f in (frame, last))
            self._field = (frame, self._computed(before, grey))
        return self._field[1]

    def _computed(self, before: np.ndarray, grey: np.ndarray) -> _Field:
        forth, back = self._flow.between(before, grey), self._flow.between(grey, before)
        h, w = grey.shape
        pixels = places(h, w)
        source = pixels + back
        returned = cv2.remap(forth, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        gap, length = ((v**2).sum(axis=2) for v in (returned + back, np.concatenate([returned, back], axis=2)))
        inside = on_frame(source, (h, w))
        carried = cv2.remap(before, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        alike = _similarity(carried, grey) >= self._settings.min_similarity
        trusted = inside & alike & (gap <= _RELATIVE * length + _ABSOLUTE)
        return _Field(pixels + forth, source, trusted & (trusted.mean() >= self._settings.min_agreement))


def _logits(result: FrameResult, object_id: int, mask: np.ndarray) -> np.ndarray:
    """An object's last logits, float32 (H, W), limited to its final mask, bool (H, W), in which others have a say."""
    soft = result.soft
    own = soft.whole(object_id) if isinstance(soft, LowLogits) else None
    if own is None:
        return np.where(mask, np.float32(_SURE), np.float32(-_SURE))
    return np.where(mask, np.clip(own, _LEAST, _SURE), np.clip(own, -_SURE, -_LEAST))


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation, float32 (H, W) in [-1, 1], of two grey images around each pixel; about 1 where both are flat."""

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.blur(image, (_SQUARE, _SQUARE))

    x, y = a.astype(np.float32), b.astype(np.float32)
    at_x, at_y = mean(x), mean(y)
    covariance = mean(x * y) - at_x * at_y
    spread = np.maximum(mean(x * x) - at_x**2, 0) * np.maximum(mean(y * y) - at_y**2, 0)
    return (covariance + _NOISE) / (np.sqrt(spread) + _NOISE)
