"""CoTracker3 online: points followed jointly, through windows of frames, by a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import BaseModel, Field, field_validator

from trackers.cotracker_online import HOW_TO_GET, LICENCE, CoTrackerOnline
from trackers.points import PointOptions, Row, move_box, on_frame, on_mask, point_prompts, refilled
from vos.models.features import Features
from vos.paths import expanded
from vos.types import Frame, FrameResult, Prompts
from vos.windows import box_of


class CoTrackerSettings(PointOptions):
    """Options of the CoTracker3 point tracker."""

    weights: Path | None = Field(None, description="CoTracker3's checkpoint on disk: scaled_online.pth")
    support: int = Field(
        6, ge=0, le=16, description="side of a grid of points followed along, which steadies the others"
    )
    latency: int = Field(
        15, ge=0, le=15, description="later frames seen before a frame is answered; fewer is less sure, and slower"
    )
    min_score: float = Field(0.6, ge=0, le=1, description="visibility times confidence; less is covered")
    reseed_below: float = Field(
        0.5, ge=0, le=1, description="share of points still on the object under which the lost ones are chosen anew"
    )

    @field_validator("weights")
    @classmethod
    def _at_home(cls, path: Path | None) -> Path | None:
        return None if path is None else expanded(path)


class WindowModel(Protocol):
    """What follows points through windows of frames, each half a window after the one before."""

    @property
    def window(self) -> int:
        """Frames in a window, even."""

    def encode(self, image: np.ndarray, device: torch.device) -> Any:
        """What it needs of a frame, uint8 RGB (H, W, 3)."""

    def begin(self, points: np.ndarray, size: tuple[int, int]) -> Any:
        """What the first window needs: points, float32 (P, 2), on its first frame, of `size` (H, W)."""

    def follow(self, frames: Sequence[Any], carried: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """Points (T, P, 2) and scores (T, P) on T encoded frames, and what the next window needs.

        `carried` is not changed, so a window may be followed again when more of its frames have come.
        """


class _Shots:
    """The frames that windows are made of, numbered as they come, each encoded once, when it is first needed."""

    def __init__(self, model: WindowModel) -> None:
        self._model = model
        self._count = 0
        self._numbers: dict[int, int] = {}  # by Frame.index, which may leave frames out
        self._frames: dict[int, Frame] = {}
        self._encoded: dict[int, Any] = {}
        self._device = torch.device("cpu")

    def show(self, frames: Sequence[Frame], device: torch.device) -> None:
        """The frame that is up next and those after it, in order."""
        self._device = device
        for frame in frames:
            if frame.index not in self._numbers:
                self._numbers[frame.index] = self._count
                self._frames[self._count] = frame
                self._count += 1

    def number(self, frame: Frame) -> int:
        """The number of a frame that was shown."""
        return self._numbers[frame.index]

    @property
    def last(self) -> int:
        """The number of the last frame that was shown."""
        return self._count - 1

    def encoded(self, start: int, count: int) -> list[Any]:
        """Frames from number `start` on, at most `count`."""
        wanted = range(start, min(start + count, self._count))
        for number in wanted:
            if number not in self._encoded:
                self._encoded[number] = self._model.encode(self._frames.pop(number).image, self._device)
        return [self._encoded[number] for number in wanted]

    def forget(self, before: int) -> None:
        """Frames with lower numbers are not needed again."""
        for index, number in [item for item in self._numbers.items() if item[1] < before]:
            del self._numbers[index]
            self._frames.pop(number, None)
            self._encoded.pop(number, None)


class _Session:
    """Some points, from the frame on which they were chosen until they are chosen anew.

    Window k begins k half windows after that frame. A frame is answered from the last window that holds it and more
    than half of whose frames are there. What is kept is one window's.

    Attributes:
        born: number of that frame.
        start: number of the first frame of the window that is followed now.
        dropped: bool (P,), points that a final mask has contradicted, and places where there never was one.
    """

    def __init__(self, model: WindowModel, born: int, points: np.ndarray, there: np.ndarray, size: tuple[int, int]):
        self.born = self.start = born
        self.dropped = ~there
        self._model = model
        self._points = points
        self._carried = model.begin(points, size)
        self._followed: tuple[np.ndarray, np.ndarray, Any] | None = None

    def at(self, number: int, shots: _Shots) -> tuple[np.ndarray, np.ndarray]:
        """Where the points are on a frame, float32 (P, 2), and how surely they are seen there, (P,)."""
        if number == self.born:
            return self._points, np.ones(len(self._points), dtype=np.float32)
        window = self._model.window
        while number - self.start >= window // 2 and shots.last - self.start >= window:
            _, _, self._carried = self._follow(shots, window)
            self.start += window // 2
            self._followed = None
        points, scores, _ = self._follow(shots, number - self.start + 1)
        return points[number - self.start].astype(np.float32), scores[number - self.start]

    def _follow(self, shots: _Shots, frames: int) -> tuple[np.ndarray, np.ndarray, Any]:
        """The window, followed through so many of its frames at least."""
        if self._followed is None or len(self._followed[0]) < frames:
            self._followed = self._model.follow(shots.encoded(self.start, self._model.window), self._carried)
        return self._followed


@dataclass(frozen=True, eq=False)
class _Object:
    """One object: its points' session, the number of the frame on which all were chosen, and the last frame's row."""

    session: _Session
    seeded: int
    row: Row


class CoTrackerTracker:
    """Points followed by a network through windows of 16 frames (CoTracker3 online); you give it its weights.

    Positive points are the k-medoids of the object's mask. A point is invisible where visibility times confidence is
    low, and may be seen again; one that ends up outside the final mask is dropped, as all are on a cut. When few are
    left on the object, and half a window after the last time at the soonest, those that are on it stay and others are
    chosen in its final mask. Box: the last mask's box, moved and scaled by the median motion of the visible points.

    Each object's points are followed by themselves, with a grid of supporting points over the frame.

    Args:
        settings: the options.
        model: another way to follow points; CoTracker3 from `settings.weights` by default.
    """

    Settings: ClassVar[type[BaseModel]] = CoTrackerSettings
    follows_points: ClassVar[bool] = True
    licence: ClassVar[str] = LICENCE
    requires: ClassVar[Mapping[str, str]] = {"cotracker": HOW_TO_GET}

    def __init__(self, settings: CoTrackerSettings, model: WindowModel | None = None) -> None:
        self._settings = settings
        self._model = CoTrackerOnline(settings.weights, settings.support) if model is None else model
        self._shots = _Shots(self._model)
        self._upcoming: Sequence[Frame] = ()
        self._objects: dict[int, _Object] = {}
        self._located: dict[int, Row] = {}

    @property
    def latency(self) -> int:
        return self._settings.latency

    def ahead(self, frames: Sequence[Frame]) -> None:
        self._upcoming = frames

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        self._show(frame, features)
        self._objects[object_id] = self._seeded(frame, mask)
        self._located.pop(object_id, None)

    def locate(self, frame: Frame, features: Features) -> Prompts:
        self._show(frame, features)
        if frame.cut:
            for known in self._objects.values():
                known.session.dropped |= known.session.born < self._shots.number(frame)
        self._located = {object_id: self._moved(known, frame) for object_id, known in self._objects.items()}
        starts = [known.session.start for known in self._objects.values()]
        self._shots.forget(min(starts, default=self._shots.number(frame)))
        return point_prompts(list(self._located.values()), self._settings, frame.size)

    def update(self, result: FrameResult) -> None:
        for found in result.objects:
            known = self._objects[found.id]
            known = replace(known, row=replace(self._located.get(found.id, known.row), box=found.box))
            if found.box is not None:
                known = self._checked(known, result.frame, result.index_map == found.id)
            self._objects[found.id] = known
        self._located = {}

    def _show(self, frame: Frame, features: Features) -> None:
        self._shots.show([frame, *self._upcoming], features.image.features.device)

    def _moved(self, known: _Object, frame: Frame) -> Row:
        """An object on this frame."""
        settings, last = self._settings, known.row
        points, scores = known.session.at(self._shots.number(frame), self._shots)
        visible = (scores >= settings.min_score) & ~known.session.dropped
        visible &= on_frame(points, frame.size)
        points = np.where(visible[:, None], points, 0)
        wanted = np.arange(len(points)) < settings.points
        asked = np.count_nonzero(wanted & ~known.session.dropped)
        if np.count_nonzero(visible & wanted) < max(1.0, settings.min_visible * asked):
            return Row(points, np.zeros_like(visible), last.box)
        both = visible & last.visible & wanted
        box = move_box(last.box, last.points[both], points[both], frame.size) if last.box and both.any() else last.box
        return Row(points, visible, box)

    def _checked(self, known: _Object, frame: Frame, mask: np.ndarray) -> _Object:
        """Drop the points that the final mask, bool (H, W), contradicts, and choose others when too many are lost."""
        settings, session, row, now = self._settings, known.session, known.row, self._shots.number(frame)
        if settings.reseed_every is not None and now - known.seeded >= settings.reseed_every:
            return self._seeded(frame, mask)
        wanted = np.arange(len(row.points)) < settings.points
        kept = row.visible & (on_mask(mask, row.points) == wanted)
        session.dropped |= row.visible & ~kept
        enough = np.count_nonzero(kept & wanted) >= settings.reseed_below * settings.points
        if enough or now - session.born < self._model.window // 2:
            return replace(known, row=replace(row, visible=kept))
        return self._begun(frame, row.points, kept, mask, row.box, known.seeded)

    def _seeded(self, frame: Frame, mask: np.ndarray) -> _Object:
        """All points chosen anew."""
        none = np.zeros((self._settings.points + self._settings.background, 2), dtype=np.float32)
        return self._begun(frame, none, np.zeros(len(none), dtype=bool), mask, box_of(mask), self._shots.number(frame))

    def _begun(
        self, frame: Frame, points: np.ndarray, kept: np.ndarray, mask: np.ndarray, box: Any, seeded: int
    ) -> _Object:
        """A new session with the points that are kept, and others in the mask for the rest."""
        points, there = refilled(points, kept, mask, self._settings.points)
        session = _Session(self._model, self._shots.number(frame), points, there, frame.size)
        return _Object(session, seeded, Row(points, there, box))
