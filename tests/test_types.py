"""Values are checked when they are made."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from vos.types import Candidates, Frame, FrameResult, ObjectResult, Prompts, State

IMAGE = np.zeros((4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image", [IMAGE[..., 0], IMAGE.astype(np.float32), np.zeros((0, 6, 3), np.uint8), np.zeros((4, 6, 4), np.uint8)]
)
def test_frame_takes_only_rgb_bytes(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        Frame(0, image)


def test_frame_shows_what_it_is() -> None:
    frame = Frame(3, IMAGE, Fraction(1, 8), "a.png")
    assert frame.size == (4, 6)
    assert repr(frame) == "Frame(index=3, 6x4, time=0.125s, name='a.png')"
    with pytest.raises(ValueError, match="index must be >= 0"):
        Frame(-1, IMAGE)


def _prompts() -> Prompts:
    nan = np.nan
    return Prompts(
        np.array([[[1, 2]], [[nan, nan]], [[3, 4]], [[0, 0]]], np.float32),
        np.array([[1], [-1], [0], [-1]], np.int8),
        np.array([[nan] * 4, [0, 0, 3, 3], [nan] * 4, [nan] * 4], np.float32),
    )


def test_a_row_is_active_if_it_has_a_positive_point_or_a_box() -> None:
    assert _prompts().active.tolist() == [True, True, False, False]
    assert _prompts().has_box.tolist() == [False, True, False, False]
    assert len(_prompts().rows(np.array([2, 0]))) == 2


@pytest.mark.parametrize(
    ("points", "labels", "boxes", "message"),
    [
        (np.zeros((1, 1, 2)), np.ones((1, 1), np.int8), np.zeros((1, 4), np.float32), "points must be float32"),
        (
            np.zeros((1, 1, 2), np.float32),
            np.ones((1, 2), np.int8),
            np.zeros((1, 4), np.float32),
            "labels must be int8",
        ),
        (np.zeros((1, 1, 2), np.float32), np.ones((1, 1), np.int8), np.zeros((2, 4), np.float32), "boxes must be"),
        (np.zeros((1, 1, 2), np.float32), np.full((1, 1), 7, np.int8), np.zeros((1, 4), np.float32), "1, 0 or -1"),
        (np.full((1, 1, 2), np.inf, np.float32), np.ones((1, 1), np.int8), np.zeros((1, 4), np.float32), "finite"),
    ],
)
def test_prompts_say_what_does_not_fit(points: np.ndarray, labels: np.ndarray, boxes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompts(points, labels, boxes)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((5, 0, 2, 9), "with x0 <= x1 and y0 <= y1"),
        ((0, 9, 2, 5), "with x0 <= x1 and y0 <= y1"),
        ((0, np.nan, 2, 5), "four finite numbers, or four NaN"),
        ((0, 0, np.inf, 5), "four finite numbers, or four NaN"),
    ],
)
def test_boxes_are_boxes(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompts(np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.int8), np.array([box], np.float32))


def test_prompts_are_arrays() -> None:
    none = np.full((1, 4), np.nan, np.float32)
    with pytest.raises(ValueError, match="points must be a NumPy array, got list"):
        Prompts([[[0, 0]]], np.ones((1, 1), np.int8), none)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="evidence must be Evidence or None, got str"):
        Prompts(np.zeros((1, 1, 2), np.float32), np.ones((1, 1), np.int8), none, "seen")  # type: ignore[arg-type]


def test_candidates_pick_one_per_row() -> None:
    candidates = Candidates(torch.arange(24.0).view(2, 3, 2, 2), torch.arange(6.0).view(2, 3))
    logits, scores = candidates.pick(torch.tensor([2, 0]))
    assert scores.tolist() == [2.0, 3.0]
    assert logits[0, 0, 0].item() == 8.0
    with pytest.raises(ValueError, match="candidates need"):
        Candidates(torch.zeros(2, 3, 2, 2), torch.zeros(3, 2))


def test_object_result_has_a_box_exactly_if_it_has_an_area() -> None:
    with pytest.raises(ValueError, match="an empty mask has no box"):
        ObjectResult(1, State.ABSENT, 0.0, (0, 0, 1, 1), 0)
    with pytest.raises(ValueError, match="1 to 255"):
        ObjectResult(256, State.ABSENT, 0.0, None, 0)


def test_frame_result_masks_by_id() -> None:
    index_map = np.zeros((4, 6), np.uint8)
    index_map[1, 2] = 7
    result = FrameResult(Frame(0, IMAGE), index_map, (ObjectResult(7, State.VISIBLE, 0.9, (2, 1, 2, 1), 1),))
    assert result.mask(7).sum() == 1
    with pytest.raises(KeyError, match=r"object 3 is not known in frame 0; known: \[7\]"):
        result.mask(3)
    with pytest.raises(ValueError, match="index_map must be uint8"):
        FrameResult(Frame(0, IMAGE), index_map.astype(np.int64), ())


def test_what_is_carried_on_cannot_be_written_to() -> None:
    """Whoever draws on a frame, or changes a mask, would change the frames after it, and files not written yet."""
    own = np.zeros((4, 6), np.uint8)
    result = FrameResult(Frame(0, IMAGE), own, ())
    for array in (result.index_map, result.frame.image):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 3
    own[:] = 1  # the caller's stays the caller's
