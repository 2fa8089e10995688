"""The immutable values that pass between the rooms, checked when they are made.

Conventions, everywhere: images are uint8 RGB (H, W, 3); points and boxes are float32 in xy order, in pixels of the
original frame, with (0, 0) at the centre of the top-left pixel; boxes are (x0, y0, x1, y1), inclusive; logits above 0
are foreground; index maps are uint8 with 0 for background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

Box = tuple[float, float, float, float]


class State(str, Enum):
    """What is known about an object in a frame."""

    VISIBLE = "visible"
    UNCERTAIN = "uncertain"
    ABSENT = "absent"


def read_only(array: np.ndarray) -> np.ndarray:
    """The same memory, which cannot be written to through what is returned."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        index: position in the source, counted from 0.
        image: uint8 (H, W, 3), RGB; read-only, since trackers look back at it: copy it to draw on it.
        time: seconds since the first frame, exact; None where the source has no clock (a folder of images).
        name: what the source calls it: an image's file name, or the index as text.
        cut: a new shot begins here; motion must not be measured from the frame before to this one.
    """

    index: int
    image: np.ndarray
    time: Fraction | None = None
    name: str = ""
    cut: bool = False

    def __post_init__(self) -> None:
        image = self.image
        if self.index < 0:
            raise ValueError(f"frame index must be >= 0, got {self.index}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"frame image must be uint8 (H, W, 3), got {image.dtype} with {image.shape = }")
        object.__setattr__(self, "image", read_only(image))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def __repr__(self) -> str:
        h, w = self.size
        when = "" if self.time is None else f", time={float(self.time):.3f}s"
        return f"Frame(index={self.index}, {w}x{h}{when}, name={self.name!r})"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of where N objects are before anything is decoded, on the grid (h, w) of the decoder's logits.

    Attributes:
        belief: float32 (N, h, w), log-odds that a place is the object's, all evidence weighed, other objects included.
        region: bool (N, h, w), the places that the belief speaks for, without specks.
        carried: float32 (N, h, w), the last frame's logits, moved to where motion has carried them.
        likeness: float32 (N, h, w), how much a place looks like the object by now, about -1 to 1.
        first_likeness: float32 (N, h, w), the same by its references alone, which no mistake has touched.
        recognised: float32 (N, h, w), `likeness`, lowered where a lost object is known not to be.
        least: float32 (N,), mean of `recognised` that a mask needs to be the object.
        area: float32 (N,), places that the object usually takes.
        views: of an object that has to be recognised, float32 (P, h', w'): how much every cell of the embedding looks
            like P cells of the object as it was last seen, -1 to 1, -1 in the padding; None of the others.
        least_recall: float32 (N,), how much of that view a mask has to show (see `vos.evidence.recall`).
    """

    belief: np.ndarray
    region: np.ndarray
    carried: np.ndarray
    likeness: np.ndarray
    first_likeness: np.ndarray
    recognised: np.ndarray
    least: np.ndarray
    area: np.ndarray
    views: tuple[np.ndarray | None, ...]
    least_recall: np.ndarray

    def __post_init__(self) -> None:
        shape = self.belief.shape
        others = self.region, self.carried, self.likeness, self.first_likeness, self.recognised
        if len(shape) != 3 or any(maps.shape != shape for maps in others):
            raise ValueError(f"evidence needs maps of one shape (N, h, w), got {shape} and others")
        numbers = self.least, self.area, self.least_recall
        if any(values.shape != shape[:1] for values in numbers) or len(self.views) != shape[0]:
            sizes = [values.shape for values in numbers]
            raise ValueError(f"evidence of {shape[0]} objects, got {sizes} of numbers and {len(self.views)} views")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "views"}
        kinds = {name: array.dtype for name, array in values.items()}
        if any(kind != (bool if name == "region" else np.float32) for name, kind in kinds.items()):
            raise ValueError(f"evidence must be float32, its region bool, got {kinds}")

    def __len__(self) -> int:
        return len(self.belief)

    def rows(self, which: np.ndarray | slice) -> Evidence:
        """The rows `which`, a bool (N,) or integer index array, or a slice, which copies nothing."""
        picked = {name: getattr(self, name)[which] for name in self.__dataclass_fields__ if name != "views"}
        return Evidence(**picked, views=tuple(self.views[row] for row in np.arange(len(self))[which]))

    def __repr__(self) -> str:
        return f"Evidence({len(self)} objects, {self.belief.shape[1]}x{self.belief.shape[2]})"


