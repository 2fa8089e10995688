"""Sources: what opens, what is refused, and what comes out frame by frame."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vos.errors import SourceError
from vos.paths import natural_key
from vos.types import Frame
from vos.video import count_packets, open_source, prefetch
from vos.video.clock import StampReader
from vos.video.pyav import exact

CORNERS = np.zeros((96, 160, 3), np.uint8)
CORNERS[:48, :80] = (255, 0, 0)
CORNERS[:48, 80:] = (0, 255, 0)
CORNERS[48:, :80] = (0, 0, 255)
CORNERS[48:, 80:] = 255


def write_video(
    path: Path,
    images: list[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction = Fraction(24),
    pts: list[int] | None = None,
    turn: tuple[int, bool] = (0, False),
    movflags: str = "",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode RGB images; `pts` in thousandths of a second."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.options = options or {}
        if turn != (0, False):
            stream.set_display_rotation(turn[0], hflip=turn[1])
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return [np.roll(image, 3 * i, axis=1) for i in range(count)]


def corner_names(image: np.ndarray) -> str:
    picked = image[[5, 5, -5, -5], [5, -5, 5, -5]] > 128
    return "".join(
        {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}[tuple(p.astype(int))] for p in picked
    )


def test_images_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 6)).save(tmp_path / "in" / folder / f"{number}.png")
    with open_source(f"{tmp_path}/in/*/?.png") as source:
        assert [frame.name for frame in source] == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    with open_source(sorted((tmp_path / "in").glob("*/1.png"))) as source:
        assert [frame.name for frame in source] == ["a/1.png", "b/1.png"]
    with open_source(f"{tmp_path}/in/a/?.png") as source:
        assert [frame.name for frame in source] == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("grey.mkv", "ffv1", "gray"),
        ("alpha.mov", "qtrle", "argb"),
    ],
)
def test_every_frame_of_a_video_arrives_in_order(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    images = [np.full((64, 96, 3), 20 + 15 * i, np.uint8) for i in range(14)]
    path = write_video(tmp_path / name, images, codec=codec, pixels=pixels)
    with open_source(path) as source:
        assert source.describe() == f"{name}: 96x64, 24 fps, about 14 frames"
        assert not source.frame_count_exact
        frames = list(source)
    assert [f.index for f in frames] == list(range(14))
    assert [f.time for f in frames] == pytest.approx([i / 24 for i in range(14)], abs=0.6e-3)
    for frame, image in zip(frames, images, strict=True):
        assert abs(frame.image.mean() - image.mean()) < 4
    assert count_packets(path) == 14


@pytest.mark.parametrize("size", [(361, 639), (96, 54), (1, 1)])
def test_any_size_is_legal(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "odd.mkv", noise(1, *size), codec="ffv1", pixels="bgr0")
    with open_source(path) as source:
        assert source.size == size
        assert len(list(source)) == 1


def test_first_does_not_consume(tmp_path: Path) -> None:
    with open_source(iter(noise(3))) as source:
        first = source.first()
        assert [f.index for f in source] == [0, 1, 2]
        assert source.first() is first
        with pytest.raises(SourceError, match="has been read already"):
            list(source)


def test_variable_frame_rate_times_are_exact(tmp_path: Path) -> None:
    pts = [7, 47, 50, 190, 191, 400]
    path = write_video(tmp_path / "vfr.mkv", noise(6), pts=pts)
    with open_source(path) as source:
        assert [f.time for f in source] == [Fraction(p - 7, 1000) for p in pts]


def test_missing_time_stamps_follow_the_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.h264", noise(6), rate=Fraction(25))
    with open_source(path) as source:
        times = [f.time for f in source]
        assert times == [i / source.rate for i in range(6)]


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ((0, False), "RGBW"),
        ((90, False), "GWRB"),
        ((180, False), "WBGR"),
        ((270, False), "BRWG"),
        ((0, True), "GRWB"),
        ((90, True), "WGBR"),
    ],
)
def test_orientation_metadata_is_applied(tmp_path: Path, turn: tuple[int, bool], expected: str) -> None:
    path = write_video(tmp_path / "phone.mp4", [CORNERS] * 2, turn=turn)
    with open_source(path) as source:
        image = source.first().image
    assert corner_names(image) == expected
    assert image.shape[:2] == ((160, 96) if turn[0] % 180 else (96, 160))
    assert image.flags.c_contiguous


def test_ratios_are_fractions_or_unknown(tmp_path: Path) -> None:
    with av.open(str(write_video(tmp_path / "one.nut", [CORNERS]))) as container:
        video = container.streams.video[0]
        assert exact(video.average_rate) is None
        assert repr(exact(video.guessed_rate)) == "Fraction(24, 1)"


def test_truncated_mp4_gives_its_frames_then_the_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", noise(60), movflags="faststart")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_source(path) as source, pytest.raises(SourceError) as caught:
        list(source)
    assert 5 < (n := read_until_damage(path)) < 60
    assert str(caught.value) == (
        f"clip.mp4: damaged after frame {n - 1} ({n} frames could be read; the header says 60): the file is cut short"
    )


def read_until_damage(path: Path) -> int:
    count = 0
    with open_source(path) as source, pytest.raises(SourceError):
        for _ in source:
            count += 1
    return count


def test_truncated_matroska_is_noticed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", noise(96))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_source(path) as source, pytest.raises(SourceError, match=r"cut short at \d\.\d+ s of 4\.00 s"):
        list(source)


def write_with_sound(path: Path, images: list[np.ndarray], seconds: float) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for image in images:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        silence = np.zeros((1, int(8000 * seconds)), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def without_length_tag(path: Path) -> Path:
    """Rename the tag that holds the video stream's own length."""
    data = path.read_bytes()
    assert data.count(b"DURATION") >= 1
    path.write_bytes(data.replace(b"DURATION", b"SOMETHNG"))
    return path


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm"])
@pytest.mark.parametrize("tagged", [True, False])
def test_a_short_matroska_that_was_cut_is_noticed(tmp_path: Path, name: str, tagged: bool) -> None:
    codec = "libx264" if name.endswith("mkv") else "libvpx"
    path = write_video(tmp_path / name, noise(20), codec=codec)
    if not tagged:
        without_length_tag(path)
    whole = path.read_bytes()
    with open_source(path) as source:
        assert len(list(source)) == 20
    for share in (0.6, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        assert 0 < read_until_damage(path) < 20


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("kind", ["longer sound", "shorter sound", "late start", "variable", "open groups", "one"])
def test_healthy_matroska_is_not_taken_for_cut(tmp_path: Path, kind: str, tagged: bool) -> None:
    path = tmp_path / "clip.mkv"
    frames = 1 if kind == "one" else 30
    if kind.startswith("sound"):
        write_with_sound(path, noise(frames), 4 if kind.endswith("longer") else 0.3)
    elif kind == "open groups":
        write_video(path, noise(frames), options={"x264-params": "open-gop=1:keyint=12:bframes=3"})
    elif kind == "one":
        write_video(path, noise(frames))
    else:
        step = 3 if kind == "variable" else 1
        write_video(path, noise(frames), pts=[2000 + 42 * i**step for i in range(frames)])
    if not tagged:
        without_length_tag(path)
    with open_source(path) as source:
        assert len(list(source)) == frames


def test_reading_goes_on_past_a_corrupt_packet(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", noise(60))
    with av.open(str(path)) as container:
        packet = next(p for i, p in enumerate(container.demux(video=0)) if i == 20)
        start, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    with open_source(path) as source:
        assert source.first().index == 0
    assert 50 < read_until_damage(path) < 61
    with (
        open_source(path) as source,
        pytest.raises(SourceError, match=r"clip.mp4: damaged near frame \d+ \(\d+ frames"),
    ):
        list(source)


def test_libav_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "clip.mp4", noise(60), movflags="faststart")
    path.write_bytes(path.read_bytes()[:-2000])
    read_until_damage(path)
    assert capfd.readouterr() == ("", "")


def test_what_ffmpeg_says_takes_no_lock_of_python(tmp_path: Path) -> None:
    """Its threads would wait for one that whoever waits for them holds. Older torchvision sets this level."""
    path = write_video(tmp_path / "clip.mp4", noise(60), movflags="faststart")
    path.write_bytes(path.read_bytes()[:-2000])
    av.logging.set_level(av.logging.ERROR)
    try:
        errors, _ = av.logging.get_last_error()
        with av.open(str(path)) as container, suppress(av.error.FFmpegError):
            list(container.decode(video=0))
        said, _ = av.logging.get_last_error()
        assert said > errors
        read_until_damage(path)
        assert av.logging.get_last_error()[0] == said
    finally:
        av.logging.set_level(None)


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for value, name in enumerate(["img1.png", "img2.JPG", "img10.png"]):
        Image.new("RGB", (8, 6), (100 * value,) * 3).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._img1.png").write_bytes(b"hidden")
    with open_source(tmp_path) as source:
        assert source.describe() == f"{tmp_path.name}: 8x6, 3 frames"
        assert source.frame_count_exact
        frames = list(source)
    assert [f.name for f in frames] == ["img1.png", "img2.JPG", "img10.png"]
    assert [round(f.image.mean(), -1) for f in frames] == [0, 100, 200]
    assert all(f.time is None for f in frames)
    with open_source(tmp_path / "img?.png") as source:
        assert [f.name for f in source] == ["img1.png"]


def test_an_array_that_is_used_again_is_another_frame() -> None:
    def pictures() -> Iterator[np.ndarray]:
        buffer = np.zeros((6, 8, 3), np.uint8)
        for value in range(9):
            buffer[:] = value
            yield buffer

    with open_source(pictures()) as source:
        assert [int(frame.image.max()) for frame in prefetch(source, 4)] == list(range(9))


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_order_is_numeric_order(numbers: list[int]) -> None:
    paths = sorted((Path(f"frame{n}.png") for n in numbers), key=natural_key)
    assert [int(p.stem[5:]) for p in paths] == sorted(numbers)


def save_image(mode: str, path: Path) -> None:
    ramp = np.arange(6, dtype=np.uint8).reshape(1, 6).repeat(4, 0) * 50
    if mode == "16-bit":
        Image.fromarray(ramp.astype(np.uint16) * 257).save(path)
    elif mode == "P":
        image = Image.fromarray(ramp)
        image.putpalette([v for i in range(256) for v in (i, i, i)])
        image.save(path)
    else:
        image = Image.fromarray(ramp).convert(mode)
        if "A" in mode:
            image.putalpha(7)
        image.save(path)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "16-bit"])
