"""`vos track` with the real model: what it prints, what it writes, and how it ends when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import VOS, Scene, Vos, encode
from tests.drawn import clip

pytestmark = pytest.mark.slow


def _masks(out: Path) -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted((out / "masks").glob("*.png"))]


def test_the_main_job_through_the_installed_command(
    installed: Vos, scene: Scene, checkpoint: Path, tmp_path: Path
) -> None:
    ended = installed("track", "clip.mp4", "--ref", "mask.png", "--device", "cpu", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    out = tmp_path / "clip-vos"
    lines = ended.out.splitlines()
    assert lines[0] == "clip.mp4: 160x120, 24 fps, about 3 frames"
    assert lines[1].startswith("mask.png: 1 object: 1 (6.")
    assert lines[2].startswith("best: mobile_sam, tracker memory, on cpu (")
    assert lines[-1].startswith("3 frames in 0:")
    assert "clip-vos/masks, clip-vos/overlay.mp4, clip-vos/track.json" in lines[-1]
    masks = _masks(out)
    assert len(masks) == 3
    for mask, true in zip(masks, scene.truth, strict=True):
        assert (mask.astype(bool) & (true > 0)).sum() / (mask.astype(bool) | (true > 0)).sum() > 0.9
    record = json.loads((out / "track.json").read_text())
    assert record["complete"] is True
    assert record["settings"]["preset"] == "best"
    assert record["settings"]["decoder"]["cascade"] == 3
    assert record["versions"]["torch"]
    first, last = record["frames"][0]["objects"][0], record["frames"][2]["objects"][0]
    assert first["given"] is True
    assert last["area"] == int(masks[2].astype(bool).sum())
    with av.open(str(out / "overlay.mp4")) as overlay:
        video = overlay.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in overlay.decode(video)) == 3


def test_quiet_prints_nothing(vos: Vos, scene: Scene, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--preset", "persam", "--set", "decoder.cascade=1", "-q", "-o", tmp_path / "out")
    ended = vos("track", scene.video, "--ref", scene.mask, *arguments)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert len(_masks(tmp_path / "out")) == 3


def test_a_folder_of_images_and_mixed_references(vos: Vos, checkpoint: Path, tmp_path: Path) -> None:
    from tests.test_pipeline import LEFT, RIGHT

    images, _ = clip([LEFT, RIGHT], 3)
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"shot {k + 8}.png")
    ended = vos(
        "track",
        tmp_path / "shot*.png",
        "--click",
        "70,90:4",
        "--click",
        "-5,6:4",
        "--box",
        "1:221,136,269,184:9",
        "-o",
        tmp_path / "out",
    )
    assert ended.code == 0, ended.err
    assert "click 70,90: object 4\nclick 5,6: not object 4\n" in ended.out
    assert "box 221,136,269,184 on frame 1: object 9" in ended.out
    record = json.loads((tmp_path / "out" / "track.json").read_text())
    assert [frame["name"] for frame in record["frames"]] == ["shot 8.png", "shot 9.png", "shot 10.png"]
    assert [[o["id"] for o in frame["objects"]] for frame in record["frames"]] == [[4], [4, 9], [4, 9]]
    assert set(np.unique(_masks(tmp_path / "out")[2])) == {0, 4, 9}


def test_a_truncated_file_keeps_what_could_be_read(vos: Vos, checkpoint: Path, tmp_path: Path) -> None:
    images, _ = clip([], 40, size=(120, 160))
    rng = np.random.default_rng(0)
    noisy = [np.clip(i.astype(int) + rng.integers(-60, 60, i.shape), 0, 255).astype(np.uint8) for i in images]
    whole = encode(tmp_path / "whole.mp4", noisy, movflags="faststart")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.12)])
    mask = np.zeros((120, 160), np.uint8)
    mask[40:80, 40:80] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ("--preset", "persam", "--set", "decoder.cascade=1", "-o", tmp_path / "out")
    ended = vos("track", cut, "--ref", tmp_path / "mask.png", *arguments)
    assert "damaged" in ended.error
    masks = _masks(tmp_path / "out")
    assert 0 < len(masks) < 40
    assert f"{len(masks)} frame{'s' if len(masks) > 1 else ''} in " in ended.out
    record = json.loads((tmp_path / "out" / "track.json").read_text())
    assert len(record["frames"]) == len(masks)
    assert record["complete"] is False
    assert "damaged" in record["error"]


def test_results_are_replaced_only_with_leave(vos: Vos, scene: Scene, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--preset", "persam", "--set", "decoder.cascade=1", "-o", tmp_path / "out")
    assert vos("track", scene.video, "--ref", scene.mask, *arguments).code == 0
    assert "--overwrite" in vos("track", scene.video, "--ref", scene.mask, *arguments).error
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "masks" / "00099.png").write_bytes(b"of a longer run")
    assert vos("track", scene.video, "--ref", scene.mask, *arguments, "--overwrite").code == 0
    assert len(_masks(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_leaves_valid_results(how: signal.Signals, checkpoint: Path, tmp_path: Path) -> None:
    images, _ = clip([], 200, size=(64, 96))
    mask = np.zeros((64, 96), np.uint8)
    mask[20:40, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    video = encode(tmp_path / "long.mp4", images)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [VOS, "track", video, "--ref", tmp_path / "mask.png", "-o", out, "--preset", "persam"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A suite that runs in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (out / "masks" / "00001.png").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "what is written is valid" in err
    masks = _masks(out)
    assert 2 <= len(masks) < 200
    record = json.loads((out / "track.json").read_text())
    assert record["complete"] is False
    assert len(record["frames"]) == len(masks)
    with av.open(str(out / "overlay.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == len(masks)
    assert not list(out.rglob("*.part"))


def test_a_reader_that_goes_away_stops_nothing(scene: Scene, checkpoint: Path, tmp_path: Path) -> None:
    """`vos track ... | head -1`: the results are files, so the run goes on."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [VOS, "track", scene.video, "--ref", scene.mask, "-o", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 0, errors
    assert errors == b""
    assert json.loads((out / "track.json").read_text())["complete"] is True


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_the_lines_stops_nothing(scene: Scene, checkpoint: Path, tmp_path: Path) -> None:
    """`vos track ... > log`: the results may be elsewhere."""
    out = tmp_path / "out"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [VOS, "track", scene.video, "--ref", scene.mask, "-o", out],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
        helped = subprocess.run([VOS, "track", "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
        refused = subprocess.run([VOS, "track", "nosuch", "--ref", "x"], stdout=full, stderr=full, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((out / "track.json").read_text())["complete"] is True
    assert (helped.returncode, helped.stderr) == (2, b"vos: error: No space left on device\n")
    assert refused.returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's way to close streams")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in ("nosuch.mp4", "pipe"):
        writer = subprocess.Popen(["sh", "-c", "echo no video > pipe"], cwd=tmp_path)
        ended = subprocess.run(
            ["sh", "-c", f"{VOS} track {source} --click 1,1 {closed}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        writer.kill()
        writer.wait()
        assert ended.returncode == 2, ended.stderr
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) == (0 if "2>&-" in closed else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_a_file_name_that_is_not_text(scene: Scene, checkpoint: Path, tmp_path: Path) -> None:
    name = scene.video.rename(tmp_path / os.fsdecode(b"one\xe9.mp4"))
    done = subprocess.run([VOS, "track", name, "--ref", scene.mask, "-o", tmp_path / "out"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"one" in done.stdout
    assert json.loads((tmp_path / "out" / "track.json").read_text())["complete"] is True


def test_the_record_is_enough_to_repeat_a_run(vos: Vos, scene: Scene, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--box", "1:10,20,30,40:7", "--click", "-1:5,5:7", "--device", "cpu", "-o", tmp_path / "out")
    assert vos("track", scene.video, "--ref", scene.mask, *arguments).code == 0
    record = json.loads((tmp_path / "out" / "track.json").read_text())
    assert record["references"] == [f"--ref 0:{scene.mask}:1", "--click -1:5,5:7", "--box 1:10,20,30,40:7"]
    assert record["settings"]["device"] == "cpu"


def test_a_real_clip_from_one_click(vos: Vos, checkpoint: Path, tmp_path: Path) -> None:
    ended = vos("demo", "-o", tmp_path / "out", "--frames", "3", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert "bigbuckbunny.mp4: 1280x720, 25 fps" in ended.out
    masks = _masks(tmp_path / "out")
    assert len(masks) == 3
    assert masks[0].shape == (720, 1280)
    # The rabbit sits at the left; its ears reach above its chest, and the sky at the right is not it.
    for mask in masks:
        assert mask[440:460, 345:360].all()
        assert not mask[:, 800:].any()
        assert 20_000 < np.count_nonzero(mask) < 80_000
