"""What Python users may pass as references."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from vos.errors import ReferenceInputError
from vos.paths import expanded
from vos.references.masks import UnderstoodMask, read_mask, understand, understand_image
from vos.references.plan import ReferencePlan
from vos.references.types import BoxPrompt, Click, MaskReference, Reference

if TYPE_CHECKING:
    from vos.video.source import Source


def as_references(obj: object) -> tuple[Reference, ...]:
    """References from anything that means them.

    Args:
        obj: the path of a mask file; an array or a Pillow image; a MaskReference, Click or BoxPrompt; a list or
            tuple of these; or a dict from frame index to any of these. Without a dict, files, arrays and images
            are of frame 0. In a dict, a MaskReference, Click or BoxPrompt made for frame 0 moves to the dict's frame.

    Raises:
        ReferenceInputError: another type, a mask that cannot be understood, or a frame that contradicts the dict's.
    """
    if isinstance(obj, Mapping):
        return tuple(_moved(r, frame) for frame, value in obj.items() for r in as_references(value))
    if isinstance(obj, (list, tuple)):
        return tuple(reference for item in obj for reference in as_references(item))
    if isinstance(obj, (MaskReference, Click, BoxPrompt)):
        return (obj,)
    if isinstance(obj, (str, os.PathLike)):
        path = os.fsdecode(obj)
        return (_reference(read_mask(str(expanded(path))), path),)
    if isinstance(obj, Image.Image) or hasattr(obj, "__array__"):
        return (_from_pixels(obj),)
    raise ReferenceInputError(
        f"a reference must be a path, an array, an image, a MaskReference, Click or BoxPrompt, or a list or dict of "
        f"these, got {type(obj).__name__}"
    )


def placed(wanted: Sequence[Reference], source: Source) -> list[Reference]:
    """References that are for frame 0, or for none in particular, go to the first frame that is read.

    Raises:
        ReferenceInputError: one is for a frame that is not read.
    """
    first = source.first().index
    references = [replace(r, frame=first) if r.frame == 0 else r for r in wanted]
    for reference in references:
        if source.live is not None and reference.frame != first:
            raise ReferenceInputError(
                f"{reference.source}: reference on frame {reference.frame}, but which frames of {source.name} there is "
                "time for is not known; give references for its first frame"
            )
        if not source.reading.includes(reference.frame, first):
            raise ReferenceInputError(
                f"{reference.source}: reference on frame {reference.frame}, which is not read: frames are read "
                f"{source.reading.span}, the first is {first}"
            )
    return references


def plan_for(source: Source, references: object, *, both_ways: bool = False) -> ReferencePlan:
    """What to track through an open source.

    Args:
        source: what is read.
        references: as for `as_references`; what is for frame 0, or for none, is for the first frame that is read.
        both_ways: objects will be tracked both ways.

    Raises:
        ReferenceInputError: see `as_references` and `ReferencePlan.build`; one is for a frame that is not read.
    """
    count = source.frame_bound if source.frame_count_exact else None
    given = placed(as_references(references), source)
    return ReferencePlan.build(given, frame_size=source.size, frame_count=count, both_ways=both_ways)


def _from_pixels(obj: object) -> MaskReference:
    source = "mask image" if isinstance(obj, Image.Image) else "mask array"
    try:
        understood = understand_image(obj) if isinstance(obj, Image.Image) else understand(obj)
    except ReferenceInputError as error:
        raise ReferenceInputError(f"{source}: {error}") from None
    return _reference(understood, source)


def _reference(understood: UnderstoodMask, source: str) -> MaskReference:
    return MaskReference(0, understood.index_map, source, understood.notes, understood=True)


def _moved(reference: Reference, frame: int) -> Reference:
    if reference.frame not in (0, frame):
        raise ReferenceInputError(f"{reference.source}: made for frame {reference.frame}, but given for frame {frame}")
    return replace(reference, frame=frame)
