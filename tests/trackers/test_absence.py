"""Where an object is not, while nothing of it is in view."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from trackers.absence import Absence

LOGITS = np.full((30, 40), -6, np.float32)
LOGITS[10:18, 12:20] = 6


def test_beside_an_object_in_view_everything_is_another_but_what_touches_it() -> None:
    absence = Absence.beside(LOGITS, 0.7)
    assert set(np.unique(absence.other)) == {np.float32(0), np.float32(0.7)}
    assert not absence.other[6:22, 8:24].any()
    assert (absence.other == 0).sum() == 16 * 16
    assert not Absence.beside(-np.abs(LOGITS)).other.any(), "of an object that was not in view nothing is known"


def test_what_was_known_is_kept_while_it_is_not_sure_which_is_the_object() -> None:
    before = Absence(np.full_like(LOGITS, 0.9))
    absence = Absence.beside(LOGITS, 0.15, before)
    assert absence.other.max() == np.float32(0.9)
    assert absence.other[14, 16] == 0


def test_an_object_that_is_gone_is_near_where_it_was_for_a_while() -> None:
    absence, unlike = Absence(np.zeros_like(LOGITS)), []
    assert not absence.unlike(64).any()
    for _ in range(11):
        absence = absence.gone(LOGITS)
        unlike.append(absence.unlike(64))
    assert absence.frames == 11
    assert absence.distance is not None and absence.distance[14, 16] == 0
    assert unlike[0][14, 16] == 0
    # Eight places, one width, to the right of the last mask; and farther than four widths counts no more.
    assert unlike[0][14, 27] == pytest.approx(0.9 * 0.25)
    assert unlike[0].max() <= 0.9
    assert all((later <= sooner).all() for sooner, later in pairwise(unlike))
    assert not unlike[-1].any()


def test_it_can_be_written_and_made_again() -> None:
    absence = Absence(np.full_like(LOGITS, 0.5)).gone(LOGITS)
    again = Absence(**absence.state())
    np.testing.assert_array_equal(again.unlike(64), absence.unlike(64))
    np.testing.assert_array_equal(again.gone(-LOGITS).unlike(64), absence.gone(LOGITS).unlike(64))
