"""Dense flow: what is carried, what is trusted, and what is not here."""

from __future__ import annotations

import numpy as np

from tests.trackers.scenes import Thing, draw, place
from trackers.flow import FlowSettings, FlowTracker, Quality


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
