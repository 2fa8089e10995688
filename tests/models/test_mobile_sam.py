"""MobileSAM on timm against the official code's numbers, and checkpoints that do not fit."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vos.errors import SettingsError, WeightsError
from vos.models.checkpoint import read_checkpoint
from vos.models.encoder import resized_size
from vos.models.load import load_models
from vos.models.sam import SegmentAnything
from vos.settings import load_settings
from vos.types import Frame, Prompts

# Official numbers were computed in float32 on a CPU; a GPU's convolutions differ more.
_TOLERANCE = {"cpu": 2e-5, "cuda": 5e-3}


@pytest.fixture(scope="module")
def official(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "reference" / "mobile_sam_blackswan_00000.npz") as numbers:
        return dict(numbers)


@pytest.fixture(scope="module")
def image(shared: Path) -> np.ndarray:
    return np.array(Image.open(shared / "davis/JPEGImages/480p/blackswan/00000.jpg").convert("RGB"))


def _prompts(official: dict[str, np.ndarray], kind: str) -> Prompts:
    points = official["point_coords"][None].astype(np.float32)
    labels = official["point_labels"][None].astype(np.int8)
    box = official["box"][None].astype(np.float32)
    if kind == "points":
        return Prompts(points, labels, np.full((1, 4), np.nan, np.float32))
    if kind == "box":
        return Prompts(points[:, :0], labels[:, :0], box)
    return Prompts(points, labels, box)


def test_embedding_equals_the_official_one(
    mobile_sam: SegmentAnything, official: dict[str, np.ndarray], image: np.ndarray
) -> None:
    embedding = mobile_sam.encode(image).features.cpu().numpy()
    error = np.abs(embedding - official["embedding"][0]).max() / np.abs(official["embedding"]).max()
    assert error < _TOLERANCE[mobile_sam.device.type]


@pytest.mark.parametrize("kind", ["points", "box", "both"])
def test_masks_and_scores_equal_the_official_ones(
    mobile_sam: SegmentAnything, official: dict[str, np.ndarray], image: np.ndarray, kind: str
) -> None:
    embedded = mobile_sam.encode(image)
    candidates = mobile_sam.decode(embedded, _prompts(official, kind))
    # Logits span about +-40.
    atol = 40 * _TOLERANCE[mobile_sam.device.type]
    np.testing.assert_allclose(candidates.scores[0].cpu(), official[f"{kind}_scores"], atol=atol / 40)
    np.testing.assert_allclose(candidates.logits[0].cpu(), official[f"{kind}_low_res_logits"], atol=atol)
    areas = (mobile_sam.to_frame(candidates.logits[0], embedded) > 0).sum((1, 2)).cpu().numpy()
    np.testing.assert_allclose(
        areas, official[f"{kind}_mask_areas"], atol=2 if mobile_sam.device.type == "cpu" else 200
    )


def test_mask_input_equals_the_official_one(
    mobile_sam: SegmentAnything, official: dict[str, np.ndarray], image: np.ndarray
) -> None:
    embedded = mobile_sam.encode(image)
    first = torch.from_numpy(official["both_low_res_logits"][:1]).to(mobile_sam.device)
    candidates = mobile_sam.decode(embedded, _prompts(official, "both"), first)
    atol = 40 * _TOLERANCE[mobile_sam.device.type]
    np.testing.assert_allclose(candidates.scores[0].cpu(), official["with_mask_input_scores"], atol=atol / 40)
    np.testing.assert_allclose(candidates.logits[0].cpu(), official["with_mask_input_low_res_logits"], atol=atol)


def test_rows_of_a_ragged_batch_are_what_they_are_alone(mobile_sam: SegmentAnything, rng: np.random.Generator) -> None:
    embedded = mobile_sam.encode(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
    nan = np.nan
    batch = Prompts(
        np.array([[[20, 30], [90, 60], [40, 40]], [[100, 80], [nan] * 2, [nan] * 2], [[nan] * 2] * 3], np.float32),
        np.array([[1, 0, 1], [1, -1, -1], [-1, -1, -1]], np.int8),
        np.array([[nan] * 4, [50, 40, 120, 100], [10, 10, 80, 70]], np.float32),
    )
    together = mobile_sam.decode(embedded, batch)
    for row in range(3):
        real = batch.labels[row] >= 0
        alone = Prompts(
            batch.points[row : row + 1, real], batch.labels[row : row + 1, real], batch.boxes[row : row + 1]
        )
        single = mobile_sam.decode(embedded, alone)
        np.testing.assert_allclose(together.logits[row].cpu(), single.logits[0].cpu(), atol=2e-3)
        np.testing.assert_allclose(together.scores[row].cpu(), single.scores[0].cpu(), atol=1e-4)


def test_an_inactive_row_is_refused(mobile_sam: SegmentAnything, rng: np.random.Generator) -> None:
    embedded = mobile_sam.encode(rng.integers(0, 255, (32, 48, 3), dtype=np.uint8))
    nothing = Prompts(
        np.zeros((1, 1, 2), np.float32), np.full((1, 1), -1, np.int8), np.full((1, 4), np.nan, np.float32)
    )
    with pytest.raises(ValueError, match="every row must ask for something"):
        mobile_sam.decode(embedded, nothing)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 854), (576, 1024)), ((361, 639), (579, 1024)), ((1000, 10), (1024, 10)), ((1, 4000), (1, 1024))],
)
def test_resized_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(size, 1024) == expected


def test_unknown_model_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown model 'sam3'; known: mobile_sam, sam_vit_b, sam_vit_l, sam_vit_h"):
        SegmentAnything.load("sam3", tmp_path / "x.pt", torch.device("cpu"))


def test_checkpoints_that_do_not_fit(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="no such checkpoint; give an existing file to --weights"):
        read_checkpoint(tmp_path / "missing.pt")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(checkpoint.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match=r"damaged\.pt: not a readable checkpoint .*; download it again"):
        read_checkpoint(damaged)
    other = tmp_path / "other.pt"
    torch.save({"a": torch.zeros(1)}, other)
    with pytest.raises(WeightsError, match="not a checkpoint of mobile_sam \\(it lacks 'body"):
        SegmentAnything.load("mobile_sam", other, torch.device("cpu"))
    listed = tmp_path / "list.pt"
    torch.save([1, 2], listed)
    with pytest.raises(WeightsError, match="not a state dict of tensors but list"):
        read_checkpoint(listed)
    with pytest.raises(WeightsError, match="not a checkpoint of sam_vit_b"):
        SegmentAnything.load("sam_vit_b", checkpoint, torch.device("cpu"))


def test_models_are_freed_without_the_garbage_collector(device: torch.device, checkpoint: Path) -> None:
    models = load_models(load_settings("best", {"device": str(device)}), lambda _: checkpoint)
    models.encode(Frame(0, np.zeros((48, 64, 3), np.uint8)))
    encoder, decoder = (weakref.ref(part) for part in (models.segmenter.encoder, models.segmenter._decoder))
    gc.disable()
    try:
        del models
        assert encoder() is None
        assert decoder() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda state, key: state.update({key: state[key] * float("nan")}), "has numbers that are not finite in"),
        (lambda state, key: state.update({key: state[key].int()}), "has no real numbers in"),
        (
            lambda state, key: state.update({1: state[key]}),
            "not a state dict of tensors: it holds a key that is no text",
        ),
        (lambda state, key: state.update({key: 3}), "not a state dict of tensors: it holds int at"),
    ],
)
def test_weights_that_are_none(checkpoint: Path, tmp_path: Path, change: Any, error: str) -> None:
    state = read_checkpoint(checkpoint)
    change(state, "mask_decoder.iou_token.weight")
    torch.save({"state_dict": state}, tmp_path / "changed.pt")
    with pytest.raises(WeightsError, match=error):
        SegmentAnything.load("mobile_sam", tmp_path / "changed.pt", torch.device("cpu"))


def test_a_name_that_is_too_long_is_no_checkpoint() -> None:
    with pytest.raises(WeightsError, match="no such checkpoint; give an existing file to features_weights"):
        read_checkpoint(Path("x" * 300), "features_weights")
