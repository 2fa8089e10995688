"""Damaged files: whatever is done to them, an answer in one line, soon, and no part of a clip taken for the whole."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.clips import encode, numbered
from vos.errors import SourceError, VosError
from vos.video import count_packets, open_source
from vos.video.pixels import read_image

COUNT = 24
SEEDS = 10
# Much more than one such clip takes.
PATIENCE = 5.0

Damage = Callable[[bytearray, random.Random], bytearray]


def flip(data: bytearray, rng: random.Random) -> bytearray:
    """Single bits, anywhere."""
    for _ in range(rng.choice((1, 1, 3, 10, 100))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def head(data: bytearray, rng: random.Random) -> bytearray:
    """Bytes of the first header."""
    for _ in range(rng.choice((1, 3, 10))):
        data[rng.randrange(min(len(data), 600))] = rng.randrange(256)
    return data


def tail(data: bytearray, rng: random.Random) -> bytearray:
    """Bytes of what stands at the end: an index, or the last frames."""
    for _ in range(rng.choice((1, 3, 10))):
        data[-1 - rng.randrange(min(len(data), 1500))] = rng.randrange(256)
    return data


def cut(data: bytearray, rng: random.Random) -> bytearray:
    """The end is missing."""
    return data[: rng.randrange(1, len(data))]


def hole(data: bytearray, rng: random.Random) -> bytearray:
    """A part in the middle is missing."""
    start = rng.randrange(len(data) - 1)
    del data[start : start + rng.randrange(1, max(2, len(data) // 4))]
    return data


def zeros(data: bytearray, rng: random.Random) -> bytearray:
    """A part was never written."""
    start = rng.randrange(len(data))
    length = min(len(data) - start, rng.randrange(1, 2000))
    data[start : start + length] = bytes(length)
    return data


def swap(data: bytearray, rng: random.Random) -> bytearray:
    """Two parts have changed places."""
    length = len(data) // 8
    a, b = (rng.randrange(len(data) - length) for _ in range(2))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


KINDS: dict[str, Damage] = {f.__name__: f for f in (flip, head, tail, cut, hole, zeros, swap)}

# In these a file says how long it is in bytes, so that what is missing is missed.
VIDEOS = {
    "a.mp4": {"options": {"x264-params": "bframes=2:keyint=8"}},
    "fast.mp4": {"container_options": {"movflags": "faststart"}},
    "sound.mp4": {"sound": "aac"},
    "a.mkv": {"options": {"x264-params": "bframes=2:keyint=8"}},
    "sound.mkv": {"sound": "aac", "sound_first": True},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "a.avi": {"codec": "mpeg4"},
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "a.ts": {},
}


def answer(path: Path) -> int | None:
    """How many frames came without a complaint; None where there was one."""
    began = time.monotonic()
    count = 0
    try:
        with open_source(path) as source:
            for frame in source:
                assert frame.index == count
                count += 1
    except VosError as error:
        assert "\n" not in str(error)
        return None
    finally:
        assert time.monotonic() - began < PATIENCE
    return count


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", VIDEOS)
def test_damaged_videos(tmp_path: Path, name: str) -> None:
    whole = encode(tmp_path / name, numbered(COUNT), **VIDEOS[name]).read_bytes()  # type: ignore[arg-type]
    path = tmp_path / f"damaged{Path(name).suffix}"
    shortened = []
    for kind, damage in KINDS.items():
        for seed in range(SEEDS):
            path.write_bytes(damage(bytearray(whole), random.Random(f"{name} {kind} {seed}")))
            count = answer(path)
            if count is not None and count < COUNT:
                shortened.append((kind, seed, count))
            try:
                count_packets(path)
            except SourceError as error:
                assert "\n" not in str(error)
    # A file that lacks bytes is never taken for whole. Other damage may rewrite what it says of itself: a length in the
    # header, or in AVI and MPEG-TS, which count nothing, the traces of a frame.
    assert not [case for case in shortened if case[0] in ("cut", "hole")]
    allowed = 0.2 if name in ("a.avi", "a.ts") else 0.05
    assert len(shortened) <= allowed * SEEDS * len(KINDS), shortened


@pytest.mark.slow
@pytest.mark.parametrize("first", VIDEOS)
def test_two_files_in_one(tmp_path: Path, first: str) -> None:
    """The head of one video and the body of another, and one after the other."""
    files = {
        name: encode(tmp_path / name, numbered(COUNT), **VIDEOS[name]).read_bytes()  # type: ignore[arg-type]
        for name in VIDEOS
    }
    path = tmp_path / f"grafted{Path(first).suffix}"
    for second, data in files.items():
        rng = random.Random(f"{first} {second}")
        for _ in range(4):
            place = rng.randrange(len(files[first]))
            path.write_bytes(files[first][:place] + data[min(place, len(data) - 1) :])
            answer(path)
        path.write_bytes(files[first] + data)
        answer(path)


def test_a_frame_that_the_decoder_leaves_out_is_missed(tmp_path: Path) -> None:
    """A packet without a picture in it is no error to the decoder; that its frame never came is seen."""
    options = {"x265-params": "log-level=none:bframes=0:keyint=1"}
    whole = encode(tmp_path / "whole.mkv", numbered(20), codec="libx265", options=options)
    path = tmp_path / "a.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for i, packet in enumerate(source.demux(video=0)):
            if packet.size:
                delimiter = av.Packet(b"\x00\x00\x00\x03\x46\x01\x50")
                delimiter.pts, delimiter.dts, delimiter.time_base = packet.pts, packet.dts, packet.time_base
                sent = delimiter if i == 10 else packet
                sent.stream = stream
                out.mux(sent)
    with open_source(path) as opened, pytest.raises(SourceError, match=r"\(19 frames could be read\): a frame is lost"):
        list(opened)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "vp9.webm", "a.avi", "prores.mov", "a.ts"])
def test_a_single_byte_too_few_is_missed(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, numbered(COUNT), **VIDEOS[name])  # type: ignore[arg-type]
    assert answer(path) == COUNT
    path.write_bytes(path.read_bytes()[:-1])
    assert answer(path) is None


IMAGES = {
    "a.png": ("RGB", {}),
    "deep.png": ("I;16", {}),
    "palette.png": ("P", {}),
    "a.jpg": ("RGB", {}),
    "progressive.jpg": ("RGB", {"progressive": True}),
    "a.tif": ("RGB", {}),
    "packed.tif": ("RGB", {"compression": "tiff_lzw"}),
    "deep.tif": ("I;16", {}),
    "a.webp": ("RGB", {}),
    "a.bmp": ("RGB", {}),
    "a.jp2": ("RGB", {}),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", IMAGES)
def test_damaged_images(tmp_path: Path, name: str) -> None:
    mode, options = IMAGES[name]
    noise = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        image = image.convert("P")
    encoded = BytesIO()
    image.save(encoded, Image.registered_extensions()[Path(name).suffix], **options)
    path = tmp_path / name
    path.write_bytes(encoded.getvalue())
    expected = read_image(path)
    for kind, damage in KINDS.items():
        for seed in range(SEEDS):
            path.write_bytes(damage(bytearray(encoded.getvalue()), random.Random(f"{name} {kind} {seed}")))
            began = time.monotonic()
            try:
                found = read_image(path)
            except SourceError as error:
                assert "\n" not in str(error)
            else:
                assert kind != "cut" or np.array_equal(found, expected)
            assert time.monotonic() - began < PATIENCE
