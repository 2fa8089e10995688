"""Where an object is not, while little or nothing of it is in view.

A lost object is looked for everywhere, and what looks much like it would be taken for it. But what was in view together
with it is another, and stays another wherever it moves. And an object that was covered a moment ago is not far from
where that was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trackers.motion import Motion
from vos.distance import to_nearest
from vos.windows import grown

# By how much likeness falls where something is that was in view beside the object.
_OTHER = 0.75
# By how much likeness falls per object's width from its last place, and at most.
_PER_WIDTH, _FARTHEST = 0.25, 1.0
# Frames over which that fades out.
_FRAMES = 10
# Places around a mask that may be the object's too.
_AROUND = 4
# Widths of objects are at least this, in places.
_NARROWEST = 4.0


@dataclass(frozen=True, eq=False)
class Absence:
    """Of one object on one frame.

    Attributes:
        other: float32 (h, w), in [0, 1]: how surely each place shows what was in view beside the object.
        distance: float32 (h, w), from where it was last, in places; None while it is in view.
        frames: for how many it has not been in view.
    """

    other: np.ndarray
    distance: np.ndarray | None = None
    frames: int = 0

    @classmethod
    def beside(cls, logits: np.ndarray, surely: float = 1.0, before: Absence | None = None) -> Absence:
        """Of an object that is in view.

        Args:
            logits: float32 (h, w), its own; an object that is nowhere says nothing.
            surely: how sure it is that this is the object, in [0, 1].
            before: what was known without it, on the same frame: kept where that is surer, but for the object's place.
        """
        inside = logits > 0
        if not inside.any():
            return cls(np.zeros_like(logits))
        around = grown(inside, _AROUND)
        known = np.full_like(logits, surely) if before is None else np.maximum(before.other, np.float32(surely))
        return cls(np.where(around, np.float32(0), known))

    def carried(self, motion: Motion) -> Absence:
        """A frame later: the same things, where they are still seen to be the same."""
        return Absence(motion.keep(self.other), self.distance, self.frames)

    def gone(self, last: np.ndarray) -> Absence:
        """The object has not been found on this frame; `last`, float32 (h, w), are its logits on the one before."""
        distance = to_nearest(last > 0) if self.distance is None and (last > 0).any() else self.distance
        return Absence(self.other, distance, self.frames + 1)

    def unlike(self, area: float) -> np.ndarray:
        """How much less a place is like an object of so many places than it looks, float32 (h, w)."""
        less = _OTHER * self.other
        if self.distance is not None and self.frames < _FRAMES:
            widths = self.distance / np.float32(max(_NARROWEST, np.sqrt(area)))
            less += (1 - self.frames / _FRAMES) * np.minimum(_FARTHEST, _PER_WIDTH * widths)
        return less

    def state(self) -> dict[str, Any]:
        """As plain data, of which an `Absence` can be made again."""
        return asdict(self)
