"""Keyframes: which frames they are, what the tracker sees of them, and what is carried between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.drawn import Thing, clip
from tests.stand_in import StandIn, stand_in_models
from tests.test_latency import Windowed
from vos.errors import SettingsError, SourceError
from vos.keyframes import Carrier, Keyframes
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.passes import VideoPass
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.results.plain import pack, unpack
from vos.settings import load_settings
from vos.types import Frame, FrameResult, State

SIZE = (120, 160)
LEFT = Thing(22, hue=0, path=lambda t: (40 + 2 * t, 50), seed=1)
RIGHT = Thing(18, hue=110, path=lambda t: (120 - 1.5 * t, 80), shape="square", seed=2)


class Counted(StandIn):
    """Knows how many frames it was given."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, image: np.ndarray) -> FeatureMap:
        self.encoded += 1
        return super().encode(image)


def tracker(every: int, segmenter: StandIn | None = None) -> VideoTracker:
    models = stand_in_models() if segmenter is None else Models(segmenter, None)  # type: ignore[arg-type]
    return VideoTracker(load_settings("persam", {"keyframe_every": every}), models)


def plan(references: Any) -> ReferencePlan:
    return ReferencePlan.build(as_references(references), frame_size=SIZE)


def frames(images: list[np.ndarray], cut: int | None = None) -> list[Frame]:
    return [Frame(i, image, cut=i == cut) for i, image in enumerate(images)]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def same(a: FrameResult, b: FrameResult) -> None:
    np.testing.assert_array_equal(a.index_map, b.index_map)
    assert a.objects == b.objects


def test_every_kth_frame_and_those_with_a_reference_or_a_cut() -> None:
    images, truth = clip([LEFT], 1, size=SIZE)
    wanted = plan({0: truth[0], 5: truth[0]})
    keyframes = Keyframes(3)
    ahead = keyframes.copy()
    for asked in (keyframes, ahead):
        due = [i for i in range(14) if asked.due(Frame(i, images[0], cut=i == 10), wanted.at(i))]
        assert due == [0, 3, 5, 8, 10, 13]
    every = Keyframes(1)
    assert all(every.due(Frame(i, images[0]), wanted.at(i)) for i in range(4))


@pytest.mark.parametrize("every", [2, 3, 7])
def test_the_tracker_sees_a_video_of_a_lower_rate(every: int) -> None:
    images, truth = clip([LEFT, RIGHT], 13, size=SIZE)
    segmenter = Counted()
    results = list(tracker(every, segmenter).run(frames(images), plan(truth[0])))
    assert [result.frame.index for result in results] == list(range(13))
    assert segmenter.encoded == len(images[::every])
    alone = tracker(1).run(frames(images)[::every], plan(truth[0]))
    for found, expected in zip(results[::every], alone, strict=True):
        same(found, expected)


def test_masks_move_with_what_they_are_on() -> None:
    """Against the truth carried masks lose next to nothing of what the keyframe's had."""
    images, truth = clip([LEFT, RIGHT], 9, size=SIZE)
    results = list(tracker(4).run(frames(images), plan(truth[0])))
    for t in (1, 2, 3):
        for found in results[t].objects:
            assert iou(results[t].mask(found.id), truth[t] == found.id) > 0.9
            assert found.score == 1.0
            assert found.state is State.VISIBLE
            assert not found.given
        assert results[t].soft is None
    assert iou(results[3].mask(1), truth[0] == 1) < 0.8


def test_a_reference_between_keyframes_is_taken_as_given() -> None:
    images, truth = clip([LEFT, RIGHT], 8, size=SIZE)
    first, second = (np.where(truth[t] == i, i, 0).astype(np.uint8) for t, i in ((0, 1), (2, 2)))
    segmenter = Counted()
    results = list(tracker(4, segmenter).run(frames(images), plan({0: first, 2: second})))
    assert [[found.id for found in result.objects] for result in results] == [[1]] * 2 + [[1, 2]] * 6
    assert [found.given for found in results[2].objects] == [False, True]
    np.testing.assert_array_equal(results[2].mask(2), truth[2] == 2)
    assert segmenter.encoded == 3


def test_nothing_is_carried_across_a_cut() -> None:
    images, truth = clip([LEFT], 6, size=SIZE)
    blank = [np.zeros_like(images[0])] * 2
    segmenter = Counted()
    results = list(tracker(5, segmenter).run(frames([*images[:2], *blank], cut=2), plan(truth[0])))
    assert segmenter.encoded == 2
    assert iou(results[1].mask(1), truth[1] == 1) > 0.9
    assert iou(results[2].mask(1), truth[1] == 1) < 0.5


