"""Memory that does not grow with the clip, whoever waits for whom: the tracker for the reader, or the reader for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import encode
from tests.cli.resumed import LEFT, RIGHT, Runner
from tests.drawn import clip

FRAMES = int(os.environ.get("VOS_MEMORY_FRAMES", "500"))
SIZE = (240, 320)
# Until then everything is loaded, every queue is full and every buffer has been needed once.
WARM = 150
# Bytes: far less than hundreds of frames take, and per frame an entry in the indices of the files that are written.
ALLOWED = (40 << 20) + FRAMES * (2 << 10)
SAVED = "masks,overlay,json,alpha8,coco,youtube,npz,polygons,csv"


@pytest.mark.slow
@pytest.mark.timeout(120 + FRAMES)
@pytest.mark.skipif(sys.platform == "win32", reason="nobody tells the most memory that a process had")
@pytest.mark.parametrize(("tracking", "reading"), [(0.02, 0.0), (0.0, 0.05)], ids=["slow tracking", "slow reading"])
def test_memory_is_flat(tmp_path: Path, tracking: float, reading: float) -> None:
    """VOS_MEMORY_FRAMES=10000 makes it a long clip; what may be added per frame is a hundredth of its picture."""
    there, truth = clip([LEFT, RIGHT], 40, size=SIZE)
    to_and_fro = [*there, *there[::-1]]
    video = encode(tmp_path / "long.mp4", (to_and_fro * (FRAMES // 80 + 1))[:FRAMES], preset="ultrafast")
    Image.fromarray(truth[0]).save(tmp_path / "mask.png")
    runner = Runner(tmp_path / "log.txt", slow=tracking, slow_reading=reading, peaks=tmp_path / "peaks.txt")
    given = ("--ref", tmp_path / "mask.png", "--preset", "persam", "--device", "cpu", "--save", SAVED)
    assert runner.run(video, *given, "-o", tmp_path / "out", patience=FRAMES) == 0, runner.log.read_text()
    peaks = np.loadtxt(tmp_path / "peaks.txt")
    assert len(peaks) == FRAMES + 1
    assert peaks[-1] - peaks[WARM] < ALLOWED
    assert np.prod(SIZE) * 3 * (FRAMES - WARM) > 1.5 * ALLOWED, "so few frames would fit into what is allowed"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="nobody tells the most memory that a process had")
def test_memory_is_flat_over_a_thousand_frames_of_the_real_model(tmp_path: Path, checkpoint: Path) -> None:
    """Its libraries need more of the clip to have met every shape that they keep something for: the first half."""
    there, truth = clip([LEFT, RIGHT], 40, size=SIZE)
    video = encode(tmp_path / "long.mp4", ([*there, *there[::-1]] * 13)[:1000], preset="ultrafast")
    Image.fromarray(truth[0]).save(tmp_path / "mask.png")
    runner = Runner(tmp_path / "log.txt", peaks=tmp_path / "peaks.txt", stand_in=False)
    given = ("--ref", tmp_path / "mask.png", "--device", "cpu", "--set", f"weights={checkpoint}")
    small = ("--set", "input_size=256", "-o", tmp_path / "out")
    assert runner.run(video, *given, *small, patience=500) == 0, runner.log.read_text()
    peaks = np.loadtxt(tmp_path / "peaks.txt")
    assert len(peaks) == 1001
    assert peaks[-1] - peaks[500] < 40 << 20
    assert peaks[-1] < 1.5 * (1 << 30)
