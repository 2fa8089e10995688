"""Linear layers, convolutions and products of matrices that go through oneDNN in float32 on a CPU.

PyTorch gives float32 products, and convolutions of a single thread, to the BLAS that it was built with. Intel's takes
twice as long as oneDNN on processors with AVX-512 of another make. Half precision goes through oneDNN by itself. The
numbers are the same up to the order of sums.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

# oneDNN's gain was measured with these instructions alone.
_HERE = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class Linear(nn.Linear):
    """`nn.Linear`: (..., in) -> (..., out)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not _gains(x, self.weight):
            return super().forward(x)
        return _rows(x.reshape(-1, x.shape[-1]), self.weight, self.bias).reshape(*x.shape[:-1], self.out_features)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with zeros, or nothing, around the map: (B, C, h, w) -> (B, C', h', w')."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return convolved(self, x, self.padding)


def convolved(layer: nn.Conv2d, x: torch.Tensor, padding: str | tuple[int, ...]) -> torch.Tensor:
    """A convolution's layer on (B, C, h, w), with another padding than its own, pixels or as `nn.Conv2d` has it."""
    weight, bias, stride, dilation = layer.weight, layer.bias, layer.stride, layer.dilation
    if isinstance(layer, Conv2d) and not isinstance(padding, str) and _gains(x, layer.weight):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, layer.groups)
    return F.conv2d(x, weight, bias, stride, padding, dilation, layer.groups)


def through_onednn(module: nn.Module) -> None:
    """Have all linear layers and convolutions of a module go that way, in place; their weights stay as they are."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
        elif type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
            layer.__class__ = Conv2d


def scores(tokens: torch.Tensor, cells: torch.Tensor, *, onednn: bool) -> torch.Tensor:
    """Products of each row's tokens (n, A, C), few, and cells (n, P, C), many -> (n, A, P).

    Args:
        onednn: whether they may go that way, row by row; here and below.
    """
    if onednn and _gains(tokens, cells):
        return torch.stack([_rows(own, few).T for few, own in zip(tokens, cells, strict=True)])
    if len(tokens) == 1:  # of which a batched product in half precision takes three times as long on a CPU
        return F.linear(tokens[0], cells[0])[None]
    return tokens @ cells.transpose(1, 2)


def sums(weights: torch.Tensor, cells: torch.Tensor, *, onednn: bool) -> torch.Tensor:
    """Each row's sums of cells (n, P, C), many, with weights (n, A, P), few -> (n, A, C)."""
    if onednn and _gains(weights, cells):
        parts = [_convolved(own[None, ..., None], few) for few, own in zip(weights, cells, strict=True)]
        return torch.cat(parts)[..., 0]
    return weights @ cells


def spread(
    cells: torch.Tensor, weights: torch.Tensor, tokens: torch.Tensor, into: torch.Tensor | None = None, *, onednn: bool
) -> torch.Tensor:
    """Cells (n, P, C), or (1, P, C) for all rows, and each row's tokens (n, A, C), few, with weights (n, A, P).

    Returns:
        (n, P, C): `into` if it is given, which may be the cells.
    """
    shape = len(tokens), *cells.shape[1:]
    if not (onednn and _gains(weights, tokens)):
        return torch.baddbmm(cells.expand(shape), weights.transpose(1, 2), tokens, out=into)
    given = cells.new_empty(shape) if into is None else into
    for row, own in enumerate(cells.expand(shape)):
        torch.add(own, _rows(weights[row].T.contiguous(), tokens[row].T), out=given[row])
    return given


def _rows(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(A, in), (out, in) -> (A, out)"""
    return _convolved(x[None, :, None].permute(0, 3, 1, 2), weight, bias)[0, :, :, 0].T


def _convolved(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A product as a convolution of 1 x 1, for which there is a function that does not ask how many threads there are.

    Shapes: (1, in, h, w), (out, in) -> (1, out, h, w).
    """
    return torch.mkldnn_convolution(x, weight[:, :, None, None], bias, (0, 0), (1, 1), (1, 1), 1)


def _gains(x: torch.Tensor, weight: torch.Tensor) -> bool:
    single = x.dtype is weight.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
    on_cpu = x.device.type == "cpu" and x.numel() > 0
    return _HERE and single and on_cpu and not torch.compiler.is_compiling()
