"""The loop with the real model on drawn clips whose truth is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import vos
from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from trackers.memory import MemoryTracker
from vos.corrections import Correction
from vos.errors import DeviceError, TrackerError
from vos.models.features import Features
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import load_settings
from vos.types import Frame, FrameResult, Prompts, State

pytestmark = pytest.mark.slow

LEFT = Thing(28, hue=0, path=lambda t: (70 + 6 * t, 90), seed=1)
RIGHT = Thing(24, hue=110, path=lambda t: (250 - 5 * t, 160), shape="square", seed=2)

Run = Callable[..., list[FrameResult]]


@pytest.fixture
def run(mobile_sam: SegmentAnything) -> Run:
    def go(
        images: list[np.ndarray], references: object, preset: str = "persam-f", **overrides: object
    ) -> list[FrameResult]:
        frames = [Frame(i, image) for i, image in enumerate(images)]
        plan = ReferencePlan.build(as_references(references), frame_size=frames[0].size, frame_count=len(frames))
        settings = load_settings(preset, {key.replace("__", "."): value for key, value in overrides.items()})
        return list(VideoTracker(settings, Models(mobile_sam, None)).run(frames, plan))

    return go


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("preset", ["persam", "persam-f", "reference", "reference-f"])
def test_two_objects_are_followed_under_their_ids(run: Run, preset: str) -> None:
    images, truth = clip([LEFT, RIGHT], 5)
    results = run(images, truth[0], preset)
    assert [r.frame.index for r in results] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(results[0].index_map, truth[0])
    assert all(o.given and o.score == 1.0 for o in results[0].objects)
    for result, true in zip(results[1:], truth[1:], strict=True):
        assert [o.id for o in result.objects] == [1, 2]
        for found in result.objects:
            assert _iou(result.mask(found.id), true == found.id) > 0.9, (result, found)
            assert found.state is State.VISIBLE
            assert not found.given


def test_ids_are_the_users_and_order_does_not_matter(run: Run) -> None:
    images, truth = clip([LEFT, RIGHT], 3)
    names = np.array([0, 200, 7], dtype=np.uint8)
    plain, renamed = run(images, truth[0]), run(images, names[truth[0]])
    for a, b in zip(plain, renamed, strict=True):
        np.testing.assert_array_equal(names[a.index_map], b.index_map)


def test_an_object_enters_later_and_a_reference_is_taken_as_given(run: Run) -> None:
    images, truth = clip([LEFT, RIGHT], 4)
    first, second = (truth[0] == 1).astype(np.uint8), (truth[2] == 2).astype(np.uint8) * 2
    results = run(images, {0: first, 2: second})
    assert [[o.id for o in r.objects] for r in results] == [[1], [1], [1, 2], [1, 2]]
    np.testing.assert_array_equal(results[2].mask(2), second > 0)
    assert [o.given for o in results[2].objects] == [False, True]
    assert _iou(results[3].mask(2), truth[3] == 2) > 0.9


def test_before_the_first_reference_there_is_nothing(run: Run) -> None:
    images, truth = clip([LEFT], 3)
    results = run(images, {2: truth[2]})
    assert [r.objects for r in results[:2]] == [(), ()]
    assert not results[1].index_map.any()
    assert results[2].mask(1).any()


def test_clicks_and_boxes_outline_what_they_point_at(run: Run) -> None:
    images, truth = clip([LEFT, RIGHT], 2)
    references = [
        vos.Click(0, 70, 90, 1),
        vos.BoxPrompt(0, 226, 136, 274, 184, 2),
        vos.Click(0, 160, 20, 2, positive=False),
    ]
    for result, true in zip(run(images, references), truth, strict=True):
        assert _iou(result.mask(1), true == 1) > 0.9
        assert _iou(result.mask(2), true == 2) > 0.9


def test_look_alikes_keep_their_ids(run: Run) -> None:
    twins = [Thing(24, hue=0, path=lambda t: (60 + 5 * t, 70)), Thing(24, hue=0, path=lambda t: (250 - 5 * t, 170))]
    images, truth = clip(twins, 5)
    for result, true in zip(run(images, truth[0]), truth, strict=True):
        assert _iou(result.mask(1), true == 1) > 0.9
        assert _iou(result.mask(2), true == 2) > 0.9


def test_ids_are_right_again_after_an_occlusion(run: Run) -> None:
    """A square passes in front of a disc. While it is wholly inside, the published recipe takes both for one."""
    disc = Thing(36, hue=0, path=lambda t: (150, 110), seed=1)
    square = Thing(20, hue=110, path=lambda t: (70 + 16 * t, 110), shape="square", seed=2)
    images, truth = clip([disc, square], 8)
    for result, true in zip(run(images, truth[0]), truth, strict=True):
        assert [o.id for o in result.objects] == [1, 2]
        if result.frame.index not in (4, 5, 6):
            assert _iou(result.mask(1), true == 1) > 0.9, result
            assert _iou(result.mask(2), true == 2) > 0.9, result


def test_leaving_and_returning_moves_no_id(run: Run) -> None:
    """The published program would give object 2 the box of object 1 from here on, and drop a row."""
    away = Thing(26, hue=110, path=lambda t: (400 if t in (1, 2) else 250, 60), seed=2)
    images, truth = clip([away, LEFT], 4)
    assert [bool((t == 1).any()) for t in truth] == [True, False, False, True]
    results = run(images, truth[0])
    assert [[o.id for o in r.objects] for r in results] == [[1, 2]] * 4
    assert all(set(np.unique(r.index_map)) <= {0, 1, 2} for r in results)


def test_a_correction_on_a_later_frame_replaces_the_track(run: Run) -> None:
    images, truth = clip([LEFT, RIGHT], 4)
    results = run(images, {0: (truth[0] == 1).astype(np.uint8), 2: (truth[2] == 2).astype(np.uint8)})
    assert _iou(results[1].mask(1), truth[1] == 1) > 0.9
    assert _iou(results[3].mask(1), truth[3] == 2) > 0.9


def test_the_tracker_goes_on_from_what_was_not_corrected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction that takes everything away empties the results, and the object is followed all the same."""
    told: list[FrameResult] = []
    update = MemoryTracker.update
    monkeypatch.setattr(MemoryTracker, "update", lambda self, result: (told.append(result), update(self, result)))
    monkeypatch.setattr(Correction, "__call__", lambda self, looks: np.full_like(looks.logits, -8))
    images, truth = clip([LEFT, RIGHT], 4)
    results = run(images, truth[0], "best", input_size=512)
    assert told[0] is results[0], "on a reference there is nothing to correct"
    for result, own, true in zip(results[1:], told[1:], truth[1:], strict=True):
        assert not result.index_map.any()
        for found in own.objects:
            assert _iou(own.mask(found.id), true == found.id) > 0.9
            assert found.area == own.mask(found.id).sum()
            assert found.score > 0.5


