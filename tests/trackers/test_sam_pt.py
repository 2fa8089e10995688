"""The preset `sam-pt`: what the decoder is asked, pass by pass, and that any tracker may follow the points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.drawn import Thing, clip
from tests.stand_in import StandIn
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Candidates, Frame, FrameResult, Prompts, State

LEFT = Thing(22, hue=0, path=lambda t: (70 + 4 * t, 70), seed=1)
RIGHT = Thing(26, hue=110, path=lambda t: (240 - 4 * t, 165), shape="square", seed=2)
# Leaves at once: on frame 1 it is nowhere.
GONE = Thing(20, hue=150, path=lambda t: (160, 40) if t == 0 else (900, 900), seed=3)


class Asked(StandIn):
    """Keeps what it was asked: prompts, and the mask logits with them."""

    def __init__(self) -> None:
        self.log: list[tuple[Prompts, torch.Tensor | None]] = []

    def decode(self, image: FeatureMap, prompts: Prompts, mask_logits: torch.Tensor | None = None) -> Candidates:
        self.log.append((prompts, mask_logits))
        return super().decode(image, prompts, mask_logits)


def _run(
    model: SegmentAnything | StandIn, things: Sequence[Thing], frames: int, **overrides: object
) -> tuple[list[FrameResult], list[np.ndarray]]:
    images, truth = clip(things, frames)
    plan = ReferencePlan.build(as_references(truth[0]), frame_size=images[0].shape[:2], frame_count=frames)
    settings = load_settings("sam-pt", {key.replace("__", "."): value for key, value in overrides.items()})
    tracker = VideoTracker(settings, Models(model, None))  # type: ignore[arg-type]
    return list(tracker.run([Frame(i, image) for i, image in enumerate(images)], plan)), truth


def _iou(result: FrameResult, truth: np.ndarray, object_id: int) -> float:
    mask, right = result.mask(object_id), truth == object_id
    return float((mask & right).sum() / (mask | right).sum())


def test_the_passes_ask_as_the_recipe_says() -> None:
    model = Asked()
    _run(model, [LEFT, RIGHT], 2)
    (first, given), (second, before), *further = model.log
    assert given is None
    seen = (first.labels == 1).sum(axis=1)
    assert ((seen >= 5) & (seen <= 8)).all(), "eight positive points each, those that are seen"
    assert not (first.labels == 0).any()
    assert not first.has_box.any()
    assert before is not None
    np.testing.assert_array_equal((second.labels == 1).sum(axis=1), seen)
    # One on the background, if it is seen, and those of the other object.
    for row, others in ((0, 1), (1, 0)):
        negative = second.points[row, 9:][second.labels[row, 9:] == 0]
        positive = first.points[others][first.labels[others] == 1]
        assert sorted(negative.tolist()) == sorted(positive.tolist())
    assert not second.has_box.any()
    assert 1 <= len(further) <= 12
    for prompts, logits in further:
        assert prompts.has_box.all()
        assert logits is not None
        assert len(logits) == len(prompts)
    np.testing.assert_array_equal(further[0][0].labels, second.labels)


def test_an_object_of_which_no_point_is_seen_has_no_mask_and_is_not_asked_for() -> None:
    model = Asked()
    results, _ = _run(model, [LEFT, GONE], 3)
    for result in results[1:]:
        here, gone = result.objects
        assert here.state is not State.ABSENT
        assert (gone.state, gone.area) == (State.ABSENT, 0)
    assert all(len(prompts) == 1 for prompts, _ in model.log)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["klt", "flow", "matching", "klt+flow"])
def test_any_tracker_may_follow_the_points(mobile_sam: SegmentAnything, tracker: str) -> None:
    results, truth = _run(mobile_sam, [LEFT, RIGHT], 4, tracker__name=tracker)
    assert min(_iou(result, true, i) for result, true in zip(results, truth, strict=True) for i in (1, 2)) > 0.9


def test_points_may_be_sampled_anew_from_the_masks() -> None:
    model = Asked()
    _run(model, [LEFT], 5, tracker__klt__reseed_every=2, decoder__cascade=2)
    asked = [prompts for prompts, logits in model.log if logits is None]
    seen = [{tuple(point) for point in p.points[0][p.labels[0] == 1].round().tolist()} for p in asked]
    shift = 4.0
    moved = [len({(x + shift, y) for x, y in a} & b) for a, b in pairwise(seen)]
    # Followed from frame 1 to 2; chosen anew on the mask of frame 2, so on frame 3 they are other points.
    assert moved[0] > moved[1]


def test_cotracker_gets_the_same_points() -> None:
    klt, cotracker = (
        load_settings("sam-pt", {"tracker.name": name}).tracker.parts[name] for name in ("klt", "cotracker")
    )
    for option in ("points", "background", "others"):
        assert getattr(klt, option) == getattr(cotracker, option)
