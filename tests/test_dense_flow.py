"""Flow depends on the two pictures alone, however small they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vos.dense_flow import DenseFlow

SIZES = [(5, 5), (16, 111), (23, 88), (10, 90), (90, 10), (30, 40), (44, 44), (45, 45), (46, 46), (13, 300), (120, 160)]


def textured(size: tuple[int, int], blur: float = 2) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), blur), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("quality", ["ultrafast", "fast", "medium"])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_computed_before_does_not_matter(quality: str, size: tuple[int, int]) -> None:
    a = textured(size)
    b = np.roll(a, 2, axis=1)
    used = DenseFlow(quality)
    first = used.between(a, b)
    assert first.shape == (*size, 2)
    for flow in (used, DenseFlow(quality)):
        np.testing.assert_array_equal(flow.between(a, b), first)


@pytest.mark.parametrize("quality", ["ultrafast", "fast", "medium"])
def test_a_shift_is_found(quality: str) -> None:
    a = textured((120, 160), 6)
    found = DenseFlow(quality).between(a, np.roll(a, 3, axis=1))[20:-20, 20:-20]
    np.testing.assert_allclose(np.median(found, axis=(0, 1)), (3, 0), atol=0.3)
