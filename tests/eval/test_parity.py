"""Parity with the authors' program: the first frames of real sequences, mask by mask; and the comparison itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.davis import open_dataset
from eval.parity import compare
from vos.errors import EvaluationError
from vos.models.encoder import Encoding
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Frame

FRAMES = 6


@pytest.fixture(scope="module")
def reference_model(checkpoint: Path) -> SegmentAnything:
    encoding = Encoding(channels_last=False)
    return SegmentAnything.load("mobile_sam", checkpoint, torch.device("cpu"), encoding=encoding, half_embeddings=True)


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["drift-straight", "horsejump-high"])
def test_the_reference_presets_give_the_reference_programs_masks(
    shared: Path, reference_model: SegmentAnything, sequence: str
) -> None:
    images = sorted((shared / "davis/JPEGImages/480p" / sequence).glob("*.jpg"))[:FRAMES]
    frames = [Frame(i, np.array(Image.open(path).convert("RGB"))) for i, path in enumerate(images)]
    first = shared / "davis/Annotations/480p" / sequence / "00000.png"
    models = Models(reference_model, None)
    plan = ReferencePlan.build(as_references(first), frame_size=frames[0].size, frame_count=FRAMES)
    passes = {
        preset: (VideoTracker(load_settings(preset), models).begin(), folder)
        for preset, folder in (("reference", "persam"), ("reference-f", "persam_f"))
    }
    for frame in frames:
        features = models.encode(frame)
        for video, folder in passes.values():
            ours = video.step(frame, plan.at(frame.index), features).mask(1)
            if frame.index:
                path = shared / "reference/persam_mobile_sam" / folder / sequence / f"{frame.index:05d}.png"
                theirs = np.array(Image.open(path)) == 1
                assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98, (folder, frame.index)


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """A data set of one sequence of four frames, and two folders of results that differ in one."""
    root = tmp_path / "davis"
    for folder in ("Annotations/480p/s", "ImageSets/2016", "JPEGImages/480p/s"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/2016/val.txt").write_text("s\n")
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 10:30] = 255
    for k in range(4):
        Image.fromarray(mask).save(root / f"Annotations/480p/s/{k:05d}.png")
        Image.fromarray(mask).save(root / f"JPEGImages/480p/s/{k:05d}.jpg")
        for results in ("ours", "theirs"):
            (tmp_path / results / "s").mkdir(parents=True, exist_ok=True)
            found = (mask > 0).astype(np.uint8)
            if results == "ours" and k == 2:
                found[10:20] = 0
            if results == "ours" or k:
                Image.fromarray(found).save(tmp_path / results / f"s/{k:05d}.png")
    return root


def test_comparison_by_hand(davis: Path, tmp_path: Path) -> None:
    found = compare(open_dataset(davis), "s", tmp_path / "ours", tmp_path / "theirs")
    assert found.frames == ("00001", "00002", "00003")
    np.testing.assert_allclose(found.iou[:, 0], [1, 0.5, 1])
    assert found.mean_iou == pytest.approx(2.5 / 3)
    assert found.apart(0.98) == ("00002",)
    assert found.theirs.j == 1
    assert found.ours.j == pytest.approx(0.75)
    assert found.difference < -1.5
    assert not found.agrees


def test_comparison_says_what_is_missing(davis: Path, tmp_path: Path) -> None:
    (tmp_path / "ours/s/00003.png").unlink()
    with pytest.raises(EvaluationError, match=r"sequence s, frame 00003: .*00003\.png"):
        compare(open_dataset(davis), "s", tmp_path / "ours", tmp_path / "theirs")
    with pytest.raises(EvaluationError, match="sequence s: no masks of the reference in"):
        compare(open_dataset(davis), "s", tmp_path / "ours", tmp_path / "nowhere")


def test_masks_may_be_black_and_white(davis: Path, tmp_path: Path) -> None:
    before = compare(open_dataset(davis), "s", tmp_path / "ours", tmp_path / "theirs")
    for path in (tmp_path / "theirs/s").iterdir():
        with Image.open(path) as image:
            Image.fromarray(np.asarray(image) * np.uint8(255)).save(path)
    after = compare(open_dataset(davis), "s", tmp_path / "ours", tmp_path / "theirs")
    np.testing.assert_array_equal(before.iou, after.iou)
    Image.new("L", (5, 5)).save(tmp_path / "theirs/s/00002.png")
    with pytest.raises(EvaluationError, match="sequence s, frame 00002: the result is 5x5, the annotation 60x40"):
        compare(open_dataset(davis), "s", tmp_path / "ours", tmp_path / "theirs")
