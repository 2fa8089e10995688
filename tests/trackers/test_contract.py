"""One contract for every installed tracker, on features with objects planted at known places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from vos.models.features import FeatureMap, Features
from vos.tracking import Tracker, known_trackers, tracker_class
from vos.types import Frame, FrameResult, ObjectResult, Prompts, State

SIZE = (240, 320)
GRID = (48, 64)
STRIDE = 5
SIDE = 40


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


PLACES = [(40, 60), (200, 100), (120, 180)]
IDS = [3, 1, 200]


def _started(name: str, order: Sequence[int], places: Sequence[tuple[int, int]] = PLACES) -> Tracker:
    tracker = tracker_class(name)(tracker_class(name).Settings())
    frame, features, masks = _frame(0, places)
    for k in order:
        tracker.add(IDS[k], frame, features, masks[k])
    tracker.update(_result(frame, {IDS[k]: masks[k] for k in order}))
    return tracker


def _result(frame: Frame, masks: dict[int, np.ndarray]) -> FrameResult:
    index_map = np.zeros(SIZE, dtype=np.uint8)
    objects = []
    for object_id, mask in masks.items():
        index_map[mask] = object_id
        ys, xs = np.nonzero(mask)
        box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())) if len(xs) else None
        state = State.VISIBLE if len(xs) else State.ABSENT
        objects.append(ObjectResult(object_id, state, 0.9 if len(xs) else 0.0, box, len(xs)))
    return FrameResult(frame, index_map, tuple(objects))


@pytest.fixture(params=known_trackers())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_keeps_the_protocol(name: str) -> None:
    assert isinstance(_started(name, [0]), Tracker)


def test_rows_are_objects_in_the_order_in_which_they_entered(name: str) -> None:
    frame, features, masks = _frame(1, PLACES)
    prompts = _started(name, [2, 0, 1]).locate(frame, features)
    assert len(prompts) == 3
    for row, k in enumerate([2, 0, 1]):
        positive = prompts.points[row][prompts.labels[row] == 1].round().astype(int)
        assert len(positive)
        assert all(masks[k][y, x] for x, y in positive)


def test_a_still_object_keeps_its_box_inside_the_frame(name: str) -> None:
    frame, features, masks = _frame(1, [(0, 0), (280, 200), (120, 180)])
    tracker = _started(name, [0, 1, 2], [(0, 0), (280, 200), (120, 180)])
    prompts = tracker.locate(frame, features)
    for row in range(3):
        x0, y0, x1, y1 = prompts.boxes[row]
        ys, xs = np.nonzero(masks[row])
        assert 0 <= x0 <= xs.min()
        assert 0 <= y0 <= ys.min()
        assert xs.max() <= x1 <= SIZE[1] - 1
        assert ys.max() <= y1 <= SIZE[0] - 1


def test_permuting_objects_permutes_rows_and_nothing_else(name: str) -> None:
    frame, features, _ = _frame(1, PLACES)
    straight, turned = (_started(name, order).locate(frame, features) for order in ([0, 1, 2], [2, 0, 1]))
    _assert_same(straight.rows(np.array([2, 0, 1])), turned)


def test_another_object_changes_nothing_for_the_first_ones(name: str) -> None:
    frame, features, _ = _frame(1, PLACES)
    _assert_same(
        _started(name, [0, 1]).locate(frame, features),
        _started(name, [0, 1, 2]).locate(frame, features).rows(np.arange(2)),
    )


def test_a_further_reference_adds_no_row(name: str) -> None:
    tracker = _started(name, [0, 1])
    frame, features, masks = _frame(1, PLACES)
    tracker.locate(frame, features)
    tracker.add(IDS[0], frame, features, masks[0])
    assert len(tracker.locate(frame, features)) == 2


def test_locating_twice_is_locating_once(name: str) -> None:
    tracker = _started(name, [0, 1])
    frame, features, _ = _frame(1, PLACES)
    _assert_same(tracker.locate(frame, features), tracker.locate(frame, features))


def test_an_object_without_a_mask_has_no_box_and_returns_under_its_own_row(name: str) -> None:
    tracker = _started(name, [0, 1])
    frame, features, masks = _frame(1, PLACES)
    tracker.locate(frame, features)
    tracker.update(_result(frame, {IDS[0]: np.zeros(SIZE, dtype=bool), IDS[1]: masks[1]}))
    frame, features, masks = _frame(2, PLACES)
    prompts = tracker.locate(frame, features)
    assert prompts.has_box.tolist() == [False, True]
    tracker.update(_result(frame, {IDS[0]: masks[0], IDS[1]: masks[1]}))
    assert tracker.locate(*_frame(3, PLACES)[:2]).has_box.tolist() == [True, True]


def _assert_same(a: Prompts, b: Prompts) -> None:
    np.testing.assert_array_equal(a.points, b.points)
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.boxes, b.boxes)