@dataclass(frozen=True, eq=False)
class Prompts:
    """What to ask the mask decoder, for N objects at once.

    Attributes:
        points: float32 (N, P, 2), xy, original pixels. Ragged rows are padded; padded points are ignored.
        labels: int8 (N, P): 1 positive, 0 negative, -1 padding.
        boxes: float32 (N, 4), xyxy inclusive, original pixels; a row of NaN is "no box".
        evidence: maps of N objects, from trackers that have them; read with `decoder.first: evidence`.

    A row without a positive point and without a box asks for nothing: its object gets an empty mask.
    """

    points: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        points, labels, boxes = self.points, self.labels, self.boxes
        for name, array in (("points", points), ("labels", labels), ("boxes", boxes)):
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} must be a NumPy array, got {type(array).__name__}")
        if not isinstance(self.evidence, Evidence | None):
            raise ValueError(f"evidence must be Evidence or None, got {type(self.evidence).__name__}")
        if points.ndim != 3 or points.shape[2] != 2 or points.dtype != np.float32:
            raise ValueError(f"points must be float32 (N, P, 2), got {points.dtype} with {points.shape = }")
        if labels.shape != points.shape[:2] or labels.dtype != np.int8:
            raise ValueError(f"labels must be int8 {points.shape[:2]}, got {labels.dtype} with {labels.shape = }")
        if boxes.shape != (len(points), 4) or boxes.dtype != np.float32:
            raise ValueError(f"boxes must be float32 ({len(points)}, 4), got {boxes.dtype} with {boxes.shape = }")
        if labels.size and not np.isin(labels, (-1, 0, 1)).all():
            raise ValueError(f"labels must be 1, 0 or -1, got {np.unique(labels)}")
        if not np.isfinite(points[labels >= 0]).all():
            raise ValueError("points that are not padding must be finite")
        there = self.has_box
        if not np.isnan(boxes[~there]).all():
            raise ValueError("a box is four finite numbers, or four NaN where there is none")
        if (boxes[there, :2] > boxes[there, 2:]).any():
            raise ValueError("boxes are x0, y0, x1, y1 with x0 <= x1 and y0 <= y1")
        if self.evidence is not None and len(self.evidence) != len(points):
            raise ValueError(f"evidence must be of {len(points)} objects, got {len(self.evidence)}")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def has_box(self) -> np.ndarray:
        """bool (N,)."""
        return np.isfinite(self.boxes).all(axis=1)

    @property
    def active(self) -> np.ndarray:
        """bool (N,): rows that ask for something."""
        return self.has_box | (self.labels == 1).any(axis=1)

    def with_boxes(self, boxes: np.ndarray) -> Prompts:
        """The same points with other boxes, float32 (N, 4)."""
        return replace(self, boxes=boxes)

    def rows(self, which: np.ndarray) -> Prompts:
        """The rows `which`, a bool (N,) or integer index array."""
        evidence = None if self.evidence is None else self.evidence.rows(which)
        return Prompts(self.points[which], self.labels[which], self.boxes[which], evidence)

    def __repr__(self) -> str:
        return f"Prompts({len(self)} objects, {self.points.shape[1]} points, {int(self.has_box.sum())} boxes)"


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the mask decoder proposes for N objects at K scales.

    Attributes:
        logits: float (N, K, h, w), the decoder's low resolution: four times the embedding's grid along each axis,
            padding included.
        scores: float (N, K), predicted IoU.
    """

    logits: torch.Tensor
    scores: torch.Tensor

    def __post_init__(self) -> None:
        if self.logits.ndim != 4 or self.scores.shape != self.logits.shape[:2]:
            raise ValueError(
                f"candidates need logits (N, K, h, w), scores (N, K): {self.logits.shape = }, {self.scores.shape = }"
            )

    def pick(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One candidate a row: index int64 (N,) -> logits (N, h, w), scores (N,)."""
        rows = index.new_ones(len(index)).cumsum(0) - 1  # made where it is needed: nothing waits
        return self.logits[rows, index], self.scores[rows, index]

    def __repr__(self) -> str:
        return f"Candidates(logits={tuple(self.logits.shape)}, scores={tuple(self.scores.shape)})"


