"""One contract for every installed tracker and for combinations of them.

The first part runs on features with objects planted at known places; the second on drawn clips whose motion is known,
for the trackers that say that they follow points (`vos.tracking.follows_points`).

A tracker that cannot be made here is left out, and one skipped test says what it lacks. CoTracker's network always
lacks its weights, which are not free. That tracker is held to the contract with another way to follow points through
windows; and where its package is importable with the package's own classes and random weights, which follow nothing,
to all of the contract that asks for no skill.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from tests.trackers.scenes import Path, Scene, Thing, carry, draw, place, result, texture
from tests.trackers.windows import LucasKanadeWindows, random_weights, small_cotracker
from trackers.cotracker import CoTrackerSettings, CoTrackerTracker
from vos.errors import SettingsError, VosError
from vos.installed import known_trackers, make_tracker, tracker_class
from vos.models.features import FeatureMap, Features
from vos.results.plain import pack, unpack
from vos.tracking import CombinedTracker, PreparesAhead, Tracker, follows_points, resumable
from vos.types import Frame, Prompts

SIZE = (240, 320)
GRID = (48, 64)
STRIDE = 5
SIDE = 40
PLACES = [(40, 60), (200, 100), (120, 180)]
IDS = [3, 1, 200]

RANDOM = "cotracker's own classes with random weights"

Make = Callable[[], Tracker]

# Name of a case -> tracker -> options that differ from its defaults.
CASES: dict[str, dict[str, dict[str, object]]] = {
    **{name: {name: {}} for name in known_trackers()},
    "matching+klt": {"matching": {}, "klt": {}},
    "matching+flow": {"matching": {}, "flow": {}},
    "klt+flow": {"klt": {}, "flow": {}},
    "klt with background": {"klt": {"background": 2}},
}


def _installed(case: str) -> Make:
    def make() -> Tracker:
        options: Mapping[str, BaseModel] = {
            name: tracker_class(name).Settings.model_validate(chosen) for name, chosen in CASES[case].items()
        }
        return make_tracker(options)

    return make


def _windows() -> Tracker:
    return CoTrackerTracker(CoTrackerSettings(), LucasKanadeWindows(window=4))


class _Untrained(CoTrackerTracker):
    """Random weights follow no spot of an object."""

    follows_points = False


def _real_classes() -> Tracker:
    with TemporaryDirectory() as folder:
        model = small_cotracker(random_weights(FilePath(folder) / "random.pth", motion=1e-6), support=2)
    return _Untrained(CoTrackerSettings(points=4, min_score=0), model)


def _matching_and_windows() -> Tracker:
    return CombinedTracker([make_tracker({"matching": tracker_class("matching").Settings()}), _windows()])


MAKERS: dict[str, Make] = {
    **{case: _installed(case) for case in CASES},
    "windows without a network": _windows,
    "matching+windows without a network": _matching_and_windows,
    RANDOM: _real_classes,
}
LACKING: dict[str, str] = {}
for _case, _make in MAKERS.items():
    try:
        _make()
    except (VosError, ImportError, ValidationError) as _error:  # the last: options without defaults
        LACKING[_case] = str(_error)
READY = [case for case in MAKERS if case not in LACKING]


@pytest.fixture(params=READY)
def make(request: pytest.FixtureRequest) -> Make:
    """A new tracker, of every kind that can be made here."""
    return MAKERS[request.param]


@pytest.fixture(params=[case for case in READY if case != RANDOM])
def make_fast(request: pytest.FixtureRequest) -> Make:
    """A new tracker, of every kind that takes hundreds of frames in seconds; what the network keeps of windows is
    looked at in `test_cotracker`."""
    return MAKERS[request.param]


@pytest.fixture(params=[case for case in READY if follows_points(MAKERS[case]())])
def make_following(request: pytest.FixtureRequest) -> Make:
    """A new tracker, of every kind that follows points."""
    return MAKERS[request.param]


@pytest.mark.parametrize("case", MAKERS)
def test_it_is_held_to_the_contract_or_says_what_it_lacks(case: str) -> None:
    if case in LACKING:
        assert "\n" not in LACKING[case]
        pytest.skip(LACKING[case])


def _frame(index: int, places: Sequence[tuple[int, int]]) -> tuple[Frame, Features, list[np.ndarray]]:
    """A frame with one square per place (x, y of its top left corner), each with features and a texture of its own."""
    rng = np.random.default_rng(7)
    image = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    grid = torch.from_numpy(rng.normal(0, 0.1, (16, *GRID)).astype(np.float32))
    masks = []
    for number, (x, y) in enumerate(places):
        own = np.random.default_rng(100 + number)
        image[y : y + SIDE, x : x + SIDE] = own.integers(120, 255, (SIDE, SIDE, 3))[: SIZE[0] - y, : SIZE[1] - x]
        cells = slice(y // STRIDE, (y + SIDE) // STRIDE), slice(x // STRIDE, (x + SIDE) // STRIDE)
        grid[(slice(None), *cells)] += torch.nn.functional.one_hot(torch.tensor(number), 16)[:, None, None]
        mask = np.zeros(SIZE, dtype=bool)
        mask[y : y + SIDE, x : x + SIDE] = True
        masks.append(mask)
    features = FeatureMap(grid, SIZE, SIZE, STRIDE)
    return Frame(index, image), Features(features, features), masks


def _started(make: Make, order: Sequence[int], places: Sequence[tuple[int, int]] = PLACES) -> Tracker:
    tracker = make()
    frame, features, masks = _frame(0, places)
    for k in order:
        tracker.add(IDS[k], frame, features, masks[k])
    tracker.update(result(frame, {IDS[k]: masks[k] for k in order}))
    return tracker


def test_it_keeps_the_protocol(make: Make) -> None:
    assert isinstance(make(), Tracker)


def test_rows_are_objects_in_the_order_in_which_they_entered(make: Make) -> None:
    frame, features, masks = _frame(1, PLACES)
    prompts = _started(make, [2, 0, 1]).locate(frame, features)
    assert len(prompts) == 3
    for row, k in enumerate([2, 0, 1]):
        positive = prompts.points[row][prompts.labels[row] == 1].round().astype(int)
        assert len(positive) or prompts.has_box[row]
        assert all(masks[k][y, x] for x, y in positive)


def test_negative_points_are_on_the_background(make: Make) -> None:
    frame, features, masks = _frame(1, PLACES)
    prompts = _started(make, [0, 1, 2]).locate(frame, features)
    for x, y in prompts.points[prompts.labels == 0].round().astype(int):
        assert not any(mask[y, x] for mask in masks)


def test_a_still_object_keeps_its_box_inside_the_frame(make: Make) -> None:
    frame, features, masks = _frame(1, [(0, 0), (280, 200), (120, 180)])
    tracker = _started(make, [0, 1, 2], [(0, 0), (280, 200), (120, 180)])
    prompts = tracker.locate(frame, features)
    for row in range(3):
        x0, y0, x1, y1 = prompts.boxes[row]
        ys, xs = np.nonzero(masks[row])
        assert 0 <= x0 <= xs.min()
        assert 0 <= y0 <= ys.min()
        assert xs.max() <= x1 <= SIZE[1] - 1
        assert ys.max() <= y1 <= SIZE[0] - 1


def test_still_video_gives_still_points(make: Make) -> None:
    tracker = _started(make, [0, 1, 2])
    first: Prompts | None = None
    for index in range(1, 6):
        frame, features, masks = _frame(index, PLACES)
        now = tracker.locate(frame, features)
        first = first or now
        np.testing.assert_array_equal(now.labels, first.labels)
        np.testing.assert_allclose(now.points, first.points, atol=0.01)
        np.testing.assert_allclose(now.boxes, first.boxes, atol=0.01)
        tracker.update(result(frame, dict(zip(IDS, masks, strict=True))))


def test_permuting_objects_permutes_rows_and_nothing_else(make: Make) -> None:
    straight, turned = (_after(make, order, 3) for order in ([0, 1, 2], [2, 0, 1]))
    _assert_same(straight.rows(np.array([2, 0, 1])), turned)


def test_another_object_changes_nothing_for_the_first_ones(make: Make) -> None:
    _assert_same(_after(make, [0, 1], 3), _after(make, [0, 1, 2], 3).rows(np.arange(2)))
    _assert_same(_after(make, [2], 3), _after(make, [0, 1, 2], 3).rows(np.array([2])))


def test_an_object_that_enters_later_changes_nothing_for_the_first_ones(make: Make) -> None:
    alone, joined = _started(make, [0]), _started(make, [0])
    frame, features, masks = _frame(1, PLACES)
    for tracker in (alone, joined):
        tracker.locate(frame, features)
    joined.add(IDS[1], frame, features, masks[1])
    assert len(joined.locate(frame, features)) == 2
    alone.update(result(frame, {IDS[0]: masks[0]}))
    joined.update(result(frame, {IDS[0]: masks[0], IDS[1]: masks[1]}))
    later = _frame(2, PLACES)[:2]
    _assert_same(alone.locate(*later), joined.locate(*later).rows(np.array([0])))


def test_an_object_that_leaves_for_good_changes_nothing_for_the_others(make: Make) -> None:
    _assert_same(_after(make, [0, 1], 6), _after(make, [0, 1, 2], 6, gone_from=3).rows(np.arange(2)))


def test_a_further_reference_adds_no_row(make: Make) -> None:
    tracker = _started(make, [0, 1])
    frame, features, masks = _frame(1, PLACES)
    tracker.locate(frame, features)
    tracker.add(IDS[0], frame, features, masks[0])
    assert len(tracker.locate(frame, features)) == 2


def test_locating_twice_is_locating_once(make: Make) -> None:
    tracker = _started(make, [0, 1])
    frame, features, masks = _frame(1, [(44, 63), PLACES[1]])
    first = tracker.locate(frame, features)
    _assert_same(first, tracker.locate(frame, features))
    # Elsewhere: objects may compete for a place.
    corner = np.zeros(SIZE, dtype=bool)
    corner[:24, :24] = True
    assert not (corner & np.any(list(masks), axis=0)).any()
    tracker.add(IDS[2], frame, features, corner)
    _assert_same(first, tracker.locate(frame, features).rows(np.arange(2)))


def test_an_object_without_a_mask_has_no_box_and_returns_under_its_own_row(make: Make) -> None:
    tracker = _started(make, [0, 1])
    frame, features, masks = _frame(1, PLACES)
    tracker.locate(frame, features)
    tracker.update(result(frame, {IDS[0]: np.zeros(SIZE, dtype=bool), IDS[1]: masks[1]}))
    frame, features, masks = _frame(2, PLACES)
    prompts = tracker.locate(frame, features)
    assert prompts.has_box.tolist() == [False, True]
    tracker.update(result(frame, {IDS[0]: masks[0], IDS[1]: masks[1]}))
    assert tracker.locate(*_frame(3, PLACES)[:2]).has_box.tolist() == [True, True]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 17), (9, 300)])
def test_any_frame_and_any_object_is_legal(make: Make, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    corner, everything = np.zeros(size, dtype=bool), np.ones(size, dtype=bool)
    corner[-1, -1] = True
    features = FeatureMap(torch.ones(4, 3, 3), size, (3, 3), 1)
    tracker = make()
    frames = [Frame(i, rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for i in range(3)]
    tracker.add(1, frames[0], Features(features, features), everything)
    tracker.add(2, frames[0], Features(features, features), corner)
    given = tracker.locate(frames[0], Features(features, features))
    assert given.active.all()
    tracker.update(result(frames[0], {1: everything, 2: corner}))
    for frame in frames[1:]:
        prompts = tracker.locate(frame, Features(features, features))
        assert len(prompts) == 2
        here = prompts.points[prompts.labels >= 0]
        assert ((here >= -0.5) & (here <= np.array(size[::-1]) - 0.5)).all()
        tracker.update(result(frame, {1: everything, 2: corner}))


def _held(make: Make, frames: Sequence[int]) -> list[int]:
    """Bytes of NumPy arrays, Python objects and tensors in use after so many frames of one run."""
    tracker, size = make(), (48, 64)
    masks = {i: np.zeros(size, dtype=bool) for i in IDS[:2]}
    masks[IDS[0]][8:24, 10:26], masks[IDS[1]][20:40, 36:60] = True, True
    features = FeatureMap(torch.ones(4, 6, 8), size, size, 8)
    shots, held = [texture((48, 80), seed) for seed in range(2)], []
    tracemalloc.start()
    try:
        for t in range(max(frames) + 1):
            image = shots[t // 50 % 2][:, t % 8 : t % 8 + 64]  # moves, jumps back, and cuts now and then
            frame = Frame(t, np.ascontiguousarray(image))
            if t == 0:
                for object_id, mask in masks.items():
                    tracker.add(object_id, frame, Features(features, features), mask)
            tracker.locate(frame, Features(features, features))
            tracker.update(result(frame, {IDS[0]: masks[IDS[0]] & (t % 30 < 20), IDS[1]: masks[IDS[1]]}))
            if t in frames:
                gc.collect()
                tensors = sum(o.nbytes for o in gc.get_objects() if type(o) is torch.Tensor)
                held.append(tracemalloc.get_traced_memory()[0] + tensors)
        return held
    finally:
        tracemalloc.stop()


# Bytes by which caches may still fill up: a tracker that kept a grey frame (3 kB) in ten would hold 45,000 more.
_SLACK = 40_000


def test_memory_does_not_grow(make_fast: Make) -> None:
    early, late = _held(make_fast, [60, 210])
    assert late - early < _SLACK


@pytest.mark.slow
def test_memory_does_not_grow_over_a_long_video(make_fast: Make) -> None:
    early, late = _held(make_fast, [310, 2110])
    assert late - early < _SLACK


@pytest.mark.parametrize("told_after", [1, 4])
def test_a_state_goes_on_in_another_tracker_bit_by_bit(make: Make, tmp_path: FilePath, told_after: int) -> None:
    tracker = make()
    try:
        resumable(tracker).state()
    except SettingsError:
        pytest.skip("it cannot tell its state")
    path = {3: PATHS["all"], 1: PATHS["shift"]}
    scenes = [draw([Thing(i, path[i], seed=i) for i in path], t) for t in range(10)]
    for object_id in path:
        tracker.add(object_id, scenes[0].frame, scenes[0].features, scenes[0].masks[object_id])
    tracker.update(scenes[0].result())
    other: Tracker | None = None
    for t, scene in enumerate(scenes[1:], start=1):
        # Object 1 is not seen on two frames, so that what is remembered of earlier ones counts.
        final = scene.result({i: mask & (i == 3 or t not in (3, 4)) for i, mask in scene.masks.items()})
        prompts = tracker.locate(scene.frame, scene.features)
        if other is not None:
            same = other.locate(scene.frame, scene.features)
            for name in ("points", "labels", "boxes"):
                np.testing.assert_array_equal(getattr(prompts, name), getattr(same, name))
            other.update(final)
        tracker.update(final)
        if t == told_after:
            (tmp_path / "state").write_bytes(pack(resumable(tracker).state()))
            other = make()
            resumable(other).restore(unpack(tmp_path / "state"))


def test_what_is_prepared_ahead_changes_no_answer(make: Make) -> None:
    tracker, other = make(), make()
    if not isinstance(other, PreparesAhead):
        pytest.skip("it prepares nothing")
    scenes = [draw([Thing(1, PATHS["all"], seed=1)], t) for t in range(8)]
    for one in (tracker, other):
        one.add(1, scenes[0].frame, scenes[0].features, scenes[0].masks[1])
        one.update(scenes[0].result())
    # Two frames ahead; the third is not prepared at all.
    ahead = [(a, b) for a, b in pairwise(scenes) if b is not scenes[3]]
    for t, scene in enumerate(scenes[1:], start=1):
        while ahead and ahead[0][1].frame.index <= t + 2:
            before, after = ahead.pop(0)
            other.prepare(before.frame, after.frame, after.features)
        answer, same = (one.locate(scene.frame, scene.features) for one in (tracker, other))
        for name in ("points", "labels", "boxes"):
            np.testing.assert_array_equal(getattr(answer, name), getattr(same, name))
        for one in (tracker, other):
            one.update(scene.result())


PATHS: dict[str, Path] = {
    "still": lambda t: place(110, 90, 10),
    "shift": lambda t: place(70 + 7.3 * t, 70 + 3.1 * t, 10),
    "turn": lambda t: place(120, 100, 4 * t),
    "zoom in": lambda t: place(120, 100, 15, 0.8 * 1.04**t),
    "zoom out": lambda t: place(120, 100, 15, 1.3 * 0.96**t),
    "all": lambda t: place(80 + 3 * t, 80 + t, 3 * t, 0.9 * 1.02**t),
}


def _given(tracker: Tracker, scene: Scene, object_id: int) -> Prompts:
    """The spots that a tracker will follow, on a frame where the object's true mask is its reference."""
    tracker.locate(scene.frame, scene.features)
    tracker.add(object_id, scene.frame, scene.features, scene.masks[object_id])
    spots = tracker.locate(scene.frame, scene.features)
    tracker.update(scene.result({object_id: scene.masks[object_id]}))
    return spots


