"""Standard input, named pipes and cameras: what comes when it comes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.clips import encode, number_of, numbered
from vos.errors import SourceError
from vos.video import Reading, open_source, opening, prefetch
from vos.video.live import LiveCount, LiveSource, newest
from vos.video.reading import Pending

READ_STDIN = """
import sys
from vos.cli.stopping import Stopped, stoppable
from vos.errors import VosError
from vos.video import open_source, prefetch
try:
    with stoppable():
        print("waits", flush=True)
        source = open_source("-")
        print(source.describe(), flush=True)
        frames = prefetch(iter(source), 4)
        try:
            print(sum(1 for _ in frames))
        finally:
            frames.close()
except VosError as error:
    print(error)
except Stopped:
    print("stopped")
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("live") / "clip.mkv", numbered(30))


def reader(stdin: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", READ_STDIN], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("name", ["clip.mkv", "fast.mp4", "clip.ts"])
def test_standard_input(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else None
    data = encode(tmp_path / name, numbered(30), container_options=options).read_bytes()
    process = reader(subprocess.PIPE)
    assert process.stdin is not None
    with os.fdopen(process.stdin.fileno(), "wb", closefd=False) as pipe:
        pipe.write(data)
    out, err = process.communicate(timeout=60)
    lines = out.splitlines()
    assert (lines[1].split(",")[0], lines[2], err) == ("standard input: 96x64", "30", "")


def test_standard_input_with_nothing_on_it() -> None:
    process = reader(subprocess.DEVNULL)
    assert process.communicate(timeout=60)[0] == "waits\nstandard input: it ended before a single byte came\n"


def test_an_mp4_whose_index_is_at_its_end_cannot_be_piped(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 255, (256, 256, 3), dtype=np.uint8) for _ in range(30)]
    data = encode(tmp_path / "a.mp4", images, options={"qp": "0"}).read_bytes()
    process = reader(subprocess.PIPE)
    assert process.stdin is not None
    with os.fdopen(process.stdin.fileno(), "wb", closefd=False) as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(data)
    out = process.communicate(timeout=60)[0]
    assert out.startswith("waits\nstandard input: ")
    assert "a pipe cannot be rewound: MP4 and MOV must be written with '-movflags faststart'" in out


@pytest.mark.parametrize("sent", [0, 0.5, 0.95])
def test_a_silent_pipe_can_be_left(clip: Path, sent: float) -> None:
    """Ctrl-C ends a run that waits for bytes which never come, be it for the header or in the middle."""
    data = clip.read_bytes()
    read, write = os.pipe()
    process = reader(read)
    try:
        os.write(write, data[: int(len(data) * sent)])
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        if sent > 0.9:
            assert process.stdout.readline().startswith("standard input: 96x64")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        os.close(write)
        os.close(read)
    assert out.splitlines()[-1] == "stopped"
    assert err == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe(clip: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()))
    writer.start()
    with open_source(pipe) as source:
        assert [number_of(frame.image) for frame in source] == list(range(30))
    writer.join(5)
    if (descriptors := Path("/proc/self/fd")).is_dir():
        assert str(pipe) not in [str(one.readlink()) for one in descriptors.iterdir() if one.is_symlink()]


def pending(index: int) -> Pending:
    return Pending(index, lambda: np.full((4, 4, 3), index, np.uint8), Fraction(index, 10), str(index))


def test_the_newest_frame_wins() -> None:
    taken, goes_on = threading.Event(), threading.Event()

    def camera() -> Iterator[Pending]:
        yield pending(0)
        assert taken.wait(5)
        yield from map(pending, range(1, 6))
        goes_on.set()

    frames = newest(camera())
    first, _, replaced = next(frames)
    assert (first.index, replaced) == (0, 0)
    taken.set()
    assert goes_on.wait(5)
    second, arrived, replaced = next(frames)
    assert (second.index, replaced) == (5, 4)
    assert arrived <= time.monotonic()
    assert list(frames) == []


def test_a_camera_that_fails_says_so_after_its_last_frame() -> None:
    def camera() -> Iterator[Pending]:
        yield pending(0)
        raise SourceError("cam:0: unplugged")

    frames = newest(camera())
    assert next(frames)[0].index == 0
    with pytest.raises(SourceError, match="unplugged"):
        next(frames)


def test_leaving_waits_for_the_frame_that_is_read() -> None:
    stopped = threading.Event()

    def camera() -> Iterator[Pending]:
        try:
            for i in range(10_000):
                yield pending(i)
                time.sleep(0.001)
        finally:
            stopped.set()

    generator = camera()
    frames = newest(generator)
    next(frames)
    frames.close()
    generator.close()
    assert stopped.is_set()
    assert not any(thread.name == "vos-live" for thread in threading.enumerate())


def test_latency() -> None:
    count = LiveCount(dropped=1)
    for ago in (0.1, 0.3):
        count.take(time.monotonic() - ago)
        count.answer()
    assert count.latency == pytest.approx(0.3, abs=0.05)
    assert count.mean_latency == pytest.approx(0.2, abs=0.05)
    assert str(count) == "latency 0.20 s on average, 0.30 s at most; 1 frame dropped"


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> str:
    """A picture generator of FFmpeg's that gives 25 frames a second, as a camera does, in place of Video4Linux."""
    if "lavfi" not in av.formats_available:
        pytest.skip("this FFmpeg has no picture generator")
    monkeypatch.setattr(opening, "_CAMERA_FORMAT", "lavfi")
    return "testsrc=size=96x64:rate=25,realtime"


def test_a_slow_reader_gets_the_newest_frames_of_a_camera(camera: str) -> None:
    opened = opening.open_camera(camera, "cam:0")
    with LiveSource(opened, reading=Reading(end=Fraction(1))) as source:
        assert source.size == (64, 96)
        time.sleep(0.5)  # A model is loaded meanwhile.
        began = time.monotonic()
        found = []
        for frame in prefetch(iter(source), 4):
            # A frame is as new as its time says, also after waiting: nothing is read ahead.
            assert time.monotonic() - began - float(frame.time or 0) < 0.35
            time.sleep(0.2)
            source.live.answer()
            found.append(frame)
    indices = [frame.index for frame in found]
    assert indices[0] == 0
    assert not found[0].cut
    assert all(frame.time == Fraction(frame.index, 25) for frame in found)
    assert 4 <= len(found) <= 7
    assert source.live.answered == len(found)
    # Those between the frames found, and some more before the first one past the end.
    assert 0 <= source.live.dropped - (indices[-1] - (len(found) - 1)) <= 7
    assert 0.2 <= source.live.mean_latency < 0.4


def test_no_camera() -> None:
    if not Path("/dev/video99").exists():
        with pytest.raises(SourceError, match=r"^cam:99: cannot be opened: .*; is /dev/video99 a camera, and free\?$"):
            open_source("cam:99")
    with pytest.raises(SourceError, match="cam:0: of a camera the newest frame is taken, from now on"):
        open_source("cam:0", reading=Reading(every=2))
    with pytest.raises(SourceError, match=r"^/dev/null: cannot be opened: .*; is /dev/null a camera, and free\?$"):
        open_source("/dev/null")
