"""Both ways: before its first reference an object is found as it is after it, in a clip played the other way round."""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vos
from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from vos import backwards, pipeline
from vos.backwards import Backwards, reopening
from vos.errors import OutputError, ReferenceInputError, SourceError
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.soft import LowLogits
from vos.types import Frame, FrameResult
from vos.video import Reading, open_source

SIZE = (60, 80)
LEFT = Thing(13, hue=0, path=lambda t: (20 + 3 * t, 22), seed=1)
RIGHT = Thing(12, hue=110, path=lambda t: (62 - 3 * t, 42), shape="square", seed=2)
IMAGES, TRUTH = clip([LEFT, RIGHT], 10, size=SIZE)


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded."""
    monkeypatch.setattr(pipeline, "load_models", lambda *_: stand_in_models())


def track(images: Any, references: Any, preset: str = "persam", **more: Any) -> list[FrameResult]:
    return list(vos.track(images, references, preset=preset, **more))


def same(a: FrameResult, b: FrameResult) -> None:
    np.testing.assert_array_equal(a.index_map, b.index_map)
    assert a.objects == b.objects
    for found in a.objects:
        np.testing.assert_array_equal(a.alpha(found.id), b.alpha(found.id))


def test_a_part_is_tracked_as_if_it_were_the_whole() -> None:
    """Frames 2 to 6, every second one, both ways and in a smaller picture; numbers are the whole source's."""
    part, reading = slice(2, 7, 2), Reading(start=2, end=6, every=2)
    for more in ({}, {"both_ways": True}):
        whole = track(IMAGES[part], {1: TRUTH[4]}, **more)
        read = track(IMAGES, {4: TRUTH[4]}, reading=reading, **more)
        assert [result.frame.index for result in read] == [2, 4, 6]
        for one, other in zip(whole, read, strict=True):
            np.testing.assert_array_equal(one.index_map, other.index_map)
            np.testing.assert_array_equal(other.frame.image, IMAGES[other.frame.index])
    on_the_first = track(IMAGES, TRUTH[2], reading=replace(reading, max_size=80))
    assert on_the_first[0].objects[0].given
    assert on_the_first[0].index_map.shape == TRUTH[2].shape
    with pytest.raises(ReferenceInputError, match=r"reference on frame 3, which is not read: frames are read from"):
        track(IMAGES, {3: TRUTH[3]}, reading=reading)


@pytest.mark.parametrize("preset", ["persam", "persam-f", "best", "persam+klt"])
def test_before_and_after_the_reference(preset: str) -> None:
    given = {6: (TRUTH[6] == 1).astype(np.uint8)}
    both = track(IMAGES, given, preset, both_ways=True)
    forwards = track(IMAGES, given, preset)
    turned = track(IMAGES[6::-1], {0: given[6]}, preset)
    assert [result.frame.index for result in both] == list(range(10))
    assert all(np.array_equal(result.frame.image, image) for result, image in zip(both, IMAGES, strict=True))
    for found, other in zip(both[6:], forwards[6:], strict=True):
        same(found, other)
    for found, other in zip(both[5::-1], turned[1:], strict=True):
        same(found, other)
        assert found.objects[0].area > 100


def test_every_object_from_its_own_first_reference() -> None:
    given = {3: (TRUTH[3] == 1).astype(np.uint8), 6: (TRUTH[6] == 2).astype(np.uint8) * 2}
    both, forwards = track(IMAGES, given, both_ways=True), track(IMAGES, given)
    assert [[found.id for found in result.objects] for result in both] == [[1, 2]] * 10
    assert [[found.id for found in result.objects if found.given] for result in both] == (
        [[]] * 3 + [[1]] + [[]] * 2 + [[2]] + [[]] * 3
    )
    for found, other in zip(both[6:], forwards[6:], strict=True):
        same(found, other)
    for index in (3, 4, 5):  # what has entered keeps its pixels
        np.testing.assert_array_equal(both[index].mask(1), forwards[index].mask(1))
        assert both[index].mask(2).any()
    for result, truth in zip(both, TRUTH, strict=True):
        for object_id in (1, 2):
            found, true = result.mask(object_id), truth == object_id
            assert (found & true).sum() > max(100, 0.8 * found.sum()), (result, object_id)


def test_a_later_reference_of_an_object_changes_nothing_between_the_two() -> None:
    given = {2: (TRUTH[2] == 1).astype(np.uint8), 6: TRUTH[6]}
    both, forwards = track(IMAGES, given, both_ways=True), track(IMAGES, given)
    for index in range(2, 6):
        np.testing.assert_array_equal(both[index].mask(1), forwards[index].mask(1))
    assert all(both[index].mask(1).any() and both[index].mask(2).any() for index in range(6))