@pytest.mark.parametrize("motion", PATHS)
def test_a_known_motion_is_followed_to_the_pixel(make_following: Make, motion: str) -> None:
    path, tracker = PATHS[motion], make_following()
    for t in range(0, 12, 2):
        before, after = (draw([Thing(7, path, seed=3)], k) for k in (t, t + 1))
        spots = _given(tracker, before, 7)
        now = tracker.locate(after.frame, after.features)
        seen = now.labels[0] == 1
        assert seen.sum() > (spots.labels[0] == 1).sum() / 2, t
        true = carry(spots.points[0][seen], path(t), path(t + 1))
        assert np.median(np.linalg.norm(now.points[0][seen] - true, axis=1)) < 1, t
        x0, y0, x1, y1 = now.boxes[0]
        ys, xs = np.nonzero(after.masks[7])
        assert x0 <= xs.min()
        assert y0 <= ys.min()
        assert x1 >= xs.max()
        assert y1 >= ys.max()


def test_a_motion_is_followed_through_final_masks(make_following: Make) -> None:
    path, tracker = PATHS["all"], make_following()
    _given(tracker, draw([Thing(7, path, seed=3)], 0), 7)
    for t in range(1, 13):
        scene = draw([Thing(7, path, seed=3)], t)
        now = tracker.locate(scene.frame, scene.features)
        x, y = now.points[0][now.labels[0] == 1].round().astype(int).T
        assert len(x), t
        assert scene.masks[7][y, x].mean() > 0.8, t
        tracker.update(scene.result())


