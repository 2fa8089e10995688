from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eval import metrics, plain
from eval.metrics import boundary_f, disk, jaccard, tolerance_radius
from eval.metrics_torch import torch_counter

masks = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


@st.composite
def index_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of ids 0 to 4 in blocks, so that masks have an inside."""
    block = draw(st.integers(1, 6))
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    coarse = (-(-height // block), -(-width // block))
    maps = [draw(arrays(np.uint8, coarse, elements=st.integers(0, 4))) for _ in range(2)]
    return tuple(np.kron(m, np.ones((block, block), np.uint8))[:height, :width] for m in maps)


def square(top: int, left: int, side: int, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_jaccard_by_hand() -> None:
    assert jaccard(square(10, 10, 4), square(10, 12, 4)) == 8 / 24


def test_boundary_f_by_hand() -> None:
    # A 1x1 mask at (y, x) has the boundary {(y, x), (y - 1, x), (y, x - 1), (y - 1, x - 1)}. Moved by one column,
    # two of the four coincide; with a tolerance of one pixel all four are matched.
    gt, pred = square(10, 10, 1), square(10, 11, 1)
    assert boundary_f(gt, pred, tolerance=0) == 0.5
    assert boundary_f(gt, pred, tolerance=1) == 1.0


def test_boundary_of_the_last_row_and_column() -> None:
    mask = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1]], bool)
    assert metrics.boundary(mask).tolist() == [[0, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert np.array_equal(plain.boundary(mask), metrics.boundary(mask))


def test_a_mask_that_fills_the_frame_has_no_boundary() -> None:
    full, empty = np.ones((9, 9), bool), np.zeros((9, 9), bool)
    assert boundary_f(full, empty) == 1.0
    assert boundary_f(full, square(2, 2, 3, (9, 9))) == 0.0


def test_empty_cases() -> None:
    empty, some = np.zeros((20, 20), bool), square(5, 5, 6, (20, 20))
    assert (jaccard(empty, empty), boundary_f(empty, empty)) == (1.0, 1.0)
    assert (jaccard(some, empty), boundary_f(some, empty)) == (0.0, 0.0)
    assert (jaccard(empty, some), boundary_f(empty, some)) == (0.0, 0.0)


def test_void_is_left_out_of_both() -> None:
    gt, pred = square(10, 10, 6), square(10, 10, 12)
    void = pred & ~gt
    assert jaccard(gt, pred) < 0.3
    assert (jaccard(gt, pred, void=void), boundary_f(gt, pred, void=void)) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("shape", "tolerance", "radius"),
    [((480, 854), 0.008, 8), ((480, 1152), 0.008, 10), ((36, 48), 0.008, 1), ((480, 854), 3, 3), ((480, 854), 1.0, 1)],
)
def test_tolerance_radius(shape: tuple[int, int], tolerance: float, radius: int) -> None:
    assert tolerance_radius(shape, tolerance) == radius


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, float("nan")])
def test_a_wrong_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be a share of the diagonal below 1 or whole pixels, got"):
        tolerance_radius((480, 854), tolerance)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masks must be 2-D and of one shape, got \(3, 4\) and \(4, 3\)"):
        jaccard(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="2-D"):
        boundary_f(np.zeros((3, 4, 1)), np.zeros((3, 4, 1)))
    with pytest.raises(ValueError, match="one shape"):
        torch_counter("cpu")(np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8), 1, 1)


def test_disk_is_every_offset_within_the_radius() -> None:
    assert disk(0).tolist() == [[1]]
    assert disk(2).tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    assert disk(8).sum() == 197


@given(masks)
def test_symmetry_and_bounds(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    assert jaccard(a, b) == jaccard(b, a)
    assert boundary_f(a, b, 2) == pytest.approx(boundary_f(b, a, 2), abs=1e-15)
    assert 0 <= jaccard(a, b) <= 1
    assert 0 <= boundary_f(a, b, 2) <= 1


@given(masks)
def test_identity(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert jaccard(pair[0], pair[0]) == 1.0
    assert boundary_f(pair[0], pair[0], 0) == 1.0


@given(masks, st.integers(0, 9), st.integers(0, 9))
def test_translation(pair: tuple[np.ndarray, np.ndarray], down: int, right: int) -> None:
    """Moving both masks changes nothing, as long as they stay clear of the frame's edge."""
    placed = [np.pad(m, 2) for m in pair]
    moved = [np.pad(m, ((2 + down, 11 - down), (2 + right, 11 - right))) for m in pair]
    assert jaccard(*placed) == jaccard(*moved)
    assert boundary_f(*placed, tolerance=2) == boundary_f(*moved, tolerance=2)


@given(masks)
def test_a_wider_tolerance_never_lowers_f(pair: tuple[np.ndarray, np.ndarray]) -> None:
    values = [boundary_f(*pair, tolerance=r) for r in range(5)]
    assert values == sorted(values)


@given(index_maps(), st.integers(0, 5))
def test_windows_agree_with_full_frames(maps: tuple[np.ndarray, np.ndarray], radius: int) -> None:
    gt, pred = maps
    counts = metrics.count(gt, pred, 3, radius)
    table = metrics.count(gt, pred, 3, radius, proposals=4)
    for i in range(3):
        assert counts.jaccard()[i] == plain.jaccard(gt == i + 1, pred == i + 1)
        assert counts.f_measure()[i] == plain.boundary_f(gt == i + 1, pred == i + 1, radius)
        for j in range(4):
            assert table.jaccard()[j, i] == plain.jaccard(gt == i + 1, pred == j + 1)
            assert table.f_measure()[j, i] == plain.boundary_f(gt == i + 1, pred == j + 1, radius)


@settings(deadline=None)
@given(maps=index_maps(), radius=st.integers(0, 5), proposals=st.none() | st.integers(0, 4))
def test_torch_gives_the_same_integers(
    device: torch.device, maps: tuple[np.ndarray, np.ndarray], radius: int, proposals: int | None
) -> None:
    expected = metrics.count(*maps, 3, radius, proposals)
    assert np.array_equal(torch_counter(device)(*maps, 3, radius, proposals).to_array(), expected.to_array())


def test_torch_gives_the_same_integers_on_a_full_frame(device: torch.device, rng: np.random.Generator) -> None:
    gt = np.kron(rng.integers(0, 4, (24, 43)), np.ones((20, 20), int))[:, :854].astype(np.uint8)
    pred = np.roll(gt, (3, 11), axis=(0, 1))
    expected = metrics.count(gt, pred, 3, 8)
    assert expected.gt_matched.min() > 0
    assert np.array_equal(torch_counter(device)(gt, pred, 3, 8).to_array(), expected.to_array())
    tensors = torch.from_numpy(gt).to(device), torch.from_numpy(pred)
    assert np.array_equal(torch_counter(device)(*tensors, 3, 8).to_array(), expected.to_array())


def test_counts_keep_their_type_and_shape() -> None:
    gt = np.zeros((5, 6), np.uint16)
    for counts, shape in ((metrics.count(gt, gt, 2, 1), (2,)), (metrics.count(gt, gt, 2, 1, 3), (3, 2))):
        assert counts.union.shape == shape
        assert counts.union.dtype == np.int64
        assert torch_counter("cpu")(gt, gt, 2, 1, None if len(shape) == 1 else 3).union.shape == shape


def test_metrics_need_neither_torch_nor_vos() -> None:
    code = "import sys, eval.metrics; sys.exit(any(m.split('.')[0] in ('torch', 'vos') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
