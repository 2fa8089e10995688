"""MobileSAM's image encoder: timm's TinyViT-5M at 1024 px with the last stage kept at stride 16, and SAM's neck.

Checked against the numbers of the official MobileSAM code (tests/models/test_mobile_sam.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from threading import Lock
from typing import Any

import timm
import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, ConvNorm, MBConv, TinyVitBlock
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vos.models.dense import convolved
from vos.models.features import unit_cells
from vos.models.precision import InFloat32

# The official module path -> timm's; the first that matches is applied, then the layer names below.
_STEM = {"patch_embed.seq.0.": "patch_embed.conv1.", "patch_embed.seq.2.": "patch_embed.conv2."}
_DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")
_LAYER = re.compile(r"^layers\.")
_UNUSED = ("norm_head.", "head.")
# Maps are largest in the first stage and before it: threads that encode side by side take turns there, which costs no
# time and saves memory.
_FIRST_STAGE = Lock()

# On a CPU, rows of the first stage, and bytes of scores of windows, that are worked on at a time: what is in between
# stays in its cache and in memory that was used before.
_STRIP, _SCORES_AT_ONCE = 20, 2_000_000


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
        for module in body.modules():
            if isinstance(module, TinyVitBlock):
                module.attn = _WindowAttention.like(module.attn, module.dim)
            for name, part in module.named_children():
                if isinstance(part, nn.GELU):
                    setattr(module, name, _GeluInPlace())
        self.body = body
        width = body.num_features
        self.neck = nn.Sequential(
            nn.Conv2d(width, out_channels, kernel_size=1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def fold(self) -> None:
        """Take batch norms into the convolutions before them, and pass over less memory where else that can be had: the
        same numbers up to rounding. Weights are loaded before that.
        """
        for module in self.body.modules():
            if isinstance(module, ConvNorm) and isinstance(module.bn, nn.BatchNorm2d):
                module.conv, module.bn = fuse_conv_bn_eval(module.conv.eval(), module.bn.eval()), nn.Identity()
            elif isinstance(module, _WindowAttention):
                module.by_products = True
        first = self.body.stages[0]
        first.blocks = nn.Sequential(*(_InStrips(b) if isinstance(b, MBConv) else b for b in first.blocks))

    def round_to(self, dtype: torch.dtype) -> None:
        """Compute and give half precision from now on, folded, but for the neck's norms.

        All is rounded here, which takes less than autocast on every frame. The norms square values of some 500, too
        large for float16.
        """
        self.fold()
        self.to(dtype)
        for k in (1, 3):
            self.neck[k] = InFloat32(self.neck[k])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype: Any = self.neck[0].weight.dtype
        grid = x.shape[2] // 16, x.shape[3] // 16
        first, *others, last = self.body.stages
        with nullcontext() if torch.compiler.is_compiling() else _FIRST_STAGE:
            x = first(self.body.patch_embed(x.to(dtype)))
        kept = self._kept(x, grid)
        for stage in others:
            x = stage(x)
            kept += self._kept(x, grid)
        embedding = self.neck(last(x))
        return torch.cat([embedding.float(), *kept], dim=1) if kept else embedding

    def _kept(self, x: torch.Tensor, grid: tuple[int, int]) -> list[torch.Tensor]:
        return [unit_cells(F.adaptive_avg_pool2d(x, grid))] if self.keep_stages else []


class _InStrips(nn.Module):
    """An inverted bottleneck whose batch norms are folded, (B, C, h, w) to the same; on a CPU a few rows at a time.

    Its maps are four times as wide as what it reads and gives, and those of a whole frame fit in no cache.
    """

    def __init__(self, block: MBConv) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return self.block(x)
        block, height = self.block, x.shape[2]
        spread = block.conv2.conv
        given = torch.empty_like(x)
        for top in range(0, height, _STRIP):
            end = min(top + _STRIP, height)
            above, below = min(top, 1), min(height - end, 1)
            wide = block.act1(block.conv1(x[:, :, top - above : end + below]))
            if not (above and below):
                wide = F.pad(wide, (0, 0, 1 - above, 1 - below))
            wide = convolved(spread, wide, (0, 1))
            strip = block.conv3(block.act2(wide))
            given[:, :, top:end] = block.act3(strip.add_(x[:, :, top:end]))
        return given


class _WindowAttention(Attention):
    """timm's, in the forms that are fastest: in half precision a fused kernel and, on a CPU, plain products.

    Attributes:
        by_products: so in float32 too. Without, sums are in the official program's order.
    """

    by_products = False

    @classmethod
    def like(cls, other: Any, dim: int) -> _WindowAttention:
        return cls(dim, other.key_dim, other.num_heads, attn_ratio=other.attn_ratio, resolution=other.resolution)

    def get_attention_biases(self, device: torch.device) -> torch.Tensor:
        bias = super().get_attention_biases(device)
        # In float32 the fused kernel is no faster.
        return bias if bias.dtype is torch.float32 else bias[None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" or not self.by_products or torch.compiler.is_compiling():
            return super().forward(x)
        bias = super().get_attention_biases(x.device)
        parts = self.qkv(self.norm(x)).split(max(1, _SCORES_AT_ONCE // bias.nbytes))
        return self.proj(torch.cat([self._attended(part, bias) for part in parts]))

    def _attended(self, qkv: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Of windows' projections (n, P, H 3 c), with biases (H, P, P), what their places take up: (n, P, H c)."""
        n, places, _ = qkv.shape
        heads = qkv.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        q, k, v = (part.flatten(0, 1) for part in heads.split([self.key_dim, self.key_dim, self.val_dim], dim=3))
        scores = ((q * self.scale) @ k.transpose(1, 2)).unflatten(0, (n, -1)).add_(bias)
        taken = scores.softmax(-1).flatten(0, 1) @ v
        return taken.unflatten(0, (n, -1)).transpose(1, 2).reshape(n, places, -1)


class _GeluInPlace(nn.Module):
    """GELU for maps that nothing else reads, which is every one in this network: large ones are held once."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten.gelu_(x)


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
