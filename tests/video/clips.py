"""Clips that tests encode, and what another reader says about them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FFPROBE = shutil.which("ffprobe")


def numbered(count: int, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """Frames that tell which they are, uint8 (H, W, 3): bars of bright blocks, the frame's number in binary."""
    frames = []
    for number in range(count):
        image = np.full((*size, 3), 40, np.uint8)
        width = size[1] // 8
        for bit in range(8):
            if number >> bit & 1:
                image[size[0] // 4 : size[0] * 3 // 4, bit * width : (bit + 1) * width] = 220
        frames.append(image)
    return frames


def number_of(image: np.ndarray) -> int:
    """The number that `numbered` painted."""
    height, width = image.shape[0], image.shape[1] // 8
    middle = image[height * 2 // 5 : height * 3 // 5]
    return sum((middle[:, bit * width + 2 : (bit + 1) * width - 2].mean() > 130) << bit for bit in range(8))


def encode(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction | int = 24,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    turn: tuple[int, bool] = (0, False),
    pixel_aspect: Fraction | None = None,
    sound: str | None = None,
    sound_first: bool = False,
) -> Path:
    """Encode RGB images; `pts` in thousandths of a second; `sound` names a codec for a tone as long as the pictures.

    Colours are BT.709, of full range where `pixels` is a "yuvj" format.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        if sound and sound_first:
            tone = container.add_stream(sound, rate=48000, layout="mono")
        video = container.add_stream(codec, rate=Fraction(rate), options=options or {})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = pixels
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if turn != (0, False):
            video.set_display_rotation(turn[0], hflip=turn[1])
        full = pixels.startswith("yuvj")
        if "yuv" in pixels:
            context = video.codec_context
            context.colorspace = context.color_primaries = context.color_trc = 1
            context.color_range = 2 if full else 1
        if pts is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if sound and not sound_first:
            tone = container.add_stream(sound, rate=48000, layout="mono")
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if "yuv" in pixels:
                frame = frame.reformat(
                    format=pixels, dst_colorspace="ITU709", dst_color_range="JPEG" if full else "MPEG"
                )
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            seconds = float(len(images) / Fraction(rate)) if pts is None else pts[-1] / 1000
            for frame in tone_frames(seconds, tone.codec_context.format.name):
                container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


def tone_frames(seconds: float, layout: str, rate: int = 48000) -> list[av.AudioFrame]:
    """A tone whose pitch rises with time, so that each moment of it is its own."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * (200 + 200 * time) * time)
    frames = []
    resampler = av.AudioResampler(format=layout, layout="mono", rate=rate)
    for start in range(0, len(wave), 960):
        samples = np.ascontiguousarray(wave[None, start : start + 960].astype(np.float32))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames += resampler.resample(frame)
    return frames


def times_by_another_reader(path: Path) -> list[Fraction]:
    """When each frame is shown, seconds since the first: from ffprobe, else from the packets, which are not decoded."""
    if FFPROBE is not None:
        asked = ["-select_streams", "v:0", "-show_entries", "frame=pts:stream=time_base", "-of", "json"]
        done = subprocess.run([FFPROBE, "-v", "error", *asked, path], capture_output=True, check=True, text=True)
        found = json.loads(done.stdout)
        unit = Fraction(found["streams"][0]["time_base"])
        stamps = [int(frame["pts"]) * unit for frame in found["frames"]]
    else:
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size and not p.is_discard]
            stamps = sorted(p.pts * Fraction(p.time_base) for p in packets)
    return [stamp - stamps[0] for stamp in stamps]