def test_what_sam_made_of_clicks_is_no_truth_to_correct_it_by(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Correction:
        raise AssertionError

    monkeypatch.setattr(Correction, "fit", never)
    images, truth = clip([LEFT], 2)
    results = run(images, [vos.Click(0, 70, 90, 1)], "best", input_size=512)
    assert _iou(results[1].mask(1), truth[1] == 1) > 0.9
    with pytest.raises(AssertionError):
        run(images, truth[0], "best", input_size=512)


def test_a_correction_takes_and_leaves_what_the_reference_does(run: Run) -> None:
    """The reference of a textured square has no middle, which SAM would fill."""
    images, truth = clip([RIGHT], 5)
    hollow = []
    for true in truth:
        ys, xs = np.nonzero(true)
        hole = np.zeros_like(true)
        hole[ys.min() + 12 : ys.max() - 11, xs.min() + 12 : xs.max() - 11] = 1
        hollow.append(np.where(hole, 0, true))
    for image, mask, whole in zip(images, hollow, truth, strict=True):
        image[(whole > 0) & (mask == 0)] = (20, 160, 20)
    with_, without = (
        np.mean([_iou(r.mask(1), mask > 0) for r, mask in zip(results[1:], hollow[1:], strict=True)])
        for results in (run(images, hollow[0], "best", decoder__correct=correct) for correct in (True, False))
    )
    assert 1 - with_ < 0.5 * (1 - without)


@pytest.mark.parametrize("preset", ["persam-f", "reference", "best"])
@pytest.mark.parametrize(
    ("size", "region"),
    [
        ((361, 639), (slice(100, 101), slice(200, 201))),
        ((361, 639), (slice(0, 361), slice(0, 639))),
        ((200, 90), (slice(0, 1), slice(0, 90))),
        ((33, 17), (slice(32, 33), slice(16, 17))),
        ((1, 1), (slice(0, 1), slice(0, 1))),
    ],
    ids=["one pixel", "whole frame", "one row of a portrait", "corner of a small frame", "one-pixel frame"],
)
def test_extreme_objects_and_frames_are_legal(
    run: Run, rng: np.random.Generator, preset: str, size: tuple[int, int], region: tuple[slice, slice]
) -> None:
    images = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(2)]
    mask = np.zeros(size, dtype=bool)
    mask[region] = True
    results = run(images, mask, preset, fit__steps=5)
    assert len(results) == 2
    np.testing.assert_array_equal(results[0].mask(1), mask)


@pytest.mark.parametrize("preset", ["persam", "reference-f"])
def test_an_object_that_vanishes_ends_nothing(run: Run, preset: str) -> None:
    images, truth = clip([LEFT, RIGHT], 4)
    blank = [np.zeros_like(images[0])]
    results = run([*images[:2], *blank, *images[2:]], truth[0], preset)
    assert len(results) == 5
    assert all([o.id for o in r.objects] == [1, 2] for r in results)


