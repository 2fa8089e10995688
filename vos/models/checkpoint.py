"""State dicts from disk, and into modules: tensors only, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from vos.errors import WeightsError


def read_checkpoint(path: Path, setting: str = "--weights") -> dict[str, torch.Tensor]:
    """A state dict from disk, tensors only (no code is run).

    Args:
        setting: by which the user names it.

    Raises:
        WeightsError: missing, a folder, damaged, or not a state dict.
    """
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on a name that is too long
        raise WeightsError(f"{path}: a folder, not a checkpoint file; give the file itself")
    if not os.path.isfile(path):  # noqa: PTH113
        raise WeightsError(
            f"{path}: no such checkpoint; give an existing file to {setting} or leave it out to download"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything, with texts for programmers
        denied = isinstance(error, OSError) and error.strerror
        reason = denied or "not of PyTorch's format, or damaged"
        raise WeightsError(
            f"{path}: not a readable checkpoint ({reason}); download it again or give another file"
        ) from error
    for wrapped in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapped), Mapping):
            state = state[wrapped]
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{path}: not a state dict of tensors but {type(state).__name__}; give the model's official checkpoint"
        )
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, torch.Tensor) and value.layout is torch.strided):
            what = type(value).__name__ if isinstance(key, str) else "a key that is no text"
            raise WeightsError(
                f"{path}: not a state dict of tensors: it holds {what} at {key!r}; give the model's official checkpoint"
            )
    return dict(state)


def load_exactly(
    module: nn.Module, state: Mapping[str, torch.Tensor], source: str, name: str, settings: str = "--model or --weights"
) -> None:
    """`load_state_dict` that takes all or nothing; WeightsError with the first difference.

    Args:
        source: the file, for the message.
        name: of the model.
        settings: by which the user names both.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    shapes = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    floats = [key for key in expected if expected[key].is_floating_point() and key in state]
    unlike = [key for key in floats if not state[key].is_floating_point() or state[key].is_meta]
    broken = [] if unlike else [key for key in floats if not state[key].isfinite().all()]
    for keys, what in (
        (missing, "lacks"),
        (extra, "has an unexpected"),
        (shapes, "has another shape of"),
        (unlike, "has no real numbers in"),
        (broken, "has numbers that are not finite in"),
    ):
        if keys:
            raise WeightsError(
                f"{source}: not a checkpoint of {name} (it {what} '{keys[0]}', {len(keys)} such); "
                f"give the right {settings}"
            )
    module.load_state_dict(state)
