"""Target embedding, prior and scale weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos.models.features import FeatureMap
from vos.personalize import covered_cells, fit_scale_weights, location_priors, target_embedding
from vos.settings import FitSettings


def _features(grid: torch.Tensor, frame: tuple[int, int]) -> FeatureMap:
    return FeatureMap(grid, frame, (grid.shape[1] * 16, grid.shape[2] * 16), 16)


def test_target_embedding_is_mean_and_max_by_hand() -> None:
    grid = torch.tensor([[[1.0, 3.0], [9.0, 9.0]], [[2.0, 0.0], [9.0, 9.0]]])
    cells = torch.tensor([[True, True], [False, False]])
    # mean (2, 1), max (3, 2): their mean is (2.5, 1.5).
    expected = torch.tensor([2.5, 1.5]) / np.hypot(2.5, 1.5)
    torch.testing.assert_close(target_embedding(_features(grid, (32, 32)), cells), expected.float())


def test_prior_is_the_maximum_of_cosines_over_references() -> None:
    grid = torch.tensor([[[2.0, 0.0]], [[0.0, 5.0]]])
    one, two = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    priors = location_priors(_features(grid, (16, 32)), [two, one])
    torch.testing.assert_close(priors, torch.tensor([[[1.0, 0.8]], [[0.6, 0.8]]]))


def test_every_object_has_a_cell() -> None:
    features = _features(torch.zeros(1, 8, 8), (128, 128))
    for area in ((5, 6, 5, 6), (0, 1, 0, 128), (16, 48, 16, 48)):
        mask = np.zeros((128, 128), dtype=bool)
        mask[area[0] : area[1], area[2] : area[3]] = True
        assert covered_cells(features, mask).any()
    assert covered_cells(features, mask).sum() == 4
    with pytest.raises(ValueError, match="empty mask"):
        covered_cells(features, np.zeros((128, 128), dtype=bool))


def _plain_fit(logits: torch.Tensor, target: torch.Tensor, steps: int) -> np.ndarray:
    """The published optimisation over every pixel, by autograd."""
    flat, labels = logits.flatten(1).double(), target.flatten()[None].double()
    free = torch.nn.Parameter(torch.ones(2, 1, dtype=torch.float64) / 3)
    optimizer = torch.optim.AdamW([free], lr=4e-4, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        weights = torch.cat([1 - free.sum(0, keepdim=True), free])
        mixed = (flat * weights).sum(0)[None]
        p = mixed.sigmoid()
        dice = 1 - (2 * (p * labels).sum() + 1) / (p.sum() + labels.sum() + 1)
        cross_entropy = F.binary_cross_entropy_with_logits(mixed, labels, reduction="none")
        p_t = p * labels + (1 - p) * (1 - labels)
        focal = ((0.25 * labels + 0.75 * (1 - labels)) * (1 - p_t) ** 2 * cross_entropy).mean()
        optimizer.zero_grad()
        (dice + focal).backward()
        optimizer.step()
        schedule.step()
    return torch.cat([1 - free.sum(0), free[:, 0]]).detach().numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("steps", [10, 800])
def test_fit_equals_the_plain_optimisation(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    target = (x - 40) ** 2 + (y - 30) ** 2 < 18**2
    logits = np.stack(
        [
            20 * np.tanh((radius - np.hypot(x - 40 - dx, y - 30)) / 4) - 6 + rng.normal(0, 1, target.shape)
            for radius, dx in ((10, 3), (19, 0), (26, -2))
        ]
    ).astype(np.float32)
    plain = _plain_fit(torch.from_numpy(logits), torch.from_numpy(target), steps)
    ours = fit_scale_weights(logits, target, FitSettings(steps=steps))
    np.testing.assert_allclose(ours, plain, atol=1e-3)
    assert ours.sum() == pytest.approx(1)
    assert not np.allclose(plain, 1 / 3, atol=1e-3)


def test_fit_prefers_the_scale_that_fits() -> None:
    y, x = np.mgrid[:40, :40]
    target = (x - 20) ** 2 + (y - 20) ** 2 < 100
    right, wrong = np.where(target, 8.0, -8.0), np.where(target, -8.0, 8.0)
    weights = fit_scale_weights(np.stack([wrong, right, wrong]), target, FitSettings())
    assert weights.argmax() == 1
