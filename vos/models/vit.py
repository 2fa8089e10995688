"""SAM's ViT image encoder on rectangles and on other input sizes, with fused attention.

The modules and their weights are segment-anything's. The forward pass is written out here because theirs takes one
square size only, rescales relative positions on rectangles, and holds several N x N attention matrices for all heads at
once. The tests hold it equal to segment-anything's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from torch import nn

# Numbers in one piece of the relative positions' bias; heads beyond that go in several pieces (4096 tokens: 4 heads).
_BIAS_AT_ONCE = 1 << 26


class VitEncoder(nn.Module):
    """Image (B, 3, h, w), normalised, sides multiples of 16 up to 16 * grid -> embedding (B, C, h / 16, w / 16).

    A rectangle is the top left part of the square: tokens keep the positions that they have there, absolute and
    relative. On a grid other than the trained one, the tables of positions are interpolated to it.

    Args:
        vit: segment-anything's ImageEncoderViT, weights loaded.
        grid: side of the square, tokens (64 as trained).
    """

    def __init__(self, vit: Any, grid: int) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.neck = vit.patch_embed, vit.blocks, vit.neck
        self.position = nn.Parameter(_resized_grid(vit.pos_embed.detach(), grid))
        for block in vit.blocks:
            if block.window_size == 0:
                for name in ("rel_pos_h", "rel_pos_w"):
                    table = getattr(block.attn, name).detach()
                    setattr(block.attn, name, nn.Parameter(_resized_offsets(table, grid)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        h, w = x.shape[1:3]
        x = x + self.position[:, :h, :w]
        for block in self.blocks:
            y = block.norm1(x)
            if block.window_size:
                windows, padded = window_partition(y, block.window_size)
                y = window_unpartition(_attention(block.attn, windows), block.window_size, padded, (h, w))
            else:
                y = _attention(block.attn, y)
            x = x + y
            x = x + block.mlp(block.norm2(x))
        return self.neck(x.permute(0, 3, 1, 2))


def _attention(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention over a grid of tokens (B, h, w, C) with decomposed relative positions, without an N x N matrix per head
    beyond the bias of the heads in work."""
    batch, h, w, _ = x.shape
    heads = module.num_heads
    q, k, v = module.qkv(x).view(batch, h * w, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    grid_q = q.unflatten(2, (h, w))
    # In order in memory, so that the N x N sums of the two are too, and nothing of that size is copied.
    bias_h = torch.einsum("bnhwc,hkc->bnhwk", grid_q, _offsets(module.rel_pos_h, h).to(q.dtype)).contiguous()
    bias_w = torch.einsum("bnhwc,wkc->bnhwk", grid_q, _offsets(module.rel_pos_w, w).to(q.dtype)).contiguous()
    step = max(1, _BIAS_AT_ONCE // (batch * (h * w) ** 2))
    pieces = []
    for start in range(0, heads, step):
        some = slice(start, start + step)
        bias = (bias_h[:, some, ..., None] + bias_w[:, some, ..., None, :]).flatten(4).flatten(2, 3)
        pieces.append(F.scaled_dot_product_attention(q[:, some], k[:, some], v[:, some], attn_mask=bias))
    out = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
    return module.proj(out.transpose(1, 2).reshape(batch, h, w, -1))


def _offsets(table: torch.Tensor, size: int) -> torch.Tensor:
    """Relative positions (2 * side - 1, C) of a side -> those between `size` <= side places, (size, size, C).

    Entry [i, j] is the table's entry for the offset i - j, whatever `size` is.
    """
    side = (table.shape[0] + 1) // 2
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place + side - 1]


def _resized_grid(table: torch.Tensor, grid: int) -> torch.Tensor:
    """Absolute positions (1, side, side, C) interpolated to (1, grid, grid, C)."""
    if table.shape[1] == grid:
        return table
    resized = F.interpolate(table.permute(0, 3, 1, 2), (grid, grid), mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1).contiguous()


def _resized_offsets(table: torch.Tensor, grid: int) -> torch.Tensor:
    """Relative positions (L, C) interpolated to (2 * grid - 1, C), as segment-anything does."""
    if table.shape[0] == 2 * grid - 1:
        return table
    return F.interpolate(table.T[None], 2 * grid - 1, mode="linear")[0].T.contiguous()
