"""Points in and around a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from trackers.points import around, interior, medoids, on_mask
from vos.windows import box_of

masks = arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 30)))


def _disc(radius: int, x: int, y: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


@given(masks, st.integers(0, 9))
def test_medoids_are_different_pixels_of_the_mask(mask: np.ndarray, count: int) -> None:
    points = medoids(mask, count)
    assert points.dtype == np.float32
    assert points.shape == (min(count, mask.sum()), 2)
    assert on_mask(mask, points).all()
    assert len(np.unique(points, axis=0)) == len(points)
    np.testing.assert_array_equal(points, medoids(mask.copy(), count))


@given(masks, st.integers(1, 6))
def test_medoids_leave_fixed_points_their_place(mask: np.ndarray, count: int) -> None:
    fixed = medoids(mask, 3)
    points = medoids(mask, count, fixed)
    assert len(points) == max(0, min(count, mask.sum() - len(fixed)))
    assert not len(points) or cdist(points, fixed).min() >= 1


def test_medoids_are_spread_evenly() -> None:
    mask = np.zeros((200, 300), dtype=bool)
    mask[20:180, 30:270] = True
    points = medoids(mask, 8)
    ys, xs = np.nonzero(mask)
    nearest = cdist(np.stack([xs, ys], axis=1), points)
    assert nearest.min(axis=1).max() < 100
    share = np.bincount(nearest.argmin(axis=1), minlength=8) / mask.sum()
    assert share.min() > 0.06
    assert share.max() < 0.22


def test_medoids_move_with_the_mask() -> None:
    np.testing.assert_array_equal(medoids(_disc(30, 50, 50), 8) + np.float32([41, 17]), medoids(_disc(30, 91, 67), 8))


def test_medoids_of_a_thin_shape() -> None:
    mask = np.zeros((2000, 2000), dtype=bool)
    mask[1::7, 3] = True
    mask[1001, 1::2] = True
    points = medoids(mask, 4)
    assert len(points) == 4
    assert on_mask(mask, points).all()


@given(masks, st.integers(0, 5))
def test_interior_points_are_in_the_mask(mask: np.ndarray, count: int) -> None:
    points = interior(mask, count)
    assert points.dtype == np.float32
    assert len(points) <= count
    assert bool(len(points)) == (mask.any() and count > 0)
    assert on_mask(mask, points).all()
    assert len(np.unique(points, axis=0)) == len(points)


def test_the_deepest_point_comes_first() -> None:
    two = _disc(20, 40, 50) | _disc(30, 110, 60)
    np.testing.assert_array_equal(interior(two, 2)[0], [110, 60])
    np.testing.assert_array_equal(interior(two, 2)[1], [40, 50])
    np.testing.assert_array_equal(interior(np.ones((21, 31), dtype=bool), 1), [[10, 10]])


def test_interior_does_not_depend_on_where_memory_lies() -> None:
    rng = np.random.default_rng(0)
    mask = _disc(25, 60, 60) | _disc(25, 100, 60)
    keep = []
    seen = set()
    for _ in range(50):
        keep.append(np.empty(int(rng.integers(1, 10_000)), np.uint8))
        seen.add(interior(mask.copy(), 6).tobytes())
    assert len(seen) == 1


@given(masks, st.integers(0, 4))
def test_points_around_are_off_the_mask(mask: np.ndarray, count: int) -> None:
    points = around(mask, count)
    assert len(points) <= count
    assert not on_mask(mask, points).any()
    h, w = mask.shape
    assert ((points >= 0) & (points <= (w - 1, h - 1))).all()


def test_points_around_are_near_and_on_all_sides() -> None:
    mask = _disc(20, 80, 60)
    points = around(mask, 4)
    away = np.linalg.norm(points - [80, 60], axis=1) - 20
    assert len(points) == 4
    assert away.min() > 5
    assert away.max() < 20
    assert len({(x > 80, y > 60) for x, y in points}) >= 3
    assert cdist(around(mask, 1, points[:3]), points[:3]).min() > 15


def test_there_is_no_room_around_a_full_frame() -> None:
    assert around(np.ones((20, 20), dtype=bool), 3).shape == (0, 2)


@given(masks)
def test_box_and_pixels(mask: np.ndarray) -> None:
    box = box_of(mask)
    ys, xs = np.nonzero(mask)
    assert box == ((xs.min(), ys.min(), xs.max(), ys.max()) if len(xs) else None)


@pytest.mark.parametrize(
    ("point", "inside"),
    [((2, 1), True), ((2.49, 1.49), True), ((1.5, 0.5), True), ((2.5, 1), False), ((-1, 1), False), ((2, 9), False)],
)
def test_a_pixel_reaches_half_a_pixel_around_its_centre(point: tuple[float, float], inside: bool) -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    assert on_mask(mask, np.float32([point])).tolist() == [inside]
