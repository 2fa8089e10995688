"""The batched decoder on embeddings of any shape against segment-anything's own modules, random weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn

from vos.models import dense
from vos.models.decoder import BatchedDecoder
from vos.models.features import FeatureMap
from vos.types import Candidates, Prompts

CHANNELS, SIDE, STRIDE = 32, 8, 16
NAN = np.nan


class Modules(NamedTuple):
    prompts: PromptEncoder
    decoder: MaskDecoder


@pytest.fixture(scope="module")
def modules() -> Modules:
    torch.manual_seed(0)
    prompts = PromptEncoder(CHANNELS, (SIDE, SIDE), (SIDE * STRIDE, SIDE * STRIDE), 16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=4, mlp_dim=64)
    decoder = MaskDecoder(
        transformer_dim=CHANNELS, transformer=transformer, iou_head_depth=3, iou_head_hidden_dim=CHANNELS
    )
    for module in (prompts, decoder):
        module.eval().requires_grad_(False)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    return Modules(prompts, decoder)


def _image(grid: tuple[int, int]) -> FeatureMap:
    """A frame of half the input's size that fills its grid but for a few pixels."""
    h, w = grid
    input_size = (STRIDE * h - 3, STRIDE * w)
    return FeatureMap(torch.randn(CHANNELS, h, w), (input_size[0] // 2, input_size[1] // 2), input_size, STRIDE)


def _by_hand(modules: Modules, image: FeatureMap, prompts: Prompts, mask_logits: torch.Tensor | None) -> Candidates:
    """segment-anything's modules, one row at a time, on the full square's tables cut to the embedding."""
    h, w = image.grid_size
    logits, scores = [], []
    scale = np.array(image.input_size[::-1]) / np.array(image.frame_size[::-1])
    for row in range(len(prompts)):
        real = prompts.labels[row] >= 0
        points = torch.from_numpy(prompts.points[row, real] * scale).float()[None]
        labels = torch.from_numpy(prompts.labels[row, real].astype(np.int64))[None]
        box = torch.from_numpy(prompts.boxes[row].reshape(2, 2) * scale).float().reshape(1, 4)
        low = None if mask_logits is None else mask_logits[row][None, None]
        sparse, dense = modules.prompts(
            (points, labels) if real.any() else None, box if prompts.has_box[row] else None, low
        )
        one, score = modules.decoder(
            image_embeddings=image.features[None],
            image_pe=modules.prompts.get_dense_pe()[..., :h, :w],
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense[..., :h, :w],
            multimask_output=True,
        )
        logits.append(one)
        scores.append(score)
    return Candidates(torch.cat(logits), torch.cat(scores))


@pytest.mark.parametrize("grid", [(SIDE, SIDE), (5, SIDE), (SIDE, 3), (1, SIDE)])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("onednn", [False, True])
def test_any_rectangle_is_what_the_modules_make_of_it(
    modules: Modules, grid: tuple[int, int], with_mask: bool, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "_HERE", torch.backends.mkldnn.is_available())
    torch.manual_seed(1)
    image = _image(grid)
    prompts = Prompts(
        np.float32([[[3, 2], [9, 1], [7, 5]], [[5, 3], [NAN] * 2, [NAN] * 2], [[NAN] * 2] * 3]),
        np.int8([[1, 0, 1], [1, -1, -1], [-1, -1, -1]]),
        np.float32([[NAN] * 4, [1, 1, 8, 6], [2, 0, 7, 4]]),
    )
    low = torch.randn(3, 4 * grid[0], 4 * grid[1]) * 5 if with_mask else None
    decoder = BatchedDecoder(*deepcopy(modules), SIDE * STRIDE, STRIDE, onednn=onednn)
    found, expected = decoder.decode(image, prompts, low), _by_hand(modules, image, prompts, low)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-4)


def test_windows_leave_the_rest_out(modules: Modules, device: torch.device) -> None:
    torch.manual_seed(2)
    image = _image((5, SIDE))
    image = replace(image, features=image.features.to(device))
    prompts = Prompts(np.float32([[[3, 2]], [[5, 3]]]), np.ones((2, 1), np.int8), np.full((2, 4), NAN, np.float32))
    windows = [(slice(1, 3), slice(0, 4)), (slice(0, 5), slice(7, 8))]
    decoder = BatchedDecoder(*(deepcopy(module).to(device) for module in modules), SIDE * STRIDE, STRIDE)
    whole, part = decoder.decode(image, prompts), decoder.decode(image, prompts, None, windows)
    torch.testing.assert_close(part.scores, whole.scores)
    for all_of_it, found, (y, x) in zip(whole.logits, part.logits, windows, strict=True):
        inside = torch.zeros_like(found[0], dtype=torch.bool)
        inside[4 * y.start : 4 * y.stop, 4 * x.start : 4 * x.stop] = True
        torch.testing.assert_close(found[:, inside], all_of_it[:, inside], atol=1e-5, rtol=1e-5)
        assert (found[:, ~inside] == -20).all()


@pytest.mark.parametrize("with_mask", [False, True])
def test_all_rows_at_once_are_what_they_are_one_by_one(modules: Modules, device: torch.device, with_mask: bool) -> None:
    """What a GPU is asked, rows and tokens of no meaning among them; the third time it is recorded, then replayed."""
    torch.manual_seed(4)
    rng = np.random.default_rng(4)
    n, grid = 9, (5, SIDE)
    alone = BatchedDecoder(*modules, SIDE * STRIDE, STRIDE)
    together = BatchedDecoder(*(deepcopy(module).to(device) for module in modules), SIDE * STRIDE, STRIDE)
    together._by_rows = False
    for _ in range(5):
        image = _image(grid)
        labels = np.int8(rng.choice([-1, 0, 1], (n, 3), p=[0.4, 0.2, 0.4]))
        boxes = np.where(rng.random((n, 1)) < 0.5, NAN, np.sort(rng.uniform(0, 30, (n, 4)))).astype(np.float32)
        boxes[~(labels == 1).any(1)] = [2, 3, 20, 21]
        prompts = Prompts(rng.uniform(0, 30, (n, 3, 2)).astype(np.float32), labels, boxes)
        low = torch.randn(n, 4 * grid[0], 4 * grid[1]) if with_mask else None
        windows = [(slice(0, 1 + k % 5), slice(k % 3, SIDE)) for k in range(n)]
        expected = alone.decode(image, prompts, low, windows)
        there = replace(image, features=image.features.to(device))
        found = together.decode(there, prompts, None if low is None else low.to(device), windows)
        torch.testing.assert_close(found.logits.cpu(), expected.logits, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(found.scores.cpu(), expected.scores, atol=1e-4, rtol=1e-4)


def test_bfloat16_is_near(modules: Modules) -> None:
    torch.manual_seed(3)
    image = _image((5, SIDE))
    prompts = Prompts(np.float32([[[3, 2], [9, 1]]]), np.int8([[1, 0]]), np.float32([[1, 1, 8, 6]]))
    low = torch.randn(1, 20, 4 * SIDE)
    half = BatchedDecoder(*deepcopy(modules), SIDE * STRIDE, STRIDE, torch.bfloat16).decode(image, prompts, low)
    exact = BatchedDecoder(*modules, SIDE * STRIDE, STRIDE).decode(image, prompts, low)
    assert half.logits.dtype == half.scores.dtype == torch.float32
    assert (half.logits - exact.logits).abs().mean() < 0.03 * exact.logits.abs().mean()


def test_frames_of_several_shapes_take_turns(modules: Modules) -> None:
    decoder = BatchedDecoder(*modules, SIDE * STRIDE, STRIDE)
    prompts = Prompts(np.float32([[[3, 2]]]), np.int8([[1]]), np.float32([[NAN] * 4]))
    wide, tall = _image((3, SIDE)), _image((SIDE, 3))
    first = decoder.decode(wide, prompts).logits
    decoder.decode(tall, prompts)
    assert torch.equal(decoder.decode(wide, prompts).logits, first)


def test_mask_logits_of_another_frame_are_refused(modules: Modules) -> None:
    decoder = BatchedDecoder(*modules, SIDE * STRIDE, STRIDE)
    prompts = Prompts(np.float32([[[3, 2]]]), np.int8([[1]]), np.float32([[NAN] * 4]))
    with pytest.raises(ValueError, match=r"mask_logits must be \(1, 12, 32\)"):
        decoder.decode(_image((3, SIDE)), prompts, torch.zeros(1, 32, 32))
