"""Trackers that look ahead: the loop shows them later frames, holds no more than these, and loses none."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from vos.models.features import Features
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.passes import VideoPass
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.tracking import CombinedTracker, Tracker, latency, tell_ahead, with_following
from vos.types import Frame, FrameResult, Prompts

SIZE = (60, 80)


class Windowed:
    """Answers with a point that says how many later frames it was shown, in the middle of each object's mask.

    Attributes:
        log: what it was told, in order: ("ahead", indices), ("add", index), ("locate", index), ("update", index).
    """

    Settings: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, frames: int) -> None:
        self.latency = frames
        self.log: list[tuple[str, object]] = []
        self._points: dict[int, np.ndarray] = {}

    def ahead(self, frames: Sequence[Frame]) -> None:
        self.log.append(("ahead", [frame.index for frame in frames]))

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        self.log.append(("add", frame.index))
        self._points[object_id] = np.argwhere(mask).mean(axis=0)[::-1].astype(np.float32)

    def locate(self, frame: Frame, features: Features) -> Prompts:
        self.log.append(("locate", frame.index))
        points = np.stack(list(self._points.values()))[:, None]
        boxes = np.full((len(points), 4), np.nan, dtype=np.float32)
        return Prompts(points, np.ones(points.shape[:2], dtype=np.int8), boxes)

    def update(self, result: FrameResult) -> None:
        self.log.append(("update", result.frame.index))


@given(st.integers(0, 30), st.integers(0, 12))
def test_every_item_comes_once_in_order_with_those_that_follow(count: int, ahead: int) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for k in range(count):
            read.append(k)
            yield k

    for k, (item, following) in enumerate(with_following(items(), ahead)):
        assert item == k
        assert following == tuple(range(k + 1, min(k + 1 + ahead, count)))
        assert len(read) == min(k + 1 + ahead, count)
    assert len(read) == count


@pytest.mark.parametrize("ahead", [0, 2, 9])
def test_an_error_in_the_source_comes_after_what_came_before_it(ahead: int) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("broken")

    found = []
    with pytest.raises(OSError, match="broken"):
        for item, _ in with_following(items(), ahead):
            found.append(item)
    assert found == [0, 1, 2, 3, 4]


def test_parts_of_a_combination_see_what_they_asked_for() -> None:
    none, few, many = Windowed(0), Windowed(2), Windowed(5)
    joined = CombinedTracker([none, few, many])
    assert latency(joined) == 5
    frames = [Frame(i, np.zeros((*SIZE, 3), dtype=np.uint8)) for i in range(1, 6)]
    tell_ahead(joined, frames)
    tell_ahead(joined, frames[:1])
    assert none.log == []
    assert few.log == [("ahead", [1, 2]), ("ahead", [1])]
    assert many.log == [("ahead", [1, 2, 3, 4, 5]), ("ahead", [1])]


Run = Callable[..., Iterator[FrameResult]]


@pytest.fixture
def encoded() -> list[tuple[int, ...]]:
    """What was encoded: the colour of each frame's first pixel."""
    return []


@pytest.fixture
def run(mobile_sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch, encoded: list[tuple[int, ...]]) -> Run:
    """The loop with the real decoder, on one embedding that shows nothing."""
    embedding = mobile_sam.feature_map(torch.zeros(256, 64, 64, device=mobile_sam.device), SIZE)

    def encode(image: np.ndarray) -> object:
        encoded.append(tuple(image[0, 0].tolist()))
        return embedding

    monkeypatch.setattr(mobile_sam, "encode", encode)
    settings = load_settings("persam", {"decoder.cascade": 1})
    models = Models(mobile_sam, None)

    def go(frames: Iterator[Frame], references: dict[int, np.ndarray], tracker: Tracker) -> Iterator[FrameResult]:
        plan = ReferencePlan.build(as_references(references), frame_size=SIZE)
        return VideoTracker(settings, models).run(frames, plan, VideoPass(settings, models, tracker))

    return go


def _frames(count: int) -> Iterator[Frame]:
    for index in range(count):
        yield Frame(index, np.full((*SIZE, 3), index, dtype=np.uint8))


def _mask(object_id: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[10:30, 20 * object_id : 20 * object_id + 15] = object_id
    return mask


@pytest.mark.parametrize("count", [1, 2, 4, 5, 12])
def test_all_frames_come_out_in_order_once_and_are_encoded_once(
    run: Run, encoded: list[tuple[int, ...]], count: int
) -> None:
    tracker = Windowed(4)
    results = list(run(_frames(count), {0: _mask(1)}, tracker))
    assert [result.frame.index for result in results] == list(range(count))
    assert encoded == [(t, t, t) for t in range(count)]
    assert [what for what in tracker.log if what[0] == "ahead"] == [
        ("ahead", list(range(t + 1, min(t + 5, count)))) for t in range(count)
    ]
    first = [("ahead", list(range(1, min(5, count)))), ("add", 0), ("locate", 0), ("update", 0)]
    assert tracker.log[:4] == first
    assert [index for what, index in tracker.log if what == "locate"] == list(range(count))


def test_a_later_reference_is_not_known_before_its_frame(run: Run) -> None:
    tracker = Windowed(4)
    results = list(run(_frames(9), {2: _mask(1), 5: _mask(2)}, tracker))
    assert [[found.id for found in result.objects] for result in results] == [[]] * 2 + [[1]] * 3 + [[1, 2]] * 4
    assert tracker.log[0] == ("ahead", [3, 4, 5, 6])
    assert [index for what, index in tracker.log if what == "add"] == [2, 5]
    assert tracker.log.index(("add", 5)) > tracker.log.index(("update", 4))


@pytest.mark.parametrize("ahead", [0, 5])
def test_no_more_frames_are_held_than_asked_for(run: Run, ahead: int) -> None:
    alive: list[weakref.ref[Frame]] = []

    def source() -> Iterator[Frame]:
        for frame in _frames(24):
            alive.append(weakref.ref(frame))
            yield frame

    most = 0
    for result in run(source(), {0: _mask(1)}, Windowed(ahead)):
        del result
        most = max(most, sum(frame() is not None for frame in alive))
    # Decoded ahead: 4 in the queue, one that waits for room in it; encoded ahead: 1, one that waits and 2 in threads;
    # then the one in work and those after it.
    assert most <= 4 + 1 + 1 + 1 + 2 + 1 + ahead + 1
    assert len(alive) == 24


def test_who_stops_early_ends_the_reading(run: Run) -> None:
    results = run(_frames(1000), {0: _mask(1)}, Windowed(3))
    assert [next(results).frame.index for _ in range(3)] == [0, 1, 2]
    results.close()
    with pytest.raises(StopIteration):
        next(results)
