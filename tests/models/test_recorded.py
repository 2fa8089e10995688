"""Work recorded on a GPU is the work itself, whatever shapes and threads take turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from vos.models.recorded import Recorded
from vos.models.sam import SegmentAnything


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    if device.type != "cuda":
        pytest.skip("for a GPU")
    return device


def _work(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    for _ in range(20):
        x = (x @ y).softmax(-1)
    return x, (x + y).sum(0)


def test_results_are_those_of_the_work(cuda: torch.device) -> None:
    recorded = Recorded(_work, cuda, most=2)
    torch.manual_seed(0)
    kept = []
    for turn in range(24):
        side = (8, 16, 32)[turn % 3] if turn > 11 else 8  # more shapes than are kept
        x, y = torch.randn(side, side, device=cuda), torch.randn(side, side)
        kept.append((recorded(x, y), _work(x, y.to(cuda))))
    assert 1 <= len(recorded._recordings) <= 2
    for found, expected in kept:  # none was overwritten by a later one
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_threads_with_streams_of_their_own_share_it(cuda: torch.device) -> None:
    recorded = Recorded(_work, cuda)
    y = torch.eye(64, device=cuda)

    def run(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator(cuda).manual_seed(seed)
        stream = torch.cuda.Stream(cuda)
        stream.wait_stream(torch.cuda.default_stream(cuda))
        with torch.cuda.stream(stream):
            pairs = []
            for _ in range(50):
                x = torch.randn(64, 64, device=cuda, generator=generator)
                pairs.append((recorded(x, y)[0], _work(x, y)[0]))
            stream.synchronize()
        return pairs

    with ThreadPoolExecutor(3) as pool:
        for pairs in pool.map(run, range(3)):
            for found, expected in pairs:
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_work_that_fails_leaves_the_device_usable(cuda: torch.device) -> None:
    calls = 0

    def work(x: torch.Tensor) -> tuple[torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 4:  # while it is recorded
            raise RuntimeError("out of luck")
        return (x + 1,)

    recorded = Recorded(work, cuda)
    x = torch.zeros(3, device=cuda)
    for _ in range(2):
        assert recorded(x)[0].sum() == 3
    for _ in range(4):  # it goes on without
        assert recorded(x)[0].sum() == 3
    assert not recorded._recordings


def test_what_is_forgotten_takes_nothing_from_what_is_kept(cuda: torch.device) -> None:
    """Products of few rows and many columns need memory that belongs to the stream on which they were recorded."""
    w = torch.randn(8192, 64, device=cuda, dtype=torch.float16)
    recorded = Recorded(lambda x: (x @ w,), cuda, most=2, patience=0)
    given = [torch.randn(rows, 8192, device=cuda, dtype=torch.float16) for rows in (8, 16, 24, 32)]
    for x in [*given, *given[::-1]]:
        found = recorded(x)[0]
        torch.cuda.empty_cache()
        assert len(recorded._recordings) <= 2
        torch.testing.assert_close(found, x @ w, atol=0.5, rtol=0.02)
    torch.cuda.synchronize(cuda)


def test_a_frame_is_encoded_the_same_every_time(mobile_sam: SegmentAnything, rng: np.random.Generator) -> None:
    frames = [rng.integers(0, 255, (90, 160, 3), dtype=np.uint8) for _ in range(2)]
    first = [mobile_sam.encode(frame).features for frame in frames]
    for _ in range(3):
        for frame, features in zip(frames, first, strict=True):
            torch.testing.assert_close(mobile_sam.encode(frame).features, features, atol=2e-4, rtol=1e-3)
