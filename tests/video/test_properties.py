"""Clips with every property that footage has: each frame comes, in order, at its time, upright, in its colours.

Counts and times are compared with ffprobe's where that is installed, else with those of the packets, not decoded.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.video.clips import encode, number_of, numbered, times_by_another_reader
from vos.video import Reading, open_source

_VARIABLE = [0, 33, 66, 150, 151, 400, 433, 500, 533, 800, 840, 1000]

CLIPS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "b-frames.mp4": {"options": {"x264-params": "bframes=3:keyint=6:open-gop=1"}},
    "ntsc.mkv": {"rate": Fraction(30000, 1001)},
    "variable.mkv": {"pts": _VARIABLE},
    "variable.mp4": {"pts": _VARIABLE},
    "late.mkv": {"pts": [5000 + 40 * i for i in range(12)]},
    "10-bit.mp4": {"codec": "libx265", "pixels": "yuv420p10le", "options": {"x265-params": "log-level=none"}},
    "10-bit.mkv": {"pixels": "yuv422p10le"},
    "full-range.mp4": {"pixels": "yuvj420p"},
    "full-range.avi": {"codec": "mjpeg", "pixels": "yuvj422p"},
    "alpha.mov": {"codec": "prores_ks", "pixels": "yuva444p10le"},
    "interlaced.mp4": {"options": {"x264-params": "tff=1"}},
    "interlaced.ts": {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme"}, "rate": 25},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "vp8.webm": {"codec": "libvpx"},
    "sound.mp4": {"sound": "aac"},
    "sound first.mov": {"sound": "pcm_s16le", "sound_first": True},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "lossless.mkv": {"codec": "ffv1"},
    "old.avi": {"codec": "mpeg4"},
    "old b-frames.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "b-frames.avi": {"options": {"bf": "3"}},
}


@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_comes_at_its_time(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, numbered(12), **CLIPS[name])
    with open_source(path) as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    if name.endswith(".avi"):  # Their packets have no presentation times; frames are one step apart.
        assert [frame.time for frame in frames] == [Fraction(i, 24) for i in range(12)]
    elif name.endswith((".mkv", ".webm")) and "pts" not in CLIPS[name]:
        # Matroska rounds stamps to milliseconds, but says that the rate is constant.
        rate = Fraction(CLIPS[name].get("rate", 24))
        assert [frame.time for frame in frames] == [i / rate for i in range(12)]
        assert all(abs(i / rate - time) <= Fraction(1, 1000) for i, time in enumerate(times_by_another_reader(path)))
    else:
        assert [frame.time for frame in frames] == times_by_another_reader(path)
    if "pts" in CLIPS[name]:
        unit = Fraction(1, 1000)
        given = CLIPS[name]["pts"]
        assert [round((frame.time or 0) / unit) for frame in frames] == [stamp - given[0] for stamp in given]


@pytest.mark.parametrize("pixels", ["yuv444p", "yuvj444p", "yuv444p10le"])
def test_colours_are_those_that_were_meant(tmp_path: Path, pixels: str) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    colours = np.array([(200, 30, 60), (20, 180, 40), (30, 60, 220), (250, 250, 250), (5, 5, 5), (128, 128, 128)])
    for i, colour in enumerate(colours):
        image[:, 16 * i : 16 * i + 16] = colour
    with open_source(encode(tmp_path / "colours.mkv", [image] * 2, pixels=pixels, options={"qp": "0"})) as source:
        found = source.first().image[32, 8::16]
    assert np.abs(found.astype(int) - colours).max() <= 2


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    path = tmp_path / "alpha.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=24)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "argb"
        image = np.full((32, 32, 4), (0, 200, 100, 50), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="argb")))
        container.mux(stream.encode(None))
    with open_source(path) as source:
        assert (source.first().image == (200, 100, 50)).all()


@pytest.mark.parametrize("size", [(63, 95), (361, 639), (35, 2)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    images = [np.full((*size, 3), 20 * i, np.uint8) for i in range(4)]
    path = encode(tmp_path / "odd.mp4", images, pixels="yuv444p")
    with open_source(path) as source:
        assert source.size == size
        assert [round(frame.image.mean() / 20) for frame in source] == [0, 1, 2, 3]


def test_interlaced_is_said(tmp_path: Path) -> None:
    with open_source(encode(tmp_path / "a.mp4", numbered(4), options={"x264-params": "tff=1"})) as source:
        assert source.describe() == "a.mp4: 96x64, 24 fps, about 4 frames, interlaced"


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_phone_held_upright(tmp_path: Path, degrees: int) -> None:
    """Portrait by a flag, of variable rate, with sound."""
    stored = numbered(12)
    path = encode(tmp_path / "phone.mp4", stored, pts=_VARIABLE, sound="aac", turn=(degrees, False))
    with open_source(path) as source:
        frames = list(source)
    with open_source(path, reading=Reading(autorotate=False)) as source:
        unturned = list(source)
    assert [round((frame.time or 0) * 1000) for frame in frames] == _VARIABLE
    assert [number_of(frame.image) for frame in unturned] == list(range(12))
    for frame, as_stored in zip(frames, unturned, strict=True):
        assert np.array_equal(frame.image, np.rot90(as_stored.image, degrees // 90))


@pytest.mark.parametrize(
    ("degrees", "upright"), [(0, Fraction(64, 45)), (90, Fraction(45, 64)), (180, Fraction(64, 45))]
)
def test_pixels_that_are_no_squares(tmp_path: Path, degrees: int, upright: Fraction) -> None:
    clip = encode(tmp_path / "dv.mp4", numbered(3), pixel_aspect=Fraction(64, 45), turn=(degrees, False))
    with open_source(clip) as source:
        source.first()
        assert source.pixel_aspect == upright
        assert source.describe().endswith(f", pixels {upright.numerator}:{upright.denominator}")
    with open_source(clip, reading=Reading(autorotate=False)) as source:
        source.first()
        assert source.pixel_aspect == Fraction(64, 45)


@pytest.mark.parametrize("how", ["default_base_moof", "default_base_moof+negative_cts_offsets", "dash"])
def test_a_stream_that_was_joined_later_is_whole(tmp_path: Path, how: str) -> None:
    """Its header, and its fragments from the third on."""
    options = {"g": "12", "sc_threshold": "0", "bf": "2" if "negative" in how else "0"}
    flags = {"movflags": f"frag_keyframe+empty_moov+{how}"}
    data = encode(tmp_path / "whole.mp4", numbered(60), options=options, container_options=flags).read_bytes()
    boxes, start = [], 0
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        boxes.append((data[start + 4 : start + 8], data[start : start + size]))
        start += size
    head = b"".join(box for kind, box in boxes if kind in (b"ftyp", b"moov"))
    body = [(kind, box) for kind, box in boxes if kind in (b"sidx", b"moof", b"mdat")]
    third = [i for i, (kind, _) in enumerate(body) if kind == b"moof"][2]
    third -= body[third - 1][0] == b"sidx"
    later = tmp_path / "later.mp4"
    later.write_bytes(head + b"".join(box for _, box in body[third:]))
    with open_source(later) as source:
        assert source.frame_count in (35, 36)
        assert [number_of(frame.image) for frame in source] == list(range(24, 60))


def test_frames_at_the_very_end_arrive(tmp_path: Path) -> None:
    """Threads and B-frames hold frames back until the decoder is emptied."""
    path = encode(tmp_path / "a.mkv", numbered(100), options={"x264-params": "bframes=8:keyint=200"})
    with open_source(path) as source:
        assert [number_of(frame.image) for frame in source] == list(range(100))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("bits", [8, 16])
def test_images_of_8_and_16_bits(tmp_path: Path, suffix: str, bits: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    path = tmp_path / f"image{suffix}"
    assert cv2.imwrite(str(path), image[..., ::-1] if bits == 8 else image[..., ::-1].astype(np.uint16) * 257)
    with open_source(path) as source:
        assert np.array_equal(source.first().image, image)
