"""Timecode: counted by hand, and from a clip into its mattes."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.objects import measure
from vos.results import ResultWriter, Run
from vos.types import FrameResult
from vos.video import Reading, open_source
from vos.video.timecode import advanced

NTSC = Fraction(30_000, 1001)


def counted(rate: int, dropped: int) -> list[str]:
    """The timecodes of half an hour, one by one."""
    found = []
    for minute in range(30):
        for second in range(60):
            for frame in range(dropped if second == 0 and minute % 10 else 0, rate):
                found.append(f"00:{minute:02d}:{second:02d}{';' if dropped else ':'}{frame:02d}")
    return found


@pytest.mark.parametrize(
    ("rate", "dropped"), [(Fraction(24), 0), (Fraction(24_000, 1001), 0), (NTSC, 0), (NTSC, 2), (2 * NTSC, 4)]
)
def test_every_timecode_follows_the_last(rate: Fraction, dropped: int) -> None:
    numbers = counted(round(rate), dropped)
    for start in (0, 1799, 17_981):
        for step in (1, 7, 1798, 1800, 17_982):
            assert advanced(numbers[start], step, rate) == numbers[start + step]
    assert [advanced(numbers[0], k, rate) for k in range(4000)] == numbers[:4000]


@given(st.integers(0, 3_000_000), st.integers(0, 3_000_000))
def test_steps_add_up_and_a_day_is_over_at_midnight(a: int, b: int) -> None:
    first = advanced("10:20:30;12", a, NTSC)
    assert first is not None
    assert advanced(first, b, NTSC) == advanced("10:20:30;12", a + b, NTSC)
    assert advanced("10:20:30;12", 24 * 6 * 17_982, NTSC) == "10:20:30;12"
    assert advanced("23:59:59;29", 1, NTSC) == "00:00:00;00"


@pytest.mark.parametrize("text", ["", "01:00:00", "1:00:00:00", "01:60:00:00", "01:00:00:24", "01:00:00;10", "later"])
def test_what_is_no_timecode_of_a_rate(text: str) -> None:
    assert advanced(text, 3, Fraction(24)) is None


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
def test_mattes_have_the_timecode_of_their_clip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=NTSC)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.metadata["timecode"] = "01:00:59;27"
        for k in range(6):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    expected = {Reading(): "01:00:59;27", Reading(start=2, end=4): "01:00:59;29", Reading(every=2): None}
    for number, (reading, begins) in enumerate(expected.items()):
        out = tmp_path / f"{number}"
        with open_source(path, reading=reading) as source:
            assert ("timecode 01:00:59;27" in source.describe()) == (begins is not None)
            with ResultWriter(out, Run(source, ids=(1,)), save="prores") as writer:
                for frame in islice(iter(source), 3):
                    index_map = np.zeros((48, 64), np.uint8)
                    index_map[:, frame.index :] = 1
                    writer.write(FrameResult(frame, index_map, (measure(index_map, 1, 1.0, 0.5, given=True),)))
        with av.open(str(out / "prores/1.mov")) as matte:
            assert matte.streams.video[0].metadata.get("timecode") == begins
            assert sum(1 for _ in matte.decode(video=0)) == 3
