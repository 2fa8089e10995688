"""Which frames are read: from where, to where, how many; by number and by time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.video.clips import encode, number_of, numbered
from vos.errors import SettingsError, SourceError
from vos.video import Reading, open_source, parse_moment, parse_rate
from vos.video.reading import Moment, moment_text


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("300", 300),
        (" 0 ", 0),
        ("12.5s", Fraction(25, 2)),
        ("3s", Fraction(3)),
        (".5s", Fraction(1, 2)),
        ("1:02.5", Fraction(125, 2)),
        ("1:00:02", Fraction(3602)),
        ("90:00", Fraction(5400)),
    ],
)
def test_moments(text: str, moment: Moment) -> None:
    parsed = parse_moment(text)
    assert (parsed, type(parsed)) == (moment, type(moment))


@pytest.mark.parametrize("text", ["", "x", "-3", "1.5", "1:2:3:4", "3 s", "s", ".s", "1e3", "٣", "inf", "9" * 20])
def test_moments_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="is neither a frame nor a time; write 300"):
        parse_moment(text)


@given(
    st.integers(0, 10**8) | st.fractions(0, 10**6, max_denominator=1000).map(lambda f: Fraction(round(f * 1000), 1000))
)
def test_a_moment_survives_its_text(moment: Moment) -> None:
    assert parse_moment(moment_text(moment)) == moment


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, 25 fps."""
    return encode(tmp_path_factory.mktemp("reading") / "clip.mp4", numbered(40), rate=25)


def indices(path: Path, **reading: object) -> list[int]:
    with open_source(path, reading=Reading(**reading)) as source:  # type: ignore[arg-type]
        frames = list(source)
    assert all(number_of(frame.image) == frame.index for frame in frames)
    assert all(frame.time == Fraction(frame.index, 25) for frame in frames)
    return [frame.index for frame in frames]


def test_frames_keep_their_numbers_and_times(video: Path) -> None:
    assert indices(video, start=10, end=13) == [10, 11, 12, 13]
    assert indices(video, start=Fraction(1), end=Fraction(11, 10)) == [25, 26, 27]
    assert indices(video, start=3, every=15) == [3, 18, 33]
    assert indices(video, end=0) == [0]
    assert indices(video, start=38, end=100) == [38, 39]
    assert indices(video, start=Fraction(1, 100), end=2) == [1, 2]
    assert indices(video, every=100) == [0]


@given(st.integers(0, 45), st.none() | st.integers(0, 45), st.integers(1, 9))
def test_any_span(start: int, end: int | None, every: int) -> None:
    arrays = [np.full((4, 4, 3), i, np.uint8) for i in range(40)]
    if end is not None and end < start:
        with pytest.raises(SettingsError, match="the end must not lie before the start"):
            Reading(start=start, end=end)
        return
    reading = Reading(start=start, end=end, every=every)
    expected = [i for i in range(40) if i >= start and (end is None or i <= end)][::every]
    if not expected:
        with pytest.raises(SourceError, match="it ends with frame 39"):
            open_source(arrays, reading=reading)
        return
    with open_source(arrays, reading=reading) as source:
        assert source.frame_count == len(expected)
        assert source.frame_bound is not None
        assert source.frame_bound > expected[-1]
        found = [frame.index for frame in source]
    assert found == expected
    assert [i for i in range(50) if reading.includes(i, start) and i < 40] == expected


def test_nothing_after_the_end_is_asked_for() -> None:
    """A pipe or a camera may have no more to give."""

    def endless() -> object:
        yield from [np.zeros((4, 4, 3), np.uint8)] * 3
        raise AssertionError("one frame too many was read")

    with open_source(endless(), reading=Reading(end=2)) as source:  # type: ignore[arg-type]
        assert len(list(source)) == 3


