"""A grid's place on the frame: a pattern at a known place must come out at that place, whatever the encoder."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.models.dense import Linear
from vos.models.dinov2 import DinoV2, build_dinov2, from_official
from vos.models.encoder import Encoding, resized_size
from vos.models.features import FeatureMap


def _sam_map(frame: tuple[int, int]) -> FeatureMap:
    return FeatureMap(torch.zeros(1, 64, 64), frame, resized_size(frame, 1024), 16, steps=(4, 16))


def _dino_map(frame: tuple[int, int]) -> FeatureMap:
    scale = 64 / max(frame)
    h, w = (max(1, round(side * scale)) for side in frame)
    return FeatureMap(torch.zeros(1, h, w), frame, (14 * h, 14 * w), 14)


@pytest.mark.parametrize("make", [_sam_map, _dino_map])
@settings(max_examples=25, deadline=None)
@given(h=st.integers(60, 300), w=st.integers(60, 300), fy=st.floats(0.15, 0.85), fx=st.floats(0.15, 0.85))
def test_a_mask_goes_to_the_grid_and_back_to_its_place(make, h: int, w: int, fy: float, fx: float) -> None:
    features = make((h, w))
    side = max(h, w) // 8
    cy, cx = fy * (h - 1), fx * (w - 1)
    y, x = np.mgrid[:h, :w]
    mask = (abs(y - cy) <= side / 2) & (abs(x - cx) <= side / 2)
    back = features.to_frame(features.coverage(mask)[None])[0].numpy()
    cell = max(h, w) / 64
    found_y, found_x = (back * y).sum() / back.sum(), (back * x).sum() / back.sum()
    expected_y, expected_x = y[mask].mean(), x[mask].mean()
    assert abs(found_y - expected_y) < cell / 2
    assert abs(found_x - expected_x) < cell / 2
    assert back.sum() == pytest.approx(mask.sum(), rel=0.15)


def test_coverage_is_the_share_of_each_cell() -> None:
    features = _sam_map((1024, 1024))
    mask = np.zeros((1024, 1024), dtype=bool)
    mask[16:32, 32:40] = True
    coverage = features.coverage(mask)
    assert coverage[1, 2].item() == pytest.approx(0.5)
    assert coverage.sum().item() == pytest.approx(0.5)


def test_one_pixel_is_not_lost() -> None:
    features = _sam_map((480, 854))
    mask = np.zeros((480, 854), dtype=bool)
    mask[479, 853] = True
    coverage = features.coverage(mask)
    assert np.unravel_index(int(coverage.argmax()), (64, 64)) == (35, 63)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="does not cover"):
        FeatureMap(torch.zeros(1, 4, 4), (10, 10), (100, 20), 16)
    with pytest.raises(ValueError, match="mask must be"):
        _sam_map((10, 20)).coverage(np.zeros((20, 10), dtype=bool))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg"])
def test_dinov2_sees_a_pattern_where_it_is(name: str) -> None:
    torch.manual_seed(0)
    model = DinoV2(build_dinov2(name), torch.device("cpu"))
    flat = np.full((200, 300, 3), 120, dtype=np.uint8)
    marked = flat.copy()
    marked[140:160, 60:80] = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    change = (model.encode(marked).features - model.encode(flat).features).norm(dim=0)
    at = model.encode(marked)
    place = at.to_frame(change[None])[0]
    y, x = np.unravel_index(int(place.argmax()), place.shape)
    assert 135 <= y <= 165
    assert 55 <= x <= 85


@pytest.mark.slow
def test_dinov2_in_half_precision_and_in_order() -> None:
    """Half precision moves no cell's features by more than rounding does; without oneDNN layers stay PyTorch's own."""
    torch.manual_seed(0)
    network = build_dinov2("dinov2_vits14")
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    cpu = torch.device("cpu")
    ordered = DinoV2(deepcopy(network), cpu, Encoding(channels_last=False))
    assert not any(isinstance(module, Linear) for module in ordered._model.modules())
    full = DinoV2(deepcopy(network), cpu).encode(image)
    half = DinoV2(deepcopy(network), cpu, Encoding(precision="bfloat16")).encode(image)
    torch.testing.assert_close(full.features, ordered.encode(image).features, atol=1e-4, rtol=1e-4)
    assert half.features.dtype == torch.float32
    assert not torch.equal(half.features, full.features)
    assert (half.unit * full.unit).sum(0).min() > 0.999


def test_official_keys_of_dinov2() -> None:
    torch.manual_seed(0)
    model = build_dinov2("dinov2_vits14_reg")
    ours = model.state_dict()
    official = {k: v for k, v in ours.items() if k not in ("reg_token", "pos_embed", "cls_token")}
    position = torch.randn(1, 1 + 37 * 37, 384)
    official |= {
        "mask_token": torch.zeros(1, 384),
        "register_tokens": ours["reg_token"],
        "cls_token": ours["cls_token"] - position[:, :1],
        "pos_embed": position,
    }
    renamed = from_official(official)
    assert set(renamed) == set(ours)
    torch.testing.assert_close(renamed["cls_token"], ours["cls_token"])
    torch.testing.assert_close(renamed["pos_embed"], position[:, 1:])


@pytest.mark.parametrize("lies", [False, True])
def test_coverage_of_a_frame_that_is_one_column_wide_to_the_encoder(lies: bool) -> None:
    mask = np.zeros((4000, 5), bool)
    mask[3000] = True
    features = FeatureMap(torch.zeros(1, 64, 1), (4000, 5), (1024, 1), 16)
    if lies:
        mask, features = mask.T, FeatureMap(torch.zeros(1, 1, 64), (5, 4000), (1, 1024), 16)
    coverage = features.coverage(mask).flatten()
    assert coverage.argmax() == 3000 * 64 // 4000
    assert coverage.sum().item() == pytest.approx(1024 / 4000 / 16 / 16, rel=0.02)