def test_image_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    save_image(mode, tmp_path / "image.png")
    with open_source(tmp_path / "image.png") as source:
        assert source.describe() == "image.png: 6x4, 1 frame"
        (frame,) = source
    assert np.array_equal(frame.image, np.arange(6, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2) * 50)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CORNERS).save(tmp_path / "photo.jpg", exif=exif)
    with open_source(tmp_path / "photo.jpg") as source:
        assert source.size == (160, 96)
        assert corner_names(source.first().image) == "BRWG"


def test_arrays() -> None:
    arrays = noise(2)
    with open_source(arrays) as source:
        assert source.describe() == "frames: 96x64, 2 frames"
        assert all(np.array_equal(f.image, a) for f, a in zip(source, arrays, strict=True))
    with open_source(a for a in arrays) as source:
        assert source.describe() == "frames: 96x64"


def test_closing_ends_a_half_read_source(tmp_path: Path) -> None:
    closed = []

    def arrays():  # type: ignore[no-untyped-def]
        try:
            yield from noise(5)
        finally:
            closed.append(True)

    with open_source(arrays()) as source:
        next(iter(source))
        assert not closed
        assert not closed
    assert closed


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt even where the suite runs in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_closing_waits_for_no_reader() -> None:
    """Ctrl-C may end the wait for the thread that reads ahead; the source is then closed under its hands."""
    goes_on, closed = threading.Event(), threading.Event()

    def arrays() -> Iterator[np.ndarray]:
        try:
            yield noise(1)[0]
            goes_on.wait(5)
            yield noise(1)[0]
        finally:
            closed.set()

    source = open_source(arrays())
    ahead = prefetch(source, 2)
    next(ahead)
    threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        ahead.close()
    source.close()
    assert not closed.is_set()
    goes_on.set()
    assert closed.wait(5)
    source.close()


