"""Logits and maps at the frame's size: torch's own interpolation, and the same whether whole, in part or in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.models.encoder import STRIDE, resized_size
from vos.models.features import FeatureMap
from vos.models.sam import SegmentAnything
from vos.resample import Enlargement
from vos.segment import Segmenter
from vos.settings import DecoderSettings, FitSettings
from vos.types import Prompts

CPU = torch.device("cpu")


def _interpolated(maps: torch.Tensor, factors: tuple[int, ...], covered: tuple[int, int], frame: tuple[int, int]):
    h, w = maps.shape[-2:]
    full = maps[:, None]
    for factor in factors:
        full = F.interpolate(full, (h * factor, w * factor), mode="bilinear", align_corners=False)
    full = full[..., : covered[0], : covered[1]]
    return F.interpolate(full, frame, mode="bilinear", align_corners=False)[:, 0]


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    factors=st.sampled_from([(4,), (4, 16), ()]),
    cut=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    frame=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_enlargement_is_torchs_chain_of_interpolations(grid, factors, cut, frame, seed) -> None:
    maps = torch.randn(2, *grid, generator=torch.Generator().manual_seed(seed))
    last = factors[-1] if factors else 1
    covered = tuple(max(1, n * last - c) for n, c in zip(grid, cut, strict=True))
    how = Enlargement(grid, factors, covered, frame, CPU)
    whole = how.whole(maps)
    torch.testing.assert_close(whole, _interpolated(maps, factors, covered, frame), atol=2e-5, rtol=1e-5)
    rows, columns = (slice(n // 3, n // 2 + 1) for n in grid)
    window = how.reach((rows, columns))
    torch.testing.assert_close(how.part(maps, window), whole[(slice(None), *window)], atol=2e-5, rtol=1e-5)
    outside = torch.zeros_like(maps)
    outside[:, rows, columns] = 1
    reached = how.whole(outside) > 0
    reached[(slice(None), *window)] = False
    assert not reached.any()


def _blobs(rng: np.random.Generator, n: int, size: tuple[int, int]) -> torch.Tensor:
    """Logits of n objects: empty ones, specks, one that fills the frame, and overlapping discs."""
    y, x = np.mgrid[: size[0], : size[1]]
    logits = np.full((n, *size), -7.0, dtype=np.float32) + rng.normal(0, 0.5, (n, *size)).astype(np.float32)
    for row in range(1, n):
        cy, cx, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(1, 40)
        logits[row] += 12 * ((y - cy) ** 2 + (x - cx) ** 2 < radius**2)
    logits[n - 1] += 8
    return torch.from_numpy(logits)


@pytest.mark.parametrize("frame", [(480, 854), (90, 61), (1080, 1920)])
def test_parts_pieces_and_whole_frames_agree(
    mobile_sam: SegmentAnything, frame: tuple[int, int], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    input_size = resized_size(frame, 1024)
    grid = tuple(-(-side // STRIDE) for side in input_size)
    image = FeatureMap(torch.zeros(1, *grid, device=mobile_sam.device), frame, input_size, STRIDE)
    logits = _blobs(rng, 6, image.places).to(mobile_sam.device)
    full = mobile_sam.to_frame(logits, image)
    expected = torch.where(full.amax(0) > 0, full.argmax(0), -1).cpu().numpy()
    segmenter = Segmenter(mobile_sam, DecoderSettings(), FitSettings())
    for per_row, at_once in ((True, 1), (False, 10**9), (False, 2 * frame[0] * frame[1])):
        monkeypatch.setattr(mobile_sam, "_by_rows", lambda _, per_row=per_row: per_row)
        monkeypatch.setattr("vos.models.sam._AT_ONCE", at_once)
        assert (segmenter.merge(image, logits) != expected).mean() < 1e-5
        areas = np.zeros(len(logits), dtype=int)
        for part in mobile_sam.positive_parts(logits, image):
            areas[part.rows] = (part.logits > 0).flatten(1).sum(1).cpu()
        np.testing.assert_allclose(areas, (full > 0).flatten(1).sum(1).cpu(), atol=2)


def test_what_is_in_the_padding_alone_has_no_part(mobile_sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch) -> None:
    image = FeatureMap(torch.zeros(1, 64, 64, device=mobile_sam.device), (90, 160), (576, 1024), STRIDE)
    logits = torch.full((2, 256, 256), -5.0, device=mobile_sam.device)
    logits[0, 200:220, 100:130] = 5
    logits[1, 100:120, 100:130] = 5
    monkeypatch.setattr(mobile_sam, "_by_rows", lambda _: True)
    assert [part.rows for part in mobile_sam.positive_parts(logits, image)] == [slice(1, 2)]
    found = Segmenter(mobile_sam, DecoderSettings(), FitSettings())._boxes(image, logits)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_a_run_is_the_same_in_parts_and_whole(
    mobile_sam: SegmentAnything, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = mobile_sam.encode(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8))
    prompts = Prompts(
        rng.uniform(0, 90, (3, 2, 2)).astype(np.float32),
        np.ones((3, 2), np.int8),
        np.float32([[10, 10, 50, 60], [40, 20, 110, 80], [5, 5, 30, 30]]),
    )
    found = []
    for per_row in (True, False):
        monkeypatch.setattr(mobile_sam, "_by_rows", lambda _, per_row=per_row: per_row)
        found.append(Segmenter(mobile_sam, DecoderSettings(), FitSettings()).segment([1, 2, 3], image, prompts))
    torch.testing.assert_close(found[0].logits, found[1].logits)
    np.testing.assert_allclose(found[0].scores, found[1].scores)
