"""What a result's numbers depend on besides the settings."""

from __future__ import annotations

import platform
from importlib.metadata import version

_DECIDING = ("persam-vos", "torch", "timm", "segment-anything", "av", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Of this package and of those that decide the numbers."""
    import cv2  # there are several distributions of it

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _DECIDING},
        "opencv": cv2.__version__,
    }
