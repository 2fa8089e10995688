"""Lucas-Kanade: when points are chosen, dropped and waited for, and where the box goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.trackers.scenes import Scene, Thing, draw, place
from trackers.klt import KltSettings, KltTracker, move_box
from vos.types import Prompts

STILL = Thing(7, lambda t: place(110, 90, 10), seed=3)


def _started(**options: object) -> KltTracker:
    tracker = KltTracker(KltSettings.model_validate(options))
    scene = draw([STILL], 0)
    tracker.add(7, scene.frame, scene.features, scene.masks[7])
    tracker.update(scene.result())
    return tracker


def _next(tracker: KltTracker, scene: Scene, mask: np.ndarray | None = None) -> Prompts:
    """Locate, and take in the true mask or another."""
    prompts = tracker.locate(scene.frame, scene.features)
    tracker.update(scene.result({7: scene.masks.get(7, np.zeros(scene.frame.size, bool)) if mask is None else mask}))
    return prompts


def _positive(prompts: Prompts) -> np.ndarray:
    return prompts.points[0][prompts.labels[0] == 1]


def test_points_keep_their_columns_until_they_are_lost() -> None:
    tracker = _started()
    first = _next(tracker, draw([STILL], 1))
    x, y = first.points[0].round().astype(int).T
    half = draw([STILL], 2).masks[7] & (np.arange(260) < np.median(x))
    _next(tracker, draw([STILL], 2), half)
    later = tracker.locate(draw([STILL], 3).frame, draw([STILL], 3).features)
    kept = half[y, x]
    assert 0 < kept.sum() < 8
    # Not exactly: the background that moves behind the object is inside the windows of points near its edge.
    np.testing.assert_allclose(later.points[0][kept], first.points[0][kept], atol=0.5)
    x, y = later.points[0][~kept].round().astype(int).T
    assert half[y, x].all(), "lost points come back inside the final mask"


def test_all_points_are_chosen_anew_every_n_frames() -> None:
    tracker = _started(reseed_every=2)
    moved = Thing(7, lambda t: place(110 + 3 * t, 90, 10 + 5 * t), seed=3)
    _next(tracker, draw([moved], 1))
    scene = draw([moved], 2)
    located = _next(tracker, scene)
    fresh = KltTracker(KltSettings())
    fresh.add(7, scene.frame, scene.features, scene.masks[7])
    again = tracker.locate(scene.frame, scene.features)
    np.testing.assert_array_equal(again.points, fresh.locate(scene.frame, scene.features).points)
    assert abs(again.points - located.points).max() > 0.1


def test_an_object_is_looked_for_where_it_was_and_then_given_up() -> None:
    for patience, back in ((5, True), (2, False)):
        tracker = _started(patience=patience)
        for t in range(1, 5):
            assert not _next(tracker, draw([], t, world=1)).active.any()
        returned = _next(tracker, draw([STILL], 5))
        assert bool((returned.labels == 1).any()) is back
        assert not returned.has_box.any()
        assert _next(tracker, draw([STILL], 6)).has_box.all(), "a final mask from elsewhere starts it again"


def test_too_few_points_are_no_object() -> None:
    cover = Thing(8, lambda t: place(100, 85, 40, 1.25), seed=4)
    scene = draw([STILL, cover], 1)
    assert len(_positive(_started(min_visible=0.0).locate(scene.frame, scene.features))) > 0
    assert not _started(min_visible=1.0).locate(scene.frame, scene.features).active.any()


def test_a_point_that_leaves_the_frame_is_invisible() -> None:
    leaving = Thing(7, lambda t: place(110 - 15 * t, 90, 10), seed=3)
    tracker = _started()
    for t in range(1, 9):
        scene = draw([leaving], t)
        points = _positive(tracker.locate(scene.frame, scene.features))
        assert ((points >= -0.5) & (points < (259.5, 199.5))).all()
        tracker.update(scene.result())


def test_negatives_come_from_the_background_and_from_other_objects() -> None:
    tracker = KltTracker(KltSettings(background=2, others=3))
    things = [Thing(7, lambda t: place(70, 90), 3), Thing(9, lambda t: place(180, 100, 40), 5)]
    scene = draw(things, 0)
    for thing in things:
        tracker.add(thing.id, scene.frame, scene.features, scene.masks[thing.id])
    prompts = tracker.locate(scene.frame, scene.features)
    assert prompts.labels.tolist() == [[1] * 8 + [0] * 5] * 2
    for row, (own, other) in enumerate(((7, 9), (9, 7))):
        x, y = prompts.points[row, 8:].astype(int).T
        assert not scene.masks[own][y, x].any()
        assert scene.masks[other][y[2:], x[2:]].all()
    swapped = KltTracker(KltSettings(background=2, others=3))
    for thing in reversed(things):
        swapped.add(thing.id, scene.frame, scene.features, scene.masks[thing.id])
    np.testing.assert_array_equal(swapped.locate(scene.frame, scene.features).points[::-1], prompts.points)


def test_one_object_has_no_others() -> None:
    scene = draw([STILL], 1)
    assert (_started(others=4).locate(scene.frame, scene.features).labels[0, 8:] == -1).all()


def test_a_motionless_wall_has_no_points_to_follow() -> None:
    scene = draw([], 0)
    grey = np.full_like(scene.frame.image, 90)
    wall = [Scene(type(scene.frame)(t, grey), scene.features, {7: draw([STILL], 0).masks[7]}) for t in range(2)]
    tracker = KltTracker(KltSettings())
    tracker.add(7, wall[0].frame, wall[0].features, wall[0].masks[7])
    tracker.update(wall[0].result())
    assert not tracker.locate(wall[1].frame, wall[1].features).active.any()


@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0, 0)), (1.0, (4, -3)), (1.1, (2, 1)), (0.9, (-5, 0))])
def test_a_box_moves_and_grows_with_the_median_of_its_points(zoom: float, shift: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(20, 60, (9, 2)).astype(np.float32)
    end = (zoom * start + shift).astype(np.float32)
    end[:2] += 40  # two of nine went astray
    # Pixel edges, not centres, are what a zoom maps: the box of pixels 10 to 69 reaches from 9.5 to 69.5.
    wanted = zoom * np.array([9.5, 19.5, 69.5, 79.5]) + np.tile(shift, 2) + [0.5, 0.5, -0.5, -0.5]
    np.testing.assert_allclose(move_box((10, 20, 69, 79), start, end, (200, 200)), wanted, atol=1.5)
    exact = (zoom * start + shift).astype(np.float32)
    np.testing.assert_allclose(move_box((10, 20, 69, 79), start, exact, (200, 200)), wanted, atol=1e-3)


def test_a_box_outside_the_frame_is_none() -> None:
    start = np.float32([[10, 10], [20, 10], [10, 20]])
    assert move_box((5, 5, 25, 25), start, start + 100, (60, 60)) is None
    assert move_box((5, 5, 25, 25), start[:1], start[:1] + 30, (60, 60)) == (35, 35, 55, 55)


def test_a_box_that_shrinks_below_a_pixel_is_still_one() -> None:
    start = np.array([[0, 0], [40, 0], [0, 40]], np.float32)
    x0, y0, x1, y1 = move_box((20, 10, 20, 30), start, start * 0.8, (60, 60)) or (0, 0, 0, 0)
    assert x0 == x1 == pytest.approx(16.0)
    assert y1 - y0 == pytest.approx(0.8 * 21 - 1)


def test_frames_that_are_left_out_do_not_count_as_waiting() -> None:
    for patience, back in ((5, True), (2, False)):
        tracker = _started(patience=patience)
        for t in range(1, 6):
            scene = draw([STILL], 5) if t == 5 else draw([], t, world=1)
            found = _next(tracker, replace(scene, frame=replace(scene.frame, index=20 * t)))
        assert bool((found.labels == 1).any()) is back
