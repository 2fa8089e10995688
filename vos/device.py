"""The device a run uses, from its settings."""

from __future__ import annotations

import torch

from vos.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps` as a torch device.

    Raises:
        DeviceError: not a device's name, or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cpu":
        return device
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) < count:
            return device
        found = f"{count} CUDA device{'s' if count != 1 else ''} (0 to {count - 1})" if count else "no CUDA device"
        raise DeviceError(f"device '{name}' is not there: found {found}; use --device auto or cpu")
    if device.type == "mps" and torch.backends.mps.is_available():
        return device
    raise DeviceError(f"device '{name}' is not there or not supported; use auto, cpu, cuda, cuda:N or mps")