def test_a_covered_point_is_invisible(make_following: Make) -> None:
    path = PATHS["still"]
    before, after = (
        draw([Thing(7, path, seed=3)], 0),
        draw([Thing(7, path, 3), Thing(8, lambda t: place(85, 95), 4)], 1),
    )
    cover = cv2.erode(after.masks[8].astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    tracker = make_following()
    spots = _given(tracker, before, 7)
    now = tracker.locate(after.frame, after.features)
    x, y = spots.points[0].round().astype(int).T
    was = spots.labels[0] == 1
    covered = was & cover[y, x]
    assert covered.any(), "the occluder came over no point: this test shows nothing"
    assert covered.sum() < was.sum(), "the occluder came over every point: this test shows little"
    assert not (now.labels[0][covered] == 1).any()


@pytest.mark.parametrize("world", range(1, 6))
def test_a_cut_is_survived_and_not_followed(make: Make, world: int) -> None:
    tracker = make()
    things = [Thing(7, lambda t: place(90, 90), seed=3), Thing(9, lambda t: place(180, 120, 40), seed=5)]
    for t in range(3):
        scene = draw(things, t)
        if t == 0:
            for thing in things:
                tracker.add(thing.id, scene.frame, scene.features, scene.masks[thing.id])
        tracker.locate(scene.frame, scene.features)
        tracker.update(scene.result())
    others = [Thing(1, lambda t: place(130, 110, 70), seed=60 + world)]
    for t in range(3, 6):
        scene = draw(others, t, world=world)
        prompts = tracker.locate(scene.frame, scene.features)
        assert len(prompts) == 2
        if follows_points(tracker):
            assert not prompts.active.any()
        nothing = np.zeros(scene.frame.size, dtype=bool)
        tracker.update(scene.result({7: nothing, 9: nothing}))


def test_nothing_is_followed_across_a_cut(make: Make) -> None:
    """Even where it looks the same: motion cannot be measured from another shot. What is found again is followed on."""
    tracker = make()
    if not follows_points(tracker):
        pytest.skip("it looks for objects anew on each frame")
    thing = Thing(7, lambda t: place(90 + t, 90), seed=3)
    active = []
    for t in range(6):
        scene = draw([thing], t)
        frame = replace(scene.frame, cut=t == 2)
        if t == 0:
            tracker.add(thing.id, frame, scene.features, scene.masks[thing.id])
        active.append(bool(tracker.locate(frame, scene.features).active[0]))
        tracker.update(replace(scene.result(), frame=frame))
    assert active[:3] == [True, True, False]
    assert active[5]


def _after(make: Make, order: Sequence[int], frames: int, gone_from: int | None = None) -> Prompts:
    """What is located on the last of so many frames, in which the first two objects move and the last vanishes once, or
    from a frame on for good."""
    tracker = _started(make, order)
    for t in range(1, frames + 1):
        frame, features, masks = _frame(t, [(40 + 2 * t, 60), (200, 100 - 3 * t), PLACES[2]])
        if t == 2 or (gone_from is not None and t >= gone_from):
            masks[2] = np.zeros(SIZE, dtype=bool)
        prompts = tracker.locate(frame, features)
        tracker.update(result(frame, {IDS[k]: masks[k] for k in order}))
    return prompts


def _assert_same(a: Prompts, b: Prompts) -> None:
    """The same bytes."""
    for name in ("points", "labels", "boxes"):
        one, other = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(one, other)
        assert one.tobytes() == other.tobytes()
