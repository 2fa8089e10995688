"""The `Tracker` protocol, what trackers may do besides, and combinations of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from vos.errors import SettingsError, TrackerError
from vos.types import Frame, FrameResult, Prompts

if TYPE_CHECKING:
    from vos.models.features import Features

T = TypeVar("T")


class Options(BaseModel):
    """Settings that nobody can misspell, change later, or make infinite; what trackers' options are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@runtime_checkable
class Tracker(Protocol):
    """Finds every object in the next frame and says how to prompt the segmenter for it.

    The loop calls, for each frame: `locate` if any object is known that has no reference here, or clicks alone; on a
    reference frame `add` for each reference and `locate` once more (the same frame, now with the new objects: what
    PerSAM-F is fitted on); then `update` with the final masks. Rows of what `locate` returns are the objects in the
    order in which they were first added.

    A tracker class also has `Settings`, a pydantic model of its options; it is made with an instance of it. It may have
    more: see `follows_points`, `LooksAhead`, `PreparesAhead`, `Resumable`, and `licence` and `requires` in
    `vos.installed.InstalledTracker`.
    """

    @property
    def Settings(self) -> type[BaseModel]: ...

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

    For each object, the points of all parts are put side by side. The box is that of the first part that has one, and
    the evidence that of the first part that gives some. An object is here if any part says so.

    Args:
        parts: trackers that know no object yet, in the order in which their boxes are preferred.
    """

    Settings: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, parts: Sequence[Tracker]) -> None:
        if not parts:
            raise ValueError("a combination needs at least one tracker")
        self.parts = tuple(parts)
        self._ids: set[int] = set()
        self.follows_points = all(follows_points(part) for part in self.parts)
        self.latency = max(latency(part) for part in self.parts)

    def ahead(self, frames: Sequence[Frame]) -> None:
        for part in self.parts:
            tell_ahead(part, frames)

    def prepare(self, before: Frame, frame: Frame, features: Features) -> None:
        for part in self.parts:
            if isinstance(part, PreparesAhead):
                part.prepare(before, frame, features)

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        self._ids.add(object_id)
        for part in self.parts:
            part.add(object_id, frame, features, mask)

    def locate(self, frame: Frame, features: Features) -> Prompts:
        rows = len(self._ids)
        found = [checked(part.locate(frame, features), rows, type(part).__name__) for part in self.parts]
        boxes = found[0].boxes.copy()
        for prompts in found[1:]:
            missing = ~np.isfinite(boxes).all(axis=1)
            boxes[missing] = prompts.boxes[missing]
        points = np.concatenate([prompts.points for prompts in found], axis=1)
        labels = np.concatenate([prompts.labels for prompts in found], axis=1)
        evidence = next((prompts.evidence for prompts in found if prompts.evidence is not None), None)
        return Prompts(points, labels, boxes, evidence)

    def update(self, result: FrameResult) -> None:
        for part in self.parts:
            part.update(result)

    def state(self) -> dict[str, Any]:
        return {"ids": sorted(self._ids), "parts": [resumable(part).state() for part in self.parts]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._ids = set(state["ids"])
        for part, kept in zip(self.parts, state["parts"], strict=True):
            resumable(part).restore(kept)


def follows_points(tracker: Tracker | type[Tracker]) -> bool:
    """Whether a tracker follows spots of the object by what they look like in the frame.

    A tracker says so with an attribute `follows_points = True`. On the frame after a reference, column k of its
    positive points is then the same spot of the object as on the reference frame, to the pixel, or padding if that spot
    is covered; and after a cut there are none. Feature matching, which looks for the object anew on each frame, does
    not promise that.
    """
    return bool(getattr(tracker, "follows_points", False))


@runtime_checkable
class LooksAhead(Protocol):
    """A tracker that wants to see frames before it has to locate them, as those do that work in windows of frames.

    Results then come `latency` frames late. References on frames seen early reach `add` when these frames' turn comes.
    """

    @property
    def latency(self) -> int:
        """How many later frames it wants to have seen when it locates one."""

    def ahead(self, frames: Sequence[Frame]) -> None:
        """The frames after the one that is up next, nearest first: `latency` of them, fewer where the clip ends.

        Called before the first `locate` or `add` of each frame. The loop holds these frames, so keeping a reference to
        them costs nothing.
        """


@runtime_checkable
class PreparesAhead(Protocol):
    """A tracker part of whose work on a frame needs pixels alone, dense flow for example.

    Where a GPU encodes, the loop has that done in a thread of its own, beside the encoding of later frames and the
    rest of the work on earlier ones. `locate` of a frame that was not prepared does it itself.
    """

    def prepare(self, before: Frame, frame: Frame, features: Features) -> None:
        """Do that work and keep what came of it until the frame is located.

        Called in the order of frames, for every frame that is located but the first. It may read nothing that `add`,
        `locate`, `update` and `restore` change, for they run meanwhile, on earlier frames.

        Args:
            before: the frame that is located before this one.
            frame: the frame to come.
            features: its features.
        """


def prepares(tracker: Tracker) -> bool:
    """Whether a tracker, or a part of a combination, does something ahead (see `PreparesAhead`)."""
    if isinstance(tracker, CombinedTracker):
        return any(prepares(part) for part in tracker.parts)
    return isinstance(tracker, PreparesAhead)


def latency(tracker: Tracker) -> int:
    """How many later frames a tracker wants to have seen when it locates one; 0 for all but a `LooksAhead`.

    Raises:
        TrackerError: it gives no number, or one below 0.
    """
    if not isinstance(tracker, LooksAhead):
        return 0
    count = tracker.latency
    if not isinstance(count, int) or count < 0:
        raise TrackerError(f"tracker {type(tracker).__name__}: its latency must be a number of frames, got {count!r}")
    return count


def checked(prompts: object, rows: int, name: str) -> Prompts:
    """What a tracker has given for so many objects.

    Raises:
        TrackerError: that is something else than prompts for each of them.
    """
    if not isinstance(prompts, Prompts) or len(prompts) != rows:
        gave = f"{len(prompts)} rows" if isinstance(prompts, Prompts) else type(prompts).__name__
        raise TrackerError(
            f"tracker '{name}' was asked for a row of prompts for each of {rows} objects, and gave {gave}"
        )
    return prompts


def tell_ahead(tracker: Tracker, frames: Sequence[Frame]) -> None:
    """Show a tracker the frames after the one that is up next, no more of them than it wants."""
    if isinstance(tracker, LooksAhead) and (count := latency(tracker)):
        tracker.ahead(frames[:count])


def with_following(items: Iterable[T], count: int) -> Iterator[tuple[T, tuple[T, ...]]]:
    """Each item and the `count` items after it, fewer at the end; no more than these are held.

    With a `count` of 0, an item is passed on before the next is asked for. What reading them raises is raised here,
    after the items that came before.
    """
    held: deque[T] = deque()
    reading, broken = iter(items), None
    while broken is None:
        try:
            held.append(next(reading))
        except StopIteration:
            break
        except Exception as error:
            broken = error
        else:
            if len(held) > count:
                yield held.popleft(), tuple(held)
    while held:
        yield held.popleft(), tuple(held)
    if broken is not None:
        raise broken


@runtime_checkable
class Resumable(Protocol):
    """A tracker that can go on in another process.

    What is learnt is told as plain data: dicts with text keys, lists, numbers, text, None, and NumPy arrays. It is kept
    in a results folder and read back as data; no code is in it.
    """

    def state(self) -> dict[str, Any]:
        """All that the next `locate` depends on, asked for after `update`.

        Frames told ahead are no part of it: they are told again. It is not changed by what the tracker does next.
        """

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there; called on a tracker that knows no object yet and has the same settings."""


def resumable(tracker: Tracker) -> Resumable:
    """The tracker, which can go on in another process; SettingsError for one that cannot."""
    if not isinstance(tracker, Resumable):
        raise SettingsError(f"tracker {type(tracker).__name__} cannot tell its state, so its runs cannot be resumed")
    return tracker