def test_what_is_left_out_is_not_read(tmp_path: Path) -> None:
    for i in range(6):
        Image.new("RGB", (8, 6), (i, i, i)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    with open_source(tmp_path, reading=Reading(every=2)) as source:
        assert [(frame.index, frame.name) for frame in source] == [(0, "0.png"), (2, "2.png"), (4, "4.png")]


def test_descriptions(video: Path) -> None:
    with open_source(video, reading=Reading(start=10, end=Fraction(1), every=2)) as source:
        assert source.describe() == "clip.mp4: 96x64, 12.5 fps, about 8 frames, from frame 10 to 1s, every 2nd frame"
        assert len(list(source)) == 8
    with open_source(video, reading=Reading(every=13)) as source:
        assert source.describe().endswith(", about 4 frames, every 13th frame")


@pytest.mark.parametrize("kind", ["folder", "pages", "arrays"])
def test_pictures_have_times_where_their_rate_is_given(tmp_path: Path, kind: str) -> None:
    pictures = [Image.new("RGB", (8, 6), (i, i, i)) for i in range(6)]
    if kind == "pages":
        pictures[0].save(tmp_path / "stack.tif", save_all=True, append_images=pictures[1:])
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    given = {"folder": str(tmp_path / "*.png"), "pages": tmp_path / "stack.tif", "arrays": pictures}[kind]
    with open_source(given, reading=Reading(start=Fraction("0.2"), every=2, rate=10)) as source:  # type: ignore[arg-type]
        assert (source.rate, source.time_base) == (5, Fraction(1, 10))
        assert [(frame.index, frame.time) for frame in source] == [(2, Fraction(1, 5)), (4, Fraction(2, 5))]


@pytest.mark.parametrize(
    ("text", "rate"), [("10", 10), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001)), (".5", 0.5)]
)
def test_rates(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "x", "-3", "0", "1/0", "0/1", "1e5", "1/2/3", "1000000", "1/100000", "9" * 40])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is no rate; write frames per second|rate must be a number of frames"):
        parse_rate(text)


def test_a_video_has_times_of_its_own(video: Path) -> None:
    with pytest.raises(SourceError, match=r"clip\.mp4: a video has times of its own; leave out --fps"):
        open_source(video, reading=Reading(rate=Fraction(10)))


def test_refusals(video: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(video, reading=Reading(start=Fraction(90)))
    assert str(caught.value) == "clip.mp4: there is no frame to read from 90s: it ends with frame 39"
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    with pytest.raises(SourceError, match=r"images have no times; give their rate \(--fps\), or the start and"):
        open_source(tmp_path, reading=Reading(end=Fraction(1)))
    with pytest.raises(SettingsError, match="every must be 1 or more, a whole number, got 0"):
        Reading(every=0)
    for moment in (1.5, True, "soon"):
        with pytest.raises(SettingsError, match="end must be a frame's number or a Fraction of seconds, got "):
            Reading(end=moment)  # type: ignore[arg-type]
    for wrong in ({"start": None}, {"every": None}, {"every": True}, {"every": 1.5}, {"max_size": 99.0}):
        with pytest.raises(SettingsError, match=r"must be a frame's number|a whole number"):
            Reading(**wrong)  # type: ignore[arg-type]
    for rate in (0, -1, 1e9, 1e-9, float("nan"), True, "10", "1e999999999"):
        with pytest.raises(SettingsError, match="rate must be a number of frames per second"):
            Reading(rate=rate)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="every 5th of 1/10000 frames a second are less than one in 43200 seconds"):
        Reading(rate=Fraction(1, 10_000), every=5)
    assert Reading(rate=np.float32(2.5)).rate == Fraction(5, 2)  # type: ignore[arg-type]
    assert Reading(start=np.int64(3), every=np.uint8(2), max_size=np.int32(64)) == Reading(3, None, 2, max_size=64)
    with pytest.raises(SettingsError, match="unknown reader 'x'; there are pyav, decord"):
        Reading(reader="x")
    with pytest.raises(SettingsError, match="max_size must be 32 or more, a whole number, got 3"):
        Reading(max_size=3)


def test_damage_after_the_end_is_nobodys_business(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", numbered(40))
    path.write_bytes(path.read_bytes()[:-500])
    with open_source(path, reading=Reading(end=5)) as source:
        assert len(list(source)) == 6
    with open_source(path) as source, pytest.raises(SourceError, match="damaged"):
        list(source)


def test_exif_orientation_may_be_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "photo.jpg", exif=exif)
    with open_source(tmp_path / "photo.jpg") as source:
        assert source.size == (8, 6)
    with open_source(tmp_path / "photo.jpg", reading=Reading(autorotate=False)) as source:
        assert source.size == (6, 8)
