"""SAM's attention layers between T tokens and P cells, T small, in the cheap order of products.

A score is q . (W x) = (W' q) . x: with the projection on the tokens' side, a cell costs heads * T products per channel
where projecting it costs heads * c, and no projected map is stored. Sums over the cells likewise come before the
projection of values. A bias on the keys adds the same to all scores of a token, which the softmax takes out again.

Shapes: n rows, H heads of c channels, C channels of tokens and cells.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from vos.models import dense


def among(module: Any, q: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    """Attention of tokens to tokens: q, also the keys, and v, both (n, T, C); keep: bool (n, 1, 1, T) or None."""
    heads = (_split(module, module.q_proj(q)), _split(module, module.k_proj(q)), _split(module, module.v_proj(v)))
    return _join(module, F.scaled_dot_product_attention(*heads, attn_mask=keep))


def read(module: Any, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention of tokens (n, T, C) to cells, keys and values (n, P, C) -> (n, T, C)."""
    q = _split(module, module.q_proj(tokens)) * _scale(module)
    weights = dense.scores(_onto(module, module.k_proj, q), keys, onednn=_onednn(module)).softmax(-1)
    taken = dense.sums(weights, values, onednn=_onednn(module))
    return _join(module, _from(module, module.v_proj, taken) + _bias(module, module.v_proj))


def write(
    module: Any,
    cells: torch.Tensor,
    at: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    keep: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of cells, queries `at` (n, P, C), to tokens, keys and values (n, T, C), added to `cells`, in place."""
    k = _split(module, module.k_proj(keys)) * _scale(module)
    scores = dense.scores(_onto(module, module.q_proj, k), at, onednn=_onednn(module))
    weights, taken = _taken(module, scores, k, values, keep)
    return dense.spread(cells, weights, taken, into=cells, onednn=_onednn(module))


class SharedMap:
    """Cells that all rows share, projected once for one layer that reads them and one that writes to them.

    Row i's cells are cells + added[i] @ basis. `added` is narrow, (n, P, k), or the same everywhere, (1, 1, k).

    Args:
        cells, positions: (1, P, C).
        reading, writing: the layers.
    """

    def __init__(self, cells: torch.Tensor, positions: torch.Tensor, reading: Any, writing: Any) -> None:
        at = cells + positions
        self._cells, self._reading, self._writing = cells, reading, writing
        # (H, c, P), (H, P, c), (H, c, P)
        self._keys = _split(reading, F.linear(at, reading.k_proj.weight))[0].transpose(1, 2).contiguous()
        self._values = _split(reading, reading.v_proj(cells))[0].contiguous()
        self._queries = _split(writing, F.linear(at, writing.q_proj.weight))[0].transpose(1, 2).contiguous()

    def read(self, tokens: torch.Tensor, added: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
        """`read` of these cells, keys with positions and values without."""
        module = self._reading
        q = _split(module, module.q_proj(tokens)) * _scale(module)
        scores = _per_head(q, self._keys).flatten(1, 2)
        weights = _add_product(scores, _onto(module, module.k_proj, q) @ basis.T, added).softmax(-1)
        if added.shape[1] == 1:
            extra = added.expand(len(weights), weights.shape[1], -1)
        else:
            extra = weights @ added
        pooled = _per_head(weights.unflatten(1, (module.num_heads, -1)), self._values)
        return _join(module, pooled + _from(module, module.v_proj, extra @ basis))

    def write(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        keep: torch.Tensor | None,
        added: torch.Tensor,
        basis: torch.Tensor,
    ) -> torch.Tensor:
        """`write` to these cells -> (n, P, C)."""
        module = self._writing
        k = _split(module, module.k_proj(keys)) * _scale(module)
        scores = _per_head(k, self._queries).flatten(1, 2)
        weights, taken = _taken(
            module, _add_product(scores, _onto(module, module.q_proj, k) @ basis.T, added), k, values, keep
        )
        n, width, places = weights.shape
        # Both of what is added to the cells in one product, which passes over them once.
        factors = weights.new_empty(n, width + len(basis), places)
        factors[:, :width], factors[:, width:] = weights, added.transpose(1, 2)
        taken = torch.cat([taken, basis.expand(n, -1, -1)], dim=1)
        return dense.spread(self._cells, factors, taken, onednn=_onednn(module))


def _taken(
    module: Any, scores: torch.Tensor, k: torch.Tensor, values: torch.Tensor, keep: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What cells take from tokens as a product: weights (n, H T, P) and tokens' values in cells' channels (n, H T, C).

    Args:
        scores: (n, H T, P), without the bias of the cells' projection; written to.
        k: keys (n, H, T, c), scaled.
        values: tokens (n, T, C).
        keep: bool (n, 1, 1, T) or None.
    """
    heads = module.num_heads
    bias = (k @ module.q_proj.bias.view(heads, -1, 1)).flatten(1, 2)
    if keep is not None:
        bias = bias.unflatten(1, (heads, -1)).masked_fill(~keep.transpose(2, 3), float("-inf")).flatten(1, 2)
    weights = scores.add_(bias).unflatten(1, (heads, -1)).softmax(2).flatten(1, 2)
    v = _split(module, module.v_proj(values))
    # A cell's weights add up to 1 per head, so that each head brings its part of the bias.
    taken = v @ module.out_proj.weight.T.unflatten(0, (heads, -1)) + module.out_proj.bias / heads
    return weights, taken.flatten(1, 2)


def _add_product(scores: torch.Tensor, tokens: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Scores (n, A, P), in place, and products of tokens (n, A, k) with what is added, (n, P, k) or (1, 1, k)."""
    if added.shape[1] == 1:
        return scores.add_(tokens @ added.transpose(1, 2))
    return scores.baddbmm_(tokens, added.transpose(1, 2))


def _onto(module: Any, projection: Any, x: torch.Tensor) -> torch.Tensor:
    """W' x per head: (n, H, T, c) in a projection's output -> (n, H T, C) in its input."""
    return (x @ projection.weight.unflatten(0, (module.num_heads, -1))).flatten(1, 2)


def _from(module: Any, projection: Any, x: torch.Tensor) -> torch.Tensor:
    """W x per head, without bias: (n, H T, C) in a projection's input -> (n, H, T, c) in its output."""
    return x.unflatten(1, (module.num_heads, -1)) @ projection.weight.unflatten(0, (module.num_heads, -1)).transpose(
        1, 2
    )


def _bias(module: Any, projection: Any) -> torch.Tensor:
    return projection.bias.view(module.num_heads, 1, -1)


def _per_head(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(n, H, a, b) times (H, b, c), the same for all rows -> (n, H, a, c)."""
    n = len(x)
    return (x.transpose(0, 1).flatten(1, 2) @ y).unflatten(1, (n, -1)).transpose(0, 1)


def _split(module: Any, x: torch.Tensor) -> torch.Tensor:
    """(n, T, H c) -> (n, H, T, c)"""
    return x.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)


def _join(module: Any, x: torch.Tensor) -> torch.Tensor:
    """(n, H, T, c) -> (n, T, C), through the layer's last projection."""
    return module.out_proj(x.transpose(1, 2).flatten(2))


def _onednn(module: Any) -> bool:
    """Whether products of the layer go the way of its projections (`vos.models.dense`)."""
    return isinstance(module.out_proj, dense.Linear)


def _scale(module: Any) -> float:
    return float((module.internal_dim // module.num_heads) ** -0.5)
