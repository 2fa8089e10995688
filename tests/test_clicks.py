"""Clicks on what is followed: they mend its mask, where they are and nowhere else."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import vos
from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from vos.clicks import claimed, mended_mask
from vos.errors import ReferenceInputError
from vos.models.features import FeatureMap
from vos.models.load import Models
from vos.models.sam import SegmentAnything
from vos.pipeline import VideoTracker
from vos.references import BoxPrompt, Click, ClickBoxPrompt, MaskReference, ReferencePlan
from vos.resample import shares
from vos.settings import load_settings
from vos.types import Frame, FrameResult, State

LEFT = Thing(28, hue=0, path=lambda t: (70 + 2 * t, 90), seed=1)
RIGHT = Thing(24, hue=110, path=lambda t: (230 - 2 * t, 160), shape="square", seed=2)
SIZE = (240, 320)
IMAGES, TRUTH = clip([LEFT, RIGHT], 5, size=SIZE)
START = TRUTH[0] == 1


def run(*references: Any, preset: str = "persam") -> list[FrameResult]:
    plan = ReferencePlan.build([MaskReference(0, START.astype(np.uint8)), *references], frame_size=SIZE)
    tracker = VideoTracker(load_settings(preset, {"device": "cpu"}), stand_in_models())
    return list(tracker.run((Frame(i, image) for i, image in enumerate(IMAGES)), plan))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def middle(thing: Thing, frame: int) -> tuple[float, float]:
    return thing.path(frame)


@pytest.mark.parametrize("preset", ["persam", "best"])
def test_a_click_adds_what_it_is_on(preset: str) -> None:
    before = run(preset=preset)
    after = run(Click(2, *middle(RIGHT, 2)), preset=preset)
    for a, b in zip(before[:2], after[:2], strict=True):
        np.testing.assert_array_equal(a.index_map, b.index_map)
    changed = before[2].index_map != after[2].index_map
    assert iou(changed, TRUTH[2] == 2) > 0.5
    assert not (changed & (TRUTH[2] == 1)).any(), "the rest of it stays as it was followed"
    (item,) = after[2].objects
    assert (item.given, item.state, item.score) == (True, State.VISIBLE, 1.0)


def test_others_stay_as_they_are() -> None:
    other = BoxPrompt(0, 200, 130, 260, 190, id=7)
    before, after = run(other), run(other, Click(2, *middle(LEFT, 2)))
    np.testing.assert_array_equal(before[2].mask(7), after[2].mask(7))
    assert [item.given for item in after[2].objects] == [True, False]


def test_a_click_takes_what_another_has() -> None:
    other = MaskReference(0, 7 * (TRUTH[0] == 2).astype(np.uint8))
    before, after = run(other), run(other, Click(2, *middle(RIGHT, 2)))
    x, y = (round(value) for value in middle(RIGHT, 2))
    assert (before[2].index_map[y, x], after[2].index_map[y, x]) == (7, 1)
    assert iou(after[2].mask(1) & ~before[2].mask(1), TRUTH[2] == 2) > 0.5


@pytest.mark.parametrize("preset", ["persam", "best"])
def test_a_click_that_changes_nothing_is_no_reference(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vos.segment.mended_mask", lambda model, image, logits, clicks: logits)
    before, after = run(preset=preset), run(Click(2, *middle(LEFT, 2), positive=False), preset=preset)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.index_map, other.index_map)
        assert one.objects == other.objects
        np.testing.assert_array_equal(one.alpha(1), other.alpha(1))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_pixel_is_claimed_by_two(data: st.DataObject) -> None:
    """Nor does it matter which of them comes first."""
    size, ids = (6, 9), (1, 4, 9)
    index_map = data.draw(arrays.arrays(np.uint8, size, elements=st.sampled_from([0, *ids, 7])))
    strengths = arrays.arrays(np.float32, size, elements=st.integers(-20, 20).map(float), unique=False)
    logits = {i: data.draw(strengths) + np.float32(i / 100) for i in ids}
    point = st.tuples(st.integers(0, 8), st.integers(0, 5), st.sampled_from([0, 1]))
    clicks = {i: clicked(*data.draw(st.lists(point, min_size=1, max_size=3))) for i in ids}
    found = claimed(logits, index_map, clicks)
    assert (sum(mask.astype(int) for mask in found.values()) <= 1).all()
    for i, mask in found.items():
        won = index_map == i
        others = np.any([found[j] for j in ids if j != i], axis=0)
        assert not (won & ~mask & ~others).any(), "what is not lost to another stays"
        assert (logits[i][mask & ~won] > 0).all()
        held = clicks[i].held_by(mask)
        for hit, wanted, (x, y) in zip(held, clicks[i].labels, clicks[i].points.astype(int), strict=True):
            stronger = any(logits[j][y, x] > max(logits[i][y, x], 0) and j != i for j in ids)
            assert hit or not wanted or won[y, x] or logits[i][y, x] <= 0 or stronger
    again = claimed({i: logits[i] for i in reversed(ids)}, index_map, clicks)
    assert all(np.array_equal(found[i], again[i]) for i in ids)


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
def test_two_objects_mended_on_one_frame(ids: tuple[int, int]) -> None:
    """One takes what the other has, which says itself where it is: the same whichever id is which."""
    left, right = ids
    references = [
        MaskReference(0, sum(i * (TRUTH[0] == k).astype(np.uint8) for i, k in ((left, 1), (right, 2)))),
        Click(2, *middle(RIGHT, 2), id=left),
        Click(2, *middle(LEFT, 2), id=right, positive=False),
    ]
    tracker = VideoTracker(load_settings("persam", {"device": "cpu"}), stand_in_models())
    frames = [Frame(i, image) for i, image in enumerate(IMAGES[:3])]
    found = list(tracker.run(frames, ReferencePlan.build(references, frame_size=SIZE)))[2]
    x, y = (round(value) for value in middle(RIGHT, 2))
    assert found.index_map[y, x] == left
    assert all(item.state is not State.ABSENT for item in found.objects if item.given)


def test_what_another_reference_has_all_of() -> None:
    plan = ReferencePlan.build(
        [MaskReference(0, np.ones(SIZE, np.uint8)), Click(0, *middle(LEFT, 0), id=5)], frame_size=SIZE
    )
    tracker = VideoTracker(load_settings("persam", {"device": "cpu"}), stand_in_models())
    with pytest.raises(ReferenceInputError, match="object 5 on frame 0 point at what other references there have all"):
        list(tracker.run([Frame(0, IMAGES[0])], plan))


def test_what_is_not_known_yet_cannot_be_taken_away() -> None:
    """As on the way backwards, where a click on frame 3 comes before the mask on frame 1."""
    plan = ReferencePlan.build(
        [
            MaskReference(1, START.astype(np.uint8)),
            Click(3, 5, 5, positive=False),
            Click(2, *middle(LEFT, 2)),
            MaskReference(4, 9 * (TRUTH[4] == 2).astype(np.uint8)),
        ],
        frame_size=SIZE,
    )
    tracker = VideoTracker(load_settings("persam", {"device": "cpu"}), stand_in_models())
    results = list(tracker.run((Frame(i, IMAGES[i]) for i in reversed(range(5))), plan))
    assert [[item.id for item in result.objects] for result in results] == [[9], [9], [9], [9, 1], [9, 1]]


@pytest.mark.parametrize("preset", ["persam", "best"])
@pytest.mark.parametrize("begin", [MaskReference(3, (TRUTH[3] == 1).astype(np.uint8)), Click(3, *middle(LEFT, 3))])
def test_clicks_mend_the_way_backwards(preset: str, begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The click on frame 1 changes frame 1, and frame 0, which comes after it on that way, but none from frame 2 on."""
    monkeypatch.setattr("vos.pipeline.load_models", lambda *_: stand_in_models())

    def both(*clicks: Click) -> list[FrameResult]:
        return list(vos.track(IMAGES, [begin, *clicks], preset=preset, both_ways=True))

    before, after = both(), both(Click(1, *middle(RIGHT, 1)))
    changed = before[1].index_map != after[1].index_map
    assert iou(changed, TRUTH[1] == 2) > 0.5
    assert [result.objects[0].given for result in after] == [False, True, False, True, False]
    assert not np.array_equal(before[0].index_map, after[0].index_map)
    for a, b in zip(before[2:], after[2:], strict=True):
        np.testing.assert_array_equal(a.index_map, b.index_map)


