"""The `Tracker` protocol, combinations, and the trackers installed under the entry-point group `vos.trackers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from inspect import getdoc
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel

from vos.errors import SettingsError
from vos.types import Frame, FrameResult, Prompts

if TYPE_CHECKING:
    from vos.models.features import Features

GROUP = "vos.trackers"
JOIN = "+"


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


class CombinedTracker:
    """Several trackers asked as one: `matching+klt`.

    For each object, the points of all parts are put side by side. The box is that of the first part that has one. An
    object is here if any part says so.

    Args:
        parts: trackers that know no object yet, in the order in which their boxes are preferred.
    """

    Settings: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, parts: Sequence[Tracker]) -> None:
        if not parts:
            raise ValueError("a combination needs at least one tracker")
        self._parts = tuple(parts)
        self.follows_points = all(follows_points(part) for part in self._parts)

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        for part in self._parts:
            part.add(object_id, frame, features, mask)

    def locate(self, frame: Frame, features: Features) -> Prompts:
        found = [part.locate(frame, features) for part in self._parts]
        boxes = found[0].boxes.copy()
        for prompts in found[1:]:
            missing = ~np.isfinite(boxes).all(axis=1)
            boxes[missing] = prompts.boxes[missing]
        points = np.concatenate([prompts.points for prompts in found], axis=1)
        labels = np.concatenate([prompts.labels for prompts in found], axis=1)
        return Prompts(points, labels, boxes)

    def update(self, result: FrameResult) -> None:
        for part in self._parts:
            part.update(result)


@dataclass(frozen=True)
class InstalledTracker:
    """A tracker that some installed distribution offers.

    Attributes:
        name: what to call it in settings.
        distribution: the distribution's name and version.
        summary: the first line of its class's docstring.
        problem: why it cannot be used, in one line; None if it can.
    """

    name: str
    distribution: str
    summary: str
    problem: str | None = None


def follows_points(tracker: Tracker | type[Tracker]) -> bool:
    """Whether a tracker follows spots of the object by what they look like in the frame.

    A tracker says so with an attribute `follows_points = True`. On the frame after a reference, column k of its
    positive points is then the same spot of the object as on the reference frame, to the pixel, or padding if that spot
    is covered; and after a cut there are none. Feature matching, which looks for the object anew on each frame, does
    not promise that.
    """
    return bool(getattr(tracker, "follows_points", False))


def known_trackers() -> tuple[str, ...]:
    """Names of the installed trackers."""
    return tuple(sorted(_installed()))


def installed_trackers() -> tuple[InstalledTracker, ...]:
    """The installed trackers by name, those that cannot be loaded included."""
    return tuple(_described(point) for _, point in sorted(_installed().items()))


def tracker_class(name: str) -> Any:
    """The class behind a name; SettingsError lists the installed ones, or says why it cannot be loaded."""
    points = _installed()
    if name not in points:
        raise SettingsError(f"unknown tracker '{name}'; installed: {', '.join(sorted(points)) or 'none'}")
    try:
        return points[name].load()
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"tracker '{name}' of {_distribution(points[name])} cannot be loaded: {' '.join(str(error).split())}; "
            "install what it needs or choose another"
        ) from error


def tracker_parts(name: str) -> tuple[str, ...]:
    """The trackers in a name, which joins several with +: "matching+klt" -> ("matching", "klt").

    Raises:
        SettingsError: a part that is not installed, or is named twice.
    """
    parts = tuple(part.strip() for part in name.split(JOIN))
    for k, part in enumerate(parts):
        tracker_class(part)
        if part in parts[:k]:
            raise SettingsError(f"tracker '{name}' names '{part}' twice; name each part once")
    return parts


def make_tracker(options: Mapping[str, BaseModel]) -> Tracker:
    """A new tracker from its options by name, or from several a `CombinedTracker` of them in that order."""
    parts: list[Tracker] = [tracker_class(name)(chosen) for name, chosen in options.items()]
    return parts[0] if len(parts) == 1 else CombinedTracker(parts)


def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _distribution(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _described(point: EntryPoint) -> InstalledTracker:
    try:
        doc = getdoc(tracker_class(point.name)) or ""
    except SettingsError as error:
        return InstalledTracker(point.name, _distribution(point), "", str(error))
    return InstalledTracker(point.name, _distribution(point), doc.partition("\n")[0])
