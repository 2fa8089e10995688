"""The yardstick of `vos bench reference`: PerSAM's video loop step by step, on segment-anything's own predictor.

One frame after the other, a padded square in float32, one decoder call per object and cascade step, every candidate
enlarged to the frame: the authors' programs (Personalize-SAM, `persam_video.py` and `persam_video_f.py`) in fewer
words. Of what is known to be wrong in them only what would end the run is left out: an empty mask keeps its last box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from vos.models.encoder import STRIDE
from vos.models.sam import Parts

# PerSAM-F's, as published.
FIT_STEPS = 800
_FIT_RATE, _FIT_EPS = 4e-4, 1e-4
_MARGIN = 10
_REFERENCE_GREY = 215


class PlainLoop:
    """Tracks objects through one clip.

    Args:
        parts: the model's modules; they run as they are, in float32.
        device: where.
        fitted: PerSAM-F, with one point and its three scales mixed, instead of PerSAM.
    """

    def __init__(self, parts: Parts, device: torch.device, *, fitted: bool) -> None:
        encoder: Any = parts.image_encoder
        prompt_encoder: Any = parts.prompt_encoder
        encoder.img_size = STRIDE * prompt_encoder.image_embedding_size[0]
        decoder: Any = parts.mask_decoder
        model = Sam(encoder, prompt_encoder, decoder).eval().requires_grad_(False).to(device)
        self._predictor = SamPredictor(model)
        self._fitted = fitted
        self._points = 1 if fitted else 2
        self._embeddings: list[torch.Tensor] = []
        self._boxes: list[np.ndarray] = []
        # The mix before it is fitted. What it is makes no difference to the time of a frame.
        self._mixes: list[np.ndarray] = []

    @torch.no_grad()
    def start(self, image: np.ndarray, masks: Sequence[np.ndarray]) -> None:
        """Take in the reference frame, uint8 RGB (H, W, 3), and its objects' masks, bool (H, W)."""
        predictor = self._predictor
        for mask in masks:
            predictor.set_image(image)
            features = predictor.features[0]
            grey = np.zeros_like(image)
            grey[..., 0][mask] = _REFERENCE_GREY
            resized = torch.as_tensor(predictor.transform.apply_image(grey), device=predictor.device)
            padded = predictor.model.preprocess(resized.permute(2, 0, 1)[None])
            inside = F.interpolate(padded, features.shape[1:], mode="bilinear")[0, 0] > 0
            own = features[:, inside]
            self._embeddings.append(F.normalize((own.mean(1) + own.amax(1)) / 2, dim=0))
            self._boxes.append(_box(mask))
            self._mixes.append(np.full(3, 1 / 3, dtype=np.float32))

    def fit(self, image: np.ndarray, mask: np.ndarray, steps: int) -> np.ndarray:
        """PerSAM-F's two numbers of the first object, one decoder call for each step: the mix, float32 (3,)."""
        device = self._predictor.device
        with torch.no_grad():
            self._predictor.set_image(image)
            points, labels, box = self._prompts(0)
        target = torch.from_numpy(mask).to(device).float().flatten()
        weights = torch.full((2, 1), 1 / 3, device=device, requires_grad=True)
        optimizer = torch.optim.AdamW([weights], lr=_FIT_RATE, eps=_FIT_EPS)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            full, _, _ = self._predictor.predict(points, labels, box=box, return_logits=True)
            logits = torch.from_numpy(full).to(device).flatten(1)
            mixed = (logits * torch.cat([1 - weights.sum(0, keepdim=True), weights])).sum(0)
            loss = _dice(mixed, target) + _focal(mixed, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        first, second = weights.detach().cpu().flatten().tolist()
        self._mixes[0] = np.array([1 - first - second, first, second], dtype=np.float32)
        return self._mixes[0]

    @torch.no_grad()
    def step(self, image: np.ndarray) -> np.ndarray:
        """The next frame, uint8 RGB (H, W, 3) -> index map, uint8 (H, W)."""
        self._predictor.set_image(image)
        logits = [np.zeros(image.shape[:2], np.float32)]
        for k in range(len(self._embeddings)):
            logits.append(self._track(k))
        index_map = np.argmax(np.stack(logits), axis=0).astype(np.uint8)
        for k in range(len(self._embeddings)):
            mask = index_map == k + 1
            if mask.any():
                self._boxes[k] = _box(mask)
        return index_map

    def _track(self, k: int) -> np.ndarray:
        """Logits of object k on the frame, float32 (H, W)."""
        predict = self._predictor.predict
        points, labels, box = self._prompts(k)
        full, scores, low = predict(points, labels, box=box, return_logits=True)
        if self._fitted:
            mix = self._mixes[k][:, None, None]
            asked = (low * mix).sum(0, keepdims=True)
            mask = (full * mix).sum(0) > 0
            second = _box(mask if mask.any() else full[np.argmax(scores)] > 0, otherwise=box)
            full, scores, low = predict(points, labels, box=second, mask_input=asked, return_logits=True)
        else:
            largest = np.argmax((full > 0).sum((1, 2)))
            full, scores, low = predict(points, labels, mask_input=low[largest : largest + 1], return_logits=True)
        best = np.argmax(scores)
        third = _box(full[best] > 0, otherwise=box)
        full, scores, _ = predict(points, labels, box=third, mask_input=low[best : best + 1], return_logits=True)
        return full[np.argmax(scores)]

    def _prompts(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (P, 2) and labels (P,), the best of the location prior and the box's centre, and the box (4,)."""
        predictor = self._predictor
        features = F.normalize(predictor.features[0], dim=0)
        prior = torch.einsum("c,chw->hw", self._embeddings[k], features)[None, None]
        prior = F.interpolate(prior, scale_factor=4, mode="bilinear")
        full = predictor.model.postprocess_masks(prior, predictor.input_size, predictor.original_size)[0, 0]
        best = full.flatten().topk(self._points)[1].cpu().numpy()
        height, width = full.shape
        x0, y0, x1, y1 = self._boxes[k]
        box = np.array(
            [max(0, x0 - _MARGIN), max(0, y0 - _MARGIN), min(width, x1 + _MARGIN), min(height, y1 + _MARGIN)]
        )
        centre = (box[:2] + box[2:]) // 2
        points = np.concatenate([np.stack([best % width, best // width], axis=1), centre[None]])
        return points, np.ones(len(points), dtype=np.int64), box


def _box(mask: np.ndarray, otherwise: np.ndarray | None = None) -> np.ndarray:
    """xyxy, inclusive, of a mask, bool (H, W); `otherwise` where it is empty."""
    ys, xs = np.nonzero(mask)
    if not len(xs) and otherwise is not None:
        return otherwise
    return np.array([xs.min(), ys.min(), xs.max(), ys.max()])


def _dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    probability = logits.sigmoid()
    return 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)


def _focal(logits: torch.Tensor, target: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0) -> torch.Tensor:
    probability = logits.sigmoid()
    p_t = probability * target + (1 - probability) * (1 - target)
    alpha_t = alpha * target + (1 - alpha) * (1 - target)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (alpha_t * (1 - p_t) ** gamma * cross_entropy).mean()
