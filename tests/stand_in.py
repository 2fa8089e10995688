"""A segmenter that takes no time: what it answers depends on the frame, every prompt, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from vos.models.decoder import Window
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.types import Candidates, Prompts

_SIDE, _STRIDE, _RATIO = 128, 16, 4


class StandIn:
    """In place of `SegmentAnything`: colours as features, and as masks what has the colour of the points."""

    device = torch.device("cpu")
    to_frame = SegmentAnything.to_frame
    low_logits = SegmentAnything.low_logits
    positive_parts = SegmentAnything.positive_parts
    _enlargement = SegmentAnything._enlargement
    _by_rows = staticmethod(SegmentAnything._by_rows)

    def encode(self, image: np.ndarray) -> FeatureMap:
        h, w = image.shape[:2]
        scale = _SIDE / max(h, w)
        size = (max(1, round(h * scale)), max(1, round(w * scale)))
        canvas = np.zeros((_SIDE, _SIDE, 3), np.float32)
        canvas[: size[0], : size[1]] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        cells = canvas.reshape(_SIDE // _STRIDE, _STRIDE, _SIDE // _STRIDE, _STRIDE, 3).mean(axis=(1, 3)) / 255
        features = torch.from_numpy(np.dstack([cells, np.full(cells.shape[:2], 0.2)])).float().permute(2, 0, 1)
        steps = (_STRIDE // _RATIO, _STRIDE)
        return FeatureMap(features.contiguous(), (h, w), size, _STRIDE, steps=steps)

    def decode(
        self,
        image: FeatureMap,
        prompts: Prompts,
        mask_logits: torch.Tensor | None = None,
        windows: Sequence[Window] | None = None,  # all is answered
    ) -> Candidates:
        fine = F.normalize(F.interpolate(image.features[None], image.places, mode="bilinear")[0], dim=0)
        scale = _SIDE / max(image.frame_size) / _RATIO
        rows = []
        for k in range(len(prompts)):
            points = [*prompts.points[k][prompts.labels[k] == 1]]
            if prompts.has_box[k]:
                points.append((prompts.boxes[k][:2] + prompts.boxes[k][2:]) / 2)
            xs, ys = (np.clip(np.array(points) * scale, 0, fine.shape[-1] - 1).astype(int)).T
            logits = 30 * (torch.einsum("cp,chw->phw", fine[:, ys, xs], fine).amax(0) - 0.985)
            if prompts.has_box[k]:
                x0, y0, x1, y1 = (prompts.boxes[k] * scale).tolist()
                y, x = torch.meshgrid(*2 * [torch.arange(fine.shape[-1]).float()], indexing="ij")
                outside = (x0 - x).clamp(min=0) + (x - x1).clamp(min=0) + (y0 - y).clamp(min=0) + (y - y1).clamp(min=0)
                logits = logits - outside
            if mask_logits is not None:
                logits = logits + 0.1 * mask_logits[k]
            rows.append(torch.stack([logits - 0.2, logits, logits + 0.2]))
        logits = torch.stack(rows)
        return Candidates(logits, torch.sigmoid(logits.abs().mean(dim=(2, 3))))


def stand_in_models() -> Models:
    return Models(StandIn(), None)  # type: ignore[arg-type]
