"""Encoding runs ahead of the tracker, in threads of its own, and changes nothing but the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from tests.drawn import Thing, clip
from tests.stand_in import StandIn, stand_in_models
from trackers.motion import Motion
from vos import pipeline
from vos.ahead import Share, computing, encoded, share
from vos.device import SideStreams
from vos.errors import DeviceError
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Frame
from vos.video import open_source, prefetch

SIZE = (60, 80)
DISC = Thing(14, hue=0, path=lambda t: (25 + 3 * t, 30))


SETTINGS = load_settings("best")
ALONE = Share(1, 1, torch.get_num_threads())


@contextmanager
def cores(count: int) -> Iterator[None]:
    """With so many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Counted(StandIn):
    """Knows how many frames it was given, and in which threads; of the first it awaits so many at a time."""

    def __init__(self, fail_at: int | None = None, at_a_time: int = 1) -> None:
        self.encoded = 0
        self.threads: set[str] = set()
        self._fail_at = fail_at
        self._lock = threading.Lock()
        self._together = threading.Barrier(at_a_time, timeout=60)

    def encode(self, image: np.ndarray) -> FeatureMap:
        if self.encoded == self._fail_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        with self._lock:
            self.encoded += 1
            first = self.encoded <= self._together.parties
        if first:
            self._together.wait()
        self.threads.add(threading.current_thread().name)
        return super().encode(image)


def tracker(segmenter: StandIn) -> VideoTracker:
    return VideoTracker(load_settings("persam"), Models(segmenter, None))  # type: ignore[arg-type]


def frames(images: list[np.ndarray]) -> list[Frame]:
    return [Frame(i, image) for i, image in enumerate(images)]


def plan(truth: np.ndarray, frame: int = 0) -> ReferencePlan:
    return ReferencePlan.build(as_references({frame: truth}), frame_size=SIZE)


def background() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("vos-prefetch", "vos-encode"))]


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many frames are encoded at a time."""
    cores = torch.get_num_threads()
    monkeypatch.setattr("vos.pipeline.share", lambda *_: nullcontext(Share(request.param, 1, cores)))
    return int(request.param)


def test_results_are_those_of_one_step_after_the_other(count: int) -> None:
    images, truth = clip([DISC], 8, size=SIZE)
    segmenter = Counted(at_a_time=count)
    ahead = list(tracker(segmenter).run(frames(images), plan(truth[0])))
    alone = VideoTracker(load_settings("persam"), stand_in_models()).begin()
    for result, frame in zip(ahead, frames(images), strict=True):
        expected = alone.step(frame, plan(truth[0]).at(frame.index))
        np.testing.assert_array_equal(result.index_map, expected.index_map)
        assert result.objects == expected.objects
    assert segmenter.threads == ({"vos-prefetch"} if count == 1 else {"vos-encode_0", "vos-encode_1"})
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
    wanted = pipeline._wanted(iter(given), video, plan(truth[0]), video.keyframes)
    ahead = pipeline._prepared(encoded(wanted, lambda one: one.features(video), ALONE), video, ALONE)
    results = [
        video.step(one.frame, plan(truth[0]).at(one.frame.index), features, one.upcoming)
        for one, features in prefetch(ahead, 1)
    ]
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.index_map, other.index_map)
        assert result.objects == other.objects
    assert len(np.unique([result.index_map.sum() for result in results])) > 1
    assert threads == {"vos-prefetch"}
    assert not background()


def test_it_stays_a_few_frames_ahead(count: int) -> None:
    images, truth = clip([DISC], 12, size=SIZE)
    segmenter = Counted()
    results = tracker(segmenter).run(frames(images), plan(truth[0]))
    for done in range(1, 4):
        next(results)
        time.sleep(0.2)
        # One waits and one is in the thread's hand; or two are encoded at a time, and one waits for its turn.
        assert segmenter.encoded == done + (2 if count == 1 else 3)
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


@pytest.mark.parametrize("device_name", ["cpu", "cuda"])
def test_encoders_share_the_cores(device_name: str) -> None:
    seen = []

    def threads(_: int) -> int:
        time.sleep(0.01)
        seen.append(threading.current_thread().name)
        return torch.get_num_threads()

    with cores(4):
        with share(torch.device(device_name), SETTINGS, []) as how:
            assert how == (2, 2 if device_name == "cpu" else 4, 4)
            assert list(encoded((i for i in range(8)), threads, how)) == [(i, how.threads) for i in range(8)]
            assert set(seen) == {"vos-encode_0", "vos-encode_1"}
            assert list(encoded((i for i in range(2)), threads, Share(1, 3, 4))) == [(0, 3), (1, 3)]
        assert torch.get_num_threads() == 4
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 4


def test_runs_that_overlap_share_the_cores_that_there_were() -> None:
    """And threads that come later have all of them, also after a run that failed."""
    cpu = torch.device("cpu")

    def fails(_: int) -> int:
        raise ZeroDivisionError

    def beside() -> tuple[Share, int]:
        with share(cpu, SETTINGS, []) as how, computing(how):
            during = torch.get_num_threads()
        return how, during

    with cores(8):
        with share(cpu, SETTINGS, []) as first:
            with suppress(ZeroDivisionError):
                list(encoded((i for i in range(3)), fails, first))
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(beside).result() == (first, 4)
            assert first == (2, 4, 8)
        for _ in range(2):
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(torch.get_num_threads).result() == 8
                assert pool.submit(beside).result() == (first, 4)


def test_the_caller_has_all_cores_between_results() -> None:
    """Whichever thread asks for them: each computes with few, and has as many as before afterwards."""
    images, truth = clip([DISC], 6, size=SIZE)
    with cores(8):
        results = tracker(Counted()).run(frames(images), plan(truth[0]))
        next(results)
        assert torch.get_num_threads() == 8
        with ThreadPoolExecutor(1) as other:
            assert len(list(other.submit(list, results).result())) == 5
            assert other.submit(torch.get_num_threads).result() == 8
        assert torch.get_num_threads() == 8


def test_frames_may_depend_on_the_results_before(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next frame is made when the last one has been answered; one that never comes is not waited for at the end."""
    monkeypatch.setattr(import_module("vos.video.prefetch"), "_PATIENCE_WITH_OTHERS", 0.1)
    images, truth = clip([DISC], 6, size=SIZE)
    answered, over = threading.Semaphore(1), threading.Event()

    def made() -> Iterator[np.ndarray]:
        for image in images:
            while not answered.acquire(timeout=0.05):
                if over.is_set():
                    return
            yield image

    with open_source(made()) as source:
        results = tracker(Counted()).run(source, plan(truth[0]))
        for wanted in range(4):
            assert next(results).frame.index == wanted
            if wanted < 3:
                answered.release()
        results.close()
    over.set()


