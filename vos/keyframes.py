"""Between keyframes no model runs: masks are carried from the last keyframe along dense optical flow.

The tracker is told keyframes alone and sees a video of that lower rate; what it follows moves farther from one to the
next. What enters, returns or is uncovered in between is found on the next keyframe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from vos.dense_flow import DenseFlow, places
from vos.references import FrameReferences
from vos.types import Frame

# Flow is computed on pictures whose longer side is at most this many pixels, and whose shorter one at least this many.
_LONGEST, _SMALLEST = 854, 16


class Keyframes:
    """Which frames are keyframes: every k-th from the last one, where a reference is given, and where a shot begins.

    Args:
        every: k.
        since: frames since the last keyframe; by default the next one is due.
    """

    def __init__(self, every: int, since: int | None = None) -> None:
        self.every = every
        self.since = every - 1 if since is None else since

    def due(self, frame: Frame, given: FrameReferences) -> bool:
        """Whether the next frame is one; asked once for each, in order, from the first reference on."""
        self.since += 1
        if self.since < self.every and not frame.cut and not given.ids:
            return False
        self.since = 0
        return True

    def copy(self) -> Keyframes:
        """To ask ahead."""
        return Keyframes(self.every, self.since)


class Carrier:
    """Carries the masks of a keyframe to the frames after it, by flow (DIS, OpenCV) from each frame to the one before.

    The steps are added up and the keyframe's masks are read once per frame, so that they do not blur on the way.
    """

    def __init__(self) -> None:
        self._flow = DenseFlow()
        self._masks: np.ndarray | None = None
        self._scores: dict[int, float] = {}
        self._grey: np.ndarray | None = None  # picture of the last frame
        self._back: np.ndarray | None = None  # float32 (h, w, 2), xy: to where its pixels were in the keyframe
        self._shown: np.ndarray | None = None  # uint8 (h, w), 1 where the keyframe shows them at all

    @property
    def scores(self) -> Mapping[int, float]:
        """The keyframe's, by object id."""
        return self._scores

    def start(self, frame: Frame, masks: np.ndarray, scores: Mapping[int, float]) -> None:
        """A keyframe, its index map, uint8 (H, W), and its objects' scores."""
        self._masks, self._scores = masks, dict(scores)
        self._grey, self._back, self._shown = _grey(frame), None, None

    def carry(self, frame: Frame) -> np.ndarray:
        """The index map of the next frame, uint8 (H, W)."""
        assert self._masks is not None
        assert self._grey is not None
        grey = _grey(frame)
        h, w = grey.shape
        step = self._flow.between(grey, self._grey)
        before = places(h, w) + step
        back = np.zeros_like(step) if self._back is None else self._back
        shown = np.ones((h, w), np.uint8) if self._shown is None else self._shown
        self._back = step + cv2.remap(back, before, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # Kept apart from the ways: these are interpolated, and no number in them could stand for "nowhere".
        self._shown = cv2.remap(shown, before, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        self._grey = grey
        return self._read(frame.size)

    def state(self) -> dict[str, Any]:
        """All that the next `carry` depends on, as plain data."""
        scores = {str(object_id): score for object_id, score in self._scores.items()}
        return {
            "masks": self._masks,
            "scores": scores,
            "grey": self._grey,
            "back": self._back,
            "shown": self._shown,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` told."""
        self._masks, self._grey = state["masks"], state["grey"]
        self._back, self._shown = state["back"], state["shown"]
        self._scores = {int(object_id): score for object_id, score in state["scores"].items()}

    def _read(self, size: tuple[int, int]) -> np.ndarray:
        """The keyframe's masks where they are now: each pixel goes to the object that has most of it, or to none."""
        assert self._masks is not None
        assert self._back is not None
        assert self._shown is not None
        (height, width), (h, w) = size, self._back.shape[:2]
        scale = np.array([width / w, height / h], dtype=np.float32)
        source = places(height, width) + cv2.resize(self._back, (width, height), interpolation=cv2.INTER_LINEAR) * scale
        shown = cv2.resize(self._shown, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
        index_map, most = np.zeros(size, np.uint8), np.full(size, 0.5, np.float32)
        for object_id in np.unique(self._masks[self._masks > 0]):
            own = (self._masks == object_id).astype(np.float32)
            share = cv2.remap(own, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
            more = (share > most) & shown
            index_map[more], most[more] = object_id, share[more]
        return index_map


def _grey(frame: Frame) -> np.ndarray:
    """A frame as flow reads it, uint8 (h, w)."""
    scale = min(1.0, _LONGEST / max(frame.size))
    h, w = (max(_SMALLEST, round(n * scale)) for n in frame.size)
    return cv2.resize(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), (w, h), interpolation=cv2.INTER_AREA)
