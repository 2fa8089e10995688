"""MobileSAM's image encoder: timm's TinyViT-5M at 1024 px with the last stage kept at stride 16, and SAM's neck.

Checked against the numbers of the official MobileSAM code (tests/models/test_mobile_sam.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import timm
import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from torch import nn

# The official module path -> timm's; the first that matches is applied, then the layer names below.
_STEM = {"patch_embed.seq.0.": "patch_embed.conv1.", "patch_embed.seq.2.": "patch_embed.conv2."}
_DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")
_LAYER = re.compile(r"^layers\.")
_UNUSED = ("norm_head.", "head.")


class TinyVitEncoder(nn.Module):
    """Image (B, 3, h, w), normalised, sides multiples of 16 -> embedding (B, 256, h / 16, w / 16).

    Attributes:
        keep_stages: also give what the stages before the last see, as further channels: each stage averaged over the
            embedding's cells, its channels centred and of unit length in every cell (64 + 128 + 160 channels).
    """

    def __init__(self, out_channels: int = 256) -> None:
        super().__init__()
        self.keep_stages = False
        body = timm.create_model("tiny_vit_5m_224", pretrained=False, num_classes=0)
        body.stages[3].downsample.conv2.conv.stride = (1, 1)
        body.head = nn.Identity()
        self.body = body
        width = body.num_features
        self.neck = nn.Sequential(
            nn.Conv2d(width, out_channels, kernel_size=1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, kept = self.body.patch_embed(x), []
        for stage in self.body.stages:
            x = stage(x)
            kept.append(x)
        embedding = self.neck(x)
        if not self.keep_stages:
            return embedding
        grid = embedding.shape[2:]
        return torch.cat([embedding.float(), *(unit_cells(F.adaptive_avg_pool2d(y, grid)) for y in kept[:-1])], dim=1)


def unit_cells(x: torch.Tensor) -> torch.Tensor:
    """Features (B, C, h, w) with every cell's channels centred and of unit length, float32."""
    x = x.float()
    return F.normalize(x - x.mean(dim=1, keepdim=True), dim=1)


def from_official(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The official checkpoint's encoder keys (without `image_encoder.`) under the names of `TinyVitEncoder`.

    The classification head of the pretraining is left out: segmentation never calls it.
    """
    renamed = {}
    for key, value in state.items():
        if key.startswith(_UNUSED) or key.endswith("attention_bias_idxs"):
            continue
        renamed[key if key.startswith("neck.") else f"body.{_timm_name(key)}"] = value
    return renamed


def _timm_name(key: str) -> str:
    for official, ours in _STEM.items():
        key = key.replace(official, ours)
    # The official layer ends with the downsampling that timm's next stage begins with.
    key = _DOWNSAMPLE.sub(lambda match: f"stages.{int(match.group(1)) + 1}.downsample.", key)
    return _LAYER.sub("stages.", key).replace(".c.weight", ".conv.weight")
