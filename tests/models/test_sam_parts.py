"""Our forward passes against segment-anything's own modules, with random weights: same state in, same numbers out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry

from vos.models.sam import Parts, SegmentAnything
from vos.types import Prompts


@pytest.fixture(scope="module")
def official() -> torch.nn.Module:
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"](checkpoint=None).eval()
    # Relative positions and some embeddings start at zero, which would hide a mistake in their use.
    for parameter in sam.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.02)
    return sam


@pytest.mark.slow
def test_vit_equals_segment_anything_through_its_own_predictor(
    official: torch.nn.Module, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 255, (90, 150, 3), dtype=np.uint8)
    points, labels, box = np.array([[30.0, 40.0], [100.0, 20.0]]), np.array([1, 0]), np.array([10.0, 5.0, 120.0, 80.0])
    predictor = SamPredictor(official)
    predictor.set_image(image)
    masks, scores, low = predictor.predict(points, labels, box, multimask_output=True, return_logits=True)

    parts = Parts(official.image_encoder, official.prompt_encoder, official.mask_decoder)
    model = SegmentAnything(parts, torch.device("cpu"))
    embedded = model.encode(image)
    torch.testing.assert_close(embedded.features, predictor.features[0], atol=1e-4, rtol=1e-4)
    prompts = Prompts(points[None].astype(np.float32), labels[None].astype(np.int8), box[None].astype(np.float32))
    candidates = model.decode(embedded, prompts)
    np.testing.assert_allclose(candidates.logits[0], low, atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(candidates.scores[0], scores, atol=1e-4)
    np.testing.assert_allclose(model.to_frame(candidates.logits[0], embedded), masks, atol=1e-3, rtol=1e-3)
