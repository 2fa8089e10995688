"""MobileSAM's encoder in the forms that are fast on a CPU, against the plain ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.tiny_vit import Attention

from vos.models.tiny_vit import TinyVitEncoder


@pytest.fixture(scope="module")
def encoders() -> tuple[TinyVitEncoder, TinyVitEncoder]:
    """With random weights, statistics of norms among them: as built, and folded."""
    noise = torch.Generator().manual_seed(0)
    plain = TinyVitEncoder().eval().requires_grad_(False)
    state = plain.state_dict()
    for name, values in state.items():
        if values.is_floating_point():
            spread = torch.rand(values.shape, generator=noise)
            state[name] = 0.5 + spread if name.endswith(("running_var", "bn.weight")) else 0.4 * spread - 0.2
    plain.load_state_dict(state)
    folded = TinyVitEncoder().eval().requires_grad_(False)
    folded.load_state_dict(state)
    folded.fold()
    folded.fold()  # a second time there is nothing left to do
    return plain, folded


@given(height=st.integers(1, 70), width=st.integers(1, 12), batch=st.integers(1, 2), channels_last=st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_few_rows_at_a_time_are_all_rows_at_once(
    encoders: tuple[TinyVitEncoder, TinyVitEncoder], height: int, width: int, batch: int, channels_last: bool
) -> None:
    plain, folded = encoders
    x = torch.randn(batch, 64, height, width, generator=torch.Generator().manual_seed(height))
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    before = x.clone()
    for whole, strips in zip(plain.body.stages[0].blocks, folded.body.stages[0].blocks, strict=True):
        torch.testing.assert_close(strips(x), whole(x), atol=1e-4, rtol=1e-4)
        assert torch.equal(x, before)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize(("stage", "windows"), [(1, 1), (1, 210), (2, 12), (3, 5)])
def test_attention_by_products_is_the_plain_attention(
    encoders: tuple[TinyVitEncoder, TinyVitEncoder], stage: int, windows: int, dtype: torch.dtype, tolerance: float
) -> None:
    """In several pieces; to what the numbers can tell apart."""
    plain, folded = (encoder.body.stages[stage].blocks[0].attn for encoder in encoders)
    noise = torch.Generator().manual_seed(stage)
    x = torch.randn(windows, plain.resolution[0] ** 2, plain.norm.normalized_shape[0], generator=noise)
    exact = Attention.forward(plain, x)
    assert torch.equal(plain(x), exact)  # the official program's order of sums, unless folded
    products = type(folded).like(folded, x.shape[2])
    products.load_state_dict(folded.state_dict())
    products.by_products = folded.by_products
    products.to(dtype).eval()  # of timm's, eval gives nothing back
    with torch.inference_mode():
        found = products(x.to(dtype)).float()
    assert found.shape == exact.shape
    assert (found - exact).norm() < tolerance * exact.norm()
