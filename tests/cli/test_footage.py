"""`vos track` on footage as people have it: what goes in, what comes out, and what is said about it."""

from __future__ import annotations

import csv
import json
import random
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from io import TextIOWrapper
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.cli.conftest import Ended, Vos
from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from tests.video.clips import encode, times_by_another_reader
from tests.video.test_damage import KINDS
from vos.models import load
from vos.types import OPAQUE
from vos.video import opening

# Thousandths of a second; the rate varies and the first frame comes late, as phones write it.
STAMPS = [500, 533, 566, 650, 651, 900, 933, 1000, 1033, 1300, 1340, 1500]
SIZE = (144, 96)
THING = Thing(16, hue=0, path=lambda t: (40 + t, 60 + 2 * t))
IMAGES, TRUTH = clip([THING], len(STAMPS), size=SIZE)


@pytest.fixture
def track(vos: Vos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ended]:
    """`vos track SOURCE` of the drawn thing, with a stand-in for the model, into the folder `out`."""
    monkeypatch.setattr(load, "load_models", lambda *_: stand_in_models())

    def run(source: object, *more: object, click: str = "40,60") -> Ended:
        given = ("--click", click, "--preset", "persam", "--device", "cpu", "-o", tmp_path / "out")
        return vos("track", source, *given, *more)

    return run


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    """Held upright, lying in the file, with sound."""
    stored = [np.ascontiguousarray(np.rot90(image, -1)) for image in IMAGES]
    return encode(tmp_path / "phone.mp4", stored, pts=STAMPS, turn=(90, False), sound="aac", options={"crf": "12"})


def masks_in(out: Path) -> dict[int, np.ndarray]:
    return {int(path.stem): np.array(Image.open(path)) for path in sorted((out / "masks").iterdir())}


def lies_on(mask: np.ndarray, true: np.ndarray) -> bool:
    """The stand-in finds a part of the thing, and nothing else."""
    return bool((mask & true).sum() > 0.9 * mask.sum() > 0)


def record_in(out: Path) -> dict:
    return json.loads((out / "track.json").read_text())


