"""What tells an object from the rest of its frame: a linear classifier of grid cells, fitted in closed form.

Ridge regression from a cell's features to +1 (the object) or -1 (anything else). Its sums over cells are all that is
kept of a frame, so a memory of any length takes the room of one, and forgetting is a weighted mean of sums. Online
learnt target models of video object segmentation work alike (Robinson et al., Learning Fast and Robust Target Models
for Video Object Segmentation, 2020), with iterations and a trained decoder behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vos.distance import to_nearest
from vos.evidence import recall
from vos.models.features import FeatureMap, unit_cells

# Cells that are kept of a view, and those that an object's own sums are made of.
_VIEW, _OWN = 128, 256
# Cells whose weight is this much apart from the usual one are counted one by one, a multiple of so many of them (the
# backend keeps compiled code for every number that it has met); the sum over all others is shared by objects.
_APART, _ONE_BY_ONE = 0.02, 256


class Cells:
    """A frame's cells as the classifier sees them, for any number of objects.

    Features: the embedding and, where they are kept, the encoder's earlier stages, each centred and of unit length in
    every cell, and a constant 1.

    Attributes:
        size: (h, w), the cells that the frame covers.
        x: float32 (h * w, D + 1).
    """

    def __init__(self, image: FeatureMap) -> None:
        self.size = image.covered_size
        h, w = self.size
        parts = [unit_cells(image.features[None, :, :h, :w])[0].flatten(1)]
        if image.stages is not None:
            parts.append(image.stages[:, :h, :w].flatten(1))
        parts.append(torch.ones_like(parts[0][:1]))
        self.x = torch.cat(parts).T.contiguous()
        self._rounded = self.x.to(image.computed_in)
        self._gram: torch.Tensor | None = None

    @property
    def gram(self) -> torch.Tensor:
        """x' x over all cells, (D + 1, D + 1); made when first asked for."""
        if self._gram is None:
            self._gram = self.products()
        return self._gram

    def products(self, which: torch.Tensor | None = None, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Sum of x x' over cells, float32 (D + 1, D + 1), as precisely as the features were computed.

        Args:
            which: int64 (n,), the cells; None for all.
            weights: float32 (n,), how often each counts; None for once.
        """
        x = self._rounded if which is None else self._rounded[which]
        weighted = x if weights is None else (x * weights[:, None]).to(x.dtype)
        return (weighted.T @ x).float()


@dataclass(frozen=True, eq=False)
class Sums:
    """A frame's part in the regression.

    Attributes:
        gram, target: x' W x, float32 (D + 1, D + 1), and x' W y, (D + 1,), W of sum 1 on either side.
        own_gram, own_mean: means of x x' and of x over the object's own cells, up to 256, evenly picked.
    """

    gram: torch.Tensor
    target: torch.Tensor
    own_gram: torch.Tensor
    own_mean: torch.Tensor

    @classmethod
    def of(cls, cells: Cells, share: torch.Tensor, near: float) -> Sums:
        """Of one object.

        Args:
            cells: the frame.
            share: float32 (h, w), how much of each cell the object covers.
            near: how many times as much, and one more, a cell beside the object counts as one far from it.
        """
        own = share > 0.5
        away = torch.from_numpy(to_nearest(own.cpu().numpy())).to(own.device)
        beside = 1 + near * torch.exp(-away / 4)
        inside, outside = torch.where(own, share, 0).flatten(), torch.where(own, 0, (1 - share) * beside).flatten()
        inside, outside = (side / side.sum().clamp(min=1e-3) for side in (inside, outside))
        weight = inside + outside
        y = (2 * share - 1).flatten()
        # What most cells far away weigh; the others are corrected for it.
        common = weight.median()
        apart = (weight - common).abs()
        count = -(-int((apart > _APART * common).sum()) // _ONE_BY_ONE) * _ONE_BY_ONE
        which = apart.topk(min(count, len(apart))).indices
        gram = common * cells.gram + cells.products(which, (weight - common)[which])
        picked = _picked(own, _OWN)
        count = max(1, len(picked))
        return cls(gram, cells.x.T @ (weight * y), cells.products(picked) / count, cells.x[picked].sum(dim=0) / count)

    def to(self, device: torch.device) -> Sums:
        return Sums(*(part.to(device) for part in self.parts))

    def mixed(self, other: Sums, share: float) -> Sums:
        """This and a share of another."""
        return Sums(*(a.lerp(b, share) for a, b in zip(self.parts, other.parts, strict=True)))

    @property
    def parts(self) -> tuple[torch.Tensor, ...]:
        """All four, in the order in which they are given."""
        return self.gram, self.target, self.own_gram, self.own_mean


def solve(sums: Sums, damping: float) -> torch.Tensor:
    """The classifier's weights, float32 (D + 1,): (x' W x + damping I)^-1 x' W y."""
    return ridge(sums.gram, sums.target[:, None], damping)[:, 0]


