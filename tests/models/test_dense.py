"""Layers through oneDNN against PyTorch's own, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vos.models import dense
from vos.models.dense import convolved, through_onednn

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.fixture(autouse=True, scope="module")
def on_any_processor() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_HERE", True)
        yield


def _close(found: torch.Tensor, exact: torch.Tensor) -> None:
    assert found.shape == exact.shape and found.dtype == exact.dtype
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    wide=st.integers(1, 70),
    given_=st.integers(1, 40),
    bias=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_linear_layer_is_the_plain_one(shape: list[int], wide: int, given_: int, bias: bool) -> None:
    torch.manual_seed(wide)
    plain = nn.Linear(wide, given_, bias)
    layer = deepcopy(plain)
    through_onednn(layer)
    x = torch.randn(*shape, wide)
    with torch.inference_mode():
        _close(layer(x), plain(x))
        across = torch.randn(wide, 3).T  # in memory the other way round
        _close(layer(across), plain(across))


@given(
    size=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    padding=st.sampled_from([0, 1]),
    depthwise=st.booleans(),
    channels_last=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_convolution_is_the_plain_one(
    size: tuple[int, int], kernel: int, stride: int, padding: int, depthwise: bool, channels_last: bool
) -> None:
    torch.manual_seed(kernel)
    plain = nn.Conv2d(6, 6 if depthwise else 9, kernel, stride, padding, groups=6 if depthwise else 1)
    layer = deepcopy(plain)
    through_onednn(layer)
    x = torch.randn(2, 6, *size)
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    with torch.inference_mode():
        _close(layer(x), plain(x))
        _close(convolved(layer, x, (0, 1)), convolved(plain, x, (0, 1)))


def test_weights_and_what_is_not_meant_stay() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.Flatten(2), nn.Linear(25, 7), nn.LayerNorm(7))
    mirrored = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    before, x = {name: value.clone() for name, value in block.state_dict().items()}, torch.randn(1, 3, 5, 5)
    exact = block(x)
    through_onednn(block)
    through_onednn(mirrored)
    assert isinstance(block[2], dense.Linear) and isinstance(block[0], dense.Conv2d)
    assert type(mirrored) is nn.Conv2d
    _close(block(x), exact)
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


def test_half_precision_is_left_alone() -> None:
    plain = nn.Linear(8, 5).bfloat16()
    layer = deepcopy(plain)
    through_onednn(layer)
    x = torch.randn(4, 8).bfloat16()
    assert torch.equal(layer(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x.float()), plain(x.float()))


@given(
    rows=st.integers(1, 2),
    few=st.integers(1, 12),
    many=st.integers(1, 60),
    wide=st.integers(1, 40),
    shared=st.booleans(),
    onednn=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_products_are_the_plain_ones(rows: int, few: int, many: int, wide: int, shared: bool, onednn: bool) -> None:
    torch.manual_seed(few)
    tokens, weights = torch.randn(rows, few, wide), torch.randn(rows, few, many)
    cells = torch.randn(1 if shared else rows, many, wide).expand(rows, -1, -1)
    with torch.inference_mode():
        _close(dense.scores(tokens, cells, onednn=onednn), torch.einsum("nac,npc->nap", tokens, cells))
        _close(dense.sums(weights, cells, onednn=onednn), torch.einsum("nap,npc->nac", weights, cells))
        exact = cells + torch.einsum("nap,nac->npc", weights, tokens)
        _close(dense.spread(cells[:1] if shared else cells, weights, tokens, onednn=onednn), exact)
        into = cells.clone()
        assert dense.spread(into, weights, tokens, into=into, onednn=onednn) is into
        _close(into, exact)
