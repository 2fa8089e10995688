"""Linear layers and convolutions that go through oneDNN in float32 on a CPU.

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
        if not _gains(self, x):
            return super().forward(x)
        # A convolution of 1 x 1, for which there is a function that does not ask how many threads there are.
        cells = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
        found = torch.mkldnn_convolution(cells, self.weight[:, :, None, None], self.bias, (0, 0), (1, 1), (1, 1), 1)
        return found.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with zeros, or nothing, around the map: (B, C, h, w) -> (B, C', h', w')."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return convolved(self, x, self.padding)


def convolved(layer: nn.Conv2d, x: torch.Tensor, padding: str | tuple[int, ...]) -> torch.Tensor:
    """A convolution's layer on (B, C, h, w), with another padding than its own, pixels or as `nn.Conv2d` has it."""
    weight, bias, stride, dilation = layer.weight, layer.bias, layer.stride, layer.dilation
    if isinstance(layer, Conv2d) and not isinstance(padding, str) and _gains(layer, x):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, layer.groups)
    return F.conv2d(x, weight, bias, stride, padding, dilation, layer.groups)


def through_onednn(module: nn.Module) -> None:
    """Have all linear layers and convolutions of a module go that way, in place; their weights stay as they are."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
        elif type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
            layer.__class__ = Conv2d


def _gains(layer: nn.Linear | nn.Conv2d, x: torch.Tensor) -> bool:
    single = x.dtype is layer.weight.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
    on_cpu = x.device.type == "cpu" and x.numel() > 0
    return _HERE and single and on_cpu and not torch.compiler.is_compiling()
