"""Masks as PNG and as pictures for people."""

from __future__ import annotations

from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from vos.palette import davis_palette
from vos.results import Labels, OverlayPainter
from vos.results.overlay import _FILL, _overlap
from vos.types import Frame, FrameResult, ObjectResult, State


def result_of(
    index_map: np.ndarray, *, index: int = 0, states: dict[int, State] | None = None, grey: int = 128
) -> FrameResult:
    """Measure every id of `index_map`; ids in `states` that are not in it are empty."""
    states = states or {}
    items = []
    for id in sorted({*np.unique(index_map).tolist(), *states} - {0}):
        ys, xs = np.nonzero(index_map == id)
        box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())) if xs.size else None
        items.append(ObjectResult(id, states.get(id, State.VISIBLE), 0.5, box, int(xs.size)))
    image = np.full((*index_map.shape, 3), grey, np.uint8)
    return FrameResult(Frame(index, image, name=str(index)), index_map, tuple(items))


def square(size: tuple[int, int], *squares: tuple[int, int, int, int]) -> np.ndarray:
    """Squares (id, y, x, side) on an empty map."""
    index_map = np.zeros(size, np.uint8)
    for id, y, x, side in squares:
        index_map[y : y + side, x : x + side] = id
    return index_map


def test_palette_is_the_one_of_voc_and_davis() -> None:
    palette = davis_palette()
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        4: (0, 0, 128),
        8: (64, 0, 0),
        20: (0, 64, 128),
    }
    assert {id: tuple(palette[id].tolist()) for id in known} == known
    assert tuple(palette[255].tolist()) == (224, 224, 192)
    assert len(np.unique(palette, axis=0)) == 256


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_indices_survive_the_palette_png(index_map: np.ndarray) -> None:
    image = Image.fromarray(index_map)
    image.putpalette(davis_palette().tobytes())
    encoded = BytesIO()
    image.save(encoded, "PNG")
    read = Image.open(encoded)
    assert read.mode == "P"
    assert np.array_equal(np.asarray(read), index_map)
    assert np.array_equal(np.asarray(read.convert("RGB")), davis_palette()[index_map])


def test_inside_is_tinted_outside_is_untouched_and_the_input_is_not_changed() -> None:
    result = result_of(square((240, 320), (1, 100, 100, 80)))
    painted = OverlayPainter((240, 320)).paint(result)
    assert (result.frame.image == 128).all()
    assert painted[140, 140] == pytest.approx((1 - _FILL) * 128 + _FILL * davis_palette()[1], abs=1)
    far = np.ones((240, 320), bool)
    far[70:190, 90:190] = False
    assert (painted[far] == 128).all()
    rim = painted[100, 110:170].astype(int)
    assert (rim[:, 0] > 150).all()
    assert (rim[:, 1] < 90).all()