def test_a_run_that_the_garbage_collector_ends_in_another_thread(count: int) -> None:
    """Such as the one that reads its frames, which cannot wait for itself."""
    images, truth = clip([DISC], 4, size=SIZE)
    runs: list[Any] = []

    def read() -> Iterator[Frame]:
        for frame in frames(images):
            if frame.index == 3:
                runs.pop().close()
            yield frame

    results = tracker(Counted()).run(read(), plan(truth[0]))
    runs.append(results)
    with suppress(ValueError):  # it is running, or closed
        for _ in range(4):
            next(results)
    results.close()


@pytest.mark.parametrize(
    ("name", "compiled", "threads", "at_a_time", "left"),
    [
        ("cpu", True, 4, 1, 4),
        ("cpu", False, 1, 1, 1),
        ("cuda", False, 3, 2, 3),
        ("cuda", False, 6, 2, 4),
        ("cuda", True, 6, 1, 4),
        ("mps", False, 6, 1, 4),
    ],
)
def test_frames_are_encoded_one_at_a_time_where_more_would_not_do(
    name: str, compiled: bool, threads: int, at_a_time: int, left: int
) -> None:
    settings = load_settings("best", {"compile": compiled})
    with cores(threads), share(torch.device(name), settings, []) as how:
        assert how == (at_a_time, left, threads)


@pytest.mark.parametrize(("name", "between"), [("cpu", 2), ("cuda", 4)])
def test_what_has_one_number_of_threads_for_all_has_the_same_throughout(name: str, between: int) -> None:
    """Else the encoders' sums depend on whether somebody waits for a result just then."""
    settings = load_settings("best", {"channels_last": False})
    with cores(4), share(torch.device(name), settings, []) as how:
        with computing(how):
            assert torch.get_num_threads() == how.threads
        assert torch.get_num_threads() == between


def test_a_side_stream_has_finished_when_its_block_ends(device: torch.device) -> None:
    streams = SideStreams(device)

    def add(last: int) -> torch.Tensor:
        with streams.work():
            return torch.arange(last, device=device).sum()

    with ThreadPoolExecutor(2) as pool:
        for last, made in zip(range(1000, 1050), pool.map(add, range(1000, 1050)), strict=True):
            streams.take_over(made)
            assert made.item() == last * (last - 1) // 2


def test_side_streams_are_used_again(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("for a GPU")
    streams, used = SideStreams(device), set()
    for fails in (False, True, False):
        with suppress(ZeroDivisionError), streams.work():
            used.add(torch.cuda.current_stream(device))
            with streams.work():
                used.add(torch.cuda.current_stream(device))
            assert 1 // (not fails)
    assert len(used) == 2, "of two at a time"
