"""Dense flow: what is carried, what is trusted, and what is not here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.trackers.scenes import Thing, draw, place
from trackers.flow import FlowSettings, FlowTracker, Quality
from vos.soft import LowLogits
from vos.types import FrameResult


def _started(path=lambda t: place(90, 90, 10), **options: object) -> FlowTracker:  # type: ignore[no-untyped-def]
    tracker = FlowTracker(FlowSettings.model_validate(options))
    scene = draw([Thing(7, path, 3)], 0)
    tracker.add(7, scene.frame, scene.features, scene.masks[7])
    tracker.update(scene.result())
    return tracker


def test_the_box_is_the_carried_masks() -> None:
    def path(t: int) -> np.ndarray:
        return place(90 + 6 * t, 90 + 2 * t, 10 + 3 * t, 1.02**t)

    for quality in (Quality.FAST, Quality.MEDIUM):
        scene = draw([Thing(7, path, 3)], 1)
        box = _started(path, margin=0, quality=quality).locate(scene.frame, scene.features).boxes[0]
        ys, xs = np.nonzero(scene.masks[7])
        # The object's corners are sharp, and flow is smooth.
        assert abs(box - [xs.min(), ys.min(), xs.max(), ys.max()]).max() <= 7, quality
        assert abs(box[:2] + box[2:] - [xs.min() + xs.max(), ys.min() + ys.max()]).max() <= 12, quality


def test_points_are_left_out_where_nothing_can_be_trusted() -> None:
    scene = draw([Thing(7, lambda t: place(90, 90, 10), 3), Thing(8, lambda t: place(70, 80), 4)], 1)
    prompts = _started().locate(scene.frame, scene.features)
    x, y = prompts.points[0][prompts.labels[0] == 1].round().astype(int).T
    assert 0 < len(x) < 4
    assert scene.masks[7][y, x].all()


def test_a_box_alone_is_a_prompt() -> None:
    scene = draw([Thing(7, lambda t: place(90, 90, 10), 3)], 1)
    prompts = _started(points=0).locate(scene.frame, scene.features)
    assert prompts.points.shape == (1, 0, 2)
    assert prompts.active.all()


def test_too_little_that_agrees_is_no_object_and_no_frame() -> None:
    scene = draw([Thing(7, lambda t: place(90, 90, 10), 3), Thing(8, lambda t: place(80, 85), 4)], 1)
    assert _started(min_visible=0.05).locate(scene.frame, scene.features).active.all()
    assert not _started(min_visible=0.95).locate(scene.frame, scene.features).active.any()
    assert not _started(min_agreement=1.0).locate(scene.frame, scene.features).active.any()


def _with_logits(result: FrameResult, ids: tuple[int, ...], logits: np.ndarray) -> FrameResult:
    """The result with logits (N, H, W), one to a pixel."""
    size = result.frame.size
    return replace(result, soft=LowLogits(ids, logits.astype(np.float16), 1, size, size))


def _carried(soft: np.ndarray | None, step: float) -> tuple[FlowTracker, np.ndarray]:
    """A tracker that knows an object and its logits (H, W), or none, and its box one frame later, `step` pixels on."""
    tracker = FlowTracker(FlowSettings(margin=0))
    things = [Thing(7, lambda t: place(90 + step * t, 90, 10), 3)]
    first, second = draw(things, 0, pan=0), draw(things, 1, pan=0)
    tracker.add(7, first.frame, first.features, first.masks[7])
    result = first.result()
    tracker.update(result if soft is None else _with_logits(result, (7,), soft[None]))
    return tracker, tracker.locate(second.frame, second.features).boxes[0]


def test_logits_decide_between_pixels_and_the_final_mask_on_them() -> None:
    mask = draw([Thing(7, lambda t: place(90, 90, 10), 3)], 0, pan=0).masks[7]
    ys, xs = np.nonzero(mask)
    own = [xs.min(), ys.min(), xs.max(), ys.max()]
    weak, strong = np.where(mask, 0.2, -6), np.where(mask, 6, -0.2)
    for soft in (None, weak, strong, np.full(mask.shape, 5.0), np.full(mask.shape, -5.0)):
        assert (_carried(soft, 0)[1] == own).all()
    widths = [box[2] - box[0] for box in (_carried(soft, 2.5)[1] for soft in (weak, None, strong))]
    assert widths[0] < widths[2] and widths == sorted(widths)


@pytest.mark.parametrize("known", [False, True], ids=["mask", "logits"])
def test_a_restored_tracker_goes_on_alike(known: bool) -> None:
    things = [Thing(7, lambda t: place(90 + 3 * t, 90, 10), 3)]
    scene = draw(things, 1)
    soft = np.random.default_rng(0).normal(size=scene.frame.size) if known else None
    tracker, _ = _carried(soft, 3)
    other = FlowTracker(FlowSettings(margin=0))
    other.restore(tracker.state())
    a, b = (one.locate(scene.frame, scene.features) for one in (tracker, other))
    assert (a.boxes == b.boxes).all() and (a.points == b.points).all() and a.active.all()