def test_a_video_is_closed_after_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, goes_on = threading.Event(), threading.Event()

    def slow(frame: av.VideoFrame, *_: object) -> np.ndarray:
        reads.set()
        goes_on.wait(5)
        return frame.to_ndarray(format="rgb24")

    source = open_source(write_video(tmp_path / "clip.mp4", noise(9)))
    monkeypatch.setattr("vos.video.container._upright_rgb", slow)
    reader = threading.Thread(target=lambda: frames.extend(source))
    frames: list[Frame] = []
    reader.start()
    assert reads.wait(5)
    source.close()
    goes_on.set()
    reader.join(5)
    assert len(frames) == 1
    assert not source._container.streams.video  # type: ignore[attr-defined]


def test_frames_that_were_read_leave_no_garbage(tmp_path: Path) -> None:
    """Garbage that only the collector finds would keep dozens of frames in memory until it comes by."""
    path = write_video(tmp_path / "clip.mp4", noise(9), turn=(90, True))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        with open_source(path) as source:
            assert sum(1 for _ in source) == 9
        gc.collect()
        assert sum(isinstance(kept, av.VideoFrame) for kept in gc.garbage) <= 1
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_empty_text_is_no_source() -> None:
    """As a path it would be the current folder."""
    assert refusal("") == "the source is empty text; give the path of a video"


