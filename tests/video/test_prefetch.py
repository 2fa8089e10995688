"""Reading ahead: order, bounds, errors and clean ends."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.video import prefetch
from vos.video.prefetch import _end_all


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "vos-prefetch"]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers()), st.integers(1, 5))
def test_same_items_in_the_same_order(items: list[int], size: int) -> None:
    assert list(prefetch(items, size)) == items
    assert not threads()


def test_it_stays_within_its_bound() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    ahead = prefetch(items(), 3)
    assert next(ahead) == 0
    time.sleep(0.1)
    # One was taken, three wait, and one is in the thread's hand.
    assert len(made) == 5
    ahead.close()
    assert not threads()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken")

    got = []
    with pytest.raises(ValueError, match="broken"):
        for item in prefetch(items(), 5):
            got.append(item)
    assert got == [1, 2]
    assert not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_early_stops_the_thread(error: type[BaseException]) -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    started = time.monotonic()
    ahead = prefetch(endless(), 2)
    with pytest.raises(error):
        try:
            for _ in ahead:
                raise error
        finally:
            ahead.close()
    assert not threads()
    assert time.monotonic() - started < 2


def test_nothing_runs_before_the_first_item() -> None:
    prefetch(iter([1]), 1).close()
    assert not threads()


def test_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least one item, got size = 0"):
        prefetch([], 0)


def test_what_is_open_when_python_ends_is_ended() -> None:
    """One that reads from another too, as a run does."""
    outer = prefetch(prefetch(itertools.count(), 2), 2)
    assert next(outer) == 0
    assert len(threads()) == 2
    _end_all()
    assert not threads()
    outer.close()
