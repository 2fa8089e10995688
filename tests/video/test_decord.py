"""decord, where it is installed, gives the same frames at the same times as FFmpeg's own reader."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video.clips import encode, numbered
from tests.video.test_properties import CLIPS
from vos.errors import SourceError
from vos.video import Reading, open_source

INSTALLED = importlib.util.find_spec("decord") is not None
needs_decord = pytest.mark.skipif(not INSTALLED, reason="decord is not installed")
DECORD = Reading(reader="decord")


@needs_decord
@pytest.mark.parametrize(
    ("name", "how"),
    # decord cannot read interlaced MPEG-2.
    [*((name, how) for name, how in CLIPS.items() if name != "interlaced.ts"), ("turned.mp4", {"turn": (90, False)})],
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


@needs_decord
def test_what_decord_cannot_decode_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    how: dict[str, Any] = CLIPS["interlaced.ts"]
    path = encode(tmp_path / "interlaced.ts", numbered(12), **how)
    with pytest.raises(SourceError, match=r"^interlaced.ts: decord cannot read frame 0: .*; try --reader pyav$"):
        open_source(path, reading=DECORD)
    path.write_bytes(b"no video" * 100)
    with pytest.raises(SourceError, match="not a video, or damaged beyond reading"):
        open_source(path, reading=DECORD)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(INSTALLED, reason="decord is installed")
def test_without_decord(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(2))
    with pytest.raises(
        SourceError, match=r"^the reader decord is not installed \(pip install decord\); leave out --reader$"
    ):
        open_source(path, reading=DECORD)
