"""Feature matching: presence, and the reference program's behaviour where it was kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trackers.matching import BoxOf, MatchingSettings, MatchingTracker
from vos.models.features import FeatureMap, Features
from vos.types import Frame, FrameResult, ObjectResult, State

SIZE = (64, 96)


def _scene(places: dict[int, tuple[int, int]]) -> tuple[Frame, Features]:
    grid = torch.full((4, 16, 24), 0.01)
    for channel, (x, y) in places.items():
        grid[channel, y // 4, x // 4] = 1.0
    features = FeatureMap(grid, SIZE, SIZE, 4)
    return Frame(0, np.zeros((*SIZE, 3), dtype=np.uint8)), Features(features, features)


def _square(x: int, y: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + 4, x : x + 4] = True
    return mask


def _tracker(**options: object) -> MatchingTracker:
    tracker = MatchingTracker(MatchingSettings.model_validate(options))
    scene = _scene({0: (20, 20), 1: (60, 40)})
    tracker.add(1, *scene, _square(20, 20))
    tracker.add(2, *scene, _square(60, 40))
    return tracker


def _lost_first() -> FrameResult:
    index_map = np.where(_square(60, 40), np.uint8(2), np.uint8(0))
    objects = (
        ObjectResult(1, State.ABSENT, 0.0, None, 0),
        ObjectResult(2, State.VISIBLE, 0.9, (60.0, 40.0, 63.0, 43.0), 16),
    )
    return FrameResult(Frame(0, np.zeros((*SIZE, 3), dtype=np.uint8)), index_map, objects)


def test_the_best_location_is_where_the_object_went() -> None:
    prompts = _tracker(points=1).locate(*_scene({0: (80, 8), 1: (4, 52)}))
    assert abs(prompts.points[:, 0] - [[81.5, 9.5], [5.5, 53.5]]).max() <= 1
    np.testing.assert_array_equal(prompts.boxes[0], [10, 10, 33, 33])
    np.testing.assert_array_equal(prompts.points[0, 1], [21.5, 21.5])


@pytest.mark.parametrize("together", [1, 2 * SIZE[0] * SIZE[1], 1 << 30])
def test_objects_are_looked_for_together_as_by_themselves(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five objects, the second with two references, in one, three or five groups."""
    monkeypatch.setattr("trackers.matching._TOGETHER", together)
    rng = np.random.default_rng(0)
    grid = torch.from_numpy(rng.random((4, 16, 24), dtype=np.float32))
    features = FeatureMap(grid, SIZE, SIZE, 4)
    scene = Frame(0, np.zeros((*SIZE, 3), dtype=np.uint8)), Features(features, features)
    references = [(1, 4, 4), (2, 60, 40), (3, 20, 8), (4, 80, 48), (5, 40, 32), (2, 8, 52)]
    all_of_them = MatchingTracker(MatchingSettings())
    alone = {i: MatchingTracker(MatchingSettings()) for i in range(1, 6)}
    for object_id, x, y in references:
        all_of_them.add(object_id, *scene, _square(x, y))
        alone[object_id].add(object_id, *scene, _square(x, y))
    found = all_of_them.locate(*scene)
    for row, tracker in enumerate(alone.values()):
        own = tracker.locate(*scene)
        for name in ("points", "labels", "boxes"):
            np.testing.assert_array_equal(getattr(found, name)[row], getattr(own, name)[0])


def test_below_the_presence_threshold_an_object_is_not_here() -> None:
    tracker = _tracker(presence=0.8)
    assert tracker.locate(*_scene({0: (20, 20), 1: (60, 40)})).active.tolist() == [True, True]
    assert tracker.locate(*_scene({0: (20, 20)})).active.tolist() == [True, False]
    assert _tracker(presence=None).locate(*_scene({0: (20, 20)})).active.tolist() == [True, True]


@pytest.mark.parametrize(("box_of", "boxes"), [(BoxOf.OWN, [False, True]), (BoxOf.RANK, [True, False])])
def test_ids_shift_only_by_rank(box_of: BoxOf, boxes: list[bool]) -> None:
    """The published id shift: when object 1 vanishes, it takes object 2's box, and object 2 is given up."""
    tracker = _tracker(box_of=box_of)
    tracker.update(_lost_first())
    prompts = tracker.locate(*_scene({0: (20, 20), 1: (60, 40)}))
    assert prompts.has_box.tolist() == boxes
    if box_of is BoxOf.RANK:
        np.testing.assert_array_equal(prompts.boxes[0], [50, 30, 73, 53])
        assert prompts.active.tolist() == [True, False]


def test_published_rounding() -> None:
    tracker = MatchingTracker(MatchingSettings(published_rounding=True))
    scene = _scene({0: (88, 56)})
    tracker.add(1, *scene, _square(88, 56))
    prompts = tracker.locate(*scene)
    np.testing.assert_array_equal(prompts.boxes[0], [78, 46, 96, 64])
    np.testing.assert_array_equal(prompts.points[0, 2], [87, 55])
