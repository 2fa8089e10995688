"""The command line's text forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.references.drawing import rectangle
from vos.errors import ReferenceInputError
from vos.references import BoxPrompt, Click, parse_box, parse_click, parse_mask


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with one.png (object 7), two.png (objects 1 and 2)."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(rectangle(7)).save("one.png")
    two = rectangle(1)
    two[100:110] = 2
    Image.fromarray(two).save("two.png")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "frame", "ids", "source"),
    [
        ("one.png", 0, (7,), "one.png"),
        ("12:one.png", 12, (7,), "one.png"),
        ("one.png:3", 0, (3,), "one.png"),
        ("12:one.png:3", 12, (3,), "one.png"),
        ("12:two.png", 12, (1, 2), "two.png"),
    ],
)
def test_mask_forms(folder: Path, text: str, frame: int, ids: tuple[int, ...], source: str) -> None:
    reference = parse_mask(text)
    assert (reference.frame, reference.ids, reference.source) == (frame, ids, source)


@pytest.mark.parametrize("name", ["3:one.png", "C:one.png", "one.png:3", "5:one.png:3", " one "])
def test_a_path_that_exists_wins(folder: Path, name: str) -> None:
    Image.fromarray(rectangle(9)).save(folder / name, "PNG")
    reference = parse_mask(name)
    assert (reference.frame, reference.ids, reference.source) == (0, (9,), name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mask '' is not of the form [FRAME:]FILE[:ID], for example mask.png or 12:mask.png:2"),
        ("no.png", "mask file 'no.png' does not exist: the form is [FRAME:]FILE[:ID]"),
        ("3:no.png", "mask file 'no.png' does not exist (from '3:no.png'): the form is [FRAME:]FILE[:ID]"),
        ("3:no.png:2", "mask file 'no.png' does not exist (from '3:no.png:2'): the form is [FRAME:]FILE[:ID]"),
        ("x:one.png", "mask file 'x:one.png' does not exist: the form is [FRAME:]FILE[:ID]"),
        ("a\0b", "mask file 'a\\x00b' does not exist: the form is [FRAME:]FILE[:ID]"),
        ("-1:one.png", "mask '-1:one.png': FRAME must be 0 or more, got -1"),
        ("one.png:0", "mask 'one.png:0': ID must be 1 to 255, got 0"),
        ("one.png:256", "mask 'one.png:256': ID must be 1 to 255, got 256"),
        (
            "two.png:3",
            "mask 'two.png:3': ID 3 can only be given to a mask of one object, but this one holds 2 (ids 1, 2): "
            "leave out the :3",
        ),
    ],
)
def test_mask_errors(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ReferenceInputError) as error:
        parse_mask(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "click"),
    [
        ("120,80", Click(0, 120, 80)),
        ("0:120,80", Click(0, 120, 80)),
        ("7:120.5,.25:2", Click(7, 120.5, 0.25, 2)),
        ("-0:120,80:2", Click(0, 120, 80, 2, positive=False)),
        ("-120,80", Click(0, 120, 80, positive=False)),
        ("-5:1,2", Click(5, 1, 2, positive=False)),
        ("0:-3,2", Click(0, -3, 2)),
        (" 3: 4 , 5 :6 ", Click(3, 4, 5, 6)),
    ],
)
def test_click_forms(text: str, click: Click) -> None:
    assert parse_click(text) == click


@pytest.mark.parametrize(
    "text", ["", "5", "a,b", "1,2,3", "x:1,2", "1,2:x", "1,2:", ":1,2", "1:2:3,4", "nan,1", "1e5,1", "٣,٤"]
)
def test_malformed_clicks(text: str) -> None:
    with pytest.raises(ReferenceInputError) as error:
        parse_click(text)
    assert str(error.value) == (
        f"click {text!r} is not of the form [-][FRAME:]x,y[:ID], for example 0:320,180 or -0:10,20:2"
    )


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("1,2,3,4", BoxPrompt(0, 1, 2, 3, 4)),
        ("9:1.5,2,3,4:255", BoxPrompt(9, 1.5, 2, 3, 4, 255)),
        ("5,5,5,5", BoxPrompt(0, 5, 5, 5, 5)),
    ],
)
def test_box_forms(text: str, box: BoxPrompt) -> None:
    assert parse_box(text) == box


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3", "1,2,3,4,5", "-1:1,2,3,4", "a,2,3,4", "1,2,3,4:b"])
def test_malformed_boxes(text: str) -> None:
    with pytest.raises(ReferenceInputError) as error:
        parse_box(text)
    assert str(error.value) == (
        f"box {text!r} is not of the form [FRAME:]x0,y0,x1,y1[:ID], for example 0:100,50,220,180 or 8,8,64,64:2"
    )


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_click, "1,2:0", "click: ID must be 1 to 255, got 0"),
        (parse_click, "1,2:256", "click: ID must be 1 to 255, got 256"),
        (parse_box, "1,2,3,4:999", "box: ID must be 1 to 255, got 999"),
        (
            parse_box,
            "5,2,3,4",
            "box 5,2,3,4 is empty: x1 must not be less than x0, nor y1 less than y0 "
            "(x0,y0 is the top left corner, x1,y1 the bottom right)",
        ),
        (lambda _: Click(0, float("nan"), 0), "", "click: coordinates must be finite numbers, got nan"),
        (
            lambda _: Click(0, 1, 2, positive="no"),  # type: ignore[arg-type]
            "",
            "click: positive must be True or False, got 'no'",
        ),
        (lambda _: Click(-1, 0, 0), "", "click: FRAME must be 0 or more, got -1"),
        (lambda _: Click(1.5, 0, 0), "", "click: FRAME must be a whole number, got 1.5"),  # type: ignore[arg-type]
    ],
)
def test_values_out_of_range(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ReferenceInputError) as error:
        parse(text)
    assert str(error.value) == message


@given(st.integers(0, 10**8), st.integers(0, 9999), st.integers(0, 9999), st.integers(1, 255), st.booleans())
def test_clicks_round_trip(frame: int, x: int, y: int, object_id: int, positive: bool) -> None:
    text = f"{'' if positive else '-'}{frame}:{x},{y}:{object_id}"
    assert parse_click(text) == Click(frame, x, y, object_id, positive)


@given(st.text(max_size=30))
def test_no_text_ends_in_anything_but_one_line(text: str) -> None:
    for parse in (parse_click, parse_box, parse_mask):
        try:
            parse(text)
        except ReferenceInputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("text", ["10,10", "-10,10", "0:-3,2", "-7:-3,2"])
def test_the_source_of_a_click_is_its_text(text: str) -> None:
    assert parse_click(text).source == f"click {text}"


def test_a_renamed_mask_keeps_its_pixels(folder: Path) -> None:
    np.testing.assert_array_equal(parse_mask("one.png:3").mask, rectangle(3))
