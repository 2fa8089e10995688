"""Trackers in the loop, with the real model, on drawn clips whose truth is exact."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

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
    [
        ("persam+klt", None),
        ("persam-f+klt", None),
        ("persam-f", "klt"),
        ("persam-f", "flow"),
        ("persam", "klt+flow"),
        ("sam-pt", None),
        ("sam-pt", "flow"),
    ],
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


@pytest.mark.skipif(find_spec("cotracker") is None, reason="the package cotracker is not installed (CC-BY-NC 4.0)")
def test_cotracker_in_the_loop_with_random_weights_sees_nothing_and_matching_goes_on(
    mobile_sam: SegmentAnything, tmp_path: Path
) -> None:
    from cotracker.models.build_cotracker import build_cotracker

    torch.save(build_cotracker(offline=False, window_len=16).state_dict(), tmp_path / "random.pth")
    images, truth = clip([LEFT, RIGHT], 4)
    plan = ReferencePlan.build(as_references(truth[0]), frame_size=images[0].shape[:2], frame_count=4)
    random = {"tracker.cotracker.weights": tmp_path / "random.pth"}
    for preset, overrides in (("persam-f", {}), ("persam-f+cotracker", random)):
        video = VideoTracker(load_settings(preset, overrides), Models(mobile_sam, None))
        results = list(video.run([Frame(i, image) for i, image in enumerate(images)], plan))
        assert [result.frame.index for result in results] == [0, 1, 2, 3]
        for result, true in zip(results, truth, strict=True):
            assert all((result.mask(i) & (true == i)).sum() > 0.8 * (true == i).sum() for i in (1, 2)), preset