@dataclass(frozen=True)
class ObjectResult:
    """One object in one frame, measured on the final mask.

    Attributes:
        id: the user's id, 1 to 255; never changes.
        state: visible, uncertain or absent.
        score: an estimate of the mask's IoU with the truth, about 0 to 1: where the tracker gives evidence, the soft
            IoU with what is believed, before corrections; elsewhere the decoder's prediction. 1 where the mask was
            given; 0 where absent.
        box: xyxy, inclusive, original pixels; None where the mask is empty.
        area: pixels.
        given: the frame has a reference of it: the mask is the user's own, or what SAM made of their clicks and box.
    """

    id: int
    state: State
    score: float
    box: Box | None
    area: int
    given: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.id <= 255:
            raise ValueError(f"object id must be 1 to 255, got {self.id}")
        if (self.area == 0) != (self.box is None):
            raise ValueError(f"an empty mask has no box and a filled one has: {self.area = }, {self.box = }")


class SoftMasks(Protocol):
    """Where the alphas of a frame's objects come from."""

    def alpha(self, object_id: int) -> np.ndarray | None:
        """uint16 (H, W); None for an object of which only the mask is known."""


# Of an alpha, where the object begins: more than half.
OPAQUE = 32768


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The answer for one frame.

    Attributes:
        frame: the frame it belongs to.
        index_map: uint8 (H, W): 0 background, else the object's id; read-only, since it is written in the background
            and carried on: copy it to change it.
        objects: one ObjectResult per object that has entered (tracked both ways, per object that has been found before
            or after it entered), in the order in which they enter.
        soft: the objects' own logits, where they are known.
    """

    frame: Frame
    index_map: np.ndarray
    objects: tuple[ObjectResult, ...]
    soft: SoftMasks | None = None

    def __post_init__(self) -> None:
        if self.index_map.shape != self.frame.size or self.index_map.dtype != np.uint8:
            raise ValueError(
                f"index_map must be uint8 {self.frame.size}, got {self.index_map.dtype} with {self.index_map.shape = }"
            )
        object.__setattr__(self, "index_map", read_only(self.index_map))

    def mask(self, object_id: int) -> np.ndarray:
        """bool (H, W) of one object; KeyError if the id is not known in this frame."""
        self._state(object_id)
        return self.index_map == object_id

    def alpha(self, object_id: int) -> np.ndarray:
        """The soft mask of one object, uint16 (H, W): 65535 times its probability. KeyError as `mask`.

        Each object has its own: those of objects that overlap overlap. It agrees with the masks: at least `OPAQUE` on
        the object's mask, less on the background, and 0 where the object is absent. Where only the mask is known, as
        on a frame with a given mask and between keyframes, it is 0 or 65535.
        """
        absent = self._state(object_id) is State.ABSENT
        own = self.index_map == object_id
        soft = None if self.soft is None or absent else self.soft.alpha(object_id)
        if soft is None:
            return np.where(own, np.uint16(65535), np.uint16(0))
        soft = np.where(own, np.maximum(soft, OPAQUE), soft)
        return np.where(self.index_map == 0, np.minimum(soft, OPAQUE - 1), soft).astype(np.uint16)

    def layer(self, object_id: int) -> np.ndarray:
        """bool (H, W) of one object, other objects in front of it or not: its alpha above half. KeyError as `mask`."""
        return self.alpha(object_id) >= OPAQUE

    def _state(self, object_id: int) -> State:
        for item in self.objects:
            if item.id == object_id:
                return item.state
        raise KeyError(
            f"object {object_id} is not known in frame {self.frame.index}; known: {[o.id for o in self.objects]}"
        )

    def __repr__(self) -> str:
        states = ", ".join(f"{o.id}: {o.state.value} {o.area} px" for o in self.objects)
        return f"FrameResult({self.frame.index}, {{{states}}})"
