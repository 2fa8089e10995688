"""References checked together and looked up by frame."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vos.errors import ReferenceInputError
from vos.references import BoxPrompt, Click, MaskReference, Reference, ReferencePlan, as_references

SIZE = (40, 60)


def mask(frame: int = 0, source: str = "a.png", **areas: tuple[int, int]) -> MaskReference:
    """Objects `o1`, `o2`, … as ranges of columns."""
    index_map = np.zeros(SIZE, np.uint8)
    for name, (start, stop) in areas.items():
        index_map[:, start:stop] = int(name[1:])
    return MaskReference(frame, index_map, source)


def plan(*references: Reference, frame_count: int | None = None, both_ways: bool = False) -> ReferencePlan:
    return ReferencePlan.build(references, frame_size=SIZE, frame_count=frame_count, both_ways=both_ways)


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([], "nothing to track: give at least one mask, click or box"),
        (
            [MaskReference(0, np.ones((480, 640), np.uint8), "a.png")],
            "a.png: the mask is 640x480, but the frames are 60x40: give a mask of the frames' size",
        ),
        ([Click(0, 60, 3)], "click 60,3 is outside of the 60x40 frame: x is 0 to 59, y is 0 to 39"),
        ([Click(0, 3, -1)], "click 3,-1 is outside of the 60x40 frame: x is 0 to 59, y is 0 to 39"),
        ([BoxPrompt(0, 3, 4, 5, 41)], "box 3,4,5,41 is outside of the 60x40 frame: x is 0 to 59, y is 0 to 39"),
        (
            [mask(o1=(0, 5)), mask(source="b.png", o1=(9, 12))],
            "two references for object 1 on frame 0: a.png and b.png; keep one, "
            "or give the other an id of its own (add :2)",
        ),
        (
            [Click(4, 5, 6), mask(frame=4, o1=(0, 5))],
            "two references for object 1 on frame 4: click 5,6 and a.png; keep one, "
            "or give the other an id of its own (add :2)",
        ),
        (
            [mask(o3=(0, 5)), BoxPrompt(0, 1, 2, 3, 4, 3)],
            "two references for object 3 on frame 0: a.png and box 1,2,3,4; keep one, "
            "or give the other an id of its own (add :4)",
        ),
        (
            [Click(0, 1, 1), BoxPrompt(0, 1, 2, 3, 4), BoxPrompt(0, 5, 6, 7, 8)],
            "two references for object 1 on frame 0: box 1,2,3,4 and box 5,6,7,8; keep one, "
            "or give the other an id of its own (add :2)",
        ),
        (
            [Click(2, 1, 1, 5, positive=False), Click(2, 3, 1, 5, positive=False), Click(2, 1, 1, 6)],
            "object 5 on frame 2 has only negative clicks (2): add a positive click or a box that says where it is",
        ),
        (
            [mask(o1=(3, 5)), mask(source="b.png", o2=(0, 9))],
            "a.png: object 1 on frame 0 is hidden by later masks: give its mask last, or remove the overlap",
        ),
    ],
)
def test_what_does_not_fit_is_refused(references: list[Reference], message: str) -> None:
    with pytest.raises(ReferenceInputError) as error:
        plan(*references)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("count", "clip"), [(82, "82 frames (0 to 81)"), (1, "1 frame (0)"), (120, "120 frames (0 to 119)")]
)
def test_a_frame_past_the_end(count: int, clip: str) -> None:
    with pytest.raises(ReferenceInputError) as error:
        plan(Click(0, 1, 1), Click(120, 5, 6), frame_count=count)
    assert str(error.value) == f"click 5,6: reference on frame 120, but the clip has {clip}"
    assert plan(Click(120, 5, 6), frame_count=121).frames == (120,)


def test_where_objects_begin_that_go_both_ways() -> None:
    given_ = [
        Click(2, 1, 1, 7),
        Click(9, 2, 2, 7),
        Click(4, 3, 3, 5),
        Click(6, 3, 3, 3, positive=False),
        Click(8, 4, 4, 3),
        Click(1, 4, 4, 3),
        BoxPrompt(6, 1, 1, 9, 9, 5),
        mask(frame=3, o9=(0, 3)),
    ]
    there = plan(*given_, both_ways=True)
    assert dict(there.entries) == {7: 2, 9: 3, 5: 6, 3: 8}
    assert there.ids == (7, 9, 5, 3)
    assert there.frames == (2, 3, 6, 8, 9)
    back = there.way_back()
    assert back.frames == (1, 2, 3, 4, 6, 8, 9)
    assert {frame: {i: p.mends for i, p in back.at(frame).prompts.items()} for frame in back.frames} == {
        1: {3: True}, 2: {7: False}, 3: {}, 4: {5: True}, 6: {3: True, 5: False}, 8: {3: False}, 9: {7: True},
    }  # fmt: skip
    assert list(there.at(6).prompts) == [5]
    assert list(there.pointers(6)) == [3, 5]
    assert dict(plan(*given_[:3]).entries) == {7: 2, 5: 4}
    with pytest.raises(ReferenceInputError, match=r"object 4 on frame 1 has only negative clicks \(1\)"):
        plan(Click(1, 2, 2, 4, positive=False), both_ways=True)


def test_the_border_pixels_belong_to_the_frame() -> None:
    assert plan(Click(0, -0.5, 39.5), BoxPrompt(0, -0.5, -0.5, 59.5, 39.5)).ids == (1,)
    with pytest.raises(ReferenceInputError):
        plan(Click(0, -0.51, 3))


def test_clicks_and_a_box_of_one_object_are_one_reference() -> None:
    given_ = plan(
        Click(3, 1.5, 2, 4), BoxPrompt(3, 0, 1, 9, 8, 4), Click(3, 7, 6, 4, positive=False), Click(3, 5, 5, 2)
    ).at(3)
    assert list(given_.prompts) == [2, 4]
    prompt = given_.prompts[4]
    assert prompt.box is not None
    np.testing.assert_array_equal(prompt.points, np.array([[1.5, 2], [7, 6]], np.float32))
    np.testing.assert_array_equal(prompt.labels, np.array([1, 0], np.int8))
    np.testing.assert_array_equal(prompt.box, np.array([0, 1, 9, 8], np.float32))
    assert (prompt.points.dtype, prompt.labels.dtype, prompt.box.dtype) == (np.float32, np.int8, np.float32)
    assert given_.prompts[2].box is None


def test_a_box_alone_has_no_points() -> None:
    prompt = plan(BoxPrompt(0, 1, 2, 3, 4)).at(0).prompts[1]
    assert prompt.points.shape == (0, 2)
    assert prompt.labels.shape == (0,)


def test_frames_are_looked_up() -> None:
    found = plan(mask(frame=5, o9=(0, 3), o2=(4, 8)), Click(5, 30, 3, 4), Click(2, 1, 1, 7), mask(frame=8, o2=(1, 2)))
    assert found.ids == (7, 2, 4, 9)
    assert found.frames == (2, 5, 8)
    assert found.at(3).ids == ()
    here = found.at(5)
    assert here
    assert here.ids == (2, 4, 9)
    assert list(here.masks) == [2, 9]
    assert here.masks[9].dtype == bool
    np.testing.assert_array_equal(np.flatnonzero(here.masks[9][0]), [0, 1, 2])


def test_references_beyond_the_end_are_told() -> None:
    late = Click(7, 1, 1)
    found = plan(Click(0, 1, 1), late)
    assert found.beyond(7) == (late,)
    assert found.beyond(8) == ()


def test_the_later_of_two_overlapping_masks_wins_and_it_is_said() -> None:
    found = plan(mask(o1=(0, 10)), mask(source="b.png", o2=(8, 20)))
    assert found.notes == ("b.png: overlaps an earlier mask of frame 0 on 80 px and keeps them",)
    masks = found.at(0).masks
    assert masks[1].sum() == 8 * 40
    assert masks[2].sum() == 12 * 40


def test_notes_of_masks_name_their_source() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:9, 5:9] = 1
    reference = MaskReference(0, mask, "a.png", ("soft values were cut at 0.5",))
    assert plan(reference).notes == ("a.png: soft values were cut at 0.5",)


def test_an_object_along_the_whole_border_is_asked_about() -> None:
    mask = np.full(SIZE, 3, np.uint8)
    mask[5:9, 5:9] = 1
    note = "a.png: object 3 covers the frame's whole border; is it the background?"
    assert plan(MaskReference(0, mask, "a.png")).notes == (note,)
    mask[0, 0] = 1
    assert plan(MaskReference(0, mask, "a.png")).notes == ()


def test_mask_references_are_checked() -> None:
    for nothing in (np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool), [[0, 0], [0, 0]]):
        with pytest.raises(ReferenceInputError, match=r"^x: all background: there is no object in it"):
            MaskReference(0, nothing, "x")  # type: ignore[arg-type]
    for wrong, said in [
        (None, "x: must be an array of numbers or an image, got NoneType"),
        ("mask.png", "x: must be an array of numbers or an image, got str"),
        ([[1, 0], [1]], "x: a list that is not an array: "),
        (np.ones(3, bool), "x: is an array of shape (3,), but a mask is (height, width)"),
    ]:
        with pytest.raises(ReferenceInputError) as error:
            MaskReference(0, wrong, "x")  # type: ignore[arg-type]
        assert str(error.value).startswith(said)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.array([[True, False]]), [[1, 0]]),
        ([[0, 2], [3, 0]], [[0, 2], [3, 0]]),
        (np.array([[0, 2]], np.int64), [[0, 2]]),
        (np.array([[[0, 255]]], np.int32), [[0, 1]]),
        (Image.fromarray(np.array([[0, 1]], np.uint8)), [[0, 1]]),
        (np.array([[0, 255]], np.uint8), [[0, 1]]),
    ],
    ids=["bool", "list", "int64", "leading-axis", "image", "black-and-white"],
)
def test_masks_of_any_kind_become_index_maps(mask: np.ndarray, expected: list[list[int]]) -> None:
    reference = MaskReference(0, mask)
    assert reference.mask.dtype == np.uint8
    assert reference.mask.tolist() == expected


def test_an_index_map_that_is_known_to_be_one_stays() -> None:
    """Object 255 alone looks like a mask in black and white."""
    mask = MaskReference(0, np.array([[0, 255]], np.uint8), understood=True)
    assert mask.ids == replace(mask, frame=3).ids == (255,)


def test_masks_are_copied() -> None:
    buffer = np.array([[0, 1]], np.uint8)
    masks = [MaskReference(0, buffer), *as_references(buffer), MaskReference(0, buffer, understood=True)]
    buffer[:] = 0
    for mask in masks:
        assert mask.ids == (1,)
        assert not mask.mask.flags.writeable


def test_a_plan_can_be_sent_to_another_process() -> None:
    plan = ReferencePlan.build([MaskReference(2, np.array([[0, 3]]))], frame_size=(1, 2))
    again = pickle.loads(pickle.dumps(plan))
    assert (again.ids, again.frames, again.at(2).ids) == (plan.ids, plan.frames, plan.at(2).ids) == ((3,), (2,), (3,))


def test_masks_keep_the_notes_on_how_they_were_understood() -> None:
    assert MaskReference(0, np.array([[0.0, 0.7]])).notes == ("soft values were cut at 0.5",)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 59, width=32), st.floats(0, 39, width=32), st.integers(1, 255)),
        min_size=1,
        max_size=20,
    )
)
def test_every_click_is_found_again(clicks: Sequence[tuple[int, float, float, int]]) -> None:
    found = plan(*[Click(*click) for click in clicks])
    again = [
        (frame, float(x), float(y), object_id)
        for frame in found.frames
        for object_id, prompt in found.at(frame).prompts.items()
        for x, y in prompt.points
    ]
    assert sorted(again) == sorted(clicks)
    assert set(found.ids) == {click[3] for click in clicks}
    entered = [min(click[0] for click in clicks if click[3] == object_id) for object_id in found.ids]
    assert entered == sorted(entered)
