"""Ids and rows: the invariant of the object table, and measuring an object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.objects import ObjectTable, measure, painted
from vos.types import State

_IDS = st.lists(st.integers(1, 255), unique=True, min_size=1, max_size=40)


@given(_IDS, st.data())
def test_rows_never_move(ids: list[int], data: st.DataObject) -> None:
    table = ObjectTable()
    for row, object_id in enumerate(ids):
        assert table.add(object_id) == row
        assert [table.row(i) for i in ids[: row + 1]] == list(range(row + 1))
    assert table.ids == tuple(ids)
    left_out = data.draw(st.sets(st.sampled_from(ids)))
    assert [table.ids[row] for row in table.rows_without(left_out)] == [i for i in ids if i not in left_out]


@given(_IDS, st.integers(0, 2**32 - 1))
def test_painting_gives_every_row_its_id(ids: list[int], seed: int) -> None:
    winner = np.random.default_rng(seed).integers(-1, len(ids), (5, 7)).astype(np.int16)
    index_map = painted(winner, ids)
    assert index_map.dtype == np.uint8
    assert all(index_map[at] == (0 if k < 0 else ids[k]) for at, k in np.ndenumerate(winner))


def test_as_many_objects_as_a_byte_counts_are_painted() -> None:
    winner = np.arange(-1, 255, dtype=np.int16).reshape(16, 16)
    np.testing.assert_array_equal(painted(winner, range(255, 0, -1)).ravel(), [0, *range(255, 0, -1)])


def test_an_id_enters_once_and_fits_a_byte() -> None:
    table = ObjectTable()
    table.add(5)
    with pytest.raises(ValueError, match="object 5 already has row 0"):
        table.add(5)
    with pytest.raises(ValueError, match="1 to 255"):
        table.add(0)
    assert 5 in table
    assert 6 not in table


def test_measure_by_hand() -> None:
    index_map = np.zeros((5, 6), np.uint8)
    index_map[1:3, 2:5] = 4
    found = measure(index_map, 4, score=0.8, uncertain_below=0.5, given=False)
    assert (found.box, found.area, found.state) == ((2.0, 1.0, 4.0, 2.0), 6, State.VISIBLE)
    assert measure(index_map, 4, 0.4, 0.5, False).state is State.UNCERTAIN
    assert measure(index_map, 4, 1.008, 0.5, False).score == 1
    gone = measure(index_map, 9, 0.8, 0.5, False)
    assert (gone.state, gone.score, gone.box, gone.area) == (State.ABSENT, 0.0, None, 0)