def test_a_phone_clip_becomes_a_matte_a_data_set_and_a_table(
    track: Callable[..., Ended], phone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = track(phone, "--save", "masks,overlay,json,prores,coco,csv")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("phone.mp4: 96x144, ")
    masks, times = masks_in(out), times_by_another_reader(phone)
    assert list(masks) == list(range(12))
    assert [round(time * 1000) for time in times] == [stamp - STAMPS[0] for stamp in STAMPS]
    for mask, true in zip(masks.values(), TRUTH, strict=True):
        assert mask.shape == SIZE
        assert lies_on(mask, true)
    with av.open(str(out / "prores/1.mov")) as container:
        frames = list(container.decode(video=0))
    assert [frame.pts * Fraction(frame.time_base) for frame in frames] == times
    for frame, mask, image in zip(frames, masks.values(), IMAGES, strict=True):
        alpha = frame.reformat(format="yuva444p16le").planes[3]
        values = np.frombuffer(bytes(alpha), "<u2").reshape(alpha.height, -1)[:, : alpha.width]
        assert np.array_equal(values >= OPAQUE, mask > 0)
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - image).mean() < 8
    coco = COCO(str(out / "coco.json"))
    for index, mask in masks.items():
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=index))
        assert np.array_equal(coco.annToMask(annotation), mask)
        assert coco.imgs[index]["time"] == pytest.approx(float(times[index]))
    with open(out / "measurements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["time"]) for row in rows] == pytest.approx([float(time) for time in times], abs=1e-6)
    assert [int(row["area"]) for row in rows] == [np.count_nonzero(mask) for mask in masks.values()]
    assert [frame["time"] for frame in record_in(out)["frames"]] == pytest.approx([float(time) for time in times])
    assert times_by_another_reader(out / "overlay.mp4") == times
    with av.open(str(out / "overlay.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert sum(1 for _ in container.decode(audio=0)) > 40


def test_as_it_lies_in_the_file(track: Callable[..., Ended], phone: Path, tmp_path: Path) -> None:
    # Turned to the right by a quarter: (x, y) comes to (143 - y, x).
    ended = track(phone, "--no-autorotate", click="83,40")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("phone.mp4: 144x96, ")
    for mask, true in zip(masks_in(tmp_path / "out").values(), TRUTH, strict=True):
        assert lies_on(mask, np.rot90(true, -1))


def test_a_part_of_a_clip(track: Callable[..., Ended], vos: Vos, phone: Path, tmp_path: Path) -> None:
    """Frames keep their numbers and times, also when the results are converted later."""
    out = tmp_path / "out"
    part = ("--start", "0.05s", "--end", "10", "--every", "3")
    ended = track(phone, *part, "--save", "masks,json,alpha,overlay", click="2:42,64")
    assert ended.code == 0, ended.err
    assert "from 0.05s to frame 10, every 3rd frame" in ended.out
    masks = masks_in(out)
    assert list(masks) == [2, 5, 8]
    assert [frame["time"] for frame in record_in(out)["frames"]] == [0.066, 0.4, 0.533]
    for index, mask in masks.items():
        assert lies_on(mask, TRUTH[index])
    assert [round(time * 1000) for time in times_by_another_reader(out / "overlay.mp4")] == [0, 334, 467]
    assert vos("export", out, "--to", "cutouts,csv").code == 0
    for index, mask in masks.items():
        cutout = np.array(Image.open(out / f"cutouts/1/{index:05d}.png"))
        assert np.array_equal(cutout[..., 3] >= 128, mask > 0)
        assert np.abs(cutout[mask > 0, :3].astype(int) - IMAGES[index][mask > 0]).mean() < 8
    assert "reference on frame 3, which is not read: " in track(phone, *part, "--overwrite", click="3:43,66").error


def test_in_a_smaller_picture(track: Callable[..., Ended], phone: Path, tmp_path: Path) -> None:
    assert track(phone, "--max-size", "72").code == 0
    for mask, true in zip(masks_in(tmp_path / "out").values(), TRUTH, strict=True):
        assert mask.shape == SIZE
        assert lies_on(mask, true)


def test_cuts_are_reported(track: Callable[..., Ended], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    other = np.kron(rng.integers(0, 255, (12, 8, 3), dtype=np.uint8), np.ones((12, 12, 1), np.uint8))
    images = [*IMAGES[:4], *[other] * 3, *IMAGES[4:8]]
    ended = track(encode(tmp_path / "cut.mp4", images, options={"crf": "12"}))
    assert ended.code == 0, ended.err
    assert "cuts at frames 4, 7\n" in ended.out
    assert record_in(tmp_path / "out")["summary"]["cuts"] == [4, 7]


def test_sound_that_cannot_be_copied_is_said(track: Callable[..., Ended], tmp_path: Path) -> None:
    ended = track(encode(tmp_path / "a.mkv", IMAGES, sound="pcm_s16le"))
    assert "a.mkv: its sound (pcm_s16le) cannot be copied into an MP4; overlay.mp4 is silent\n" in ended.out


def test_damage_says_up_to_which_frame(track: Callable[..., Ended], tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", IMAGES, options={"crf": "1", "x264-params": "bframes=0:keyint=1"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    error = track(path).error
    masks = masks_in(tmp_path / "out")
    assert 0 < len(masks) < 12
    assert f"damaged after frame {len(masks) - 1} ({len(masks)} frames could be read)" in error
    assert error.endswith(f"; frames 0 to {len(masks) - 1} are written and valid")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_every_kind(track: Callable[..., Ended], phone: Path, tmp_path: Path, kind: str) -> None:
    """Whatever is done to a file, the run ends in order, and says so where it did not come to the end."""
    whole, out = phone.read_bytes(), tmp_path / "out"
    for seed in range(15):
        phone.write_bytes(KINDS[kind](bytearray(whole), random.Random(f"{kind} {seed}")))
        ended = track(phone, "--save", "masks,overlay,json,csv", "--overwrite")
        assert ended.code in (0, 2), ended
        if ended.code:
            assert ended.error
        assert not list(out.rglob("*.part"))
        if (out / "track.json").exists():
            record = record_in(out)
            assert record["complete"] is (ended.code == 0), ended
            assert (
                len(masks_in(out)) == record["summary"]["frames"] == len(times_by_another_reader(out / "overlay.mp4"))
            )
            shutil.rmtree(out)
        else:
            assert ended.code == 2
            assert not out.exists()


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_standard_input(
    track: Callable[..., Ended], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / name, IMAGES, options={"crf": "12"})
    with open(path, "rb") as file:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(file))
        ended = track("-")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("standard input: 96x144, ")
    assert len(masks_in(tmp_path / "out")) == 12


def test_a_camera(track: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture generator of FFmpeg's in place of Video4Linux."""
    if "lavfi" not in av.formats_available:
        pytest.skip("this FFmpeg has no picture generator")
    opened = opening.open_camera
    monkeypatch.setattr(opening, "_CAMERA_FORMAT", "lavfi")
    monkeypatch.setattr(
        "vos.video.open.open_camera", lambda _, name: opened("testsrc=size=96x64:rate=25,realtime", name)
    )
    ended = track("cam:0", "--end", "1s", "--tracker", "klt")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("cam:0: 96x64, 25 fps, ")
    said = ended.out.splitlines()[-2]
    assert said.startswith("cam:0: latency 0.")
    assert "frames dropped" in said or "frame dropped" in said
    indices = list(masks_in(tmp_path / "out"))
    assert indices == [frame["frame"] for frame in record_in(tmp_path / "out")["frames"]]
    assert indices[0] == 0
    assert indices[-1] <= 25
    assert (
        "a run of this source cannot be resumed"
        in track("cam:0", "--end", "1s", "--resume", "-o", tmp_path / "other").error
    )
