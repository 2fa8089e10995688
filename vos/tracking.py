"""The `Tracker` protocol, and the trackers installed under the entry-point group `vos.trackers`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel

from vos.errors import SettingsError
from vos.types import Frame, FrameResult, Prompts

if TYPE_CHECKING:
    from vos.models.features import Features

GROUP = "vos.trackers"


@runtime_checkable
class Tracker(Protocol):
    """Finds every object in the next frame and says how to prompt the segmenter for it.

    The loop calls, for each frame: `locate` if any object is known; on a reference frame `add` for each reference and
    `locate` once more (the same frame, now with the new objects: what PerSAM-F is fitted on); then `update` with the
    final masks. Rows of what `locate` returns are the objects in the order in which they were first added.

    A tracker class also has `Settings`, a pydantic model of its options; it is made with an instance of it.
    """

    Settings: ClassVar[type[BaseModel]]

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        """Learn a reference: a new object, or a further reference of a known one.

        Args:
            object_id: 1 to 255.
            frame: the reference frame.
            features: its features.
            mask: bool (H, W), not empty.
        """

    def locate(self, frame: Frame, features: Features) -> Prompts:
        """Prompts for all known objects on this frame, one row each; an inactive row means "not here"."""

    def update(self, result: FrameResult) -> None:
        """Take in the final masks of the frame that was located last."""


def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def known_trackers() -> tuple[str, ...]:
    """Names of the installed trackers."""
    return tuple(sorted(_installed()))


def tracker_class(name: str) -> Any:
    """The class behind a name; SettingsError lists the installed ones."""
    points = _installed()
    if name not in points:
        raise SettingsError(f"unknown tracker '{name}'; installed: {', '.join(sorted(points)) or 'none'}")
    return points[name].load()
