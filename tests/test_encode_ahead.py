"""Encoding runs ahead of the tracker, in a thread of its own, and changes nothing but the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.drawn import Thing, clip
from tests.stand_in import StandIn, stand_in_models
from trackers.motion import Motion
from vos import pipeline
from vos.device import SideStream
from vos.errors import DeviceError
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Frame
from vos.video import prefetch

SIZE = (60, 80)
DISC = Thing(14, hue=0, path=lambda t: (25 + 3 * t, 30))


class Counted(StandIn):
    """Knows how many frames it was given, and in which threads."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.encoded = 0
        self.threads: set[str] = set()
        self._fail_at = fail_at

    def encode(self, image: np.ndarray) -> FeatureMap:
        if self.encoded == self._fail_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.encoded += 1
        self.threads.add(threading.current_thread().name)
        return super().encode(image)


def tracker(segmenter: StandIn) -> VideoTracker:
    return VideoTracker(load_settings("persam"), Models(segmenter, None))  # type: ignore[arg-type]


def frames(images: list[np.ndarray]) -> list[Frame]:
    return [Frame(i, image) for i, image in enumerate(images)]


def plan(truth: np.ndarray, frame: int = 0) -> ReferencePlan:
    return ReferencePlan.build(as_references({frame: truth}), frame_size=SIZE)


def background() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "vos-prefetch"]


def test_results_are_those_of_one_step_after_the_other() -> None:
    images, truth = clip([DISC], 8, size=SIZE)
    segmenter = Counted()
    ahead = list(tracker(segmenter).run(frames(images), plan(truth[0])))
    alone = VideoTracker(load_settings("persam"), stand_in_models()).begin()
    for result, frame in zip(ahead, frames(images), strict=True):
        expected = alone.step(frame, plan(truth[0]).at(frame.index))
        np.testing.assert_array_equal(result.index_map, expected.index_map)
        assert result.objects == expected.objects
    assert segmenter.threads == {"vos-prefetch"}
    assert not background()


def test_what_is_prepared_ahead_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flow is worked out in another thread where a GPU encodes; here too, for once."""
    images, truth = clip([DISC], 8, size=SIZE)
    given = [Frame(i, image, cut=i == 5) for i, image in enumerate(images)]
    settings = load_settings("persam", ["tracker.name=memory", "decoder.first=evidence"])
    made = VideoTracker(settings, stand_in_models())
    expected = list(made.run(given, plan(truth[0])))
    threads, worked_out = set(), Motion.__init__

    def noted(*arguments: Any) -> None:
        threads.add(threading.current_thread().name)
        worked_out(*arguments)

    monkeypatch.setattr(Motion, "__init__", noted)
    video = made.begin()
    encoded = pipeline._encoded(iter(given), video, plan(truth[0]), video.keyframes)
    results = [
        video.step(frame, plan(truth[0]).at(frame.index), features, upcoming)
        for frame, upcoming, features in prefetch(pipeline._prepared(encoded, video, None), 1)
    ]
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.index_map, other.index_map)
        assert result.objects == other.objects
    assert len(np.unique([result.index_map.sum() for result in results])) > 1
    assert threads == {"vos-prefetch"}
    assert not background()


def test_it_stays_two_frames_ahead() -> None:
    images, truth = clip([DISC], 12, size=SIZE)
    segmenter = Counted()
    results = tracker(segmenter).run(frames(images), plan(truth[0]))
    for done in range(1, 4):
        next(results)
        time.sleep(0.2)
        # One waits and one is in the thread's hand.
        assert segmenter.encoded == done + 2
    results.close()
    assert not background()


def test_nothing_is_encoded_before_the_first_reference() -> None:
    images, truth = clip([DISC], 6, size=SIZE)
    segmenter = Counted()
    results = list(tracker(segmenter).run(frames(images), plan(truth[4], frame=4)))
    assert [len(result.objects) for result in results] == [0, 0, 0, 0, 1, 1]
    assert segmenter.encoded == 2


def test_what_encoding_raises_comes_after_the_results_before_it() -> None:
    images, truth = clip([DISC], 6, size=SIZE)
    got = []
    with pytest.raises(DeviceError, match=r"out of memory on cpu at frame 3 \(80x60\)"):
        for result in tracker(Counted(fail_at=3)).run(frames(images), plan(truth[0])):
            got.append(result.frame.index)
    assert got == [0, 1, 2]
    assert not background()


def test_leaving_early_closes_a_generator_of_frames() -> None:
    images, truth = clip([DISC], 1, size=SIZE)
    closed = threading.Event()

    def endless() -> Iterator[Frame]:
        try:
            for index in range(1_000_000):
                yield Frame(index, images[0])
        finally:
            closed.set()

    results = tracker(Counted()).run(endless(), plan(truth[0]))
    next(results)
    results.close()
    assert closed.is_set()
    assert not background()


def test_the_side_stream_has_finished_when_its_block_ends(device: torch.device) -> None:
    stream = SideStream(device)
    with stream.work():
        made = torch.arange(1000, device=device).sum()
    stream.take_over(made)
    assert made.item() == 499_500