def ridge(gram: torch.Tensor, target: torch.Tensor, damping: float) -> torch.Tensor:
    """Ridge regression from its sums: (gram + damping I)^-1 target.

    Args:
        gram: float32 (D, D), symmetric. Sums in half precision may have eigenvalues below 0, by which the damping is
            then enlarged.
        target: float32 (D, K).
        damping: above 0.

    Returns:
        float32 (D, K).
    """
    # Not every PyTorch has these for Apple's devices; the sums are small.
    here = gram.device if gram.device.type != "mps" else torch.device("cpu")
    gram, one = gram.to(here), torch.eye(len(gram), device=here)
    factor, failed = torch.linalg.cholesky_ex(gram + damping * one)
    if failed:
        eigenvalues = torch.linalg.eigvalsh(gram)
        lowest = eigenvalues[0].clamp(max=0) - len(gram) * torch.finfo(gram.dtype).eps * eigenvalues[-1]
        factor = torch.linalg.cholesky(gram + (damping - lowest) * one)
    return torch.cholesky_solve(target.to(here), factor).to(target.device)


def likeness(cells: Cells, weights: torch.Tensor) -> torch.Tensor:
    """How much every cell looks like N objects, about -1 to 1: weights float32 (N, D + 1) -> float32 (N, h, w)."""
    return (cells.x @ weights.T).T.reshape(len(weights), *cells.size)


def view(cells: Cells, share: torch.Tensor) -> torch.Tensor:
    """What an object looks like on a frame: some of its cells, evenly picked.

    Args:
        cells: the frame.
        share: float32 (h, w), how much of each cell the object covers; more than half of one at least.

    Returns:
        float32 (P, D), P up to 128, to be multiplied with cells for cosine similarities.
    """
    picked = cells.x[_picked(share > 0.5, _VIEW), :-1]
    # All features are of unit length, so all cells are of one length.
    return picked / (picked**2).sum(dim=1, keepdim=True)


def alike(x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """How much cells, float32 (..., D + 1), look like P of a view, float32 (P, D): float32 (P, ...), -1 to 1."""
    return (x[..., :-1] @ seen.T).movedim(-1, 0)


def recalled(seen: torch.Tensor, cells: Cells, share: torch.Tensor) -> float:
    """How much of a view, float32 (P, D), an object shows that covers a share, float32 (h, w), of each cell."""
    own = cells.x[share.flatten() > 0.5][None]
    return float(recall(alike(own, seen), torch.ones(1, *own.shape[:2], dtype=torch.bool, device=own.device)))


def _picked(own: torch.Tensor, most: int) -> torch.Tensor:
    """Indices of up to so many cells of a mask, bool (h, w), evenly picked."""
    which = own.flatten().nonzero()[:, 0]
    return which[torch.linspace(0, len(which) - 1, min(most, len(which)), device=which.device).long()]