@pytest.mark.parametrize("size", [(120, 160), (1080, 1920)])
def test_a_dark_rim_sets_an_object_off_from_its_own_hue(size: tuple[int, int]) -> None:
    top, left, side = size[0] // 2, size[1] // 4, size[0] // 4
    index_map = square(size, (1, top, left, side), (2, top, left + side, side))
    result = result_of(index_map)
    colour = OverlayPainter(size)._bright[1]
    frame = Frame(0, np.broadcast_to(colour, (*size, 3)).copy())
    painted = OverlayPainter(size).paint(FrameResult(frame, index_map, result.objects)).astype(int)
    below = painted[top + side : top + side + size[0] // 60 + 4, left + side // 2]
    assert below.sum(axis=1).min() < 0.6 * colour.sum()
    assert (below[-1] == colour).all()
    between = painted[top + side // 2, left + side - 6 : left + side + 6]
    assert between.sum(axis=1).min() > 0.6 * colour.sum()


def test_absent_objects_are_not_drawn() -> None:
    index_map = square((120, 160), (1, 40, 40, 30))
    for states in ({1: State.ABSENT}, {1: State.ABSENT, 2: State.ABSENT}):
        assert (OverlayPainter((120, 160)).paint(result_of(index_map, states=states)) == 128).all()
    assert (OverlayPainter((120, 160)).paint(result_of(np.zeros((120, 160), np.uint8))) == 128).all()


def test_uncertain_objects_have_a_question_mark() -> None:
    index_map = square((240, 320), (1, 100, 100, 80))
    painter = OverlayPainter((240, 320))
    sure = painter.paint(result_of(index_map))
    unsure = painter.paint(result_of(index_map, states={1: State.UNCERTAIN}))
    changed = np.argwhere((sure != unsure).any(2))
    assert len(changed) > 20
    assert changed[:, 0].max() < 100


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_mask_in_any_frame_can_be_painted(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    index_map = data.draw(arrays.arrays(np.uint8, (height, width), elements=st.sampled_from([0, 0, 0, 1, 2, 255])))
    painted = OverlayPainter((height, width)).paint(result_of(index_map))
    assert painted.shape == (height, width, 3)
    assert painted.dtype == np.uint8


@pytest.mark.parametrize("corner", [(0, 0), (0, 300), (220, 0), (220, 300), (110, 150)])
def test_chips_stay_inside_the_frame(corner: tuple[int, int]) -> None:
    painter = OverlayPainter((240, 320))
    item = result_of(index_map := square((240, 320), (200, *corner, 20))).objects[0]
    for top, left, bottom, right in painter._places(index_map, item, (15, 30)):
        assert 0 <= top < bottom <= 240
        assert 0 <= left < right <= 320
        assert (bottom - top, right - left) == (15, 30)


def chips_of(index_map: np.ndarray, labels: Labels) -> list[tuple[int, int, int, int]]:
    """Where chips are: (top, left, bottom, right) of each, in the order of the objects."""
    found = []

    class Painter(OverlayPainter):
        @staticmethod
        def _hidden(place, index_map, item, drawn, taken):  # type: ignore[no-untyped-def]
            found[:] = taken
            return OverlayPainter._hidden(place, index_map, item, drawn, taken)

    size = (index_map.shape[0], index_map.shape[1])
    last = square(size, (255, 0, 0, 1))
    Painter(size, labels).paint(result_of(np.where(last > 0, last, index_map)))
    return list(found)


def test_chips_avoid_each_other_and_tiny_frames() -> None:
    first, second = chips_of(square((240, 320), (1, 100, 100, 20), (2, 100, 122, 20)), Labels())
    assert not _overlap(first, second)
    assert not chips_of(square((10, 10), (1, 2, 2, 5)), Labels())


def test_labels_are_left_out_where_chips_would_hide_each_other() -> None:
    index_map = square((120, 160), *((k + 1, 50, 8 + 25 * k, 18) for k in range(6)))
    for labels in (Labels(), Labels(("white rat",))):
        assert not any(_overlap(a, b) for a, b in combinations(chips_of(index_map, labels), 2))


@pytest.mark.parametrize("label", ["", "rat", "a very long name indeed"])
def test_chips_do_not_hide_small_objects(label: str) -> None:
    """Twelve in a crowd, each as high as a chip."""
    rng = np.random.default_rng(3)
    places = [(int(y), int(x)) for y in range(60, 200, 40) for x in range(60, 260, 60)]
    index_map = square((240, 320), *((k + 1, y + rng.integers(8), x, 14) for k, (y, x) in enumerate(places)))
    chips = chips_of(index_map, Labels((label,) if label else ()))
    assert len(chips) == len(places)
    for top, left, bottom, right in chips:
        index_map[top:bottom, left:right] = 0
    for k in range(len(places)):
        assert (index_map == k + 1).sum() >= 0.8 * 14**2


@pytest.mark.parametrize(
    ("size", "label", "shown"),
    [((240, 320), "mouse", True), ((240, 320), "x" * 100, True), ((240, 60), "mouse in white", False),
     ((240, 320), "\u9f20", False)],
)  # fmt: skip
def test_labels_are_shown_where_they_can_be(size: tuple[int, int], label: str, shown: bool) -> None:
    result = result_of(square(size, (1, 100, 10, 40)))
    plain, labelled = (OverlayPainter(size, labels).paint(result) for labels in (Labels(), Labels((label,))))
    ys, xs = np.nonzero((plain != labelled).any(axis=-1))
    assert bool(xs.size) == shown
    if shown:
        assert ys.max() < 100
        assert xs.max() - xs.min() > 30
