"""What has been seen beside an object for some frames."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from trackers.company import company

LOGITS = np.full((30, 40), -6, np.float32)
LOGITS[10:18, 12:20] = 6
TOUCHED = (slice(9, 19), slice(11, 21))


def test_what_stays_beside_an_object_becomes_another() -> None:
    known, seen = None, []
    for _ in range(4):
        known = company(known, LOGITS, 1.0)
        seen.append(float(known[0, 0]))
        assert not known[TOUCHED].any(), "what touches the object may be its own"
        assert (known == 0).sum() == 10 * 10
    assert seen == pytest.approx([0.3, 0.51, 0.657, 0.7599])


def test_what_the_object_takes_in_is_another_ever_less() -> None:
    known = company(np.full_like(LOGITS, 0.8), LOGITS, 1.0)
    np.testing.assert_allclose(known[TOUCHED], 0.72)
    assert known[0, 0] == pytest.approx(0.86)


def test_less_is_said_by_a_mask_that_may_not_be_the_object_and_nothing_by_none() -> None:
    assert company(None, LOGITS, 0.5)[0, 0] == pytest.approx(0.15)
    assert not company(None, -np.abs(LOGITS), 1.0).any()
    before = np.full_like(LOGITS, 0.4)
    np.testing.assert_array_equal(company(before, -np.abs(LOGITS), 1.0), before)


@given(
    arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (6, 7), elements=st.floats(-6, 6, width=32)),
    st.floats(0, 1),
)
def test_it_is_a_share(before: np.ndarray, logits: np.ndarray, surely: float) -> None:
    after = company(before, logits, surely)
    assert after.dtype == np.float32
    assert after.min() >= 0 and after.max() <= 1
