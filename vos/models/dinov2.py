"""DINOv2 (ViT-S/B/L, with and without registers) on timm, as a source of features for the location prior.

The image is resized to whole patches with its longer side at 64 of them (so that the grid is as fine as SAM's), which
changes the aspect ratio by under one patch; no padding, hence every cell covers the same part of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

from vos.errors import SettingsError
from vos.models.checkpoint import load_exactly, read_checkpoint
from vos.models.dense import through_onednn
from vos.models.encoder import Encoding
from vos.models.features import FeatureMap
from vos.models.precision import DTYPES, in_precision, round_products

_PATCH = 14
_LONGEST = 64
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_TIMM_NAMES = {
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vitb14": "vit_base_patch14_dinov2",
    "dinov2_vitl14": "vit_large_patch14_dinov2",
    "dinov2_vits14_reg": "vit_small_patch14_reg4_dinov2",
    "dinov2_vitb14_reg": "vit_base_patch14_reg4_dinov2",
    "dinov2_vitl14_reg": "vit_large_patch14_reg4_dinov2",
}


class DinoV2:
    """A frozen DINOv2 that embeds whole frames.

    Args:
        model: timm's vision transformer, weights loaded.
        device: where to run.
        encoding: `precision` and `channels_last`, which hold here too; sizes are DINOv2's own.
    """

    def __init__(self, model: Any, device: torch.device, encoding: Encoding | None = None) -> None:
        encoding = encoding or Encoding()
        self.device = device
        self._dtype = DTYPES[encoding.precision]
        self._model = model.eval().requires_grad_(False).to(device)
        if self._dtype is not torch.float32:
            round_products(self._model, self._dtype)
        if encoding.channels_last:
            through_onednn(self._model)
        self._mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(1, 3, 1, 1)

    @classmethod
    def load(cls, name: str, checkpoint: Path, device: torch.device, encoding: Encoding | None = None) -> DinoV2:
        """Load an official checkpoint (`dinov2_*_pretrain.pth`), to be run as `encoding` says.

        Raises:
            SettingsError: an unknown name.
            WeightsError: a checkpoint that cannot be read or is of another model.
        """
        model = build_dinov2(name)
        state = from_official(read_checkpoint(checkpoint, "features_weights"))
        load_exactly(model, state, f"{checkpoint}", name, "--features or features_weights")
        return cls(model, device, encoding)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> FeatureMap:
        """A frame, uint8 RGB (H, W, 3) -> its patch tokens after the final norm, float32 (C, h, w)."""
        frame_size = (image.shape[0], image.shape[1])
        scale = _LONGEST / max(frame_size)
        h, w = (max(1, round(side * scale)) for side in frame_size)
        input_size = (h * _PATCH, w * _PATCH)
        resized = Image.fromarray(image).resize(input_size[::-1], Image.Resampling.BICUBIC)
        x = torch.tensor(np.asarray(resized)).to(self.device).permute(2, 0, 1)[None].float() / 255
        with in_precision(self.device, self._dtype):
            tokens = self._model.forward_features((x - self._mean) / self._std)[0, self._model.num_prefix_tokens :]
        features = tokens.float().transpose(0, 1).unflatten(1, (h, w)).contiguous()
        return FeatureMap(features, frame_size, input_size, _PATCH)


def build_dinov2(name: str) -> Any:
    """timm's model for a DINOv2 name, random weights; SettingsError lists the known names."""
    if name not in _TIMM_NAMES:
        raise SettingsError(f"unknown DINOv2 model '{name}'; known: {', '.join(_TIMM_NAMES)}")
    return timm.create_model(_TIMM_NAMES[name], pretrained=False, num_classes=0, dynamic_img_size=True)


def from_official(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An official DINOv2 state dict under timm's names.

    timm adds the class token's position to the token itself in the models with registers, and has no mask token.
    """
    renamed = {key: value for key, value in state.items() if key != "mask_token"}
    if "register_tokens" in renamed:
        renamed["reg_token"] = renamed.pop("register_tokens")
        if renamed.keys() >= {"pos_embed", "cls_token"}:
            position = renamed["pos_embed"]
            renamed["cls_token"] = renamed["cls_token"] + position[:, :1]
            renamed["pos_embed"] = position[:, 1:]
    return renamed
