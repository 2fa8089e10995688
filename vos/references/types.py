"""What a user can point with: a mask, a click, a box. Immutable, checked when made.

Points are in pixels of the frame, x to the right and y down, (0, 0) at the centre of the top-left pixel; boxes include
both of their corners. Whether they fit a frame is checked by the plan, which knows the frame's size.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vos.errors import ReferenceInputError
from vos.references.grey import MAX_ID
from vos.references.masks import object_ids, understand, understand_image


@dataclass(frozen=True, eq=False)
class MaskReference:
    """The masks of one or more objects on one frame.

    Attributes:
        frame: index of the frame, from 0.
        mask: uint8 (H, W): 0 background, else the object's id. Treated as read-only. Anything else that is given (a
            bool array, other integers, a 0/255 mask, a nested list, a Pillow image) becomes that as `understand` reads
            it; it is copied.
        source: where it came from, for messages.
        notes: how it was understood, one line each.
        understood: `mask` is such an index map already, whatever its values look like.

    Raises:
        ReferenceInputError: a negative frame, no object, or nothing that can be understood as a mask.
    """

    frame: int
    mask: np.ndarray
    source: str = "mask"
    notes: tuple[str, ...] = ()
    understood: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _frame(self.frame, self.source))
        if self.understood:
            shape, dtype = np.shape(self.mask), getattr(self.mask, "dtype", type(self.mask).__name__)
            if len(shape) != 2 or dtype != np.uint8:
                raise ReferenceInputError(f"{self.source}: an index map is uint8 (H, W), got {dtype} {shape}")
        else:
            try:
                found = understand_image(self.mask) if isinstance(self.mask, Image.Image) else understand(self.mask)
            except ReferenceInputError as error:
                raise ReferenceInputError(f"{self.source}: {error}") from None
            object.__setattr__(self, "mask", found.index_map)
            object.__setattr__(self, "notes", (*self.notes, *found.notes))
            object.__setattr__(self, "understood", True)
        own = self.mask.copy()
        own.flags.writeable = False
        object.__setattr__(self, "mask", own)
        if not own.any():
            raise ReferenceInputError(f"{self.source}: all background: there is no object in it (every pixel is 0)")

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects' ids, ascending."""
        return object_ids(self.mask)

    @property
    def option(self) -> str:
        """As the command line's option that gives it, for the record."""
        # The mask of a single object may have been given an id of its own.
        own = f":{self.ids[0]}" if len(self.ids) == 1 else ""
        return f"--ref {self.frame}:{self.source}{own}"

    def __repr__(self) -> str:
        height, width = self.mask.shape
        return f"MaskReference(frame={self.frame}, {width}x{height}, ids={list(self.ids)}, source={self.source!r})"


@dataclass(frozen=True)
class Click:
    """A point on an object (positive) or beside it (negative), at (x, y).

    Raises:
        ReferenceInputError: a negative frame, an id that is not 1 to 255, a coordinate that is not a finite number, or
            a `positive` that is neither true nor false.
    """

    frame: int
    x: float
    y: float
    id: int = 1
    positive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _frame(self.frame, "click"))
        object.__setattr__(self, "id", _id(self.id, "click"))
        object.__setattr__(self, "x", _coordinate(self.x, "click"))
        object.__setattr__(self, "y", _coordinate(self.y, "click"))
        object.__setattr__(self, "positive", _truth(self.positive, "click: positive"))

    @property
    def ids(self) -> tuple[int, ...]:
        return (self.id,)

    @property
    def source(self) -> str:
        """As on the command line: a leading '-' is that of a negative click, never that of x."""
        sign = "" if self.positive else "-"
        frame = f"{self.frame}:" if self.x < 0 else ""
        return f"click {sign}{frame}{self.x:g},{self.y:g}"

    @property
    def option(self) -> str:
        """As the command line's option that gives it, for the record."""
        sign = "" if self.positive else "-"
        return f"--click {sign}{self.frame}:{coordinate_text(self.x)},{coordinate_text(self.y)}:{self.id}"


@dataclass(frozen=True)
class BoxPrompt:
    """A box around an object, corners (x0, y0) and (x1, y1) included.

    Raises:
        ReferenceInputError: as Click, or a box whose right or bottom edge lies before its left or top edge.
    """

    frame: int
    x0: float
    y0: float
    x1: float
    y1: float
    id: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _frame(self.frame, "box"))
        object.__setattr__(self, "id", _id(self.id, "box"))
        for name in ("x0", "y0", "x1", "y1"):
            object.__setattr__(self, name, _coordinate(getattr(self, name), "box"))
        if self.x1 < self.x0 or self.y1 < self.y0:
            raise ReferenceInputError(
                f"{self.source} is empty: x1 must not be less than x0, nor y1 less than y0 "
                "(x0,y0 is the top left corner, x1,y1 the bottom right)"
            )

    @property
    def ids(self) -> tuple[int, ...]:
        return (self.id,)

    @property
    def source(self) -> str:
        return f"box {self.x0:g},{self.y0:g},{self.x1:g},{self.y1:g}"

    @property
    def option(self) -> str:
        """As the command line's option that gives it, for the record."""
        corners = ",".join(map(coordinate_text, (self.x0, self.y0, self.x1, self.y1)))
        return f"--box {self.frame}:{corners}:{self.id}"


Reference = MaskReference | Click | BoxPrompt


def coordinate_text(value: float) -> str:
    """All of its digits, and no exponent, which options do not take."""
    return np.format_float_positional(value, trim="-")


def _frame(value: object, what: str) -> int:
    frame = _integer(value, f"{what}: FRAME")
    if frame < 0:
        raise ReferenceInputError(f"{what}: FRAME must be 0 or more, got {frame}")
    return frame


def _id(value: object, what: str) -> int:
    number = _integer(value, f"{what}: ID")
    if not 1 <= number <= MAX_ID:
        raise ReferenceInputError(f"{what}: ID must be 1 to {MAX_ID}, got {number}")
    return number


def _integer(value: object, what: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ReferenceInputError(f"{what} must be a whole number, got {value!r}") from None


def _truth(value: object, what: str) -> bool:
    if not isinstance(value, (bool, int, np.bool_, np.integer)) or value not in (0, 1):
        raise ReferenceInputError(f"{what} must be True or False, got {value!r}")
    return bool(value)


def _coordinate(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ReferenceInputError(f"{what}: coordinates must be finite numbers, got {value!r}")
    return number
