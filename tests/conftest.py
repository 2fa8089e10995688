"""What tests share: optional data, real weights, devices."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from vos.models.sam import SegmentAnything
from vos.weights import fetch


@pytest.fixture(scope="session")
def shared() -> Path:
    """The optional data folder beside the checkout: DAVIS sequences and reference numbers."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "davis").is_dir():
        pytest.skip("no ../shared data beside the checkout")
    return folder


@pytest.fixture(params=["cpu", "cuda"], scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device there is; VOS_REQUIRE_CUDA=1 turns a missing GPU from a skip into a failure."""
    if request.param == "cuda" and not torch.cuda.is_available():
        if os.environ.get("VOS_REQUIRE_CUDA") == "1":
            pytest.fail("VOS_REQUIRE_CUDA is set but there is no CUDA device")
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """MobileSAM's official checkpoint, fetched as a user's would be."""
    return fetch("mobile_sam")


@pytest.fixture(scope="session")
def mobile_sam(checkpoint: Path, device: torch.device) -> SegmentAnything:
    """The real model on every device."""
    return SegmentAnything.load("mobile_sam", checkpoint, device)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
