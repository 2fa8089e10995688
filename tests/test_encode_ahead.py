"""Encoding runs ahead of the tracker, in threads of its own, and changes nothing but the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.drawn import Thing, clip
from tests.stand_in import StandIn, stand_in_models
from vos.ahead import encoded, encoders
from vos.device import SideStream
from vos.errors import DeviceError
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Frame

SIZE = (60, 80)
DISC = Thing(14, hue=0, path=lambda t: (25 + 3 * t, 30))


class Counted(StandIn):
    """Knows how many frames it was given, and in which threads."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.encoded = 0
        self.threads: set[str] = set()
        self._fail_at = fail_at
        self._lock = threading.Lock()

    def encode(self, image: np.ndarray) -> FeatureMap:
        if self.encoded == self._fail_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        with self._lock:
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
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vos-")]


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many frames are encoded at a time."""
    monkeypatch.setattr("vos.pipeline.encoders", lambda *_: request.param)
    return int(request.param)


def test_results_are_those_of_one_step_after_the_other(count: int) -> None:
    images, truth = clip([DISC], 8, size=SIZE)
    segmenter = Counted()
    ahead = list(tracker(segmenter).run(frames(images), plan(truth[0])))
    alone = VideoTracker(load_settings("persam"), stand_in_models()).begin()
    for result, frame in zip(ahead, frames(images), strict=True):
        expected = alone.step(frame, plan(truth[0]).at(frame.index))
        np.testing.assert_array_equal(result.index_map, expected.index_map)
        assert result.objects == expected.objects
    assert segmenter.threads == ({"vos-prefetch"} if count == 1 else {"vos-encode_0", "vos-encode_1"})
    assert not background()


def test_it_stays_a_few_frames_ahead(count: int) -> None:
    images, truth = clip([DISC], 12, size=SIZE)
    segmenter = Counted()
    results = tracker(segmenter).run(frames(images), plan(truth[0]))
    for done in range(1, 4):
        next(results)
        time.sleep(0.2)
        # One waits and one is in the thread's hand; where several are encoded at a time, as many more are ready.
        assert segmenter.encoded == done + (2 if count == 1 else 2 + count)
    results.close()
    assert not background()


def test_nothing_is_encoded_before_the_first_reference(count: int) -> None:
    images, truth = clip([DISC], 6, size=SIZE)
    segmenter = Counted()
    results = list(tracker(segmenter).run(frames(images), plan(truth[4], frame=4)))
    assert [len(result.objects) for result in results] == [0, 0, 0, 0, 1, 1]
    assert segmenter.encoded == 2


def test_what_encoding_raises_comes_after_the_results_before_it(count: int) -> None:
    images, truth = clip([DISC], 6, size=SIZE)
    got = []
    with pytest.raises(DeviceError, match=r"out of memory on cpu at frame 3 \(80x60\)"):
        for result in tracker(Counted(fail_at=3)).run(frames(images), plan(truth[0])):
            got.append(result.frame.index)
    assert got == [0, 1, 2]
    assert not background()


def test_what_reading_raises_comes_after_the_results_before_it(count: int) -> None:
    images, truth = clip([DISC], 6, size=SIZE)

    def broken() -> Iterator[Frame]:
        yield from frames(images)
        raise OSError("damaged")

    got = []
    with pytest.raises(OSError, match="damaged"):
        for result in tracker(Counted()).run(broken(), plan(truth[0])):
            got.append(result.frame.index)
    assert got == [0, 1, 2, 3, 4, 5]
    assert not background()


def test_leaving_early_closes_a_generator_of_frames(count: int) -> None:
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


def test_encoders_share_the_cores_and_leave_other_threads_theirs() -> None:
    cores = torch.get_num_threads()
    seen = []

    def threads(_: int) -> int:
        time.sleep(0.01)
        seen.append(threading.current_thread().name)
        return torch.get_num_threads()

    found = list(encoded((i for i in range(8)), threads, 2))
    assert found == [(i, max(1, cores // 2)) for i in range(8)]
    assert set(seen) == {"vos-encode_0", "vos-encode_1"}
    assert torch.get_num_threads() == cores
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == cores


def test_frames_are_encoded_one_at_a_time_where_more_would_not_do() -> None:
    images, _ = clip([DISC], 1, size=SIZE)
    cpu = torch.device("cpu")
    assert encoders(cpu, False, frames(images)) == min(2, torch.get_num_threads())
    assert encoders(cpu, True, frames(images)) == 1
    assert encoders(torch.device("cuda"), False, frames(images)) == 1


def test_the_side_stream_has_finished_when_its_block_ends(device: torch.device) -> None:
    stream = SideStream(device)
    with stream.work():
        made = torch.arange(1000, device=device).sum()
    stream.take_over(made)
    assert made.item() == 499_500
