"""decord, where it is installed, gives the same frames at the same times as FFmpeg's own reader."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video.clips import encode, numbered
from vos.errors import SourceError
from vos.video import Reading, open_source

INSTALLED = importlib.util.find_spec("decord") is not None
needs_decord = pytest.mark.skipif(not INSTALLED, reason="decord is not installed")
DECORD = Reading(reader="decord")


@needs_decord
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {}),
        ("b-frames.mp4", {"options": {"x264-params": "bframes=3:keyint=6"}}),
        ("variable.mkv", {"pts": [7, 47, 50, 190, 191, 400, 410, 420, 500, 900, 901, 902]}),
        ("turned.mp4", {"turn": (90, False)}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}),
    ],
)
@pytest.mark.parametrize("reading", [{}, {"start": 3, "end": 9, "every": 2}])
def test_both_readers_give_the_same(tmp_path: Path, name: str, how: dict[str, Any], reading: dict[str, int]) -> None:
    path = encode(tmp_path / name, numbered(12), **how)
    with open_source(path, reading=Reading(**reading)) as source:  # type: ignore[arg-type]
        ours = list(source)
    with open_source(path, reading=Reading(**reading, reader="decord")) as source:  # type: ignore[arg-type]
        assert source.frame_count_exact
        theirs = list(source)
    assert [(frame.index, frame.time) for frame in theirs] == [(frame.index, frame.time) for frame in ours]
    for a, b in zip(ours, theirs, strict=True):
        # Two builds of FFmpeg's scaler may round differently.
        assert np.abs(a.image.astype(int) - b.image).max() <= 3


@needs_decord
def test_what_decord_cannot_open_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "cut.mp4", numbered(60), container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match=r"decord cannot open it: .*; try --reader pyav"):
        open_source(path, reading=DECORD)
    with pytest.raises(SourceError, match="decord always turns frames upright"):
        open_source(path, reading=Reading(reader="decord", autorotate=False))


@pytest.mark.skipif(INSTALLED, reason="decord is installed")
def test_without_decord(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(2))
    with pytest.raises(
        SourceError, match=r"^the reader decord is not installed \(pip install decord\); leave out --reader$"
    ):
        open_source(path, reading=DECORD)
