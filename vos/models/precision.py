"""The precision in which networks compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class InFloat32(nn.Module):
    """A part of a network that computes in float32 whatever it reads, and gives what it read in.

    SAM's LayerNorm2d squares values of some 500, too large for float16.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.part(x.float()).to(x.dtype)


def round_products(network: nn.Module, dtype: torch.dtype) -> None:
    """Round the weights of products and convolutions, in place, which autocast would do on every frame; sums over
    blocks and normalisations stay in float32."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.to(dtype)


def in_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Products and convolutions in `dtype` meanwhile; where that is float32, as they are."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)