def test_a_negative_click_alone_mends_the_way_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwards it would be refused, since no earlier frame has the object."""
    monkeypatch.setattr("vos.pipeline.load_models", lambda *_: stand_in_models())
    mask, negative = MaskReference(3, (TRUTH[3] > 0).astype(np.uint8)), Click(1, *middle(RIGHT, 1), positive=False)
    more, less = (
        list(vos.track(IMAGES, given, preset="persam", both_ways=True))[1].mask(1) & (TRUTH[1] == 2)
        for given in ([mask], [mask, negative])
    )
    assert less.sum() < 0.8 * more.sum()


def test_a_box_begins_anew() -> None:
    x, y = middle(RIGHT, 2)
    after = run(BoxPrompt(2, x - 26, y - 26, x + 26, y + 26))
    assert iou(after[2].index_map > 0, TRUTH[2] == 2) > 0.5


def test_only_negative_clicks_need_something_to_take_from() -> None:
    plan = ReferencePlan.build(
        [MaskReference(1, START.astype(np.uint8)), Click(3, 5, 5, positive=False)], frame_size=SIZE
    )
    assert not plan.at(3).prompts[1].points_at_something
    with pytest.raises(ReferenceInputError, match="has only negative clicks"):
        ReferencePlan.build([MaskReference(4, START.astype(np.uint8)), Click(3, 5, 5, positive=False)], frame_size=SIZE)


@pytest.fixture(scope="module")
def embedded(mobile_sam: SegmentAnything) -> FeatureMap:
    return mobile_sam.encode(IMAGES[0])


def logits_of(model: SegmentAnything, image: FeatureMap, mask: np.ndarray) -> torch.Tensor:
    """As the decoder might have given them."""
    size = image.places
    h, w = image.covered_places
    logits = np.full(size, -6, np.float32)
    logits[:h, :w] = 12 * shares(mask, (h, w)) - 6
    return torch.from_numpy(logits)


def clicked(*clicks: tuple[float, float, int]) -> ClickBoxPrompt:
    given = np.array(clicks, np.float32)
    return ClickBoxPrompt(given[:, :2], given[:, 2].astype(np.int8), None)


@pytest.mark.slow
@pytest.mark.parametrize("positive", [1, 0])
def test_with_the_real_model(mobile_sam: SegmentAnything, embedded: FeatureMap, positive: int) -> None:
    left, right = TRUTH[0] == 1, TRUTH[0] == 2
    before, wanted = (left, left | right) if positive else (left | right, left)
    logits = logits_of(mobile_sam, embedded, before)
    after = mended_mask(mobile_sam, embedded, logits, clicked((*middle(RIGHT, 0), positive)))
    found = mobile_sam.to_frame(after[None], embedded)[0].numpy() > 0
    assert iou(found, wanted) > 0.9
    count, parts = cv2.connectedComponents(((after > 0) != (logits > 0)).numpy().astype(np.uint8))
    assert count == 2, "one part has changed"
    again = mended_mask(mobile_sam, embedded, after, clicked((*middle(RIGHT, 0), positive)))
    np.testing.assert_array_equal(again > 0, after > 0)
    assert parts.any()


def test_where_nothing_is_there_is_nothing_to_mend() -> None:
    models = stand_in_models()
    image = models.segmenter.encode(IMAGES[0])
    nothing = torch.full(image.places, -6.0)
    nothing[-1] = 6  # padding
    assert mended_mask(models.segmenter, image, nothing, clicked((5, 5, 0))) is nothing


@pytest.mark.slow
def test_several_clicks_at_once(mobile_sam: SegmentAnything, embedded: FeatureMap) -> None:
    left, right = TRUTH[0] == 1, TRUTH[0] == 2
    leak = np.zeros_like(left)
    leak[200:235, 20:60] = True
    logits = logits_of(mobile_sam, embedded, left | leak)
    after = mended_mask(mobile_sam, embedded, logits, clicked((*middle(RIGHT, 0), 1), (40, 217, 0)))
    found = mobile_sam.to_frame(after[None], embedded)[0].numpy() > 0
    assert found[160, 230]
    assert not found[217, 40]
    assert iou(found & ~leak, left | right) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["persam-f", "best"])
def test_what_another_has_in_a_run(mobile_sam: SegmentAnything, preset: str) -> None:
    references = [MaskReference(0, TRUTH[0]), Click(2, *middle(RIGHT, 2), id=1)]
    tracker = VideoTracker(load_settings(preset, {"device": "cpu", "input_size": 1024}), Models(mobile_sam, None))
    frames = [Frame(i, image) for i, image in enumerate(IMAGES[:3])]
    results = list(tracker.run(frames, ReferencePlan.build(references, frame_size=SIZE)))
    assert iou(results[1].index_map == 2, TRUTH[1] == 2) > 0.9
    assert iou(results[2].index_map == 1, TRUTH[2] > 0) > 0.85
    assert [item.given for item in results[2].objects] == [True, False]


@pytest.mark.slow
def test_in_a_run(mobile_sam: SegmentAnything) -> None:
    """Both things are one object, until a click takes one of them away."""
    references = [MaskReference(0, (TRUTH[0] > 0).astype(np.uint8)), Click(2, *middle(RIGHT, 2), positive=False)]
    tracker = VideoTracker(load_settings("best", {"device": "cpu", "input_size": 1024}), Models(mobile_sam, None))
    frames = [Frame(i, image) for i, image in enumerate(IMAGES[:3])]
    results = list(tracker.run(frames, ReferencePlan.build(references, frame_size=SIZE)))
    assert iou(results[2].index_map > 0, TRUTH[2] == 1) > 0.85
    assert results[2].objects[0].given


@pytest.mark.slow
def test_what_changes_nothing_leaves_the_frames_after_it_alone(
    mobile_sam: SegmentAnything, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where answers are corrected, and the tracker goes on from what they were before."""
    monkeypatch.setattr("vos.segment.mended_mask", lambda model, image, logits, clicks: logits)
    start = MaskReference(0, (TRUTH[0] == 1).astype(np.uint8))
    found = []
    for clicks in ([], [Click(1, *middle(LEFT, 1), positive=False)]):
        tracker = VideoTracker(load_settings("best", {"device": "cpu", "input_size": 1024}), Models(mobile_sam, None))
        frames = [Frame(i, image) for i, image in enumerate(IMAGES[:4])]
        found.append(list(tracker.run(frames, ReferencePlan.build([start, *clicks], frame_size=SIZE))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.index_map, other.index_map)
        assert one.objects == other.objects
