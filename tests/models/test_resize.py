"""Resizing on a device against Pillow's own."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vos.models.encoder import resized_size
from vos.models.resize import resize


def _both(
    size: tuple[int, int], wanted: tuple[int, int], seed: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(wanted[::-1], Image.Resampling.BILINEAR))
    found = resize(torch.from_numpy(image).to(device), wanted)
    assert found.dtype == torch.uint8
    return found.cpu().numpy(), expected


@settings(max_examples=100, deadline=None)
@given(st.integers(8, 120), st.integers(8, 120), st.integers(8, 160), st.integers(0, 99))
def test_it_is_pillows_to_a_level_at_any_scale(height: int, width: int, longest: int, seed: int) -> None:
    found, expected = _both((height, width), resized_size((height, width), longest), seed, torch.device("cpu"))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_it_is_pillows_on_frames_as_they_are(device: torch.device) -> None:
    for size, wanted in [((480, 854), (576, 1024)), ((480, 854), (720, 1280)), ((1080, 1920), (396, 704))]:
        found, expected = _both(size, wanted, 0, device)
        assert np.array_equal(found, expected)
