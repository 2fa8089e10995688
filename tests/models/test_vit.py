"""The ViT encoder on squares, rectangles and other sizes against segment-anything's own modules, random weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos
from torch import nn

from vos.models import vit as vit_module
from vos.models.vit import VitEncoder

GRID = 6


def _official(window: int = 4) -> ImageEncoderViT:
    torch.manual_seed(0)
    vit = ImageEncoderViT(
        img_size=16 * GRID,
        embed_dim=24,
        depth=2,
        num_heads=3,
        out_chans=8,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1,),
    ).eval()
    for parameter in vit.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.5)  # tables of positions start at zero
    return vit.requires_grad_(False)


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_the_square_is_segment_anythings(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit_module, "_BIAS_AT_ONCE", at_once)
    x = torch.randn(2, 3, 16 * GRID, 16 * GRID)
    torch.testing.assert_close(VitEncoder(_official(), GRID)(x), _official()(x), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("h", "w"), [(3, 6), (6, 2), (1, 5)])
def test_a_rectangle_is_the_square_that_attends_to_nothing_else(h: int, w: int) -> None:
    """Segment-anything's arithmetic on the whole square, global attention kept to the rectangle."""
    vit = _official(window=0)
    inside = torch.zeros(GRID, GRID, dtype=torch.bool)
    inside[:h, :w] = True
    x = torch.randn(1, 3, 16 * GRID, 16 * GRID)
    tokens = vit.patch_embed(x) + vit.pos_embed
    for block in vit.blocks:
        tokens = tokens + _attention_within(block.attn, block.norm1(tokens), inside)
        tokens = tokens + block.mlp(block.norm2(tokens))
    expected = vit.neck(tokens[:, :h, :w].permute(0, 3, 1, 2))
    found = VitEncoder(_official(window=0), GRID)(x[..., : 16 * h, : 16 * w])
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def test_windows_on_a_rectangle_are_the_padded_encoders() -> None:
    """Whole windows inside the rectangle see what they see on the square."""
    square = _official(window=3)
    square.blocks = square.blocks[:1]
    rectangle = _official(window=3)
    rectangle.blocks = rectangle.blocks[:1]
    x = torch.randn(1, 3, 16 * GRID, 16 * GRID)
    found = VitEncoder(rectangle, GRID)(x[..., : 16 * 3, :])
    # The neck's 3 x 3 convolution reaches over the rectangle's last row.
    torch.testing.assert_close(found[:, :, :2], square(x)[:, :, :2], atol=2e-5, rtol=2e-5)


def test_another_grid_interpolates_positions() -> None:
    vit = _official()
    small = VitEncoder(_official(), 3)
    assert small.position.shape == (1, 3, 3, 24)
    assert small.blocks[1].attn.rel_pos_h.shape == (5, 8)
    assert small.blocks[0].attn.rel_pos_h.shape == (7, 8)  # windows have the size they had
    expected = F.interpolate(vit.blocks[1].attn.rel_pos_h.T[None], 5, mode="linear")[0].T
    torch.testing.assert_close(small.blocks[1].attn.rel_pos_h, expected)
    assert small(torch.randn(1, 3, 48, 32)).shape == (1, 8, 3, 2)


def _attention_within(attn: nn.Module, x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """segment-anything's Attention.forward with keys outside the rectangle left out."""
    batch, h, w, _ = x.shape
    qkv = attn.qkv(x).reshape(batch, h * w, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.reshape(3, batch * attn.num_heads, h * w, -1).unbind(0)
    weights = add_decomposed_rel_pos(
        (q * attn.scale) @ k.transpose(-2, -1), q, attn.rel_pos_h, attn.rel_pos_w, (h, w), (h, w)
    )
    weights = weights.masked_fill(~inside.flatten(), float("-inf")).softmax(-1)
    out = (weights @ v).view(batch, attn.num_heads, h, w, -1).permute(0, 2, 3, 1, 4).reshape(batch, h, w, -1)
    return attn.proj(out)
