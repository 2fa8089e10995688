"""The overlay's sound and time stamps: those of the source, from the first frame tracked to the last."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.clips import encode, numbered
from vos.results import ResultWriter, Run
from vos.results.sound import why_silent
from vos.types import FrameResult
from vos.video import Reading, open_source

VARIABLE = [0, 33, 66, 150, 151, 400, 433, 500, 533, 800, 840, 1000]


def overlay_of(path: Path, out: Path, **reading: object) -> Path:
    """An overlay without objects of a clip, or of a part of it."""
    with open_source(path, reading=Reading(**reading)) as source:  # type: ignore[arg-type]
        with ResultWriter(out, Run(source), save=["overlay"]) as writer:
            for frame in source:
                writer.write(FrameResult(frame, np.zeros(frame.size, np.uint8), ()))
        assert writer.close().complete
    return out / "overlay.mp4"


def sound_in(path: Path) -> list[tuple[Fraction, bytes]]:
    """The packets of sound, each with its time."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets = [p for p in container.demux(audio=0) if p.size and p.pts is not None]
        return [(p.pts * Fraction(p.time_base), bytes(p)) for p in packets]


def picture_times(path: Path) -> list[Fraction]:
    with open_source(path) as source:
        return [frame.time or Fraction(0) for frame in source]


def pitch_at(path: Path, when: float) -> float:
    """Of the tone at a time, in hertz."""
    with av.open(str(path)) as container:
        wave, times = [], []
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()[0].astype(np.float64)
            wave.append(samples)
            times.append(float(frame.time or 0) + np.arange(len(samples)) / frame.sample_rate)
    samples, at = np.concatenate(wave), np.concatenate(times)
    part = samples[np.abs(at - when) < 0.04]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))
    return float(np.argmax(spectrum) * 48000 / (1 << 16))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "aac"), ("a.mkv", "libmp3lame"), ("a.mkv", "flac"), ("a.webm", "libopus"), ("a.ts", "aac")],
)
def test_sound_is_copied_as_it_is(tmp_path: Path, name: str, codec: str) -> None:
    pictures = "libvpx" if name.endswith("webm") else "libx264"
    path = encode(tmp_path / name, numbered(48), codec=pictures, sound=codec)
    overlay = overlay_of(path, tmp_path / "out")
    theirs = dict.fromkeys(data for _, data in sound_in(path))
    ours = [data for _, data in sound_in(overlay)]
    if name.endswith(".ts"):  # There each packet has a header of its own.
        assert len(ours) == pytest.approx(len(theirs), abs=4)
    else:
        assert set(ours) <= set(theirs)
        assert len(theirs) - len(ours) <= 4
    assert picture_times(overlay) == picture_times(path)
    assert pitch_at(overlay, 1.0) == pytest.approx(200 + 400 * 1.0, abs=12)
    assert why_silent(path) is None


@pytest.mark.parametrize("every", [1, 5])
def test_a_part_of_a_clip_has_its_part_of_the_sound(tmp_path: Path, every: int) -> None:
    path = encode(tmp_path / "a.mp4", numbered(96), sound="aac")
    overlay = overlay_of(path, tmp_path / "out", start=Fraction(1), end=71, every=every)
    assert picture_times(overlay) == [Fraction(i, 24) for i in range(0, 48, every)]
    for when in (0.3, 1.5):
        assert pitch_at(overlay, when) == pytest.approx(200 + 400 * (1 + when), abs=12)
    times = [time for time, _ in sound_in(overlay)]
    assert 0 <= times[0] < 0.03
    assert 1.8 < times[-1] < 2.1 + every / 24


def test_a_phone_clip_keeps_its_times_and_sound(tmp_path: Path) -> None:
    """Upright by a flag, of variable rate, beginning late, with sound."""
    stamps = [2000 + stamp for stamp in VARIABLE]
    path = encode(tmp_path / "phone.mov", numbered(12), pts=stamps, sound="aac", turn=(90, False))
    overlay = overlay_of(path, tmp_path / "out")
    assert [round(time * 1000) for time in picture_times(overlay)] == VARIABLE
    with open_source(overlay) as source:
        assert source.size == (96, 64)
    # The pictures begin two seconds into the tone.
    assert pitch_at(overlay, 0.5) == pytest.approx(200 + 400 * 2.5, abs=12)


def test_pictures_and_sound_are_interleaved(tmp_path: Path) -> None:
    """So that a player need not read the file from both ends."""
    path = encode(tmp_path / "a.mp4", numbered(240), sound="aac")
    overlay = overlay_of(path, tmp_path / "out")
    with av.open(str(overlay)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    first_sound, last_picture = kinds.index("audio"), len(kinds) - kinds[::-1].index("video")
    assert first_sound < len(kinds) / 4
    assert last_picture > len(kinds) * 3 / 4


def test_sound_that_mp4_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mov", numbered(12), sound="pcm_s16le")
    assert why_silent(path) == "its sound (pcm_s16le) cannot be copied into an MP4"
    assert sound_in(overlay_of(path, tmp_path / "out")) == []


def test_without_sound(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(12))
    assert why_silent(path) is None
    assert why_silent(None) is None
    assert why_silent(tmp_path / "gone.mp4") is None
    assert sound_in(overlay_of(path, tmp_path / "out")) == []


def test_metadata_that_are_not_utf8_harm_neither_pictures_nor_sound(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(12), sound="aac")
    data = path.read_bytes()
    for tag in (b"Lavf", b"VideoHandler", b"SoundHandler"):
        assert tag in data
        data = data.replace(tag, b"\xe9" * len(tag))
    path.write_bytes(data)
    overlay = overlay_of(path, tmp_path / "out")
    assert len(picture_times(overlay)) == 12
    assert sound_in(overlay)


def test_damaged_sound_harms_no_picture(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(48), sound="aac")
    data = bytearray(path.read_bytes())
    for time, packet in sound_in(path):
        if time > 0.5:
            place = data.find(packet)
            data[place : place + len(packet)] = b"\xff" * len(packet)
    path.write_bytes(data)
    assert picture_times(overlay_of(path, tmp_path / "out")) == [Fraction(i, 24) for i in range(48)]


def test_a_source_that_is_gone_by_then(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(12), sound="aac")
    with open_source(path) as source:
        frames = list(source)
        path.unlink()
        with ResultWriter(tmp_path / "out", Run(source), save=["overlay"]) as writer:
            for frame in frames:
                writer.write(FrameResult(frame, np.zeros(frame.size, np.uint8), ()))
    assert len(picture_times(tmp_path / "out" / "overlay.mp4")) == 12


def test_images_begin_at_zero_wherever_they_start(tmp_path: Path) -> None:
    images = numbered(20)
    reading = Reading(start=4, every=3)
    with (
        open_source(images, reading=reading) as source,
        ResultWriter(tmp_path, Run(source), save=["overlay"]) as writer,
    ):
        for frame in source:
            writer.write(FrameResult(frame, np.zeros(frame.size, np.uint8), ()))
    assert picture_times(tmp_path / "overlay.mp4") == [Fraction(i, 8) for i in range(6)]
