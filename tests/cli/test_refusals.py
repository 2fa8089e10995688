"""Bad input: one clear line, exit code 2, no traceback, and nothing written before is lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Scene, Vos
from vos.results.lock import alone


@pytest.fixture
def track(vos: Vos, scene: Scene, tmp_path: Path):
    """`vos track CLIP --ref MASK -o OUT` with parts replaced: the error line."""

    def run(*more: object, source: object = None, ref: object = "mask", out: object = None) -> str:
        reference = [] if ref is None else ["--ref", scene.mask if ref == "mask" else ref]
        return vos("track", source or scene.video, *reference, "-o", out or tmp_path / "out", *more).error

    return run


def test_sources(track, tmp_path: Path) -> None:
    assert "missing.mp4" in track(source=tmp_path / "missing.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in track(source=tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("not a video, only words\n" * 50)
    assert "text.mp4" in track(source=tmp_path / "text.mp4")
    (tmp_path / "folder").mkdir()
    assert "folder" in track(source=tmp_path / "folder")
    assert "*.png" in track(source=tmp_path / "folder" / "*.png")


def test_names(track, vos: Vos, tmp_path: Path) -> None:
    """Whatever somebody calls a file."""
    assert "error: ~nosuch/clip.mp4: no such file or folder" in track(source="~nosuch/clip.mp4")
    assert "mask file '~nosuch/mask.png' does not exist" in track(ref="~nosuch/mask.png")
    assert "~nosuch/sam.pt" in track("--weights", "~nosuch/sam.pt")
    assert "no\\nsuch.mp4: no such file" in track(source=tmp_path / "no\nsuch.mp4")
    assert "a\u3000b\u202fc.mp4: no such file" in track(source=tmp_path / "a\u3000b\u202fc.mp4")
    assert "\\x1b7.mp4: no such file" in track(source=tmp_path / "\x1b7.mp4")
    assert ":100:.mp4: no such file" in track(source=tmp_path / ":100:.mp4")
    long = tmp_path / ("x" * 300)
    assert "File name too long" in track(source=long)
    assert "does not exist: the form is" in track(ref=f"{long}.png")
    assert "File name too long" in track(out=long)
    assert "File name too long" in vos("export", long, "--to", "csv").error


def test_sources_that_would_be_written_over(track, vos: Vos, scene: Scene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    frames = [out / "cutouts" / "1" / f"{i:05d}.png" for i in range(3)] + [out / "masks" / "00000.png"]
    for path in frames:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((120, 160), 90, np.uint8)).save(path)
    before = [path.read_bytes() for path in frames]
    for source in (out / "cutouts" / "1", frames[0], out / "masks", frames[3]):
        assert f"the source {source} lies where results would be written" in track("--overwrite", source=source)
    assert [path.read_bytes() for path in frames] == before


def test_one_run_at_a_time(track, vos: Vos, tmp_path: Path) -> None:
    with alone(tmp_path / "other" / ".." / "out"):
        assert "out: another run is writing there; wait for its end" in track()
        assert "out: another run is writing there" in track("--resume")
        with alone(tmp_path / "other"):
            pass
    with alone(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_files_of_settings(track, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_bytes("model: mobile_sam # é".encode("utf-16"))
    assert f"{preset}: cannot be read: it is not UTF-8" in track("--preset", preset)
    preset.write_text("[" * 3000)
    assert f"{preset}: not valid YAML" in track("--preset", preset)
    assert "input should be less than or equal to 1000" in track("--set", "tracker.memory.near=1e300")


def test_no_name_is_not_the_current_folder(vos: Vos) -> None:
    assert vos("track", "", "--click", "1,1").error == "vos: error: SOURCE is empty; give a video"


def test_masks(track, scene: Scene, tmp_path: Path) -> None:
    def saved(name: str, array: np.ndarray) -> Path:
        Image.fromarray(array).save(tmp_path / name)
        return tmp_path / name

    assert "no-such.png" in track(ref=tmp_path / "no-such.png")
    other = track(ref=saved("small.png", np.full((20, 30), 255, np.uint8)))
    assert "30x20" in other
    assert "160x120" in other
    assert "background" in track(ref=saved("black.png", np.zeros((120, 160), np.uint8)))
    many = np.zeros((120, 160), np.uint16)
    many[:100, :150] = 1 + (np.arange(100)[:, None] // 5 * 15 + np.arange(150)[None] // 10)
    assert "255" in track(ref=saved("many.png", many))
    (tmp_path / "broken.png").write_bytes(scene.mask.read_bytes()[:60])
    assert "broken.png" in track(ref=tmp_path / "broken.png")


def test_places_and_times(track, scene: Scene) -> None:
    assert "nothing to track" in track(ref=None)
    assert "reference on frame 120, but the clip has 3 frames (0 to 2)" in track(ref=f"120:{scene.mask}")
    assert "click 500,10 is outside of the 160x120 frame: x is 0 to 159, y is 0 to 119" in track("--click", "500,10")
    assert "box 0,0,10,500 is outside" in track("--box", "0,0,10,500")
    assert "two references for object 1 on frame 0" in track("--ref", scene.mask)
    assert "two references for object 1 on frame 0" in track("--click", "30,30")
    assert "not of the form" in track("--click", "here")
    assert "only negative clicks" in track("--click", "-30,30:2")


def test_settings(track) -> None:
    assert "unknown preset 'best-ever'; presets: " in track("--preset", "best-ever")
    assert "input should be 'mobile_sam', 'sam_vit_b'" in track("--model", "sam9")
    assert "unknown setting 'decoder.cascde'; valid in decoder: cascade" in track("--set", "decoder.cascde=2")
    assert "unknown tracker 'psychic'; installed: " in track("--tracker", "psychic")
    assert "unknown device 'gpu'; use auto, cpu, cuda" in track("--device", "gpu")
    if not torch.cuda.is_available():
        assert "device 'cuda' is not there: found no CUDA device; use --device auto or cpu" in track("--device", "cuda")
    assert "'cuda:99'" in track("--device", "cuda:99")


def test_weights(track, tmp_path: Path) -> None:
    assert "no such checkpoint" in track("--weights", tmp_path / "no.pt")
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 not really")
    assert "bad.pt: not a readable checkpoint" in track("--weights", tmp_path / "bad.pt")
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    assert "other.pt: not a checkpoint of mobile_sam" in track("--weights", tmp_path / "other.pt")
    assert not (tmp_path / "out").exists()


def test_out(track, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in track(out=tmp_path / "file")
    held = tmp_path / "held"
    (held / "masks").mkdir(parents=True)
    (held / "masks" / "00000.png").write_bytes(b"mine")
    assert "--overwrite" in track(out=held)
    # Even with leave to overwrite, a run that fails before its first frame loses nothing.
    track("--overwrite", "--weights", tmp_path / "no.pt", out=held)
    assert (held / "masks" / "00000.png").read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_out(track, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "locked" in track(out=tmp_path / "locked" / "out")


def test_what_is_typed_wrong(vos: Vos) -> None:
    assert vos("track").error == "vos: error: Missing argument 'SOURCE'; see vos track --help"
    assert "'trak'" in vos("trak").error
    assert "--frobnicate" in vos("track", "--frobnicate").error
    assert "--every" in vos("track", "a.mp4", "--every", "often").error
    assert "'nonesuch'" in vos("weights", "get", "nonesuch").error
    assert "'no'" in vos("presets", "no").error


def test_nothing_typed_is_help(vos: Vos) -> None:
    ended = vos()
    assert ended.code == 2
    assert "track" in ended.out + ended.err
    assert "Usage: vos" in ended.out + ended.err
    assert vos("track", "--help").code == 0