def test_an_object_that_its_tracker_does_not_find_on_its_own_reference_is_absent_later(run: Run) -> None:
    images, truth = clip([LEFT], 2)
    results = run(images, truth[0], "persam-f", tracker__matching__presence=1.0)
    np.testing.assert_array_equal(results[0].index_map, truth[0])
    assert results[1].objects[0].state is State.ABSENT
    assert not results[1].index_map.any()


def test_running_out_of_memory_is_said_in_one_line(
    mobile_sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(image: np.ndarray) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(mobile_sam, "encode", full)
    images, truth = clip([LEFT], 1)
    plan = ReferencePlan.build(as_references(truth[0]), frame_size=(240, 320))
    tracker = VideoTracker(load_settings("persam"), Models(mobile_sam, None))
    with pytest.raises(vos.VosError, match=r"out of memory on .* at frame 0 \(320x240\); track fewer objects"):
        list(tracker.run([Frame(0, images[0])], plan))


def test_the_public_call_streams(checkpoint: Path) -> None:
    images, truth = clip([LEFT], 3)
    drawn = []

    def source():
        for image in images:
            drawn.append(len(drawn))
            yield image

    results = vos.track(source(), truth[0], preset="persam", overrides={"weights": checkpoint, "device": "cpu"})
    assert not drawn
    first = next(results)
    np.testing.assert_array_equal(first.index_map, truth[0])
    assert len(list(results)) == 2


def test_what_is_kept_does_not_grow_with_frames(mobile_sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of frames on one embedding: no tensor is left behind per frame."""
    import gc

    images, truth = clip([LEFT, RIGHT], 1)
    embedded = mobile_sam.encode(images[0])
    monkeypatch.setattr(mobile_sam, "encode", lambda image: embedded)
    settings = load_settings("persam", {"decoder.cascade": 1})
    plan = ReferencePlan.build(as_references(truth[0]), frame_size=(240, 320))
    counts = []
    for result in VideoTracker(settings, Models(mobile_sam, None)).run((Frame(i, images[0]) for i in range(120)), plan):
        if result.frame.index in (20, 119):
            gc.collect()
            counts.append(sum(type(thing) is torch.Tensor for thing in gc.get_objects()))
    assert counts[1] <= counts[0] + 2


class _Wrong:
    """A tracker that answers with something else than prompts; `answer` makes it of the number of objects."""

    answer: ClassVar[Callable[[int], object]]

    def __init__(self) -> None:
        self._count = 0

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        self._count += 1

    def locate(self, frame: Frame, features: Features) -> object:
        return type(self).answer(self._count)

    def update(self, result: FrameResult) -> None: ...


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: None, "was asked for a row of prompts for each of 1 objects, and gave NoneType"),
        (lambda n: _no_prompts(n - 1), "and gave 0 rows"),
        (lambda n: _no_prompts(n + 1), "and gave 2 rows"),
        (lambda n: Prompts([0], None, None), "on frame 0: points must be a NumPy array, got list"),  # type: ignore[arg-type]
    ],
)
def test_what_a_tracker_does_wrong_is_said_to_be_its_own(
    answer: Callable[[int], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the reference's frame already."""
    monkeypatch.setattr(_Wrong, "answer", staticmethod(answer), raising=False)
    monkeypatch.setattr("vos.pipeline.make_tracker", lambda _: _Wrong())
    image, mask = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 1
    plan = ReferencePlan.build(as_references(mask), frame_size=mask.shape)
    with pytest.raises(TrackerError, match=f"^tracker 'matching' {said}|{said}"):
        list(VideoTracker(load_settings("persam"), stand_in_models()).run([Frame(0, image)], plan))


def _no_prompts(rows: int) -> Prompts:
    nothing = np.full((rows, 4), np.nan, np.float32)
    return Prompts(np.zeros((rows, 0, 2), np.float32), np.zeros((rows, 0), np.int8), nothing)


def test_torch_as_the_caller_has_it_is_refused_or_left_alone() -> None:
    image, mask = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 1
    plan = ReferencePlan.build(as_references(mask), frame_size=mask.shape)

    def run() -> None:
        list(VideoTracker(load_settings("persam"), stand_in_models()).run([Frame(0, image)], plan))

    with torch.autocast("cpu", torch.bfloat16), pytest.raises(DeviceError, match=r"torch.autocast is on; leave it"):
        run()
    with torch.device("meta"), pytest.raises(DeviceError, match="torch's default device is meta; vos needs"):
        run()
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(DeviceError, match=r"torch's default is torch.float64; vos needs"):
            run()
    finally:
        torch.set_default_dtype(torch.float32)
    run()
