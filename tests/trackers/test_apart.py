"""What tells objects from each other, and what competes by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trackers.apart import contested, given_back, leads, told_apart
from trackers.appearance import Cells, Sums, likeness
from trackers.belief import rivalled
from vos.models.features import FeatureMap

SIZE, GRID, STRIDE = (96, 160), (12, 20), 8
MAPS = arrays(np.float32, (3, 4, 5), elements=st.floats(-8, 8, width=32))


def _scene(kinds: int, alike: float = 0.0) -> tuple[Cells, list[torch.Tensor]]:
    """Columns of so many kinds of thing and one of nothing, features 6-dimensional; and the share of each kind."""
    noise = torch.Generator().manual_seed(0)
    looks = torch.randn(kinds + 1, 6, generator=noise)
    looks[1:kinds] = looks[1:kinds].lerp(looks[:1], alike)
    which = torch.arange(GRID[1]) * (kinds + 1) // GRID[1]
    features = looks[which].T[:, None].repeat(1, GRID[0], 1) + 0.1 * torch.randn(6, *GRID, generator=noise)
    shares = [(which == kind).float().expand(GRID) for kind in range(kinds)]
    return Cells(FeatureMap(features, SIZE, SIZE, STRIDE)), shares


def _told_apart(cells: Cells, shares: list[torch.Tensor]) -> torch.Tensor:
    sums = (Sums.of(cells, share, 3.0) for share in shares)
    return told_apart([(one.own_gram, one.own_mean) for one in sums], 0.01)


def test_weights_solve_the_regression_with_one_target_per_object() -> None:
    cells, shares = _scene(3)
    weights = _told_apart(cells, shares).double().numpy()
    owns = [cells.x[share.flatten() > 0.5].double().numpy() for share in shares]
    x = np.concatenate(owns)
    # Every object counts as much as another, whatever its size.
    each = np.concatenate([np.full(len(own), 1 / len(own)) for own in owns])
    y = np.concatenate([np.full(len(own), row) for row, own in enumerate(owns)])
    gram = (x * each[:, None]).T @ x + 3 * 0.01 * np.eye(x.shape[1])
    expected = np.linalg.solve(gram, (x * each[:, None]).T @ np.eye(3)[y])
    np.testing.assert_allclose(weights, expected.T, atol=2e-3)


@pytest.mark.parametrize("kinds", [2, 4])
def test_every_object_is_ahead_on_its_own_cells_only(kinds: int) -> None:
    cells, shares = _scene(kinds)
    lead = leads(cells, _told_apart(cells, shares))
    for row, share in enumerate(shares):
        assert lead[row][share > 0].min() > 0.5
        for other in set(range(kinds)) - {row}:
            assert lead[row][shares[other] > 0].max() < -0.5


def test_look_alikes_are_not_told_apart() -> None:
    cells, shares = _scene(2, alike=1.0)
    lead = leads(cells, _told_apart(cells, shares))
    assert lead[:, (shares[0] + shares[1]) > 0].abs().max() < 0.3, "little but noise"


def test_an_object_leads_by_what_the_next_one_has() -> None:
    cells, shares = _scene(3)
    weights = _told_apart(cells, shares)
    looks, lead = likeness(cells, weights).numpy(), leads(cells, weights).numpy()
    for row in range(3):
        np.testing.assert_allclose(lead[row], looks[row] - np.delete(looks, row, 0).max(0), atol=1e-6)


@given(MAPS, MAPS, st.floats(0, 10))
def test_only_what_is_behind_one_that_may_be_there_loses(alone: np.ndarray, lead: np.ndarray, weight: float) -> None:
    before = alone.copy()
    beliefs = contested(alone, lead, weight)
    np.testing.assert_array_equal(alone, before)
    for row in range(3):
        others = np.delete(alone, row, 0).max(0)
        loss = np.where(others > -4, weight * np.clip(-lead[row], 0, 1) / (1 + np.exp(-others.astype(np.float64))), 0)
        np.testing.assert_allclose(beliefs[row], alone[row] - loss, atol=1e-4)


def test_one_object_has_nobody_to_compete_with() -> None:
    alone = np.full((1, 4, 5), 2, np.float32)
    np.testing.assert_array_equal(contested(alone, np.full_like(alone, -1), 4.0), alone)


@given(MAPS, MAPS)
def test_what_was_surely_another_s_goes_back_to_it(logits: np.ndarray, alone: np.ndarray) -> None:
    beliefs = rivalled(alone)
    found = given_back(logits, beliefs, 1.0)
    assert found.dtype == np.float32
    for y, x in np.ndindex(*logits.shape[1:]):
        owner = int(beliefs[:, y, x].argmax())
        sure = beliefs[owner, y, x] > 1
        took = [k for k in range(3) if sure and k != owner and logits[k, y, x] > 0 and beliefs[k, y, x] < -1]
        expected = logits[:, y, x].copy()
        expected[took] = -2
        if took:
            expected[owner] = 2
        np.testing.assert_array_equal(found[:, y, x], expected)
