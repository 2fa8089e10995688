"""Track any object through a video from one mask.

import vos

for result in vos.track("clip.mp4", "mask.png"):
    print(result.frame.index, result.objects, result.index_map.shape)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vos.errors import VosError
from vos.types import Frame, FrameResult, ObjectResult, State

if TYPE_CHECKING:
    from vos.installed import register_tracker
    from vos.pipeline import VideoTracker, track
    from vos.references import BoxPrompt, Click, MaskReference
    from vos.settings import Settings, load_settings
    from vos.video import Reading

    __version__: str

__all__ = [
    "BoxPrompt",
    "Click",
    "Frame",
    "FrameResult",
    "MaskReference",
    "ObjectResult",
    "Reading",
    "Settings",
    "State",
    "VideoTracker",
    "VosError",
    "load_settings",
    "register_tracker",
    "track",
]

# Importing torch takes seconds: only what needs it pays for it.
_LAZY = {
    "VideoTracker": "vos.pipeline",
    "track": "vos.pipeline",
    "BoxPrompt": "vos.references",
    "Click": "vos.references",
    "MaskReference": "vos.references",
    "Reading": "vos.video",
    "Settings": "vos.settings",
    "load_settings": "vos.settings",
    "register_tracker": "vos.installed",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # who checks types is to find names that there are not

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("persam-vos")
        if name not in _LAZY:
            raise AttributeError(f"module 'vos' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