def test_what_leaves_the_frame_shrinks() -> None:
    """What is left at the edge goes on the next keyframe: flow does not see how fast the hidden part moves."""
    leaving = Thing(20, hue=0, path=lambda t: (24 - 12 * t, 60))
    images, truth = clip([leaving], 8, size=SIZE)
    carrier = Carrier()
    carrier.start(Frame(0, images[0]), truth[0], {1: 0.75})
    areas = [int((carrier.carry(Frame(i, images[i])) == 1).sum()) for i in range(1, 8)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 900
    assert areas[-1] < areas[0] / 2


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (33, 17), (700, 900)])
def test_frames_of_any_size(size: tuple[int, int], rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    masks = np.zeros(size, np.uint8)
    masks[: size[0] // 2 + 1] = 7
    carrier = Carrier()
    carrier.start(Frame(0, image), masks, {7: 0.5})
    for index in (1, 2):
        np.testing.assert_array_equal(carrier.carry(Frame(index, image)), masks)


@pytest.mark.parametrize("size", [(480, 854), (1080, 1920), (1920, 1080), (1440, 2560)])
def test_nothing_moves_while_nothing_moves(size: tuple[int, int]) -> None:
    """To the frame's very edges, where flow is worked out on a smaller picture."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    masks = rng.integers(0, 3, size, dtype=np.uint8)
    carrier = Carrier()
    carrier.start(Frame(0, image), masks, {1: 0.5, 2: 0.5})
    for index in (1, 2):
        np.testing.assert_array_equal(carrier.carry(Frame(index, image)), masks)


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_run_goes_on_from_any_frame_bit_by_bit(done: int, tmp_path: Path) -> None:
    images, truth = clip([LEFT, RIGHT], 9, size=SIZE)
    whole = list(tracker(3).run(frames(images), plan(truth[0])))
    video = tracker(3).begin()
    for frame in frames(images)[:done]:
        video.step(frame, plan(truth[0]).at(frame.index))
    (tmp_path / "state.npz").write_bytes(pack(video.state()))
    fresh = tracker(3).begin()
    fresh.restore(unpack(tmp_path / "state.npz"))
    rest = tracker(3).run(frames(images)[done:], plan(truth[0]), fresh)
    for found, expected in zip(rest, whole[done:], strict=True):
        same(found, expected)


def test_features_that_are_given_between_keyframes_change_nothing() -> None:
    images, truth = clip([LEFT], 5, size=SIZE)
    expected = list(tracker(3).run(frames(images), plan(truth[0])))
    video = tracker(3).begin()
    for frame, result in zip(frames(images), expected, strict=True):
        same(video.step(frame, plan(truth[0]).at(frame.index), video.encode(frame)), result)


def test_numbers_of_frames_do_not_matter() -> None:
    """Every second frame of a source keeps its number."""
    images, truth = clip([LEFT], 6, size=SIZE)
    segmenter = Counted()
    apart = [replace(frame, index=10 + 2 * frame.index) for frame in frames(images)]
    list(tracker(2, segmenter).run(apart, plan({10: truth[0]})))
    assert segmenter.encoded == 3


@pytest.mark.parametrize("overrides", [{"keyframe_every": 2}, {"tracker.name": "matching+klt"}])
def test_frames_too_long_for_opencv_are_said_to_be(overrides: dict[str, Any]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (4, 40_000, 3), dtype=np.uint8)
    mask = np.zeros((4, 40_000), np.uint8)
    mask[:, 1000:9000] = 1
    given = [Frame(i, image) for i in range(3)]
    run = VideoTracker(load_settings("persam", overrides), stand_in_models()).run(
        given, ReferencePlan.build(as_references(mask), frame_size=mask.shape)
    )
    with pytest.raises(SourceError, match="frame 1 is 40000x4, and 32766 pixels along a side are the most"):
        list(run)


def test_a_tracker_that_looks_ahead_is_refused() -> None:
    settings = load_settings("persam", {"keyframe_every": 2})
    with pytest.raises(SettingsError, match="looks ahead at every frame; set keyframe_every=1, or choose another"):
        VideoPass(settings, stand_in_models(), Windowed(2))


@pytest.mark.parametrize("step", [7, 13, 37])
def test_what_comes_into_the_frame_is_nobodys(step: int) -> None:
    """The camera pans; the object stays far from the edge at which there is more of the world to see."""
    rng = np.random.default_rng(0)
    height, width = 1080, 1920
    noise = rng.integers(0, 255, (height // 8, 260, 3), dtype=np.uint8)
    world = cv2.resize(noise, (2080, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[:, 900:1300] = 1
    carrier = Carrier()
    carrier.start(Frame(0, np.ascontiguousarray(world[:, :width])), mask, {1: 1.0})
    for index in range(1, 5):
        moved = step * index
        carried = carrier.carry(Frame(index, np.ascontiguousarray(world[:, moved : moved + width])))
        assert not carried[:, 1320:].any()
        assert np.count_nonzero(carried[:, 900 - moved : 1300 - moved]) > 0.8 * mask.sum()
