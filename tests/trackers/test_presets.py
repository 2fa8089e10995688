"""Trackers in the loop, with the real model, on drawn clips whose truth is exact."""

from __future__ import annotations

import numpy as np
import pytest

from tests.drawn import Thing, clip
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Frame

pytestmark = pytest.mark.slow

LEFT = Thing(28, hue=0, path=lambda t: (70 + 6 * t, 90), seed=1)
RIGHT = Thing(24, hue=110, path=lambda t: (250 - 5 * t, 160), shape="square", seed=2)


@pytest.mark.parametrize(
    ("preset", "tracker"),
    [("persam+klt", None), ("persam-f+klt", None), ("persam-f", "klt"), ("persam-f", "flow"), ("persam", "klt+flow")],
)
def test_two_objects_are_followed_and_one_enters_late(
    mobile_sam: SegmentAnything, preset: str, tracker: str | None
) -> None:
    images, truth = clip([LEFT, RIGHT], 5)
    first, second = (truth[0] == 1).astype(np.uint8), (truth[1] == 2).astype(np.uint8) * 2
    plan = ReferencePlan.build(as_references({0: first, 1: second}), frame_size=images[0].shape[:2], frame_count=5)
    settings = load_settings(preset, {} if tracker is None else {"tracker.name": tracker})
    results = VideoTracker(settings, Models(mobile_sam, None)).run([Frame(i, im) for i, im in enumerate(images)], plan)
    for t, (result, true) in enumerate(zip(results, truth, strict=True)):
        assert [found.id for found in result.objects] == ([1] if t == 0 else [1, 2])
        for found in result.objects:
            mask, right = result.mask(found.id), true == found.id
            assert (mask & right).sum() / (mask | right).sum() > 0.9, (t, found)
