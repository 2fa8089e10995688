from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vos.distance import to_nearest


@given(arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_it_is_the_distance_to_the_nearest(mask: np.ndarray) -> None:
    found, there = to_nearest(mask), np.argwhere(mask)
    assert found.dtype == np.float32
    for place in np.ndindex(*mask.shape):
        squares = ((there - place) ** 2).sum(axis=1)
        assert found[place] == (np.sqrt(np.float32(squares.min())) if len(there) else np.inf)


def test_it_is_the_same_every_time() -> None:
    mask = np.zeros((90, 160), dtype=bool)
    mask[30:41, 50:77] = True
    first = to_nearest(mask)
    assert all(np.array_equal(first, to_nearest(mask.copy())) for _ in range(50))
