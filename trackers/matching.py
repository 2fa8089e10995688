"""PerSAM's tracker: match the object's features, prompt with the best locations and the last box."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import BaseModel, Field

from vos.models.features import FeatureMap, Features
from vos.personalize import covered_cells, location_priors, target_embedding
from vos.tracking import Options
from vos.types import Box, Frame, FrameResult, Prompts
from vos.windows import box_of, grown_box

# Priors are looked at on the frame for as many objects at a time as have this many pixels: 16 MB in float32.
_TOGETHER = 1 << 22


class BoxOf(str, Enum):
    """Whose last box an object is prompted with."""

    OWN = "own"
    RANK = "rank"


class MatchingSettings(Options):
    """Options of feature matching."""

    points: int = Field(2, ge=1, le=16, description="positive points: the best locations of the prior")
    center: bool = Field(True, description="the box's centre as a further positive point")
    margin: float = Field(10.0, ge=0, description="pixels by which the last box is grown on every side")
    presence: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="object is absent where the prior's maximum is below (0.45 with DINOv2); none: never",
    )
    box_of: BoxOf = Field(
        BoxOf.OWN,
        description="own: the object's last box; rank: the box of the k-th visible object (published id shift)",
    )
    published_rounding: bool = Field(
        False, description="box clipped one pixel late, centre rounded down, mask sampled at cell centres, as published"
    )


class MatchingTracker:
    """The places whose features are most like the object's (PerSAM, section 3.1; the authors' recipe for video).

    Positive points: the best locations of the prior on the whole frame. Box: the object's box in the last frame, grown
    by `margin`; its centre is one more positive point. While an object is absent it has no box, and the prior alone
    looks for it everywhere.
    """

    Settings: ClassVar[type[BaseModel]] = MatchingSettings

    def __init__(self, settings: MatchingSettings) -> None:
        self._settings = settings
        self._embeddings: dict[int, torch.Tensor] = {}
        self._boxes: dict[int, Box | None] = {}

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        cells = (_sampled_cells if self._settings.published_rounding else covered_cells)(features.prior, mask)
        embedding = target_embedding(features.prior, cells)[None]
        earlier = self._embeddings.get(object_id)
        self._embeddings[object_id] = embedding if earlier is None else torch.cat([earlier.to(embedding), embedding])
        self._boxes[object_id] = box_of(mask)

    def locate(self, frame: Frame, features: Features) -> Prompts:
        k = self._settings.points
        n = len(self._embeddings)
        points = np.zeros((n, k + self._settings.center, 2), dtype=np.float32)
        labels = np.full(points.shape[:2], -1, dtype=np.int8)
        boxes = np.full((n, 4), np.nan, dtype=np.float32)
        last_boxes = self._last_boxes()
        (h, w), beyond = frame.size, int(self._settings.published_rounding)
        room = h + beyond, w + beyond
        sought = [row for row in range(n) if last_boxes[row] is not None or self._settings.box_of is BoxOf.OWN]
        for row, best, likeness in zip(sought, *self._best_places(sought, features.prior), strict=True):
            if self._settings.presence is not None and likeness < self._settings.presence:
                continue
            points[row, : len(best)] = best
            labels[row, : len(best)] = 1
            last = last_boxes[row]
            if last is not None:
                boxes[row] = grown_box(last, self._settings.margin, room)
                if self._settings.center:
                    points[row, k] = self._center(boxes[row])
                    labels[row, k] = 1
        return Prompts(points, labels, boxes)

    def _best_places(self, rows: list[int], prior: FeatureMap) -> tuple[np.ndarray, np.ndarray]:
        """Where objects' priors are highest on the frame, int64 (N, k, 2), xy, best first, and how high, float32 (N,).

        Computed for as many objects at a time as `_TOGETHER` allows; a GPU is waited for once.
        """
        height, width = prior.frame_size
        k = min(self._settings.points, height * width)
        # What was restored is on the CPU.
        self._embeddings = {i: embedding.to(prior.features) for i, embedding in self._embeddings.items()}
        embeddings = list(self._embeddings.values())
        if not rows:
            return np.zeros((0, k, 2), dtype=np.int64), np.zeros(0, dtype=np.float32)
        step = max(1, _TOGETHER // (height * width))
        found = []
        for start in range(0, len(rows), step):
            own = [embeddings[row] for row in rows[start : start + step]]
            found.append(prior.to_frame(location_priors(prior, own)).flatten(1).topk(k))
        places = torch.cat([where for _, where in found]).cpu().numpy()
        likeness = torch.cat([values[:, 0] for values, _ in found]).float().cpu().numpy()
        return np.stack([places % width, places // width], axis=2), likeness

    def update(self, result: FrameResult) -> None:
        for found in result.objects:
            self._boxes[found.id] = found.box

    def state(self) -> dict[str, Any]:
        embeddings = {str(i): embedding.cpu().numpy() for i, embedding in self._embeddings.items()}
        return {"embeddings": embeddings, "boxes": {str(i): box for i, box in self._boxes.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._embeddings = {int(i): torch.from_numpy(embedding) for i, embedding in state["embeddings"].items()}
        self._boxes = {int(i): None if box is None else tuple(box) for i, box in state["boxes"].items()}

    def _last_boxes(self) -> list[Box | None]:
        """Per row the box to prompt with. By rank, every object after a vanished one takes its neighbour's."""
        own = [self._boxes[i] for i in self._embeddings]
        if self._settings.box_of is BoxOf.OWN:
            return own
        visible: list[Box | None] = [box for box in own if box is not None]
        return visible + [None] * (len(own) - len(visible))

    def _center(self, box: np.ndarray) -> np.ndarray:
        center = (box[:2] + box[2:]) / 2
        return np.floor(center) if self._settings.published_rounding else center


def _sampled_cells(prior: FeatureMap, mask: np.ndarray) -> torch.Tensor:
    """Cells of an object as the authors' program finds them: bool (h, w).

    The mask, as grey 215, goes through the image's own preprocessing (8-bit resize, (x - 123.675) / 58.395, zero
    padding) and is sampled at each cell's centre; above 0 is object. An object that no centre hits, on which that
    program fails, falls back to `covered_cells`.
    """
    h, w = prior.input_size
    grey = Image.fromarray(mask.astype(np.uint8) * 215)
    resized = torch.from_numpy(np.array(grey.resize((w, h), Image.Resampling.BILINEAR))).float()
    normalised = (resized - 123.675) / 58.395
    rows, columns = prior.grid_size
    padded = torch.zeros(rows * prior.stride, columns * prior.stride)
    padded[:h, :w] = normalised
    sampled = F.interpolate(padded[None, None], (rows, columns), mode="bilinear")[0, 0] > 0
    return sampled.to(prior.features.device) if sampled.any() else covered_cells(prior, mask)
