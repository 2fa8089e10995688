"""Ways of encoding: what may change a result says so, and nothing else changes it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos.errors import DeviceError, SettingsError
from vos.models.encoder import Encoding
from vos.models.load import load_models
from vos.models.sam import SegmentAnything
from vos.settings import load_settings
from vos.types import Prompts

SIZE = (120, 200)
BOX = (60, 30, 119, 89)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A bright textured square at BOX on a dark textured ground."""
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 120, (*SIZE, 3), dtype=np.uint8), (0, 0), 1.5)
    x0, y0, x1, y1 = BOX
    frame[y0 : y1 + 1, x0 : x1 + 1] = rng.integers(190, 230, 3) + rng.integers(0, 20, (60, 60, 3))
    return frame


def _load(checkpoint: Path, device: torch.device, **options: object) -> SegmentAnything:
    return SegmentAnything.load("mobile_sam", checkpoint, device, encoding=Encoding(**options))


def test_the_padded_square_is_the_network_on_the_padded_square(
    mobile_sam: SegmentAnything, image: np.ndarray, checkpoint: Path
) -> None:
    """The default computes bit for bit what it computed when padding was all there was."""
    x = mobile_sam.encoder.prepare(image)
    assert x.shape == (1, 3, 1024, 1024)
    assert not x[:, :, 614:].any()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    corner = (torch.from_numpy(image[0, 0]) - mean) / std
    torch.testing.assert_close(x[0, :, 0, 0].cpu(), corner, atol=0.1, rtol=0)
    with torch.inference_mode():
        expected = mobile_sam.encoder._network(x)[0]
    assert torch.equal(mobile_sam.encode(image).features, expected)


def test_a_square_frame_has_no_padding_to_leave_out(
    mobile_sam: SegmentAnything, image: np.ndarray, checkpoint: Path
) -> None:
    square = np.ascontiguousarray(image[:, :120])
    unpadded = _load(checkpoint, mobile_sam.device, pad=False)
    box = Prompts(np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.int8), np.float32([[60, 30, 119, 89]]))
    ours, theirs = unpadded.encode(square), mobile_sam.encode(square)
    assert torch.equal(ours.features, theirs.features)
    decoded, reference = unpadded.decode(ours, box), mobile_sam.decode(theirs, box)
    assert torch.equal(decoded.logits, reference.logits)
    assert torch.equal(unpadded.to_frame(decoded.logits[0], ours), mobile_sam.to_frame(reference.logits[0], theirs))
    maps = torch.rand(2, 64, 64, device=mobile_sam.device)
    assert torch.equal(ours.to_frame(maps), theirs.to_frame(maps))


@pytest.mark.parametrize(
    ("options", "grid"),
    [
        ({"pad": False}, (39, 64)),
        ({"pad": False, "precision": "bfloat16"}, (39, 64)),
        ({"pad": True, "input_size": 512}, (32, 32)),
        ({"pad": False, "input_size": 768, "precision": "bfloat16"}, (29, 48)),
    ],
)
def test_objects_are_found_where_they_are_however_the_frame_is_encoded(
    options: dict[str, object], grid: tuple[int, int], image: np.ndarray, checkpoint: Path, device: torch.device
) -> None:
    model = _load(checkpoint, device, **options)
    embedded = model.encode(image)
    assert embedded.grid_size == grid
    assert embedded.features.dtype == torch.float32
    prompts = Prompts(
        np.float32([[[90, 60], [0, 0]], [[90, 60], [20, 100]]]), np.int8([[1, -1], [1, 0]]), np.float32([BOX, BOX])
    )
    first = model.decode(embedded, prompts)
    assert first.logits.shape == (2, 3, 4 * grid[0], 4 * grid[1]) == (2, 3, *embedded.places)
    low, _ = first.pick(first.scores.argmax(1))
    second = model.decode(embedded, prompts, low)
    low, scores = second.pick(second.scores.argmax(1))
    assert scores.min() > 0.8
    truth = np.zeros(SIZE, dtype=bool)
    truth[BOX[1] : BOX[3] + 1, BOX[0] : BOX[2] + 1] = True
    for mask in (model.to_frame(low, embedded) > 0).cpu().numpy():
        assert (mask & truth).sum() / (mask | truth).sum() > 0.93


@pytest.mark.parametrize(("precision", "closeness"), [("bfloat16", 0.999), ("float16", 0.9999)])
def test_half_precision_moves_features_little(
    precision: str, closeness: float, image: np.ndarray, checkpoint: Path, device: torch.device
) -> None:
    options = {"pad": False, "input_size": 256}
    exact = _load(checkpoint, device, **options).encode(image).features
    rounded = _load(checkpoint, device, **options, precision=precision).encode(image).features
    assert not torch.equal(exact, rounded)
    assert F.cosine_similarity(exact, rounded, dim=0).mean() > closeness


@pytest.mark.slow
def test_a_compiled_encoder_gives_the_same(image: np.ndarray, checkpoint: Path, device: torch.device) -> None:
    options = {"pad": False, "input_size": 256}
    plain = _load(checkpoint, device, **options).encode(image).features
    compiled = _load(checkpoint, device, **options, compile=True).encode(image).features
    torch.testing.assert_close(plain, compiled, atol=5e-4, rtol=1e-3)


def test_a_missing_compiler_is_said(image: np.ndarray, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    model = _load(checkpoint, torch.device("cpu"), input_size=256, compile=True)

    def fail(x: torch.Tensor) -> torch.Tensor:
        raise TorchDynamoException("No working C++ compiler found")

    monkeypatch.setattr(model.encoder, "_network", fail)
    with pytest.raises(DeviceError, match=r"cannot be compiled on cpu: .*set compile=false"):
        model.encode(image)


def test_the_cache_tells_encodings_apart(image: np.ndarray, checkpoint: Path, tmp_path: Path) -> None:
    from vos.types import Frame

    common = {"cache_embeddings": tmp_path, "weights": checkpoint, "device": "cpu", "input_size": 256}
    shapes = []
    for change in ({"pad": True}, {"pad": False}, {"pad": False, "precision": "bfloat16"}, {"pad": False}):
        models = load_models(load_settings("persam", {**common, **change}), lambda name: checkpoint)
        shapes.append(tuple(models.encode(Frame(0, image)).image.features.shape))
    assert shapes == [(256, 16, 16), (256, 10, 16), (256, 10, 16), (256, 10, 16)]
    assert len(list(tmp_path.glob("*.npy"))) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("input_size=500", "'input_size': input should be a multiple of 16; found 500"),
        ("input_size=4096", "'input_size': input should be less than or equal to 2048; found 4096"),
        ("precision=int8", "'precision': input should be 'auto', 'float32', 'bfloat16' or 'float16'; found 'int8'"),
    ],
)
def test_encodings_that_there_are_not(change: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings("persam", [change])