def test_pillow_images_are_frames() -> None:
    grey = Image.fromarray(np.full((4, 6), 1000, np.uint16))
    with open_source([Image.fromarray(CORNERS), Image.fromarray(CORNERS).convert("RGBA")]) as source:
        assert all(np.array_equal(frame.image, CORNERS) for frame in source)
    with open_source(iter([grey])) as source:
        assert (source.first().image == 4).all()


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_paths_keeps_its_order(tmp_path: Path, kind: type) -> None:
    paths = [tmp_path / name for name in ("b10.png", "a.png", "b2.png")]
    for value, path in enumerate(paths):
        Image.new("RGB", (8, 6), (100 * value,) * 3).save(path)
    with open_source(kind([str(paths[0]), *paths[1:]])) as source:
        assert source.describe() == "images: 8x6, 3 frames"
        assert [(f.name, int(f.image.max())) for f in source] == [("b10.png", 0), ("a.png", 100), ("b2.png", 200)]
    missing = tmp_path / "c.png"
    assert (
        refusal(kind([paths[0], missing])) == f"{missing}: no such file; a list as a source holds the paths of images"
    )


def refusal(source: object) -> str:
    with pytest.raises(SourceError) as caught, open_source(source) as opened:  # type: ignore[arg-type]
        list(opened)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals_of_paths(tmp_path: Path) -> None:
    missing = tmp_path / "missing.mp4"
    assert refusal(missing) == f"{missing}: no such file or folder; check the path"
    address = "http://example.org/y.mp4"
    assert refusal(address) == f"{address}: addresses are not read; download it first and give the file"
    long = refusal("x" * 5000)
    assert long == f"{'x' * 200}… (5000 characters): cannot be opened: File name too long; check the path"
    assert refusal(["x" * 5000]).startswith(f"{'x' * 200}… (5000 characters): no such file; ")
    assert refusal("~nobody-at-all/clip.mp4").startswith("~nobody-at-all/clip.mp4: no such file or folder; ")
    (folder := tmp_path / "empty").mkdir()
    assert refusal(folder).startswith(f"{folder}: no images in this folder (looked for .avif")
    assert refusal(folder / "*.png") == f"{folder}/*.png: no file matches this pattern"
    (empty := tmp_path / "empty.mp4").touch()
    assert refusal(empty) == f"{empty}: the file is empty (0 bytes)"
    (text := tmp_path / "notes.txt").write_text("hello\n" * 100)
    assert refusal(text) == f"{text}: not a video but a text file"
    (pdf := tmp_path / "paper.pdf").write_bytes(b"%PDF-1.4\n" + b"1 0 obj <<>> endobj\n" * 50)
    assert refusal(pdf).startswith(f"{pdf}: not a video, or damaged beyond reading: Invalid data")
    (image := tmp_path / "bad.png").write_bytes(b"not a PNG")
    assert refusal(image) == f"{image}: cannot be read as an image: not an image"
    save_image("RGB", image)
    image.write_bytes(image.read_bytes()[:-30])
    assert refusal(image).startswith(f"{image}: cannot be read as an image: ")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(floats := tmp_path / "floats.tiff")
    assert refusal(floats).startswith(f"{floats}: images of floating-point values have no defined range")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.mka"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert refusal(path) == f"{path}: there is no video in it, only sound"


def test_a_video_without_a_decodable_frame_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", noise(5))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for start, size in places:
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    assert refusal(path).startswith("clip.mp4: no frame can be decoded: Invalid data")


def test_refusals_of_frames(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 7)).save(tmp_path / "b.png")
    assert refusal(tmp_path) == (
        f"{tmp_path.name}: frame 1 (b.png) is 8x7 but the first is 8x6; all frames must have one size"
    )
    assert refusal([]) == "frames: there is not a single frame in it"
    assert refusal(3) == "a source is a path, a list of paths of images, or an iterable of frames, got int"
    kinds = "frames must be NumPy arrays, uint8 (H, W, 3) RGB, or Pillow images (paths of images go in a list)"
    assert refusal(iter(["a"])) == f"frames: frame 0 has the type str; {kinds}"
    assert refusal([np.zeros((4, 5, 3), np.uint8), 7]) == f"frames: frame 1 has the type int; {kinds}"
    floats = Image.fromarray(np.zeros((4, 4), np.float32))
    assert refusal([floats]).startswith("frames: frame 0: images of floating-point values have no defined range")
    assert refusal([np.zeros((4, 5))]) == "frames: frame 0 is float64 (4, 5); frames must be uint8 (H, W, 3), RGB"


def test_stamps_closer_than_the_rate_are_taken_as_they_are() -> None:
    """A file that says 25 frames per second, of which one comes a millisecond after the last."""
    reader = StampReader(Fraction(1, 1000), Fraction(25), steady=True)
    times = [1000 * reader.read(pts) for pts in (0, 40, 1000, 1001, 1040, 1079, None)]
    assert times == [0, 40, 1000, 1001, 1040, 1080, 1120]
