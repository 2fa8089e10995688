"""Tracking in a smaller picture: what comes out has the source's size and its edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from vos.errors import ReferenceInputError
from vos.objects import measure
from vos.pipeline import VideoTracker
from vos.reduced import _reduce_mask, _reduced_plan, reduced_size, run_reduced
from vos.references import BoxPrompt, Click, MaskReference, Reference, ReferencePlan
from vos.settings import load_settings
from vos.types import Frame, FrameResult, State
from vos.video import open_source

DISC = Thing(40, hue=0, path=lambda t: (110 + 6 * t, 120), seed=1)
SQUARE = Thing(30, hue=110, path=lambda t: (330 - 6 * t, 180), shape="square", seed=2)
SIZE = (288, 432)


@pytest.fixture(scope="module")
def tracker() -> VideoTracker:
    return VideoTracker(load_settings("persam", {"device": "cpu"}), stand_in_models())


def tracked(tracker: VideoTracker, references: list[Reference], max_size: int, count: int = 4) -> Iterator[FrameResult]:
    images, _ = clip([DISC, SQUARE], count, size=SIZE)
    with open_source(images) as source:
        plan = ReferencePlan.build(references, frame_size=source.size)
        with closing(run_reduced(tracker.run, iter(source), plan, max_size)) as results:
            for result, image in zip(results, images, strict=True):
                np.testing.assert_array_equal(result.frame.image, image)
                assert result.index_map.shape == SIZE
                yield result


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_masks_keep_the_sources_size_and_place(tracker: VideoTracker) -> None:
    _, truth = clip([DISC, SQUARE], 4, size=SIZE)
    full = list(tracked(tracker, [MaskReference(0, truth[0])], 1000, count=3))
    small = list(tracked(tracker, [MaskReference(0, truth[0])], 108, count=3))
    for i, (a, b) in enumerate(zip(full, small, strict=True)):
        for object_id in (1, 2):
            assert iou(b.mask(object_id), a.mask(object_id)) > 0.85, (i, object_id)
            (item,) = (o for o in b.objects if o.id == object_id)
            ys, xs = np.nonzero(b.mask(object_id))
            assert item.box == (xs.min(), ys.min(), xs.max(), ys.max())
            assert item.area == len(xs)
            assert b.alpha(object_id).shape == SIZE
    assert np.array_equal(small[0].index_map, truth[0])


def test_edges_are_not_blocks(tracker: VideoTracker) -> None:
    """A border along the small picture's pixels has corners at every multiple of four; a smooth one has not."""
    _, truth = clip([DISC, SQUARE], 4, size=SIZE)
    result = list(tracked(tracker, [MaskReference(0, truth[0])], 108))[3]
    ratio = SIZE[0] // 72
    mask = result.mask(1)
    blocks = mask[: SIZE[0] // ratio * ratio].reshape(SIZE[0] // ratio, ratio, -1, ratio)
    mixed = (blocks.any(axis=(1, 3)) & ~blocks.all(axis=(1, 3))).sum()
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    assert mixed > sum(map(len, contours)) / ratio / 2


def test_clicks_and_boxes_are_those_of_the_full_picture(tracker: VideoTracker) -> None:
    _, truth = clip([DISC, SQUARE], 4, size=SIZE)
    pointers: list[Reference] = [Click(0, 110, 120, 1), BoxPrompt(1, 294, 150, 354, 210, 2)]
    results = list(tracked(tracker, pointers, 144))
    assert [[o.id for o in result.objects] for result in results] == [[1], [1, 2], [1, 2], [1, 2]]
    assert iou(results[0].mask(1), truth[0] == 1) > 0.6
    assert iou(results[1].mask(2), truth[1] == 2) > 0.6


def test_absent_stays_absent(tracker: VideoTracker) -> None:
    _, truth = clip([DISC, SQUARE], 4, size=SIZE)
    for result in tracked(tracker, [MaskReference(0, truth[0])], 108):
        for item in result.objects:
            assert (item.state is State.ABSENT) == (item.area == 0)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(32, 4000))
def test_sizes(height: int, width: int, max_size: int) -> None:
    small = reduced_size((height, width), max_size)
    assert max(small) == min(max(height, width), max_size)
    assert min(small) >= 1
    if min(small) > 1 and small != (height, width):
        assert abs(small[0] / small[1] - height / width) * small[1] <= 0.51 + 0.51 * height / width


@given(st.integers(0, 2**32 - 1))
@example(2186)  # two in one pixel
def test_no_object_is_lost_however_small(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((90, 120), np.uint8)
    mask[10:60, 10:70] = 1
    for object_id in (2, 3):
        y, x = rng.integers(0, 88), rng.integers(0, 118)
        mask[y : y + 2, x : x + 2] = object_id
    wanted = set(np.unique(mask).tolist())
    reduced = _reduce_mask(mask, (30, 40))
    assert reduced.shape == (30, 40)
    assert set(np.unique(reduced).tolist()) == wanted


def test_masks_of_one_frame_do_not_hide_each_other(tracker: VideoTracker) -> None:
    """Each is enlarged to a pixel of the small picture, where the other has more of it."""
    large, small = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    large[80:160, 70:150] = 1
    small[100:102, 150:154] = 2
    (first, *_) = tracked(tracker, [MaskReference(0, small), MaskReference(0, large)], 48, count=1)
    np.testing.assert_array_equal(first.index_map, np.maximum(large, small))


@pytest.mark.parametrize("width", [470, 500, 700])
def test_what_was_found_in_a_pixel_is_not_lost(width: int) -> None:
    """Without logits, as between keyframes."""
    size = (width * 9 // 16, width)

    def found(frames: Iterable[Frame], plan: ReferencePlan) -> Iterator[FrameResult]:
        for frame in frames:
            small = np.zeros(frame.size, np.uint8)
            small[7::29, 5::31].flat[:] = np.arange(1, small[7::29, 5::31].size + 1)
            ids = np.unique(small[small > 0]).tolist()
            yield FrameResult(frame, small, tuple(measure(small, i, 1.0, 0.5, given=False) for i in ids))

    plan = ReferencePlan.build([Click(0, 1, 1)], frame_size=size)
    (result,) = run_reduced(found, [Frame(1, np.zeros((*size, 3), np.uint8))], plan, 432)
    assert len(result.objects) > 80
    assert {item.state for item in result.objects} == {State.VISIBLE}


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), max_size=st.integers(2, 1300))
@example(height=1520, width=2704, max_size=720)
def test_what_is_at_the_far_edge_stays_on_the_frame(height: int, width: int, max_size: int) -> None:
    corner = width - 0.5, height - 0.5
    references = [BoxPrompt(0, 0, 0, *corner), Click(0, *corner, id=2)]
    plan = _reduced_plan(
        ReferencePlan.build(references, frame_size=(height, width)),
        small := (1 + height % max_size, 1 + width % max_size),
    )
    assert plan.frame_size == small
    assert plan.ids == (1, 2)


def test_more_objects_than_pixels_are_refused() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with pytest.raises(ReferenceInputError, match="the objects do not fit into 9x9 pixels; give a larger max_size"):
        _reduce_mask(mask, (9, 9))