class Seen:
    """Takes the frames of the pass, and answers with nothing."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def __call__(self, frames: Iterator[Frame], plan: ReferencePlan) -> Generator[FrameResult, None, None]:
        for frame in frames:
            self.frames.append(frame)
            yield FrameResult(frame, np.zeros(frame.size, np.uint8), ())


def passed(reading: Reading, last: int, images: list[np.ndarray]) -> list[Frame]:
    plan = ReferencePlan.build(as_references({last: np.ones(SIZE, np.uint8)}), frame_size=SIZE)
    seen = Seen()
    with (
        open_source(images, reading=reading) as source,
        Backwards(plan, reopening(source), reading) as before,
    ):
        assert list(before.find(seen)) == [frame.index for frame in seen.frames]
        assert before.count == len(seen.frames)
    return seen.frames


@pytest.mark.parametrize("room", [1, 3, 100])
@pytest.mark.parametrize(
    ("reading", "last", "numbers"),
    [
        (Reading(), 9, range(9, -1, -1)),
        (Reading(), 0, range(1)),
        (Reading(start=2, end=8, every=3), 8, (8, 5, 2)),
        (Reading(start=1, every=2), 5, (5, 3, 1)),
    ],
)
def test_frames_in_reverse_in_parts(
    room: int, reading: Reading, last: int, numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backwards, "_PART", room * IMAGES[0].nbytes)
    frames = passed(reading, last, IMAGES)
    assert [frame.index for frame in frames] == list(numbers)
    assert all((frame.image == IMAGES[frame.index]).all() for frame in frames)


def test_a_shot_that_begins_ends_the_other_way_round() -> None:
    other = clip([Thing(20, hue=60, path=lambda t: (40, 30), seed=9)], 4, size=SIZE)[0]
    images = [*IMAGES[:5], *(255 - image for image in other)]
    with open_source(images) as source:
        assert [frame.index for frame in source if frame.cut] == [5]
    assert [frame.index for frame in passed(Reading(), 8, images) if frame.cut] == [4]


@pytest.mark.parametrize("once", [iter(IMAGES), (image for image in IMAGES)])
def test_what_can_be_read_only_once(once: Any) -> None:
    with pytest.raises(SourceError, match="frames: to go both ways takes a source that can be read again"):
        track(once, {2: (TRUTH[2] == 1).astype(np.uint8)}, both_ways=True)
    with open_source(IMAGES) as source:
        source.given = "-"
        with pytest.raises(SourceError, match="takes a source that can be read again"):
            reopening(source)


class OneAfterTheOther:
    """As many programs that read cameras and files have it: every reading goes on where the last one ended."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self._images = list(images)

    def __iter__(self) -> Iterator[np.ndarray]:
        while self._images:
            yield self._images.pop(0)


def test_what_goes_on_where_it_was() -> None:
    with pytest.raises(SourceError, match="are others when read again"):
        track(OneAfterTheOther(IMAGES * 3), {4: (TRUTH[4] == 1).astype(np.uint8)}, both_ways=True)


def test_a_reference_that_is_never_reached_is_said_before_anything_is_tracked() -> None:
    plan = ReferencePlan.build(as_references({2: TRUTH[2], 8: TRUTH[8] * 3}), frame_size=SIZE)
    with (
        Backwards(plan, lambda reading: open_source(IMAGES, reading=reading), Reading(end=6)) as before,
        pytest.raises(ReferenceInputError, match=r"reference on frame 8, but the clip ended after 7 frames \(0 to 6\)"),
    ):
        next(before.find(Seen()))


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"/vos-\w+: No space left on device; .* make room, or set TMPDIR to another"):
        track(IMAGES, {4: (TRUTH[4] == 1).astype(np.uint8)}, both_ways=True)


@pytest.mark.parametrize(
    ("lengths", "error"),
    [
        ((10, 3), "there is no frame to read from frame 9 to frame 9: it ends with frame 2"),
        (
            (10, 10, 3),
            "frames 0 to 8 of frames are others when read again; to go both ways takes a source that can be read again",
        ),
    ],
)
def test_a_source_that_has_changed(lengths: tuple[int, ...], error: str) -> None:
    plan = ReferencePlan.build(as_references({9: np.ones(SIZE, np.uint8)}), frame_size=SIZE)
    left = iter(lengths)
    with (
        Backwards(plan, lambda reading: open_source(IMAGES[: next(left)], reading=reading), Reading()) as before,
        pytest.raises(SourceError, match=error),
    ):
        list(before.find(Seen()))


def test_nothing_is_left_of_what_waits() -> None:
    plan = ReferencePlan.build(as_references({4: TRUTH[4]}), frame_size=SIZE)
    tracker = VideoTracker(load_settings("persam"), stand_in_models())
    with Backwards(plan, lambda reading: open_source(IMAGES, reading=reading), Reading()) as before:
        folder = before._path(0).parent
        assert list(before.find(tracker.run)) == [4, 3, 2, 1, 0]
        assert sorted(path.name for path in folder.iterdir()) == [f"{index:08d}.npz" for index in range(4)]
        told = FrameResult(Frame(4, IMAGES[4]), TRUTH[4], ())
        assert before.join(told) is told
    assert not folder.exists()


def test_logits_of_both_ways_together() -> None:
    given = {2: (TRUTH[2] == 1).astype(np.uint8), 5: (TRUTH[5] == 2).astype(np.uint8) * 2}
    for result in track(IMAGES, given, both_ways=True)[3:5]:
        assert isinstance(result.soft, LowLogits)
        assert result.soft.ids == (1, 2)
        assert result.soft.logits.shape[0] == 2


def test_a_reference_that_a_clip_of_unknown_length_never_reaches_is_told_after_its_frames() -> None:
    found: list[FrameResult] = []
    given = {2: (TRUTH[2] == 1).astype(np.uint8), 99: (TRUTH[2] == 2).astype(np.uint8) * 2}
    with pytest.raises(ReferenceInputError, match=r"reference on frame 99, but the clip ended after 10 frames"):
        found.extend(vos.track(iter(IMAGES), given, preset="persam"))
    assert len(found) == 10
