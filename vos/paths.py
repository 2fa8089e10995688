"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` as the home folder of who it names; as it is where that is nobody: a file may begin with it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
