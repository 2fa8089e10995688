"""The text forms of references, as they stand on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vos.errors import ReferenceInputError
from vos.paths import expanded
from vos.references.masks import UnderstoodMask, read_mask
from vos.references.types import BoxPrompt, Click, MaskReference

_MASK_FORM = "[FRAME:]FILE[:ID]"
_CLICK_FORM = "[-][FRAME:]x,y[:ID]"
_BOX_FORM = "[FRAME:]x0,y0,x1,y1[:ID]"

_WHOLE = r"[0-9]{1,9}"
_NUMBER = r"\s*[-+]?(?:[0-9]{1,12}(?:\.[0-9]*)?|\.[0-9]+)\s*"
_CLICK = re.compile(rf"(-)?(?:({_WHOLE}):)?({_NUMBER}),({_NUMBER})(?::({_WHOLE}))?")
_BOX = re.compile(rf"(?:({_WHOLE}):)?({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})(?::({_WHOLE}))?")
_FRAME_FIRST = re.compile(r"(-?[0-9]{1,9}):(.+)", re.DOTALL)
_ID_LAST = re.compile(r"(.+):(-?[0-9]{1,9})", re.DOTALL)


def parse_mask(text: str) -> MaskReference:
    """Reads `[FRAME:]FILE[:ID]`; FRAME is 0 unless given, ID renames the one object of the mask.

    A path that exists as it stands is taken as that, colons and all.

    Raises:
        ReferenceInputError: a mask that cannot be read, a negative FRAME, an ID that is not 1 to 255, or an ID for a
            mask of several objects.
    """
    frame, path, object_id = _split_mask(text)
    if frame < 0:
        raise ReferenceInputError(f"mask {text!r}: FRAME must be 0 or more, got {frame}")
    understood = read_mask(path)
    mask = understood.index_map if object_id is None else _renamed(understood, object_id, text)
    return MaskReference(frame, mask, path, understood.notes, understood=True)


def parse_click(text: str) -> Click:
    """Reads `[-][FRAME:]x,y[:ID]`; a leading '-' makes it negative; FRAME is 0 and ID 1 unless given.

    Raises:
        ReferenceInputError: another form, or an ID that is not 1 to 255.
    """
    match = _CLICK.fullmatch(text.strip())
    if match is None:
        raise ReferenceInputError(
            f"click {text!r} is not of the form {_CLICK_FORM}, for example 0:320,180 or -0:10,20:2"
        )
    negative, frame, x, y, object_id = match.groups()
    return Click(int(frame or 0), float(x), float(y), int(object_id or 1), negative is None)


def parse_box(text: str) -> BoxPrompt:
    """Reads `[FRAME:]x0,y0,x1,y1[:ID]`; FRAME is 0 and ID 1 unless given.

    Raises:
        ReferenceInputError: another form, an ID that is not 1 to 255, or an empty box.
    """
    match = _BOX.fullmatch(text.strip())
    if match is None:
        raise ReferenceInputError(
            f"box {text!r} is not of the form {_BOX_FORM}, for example 0:100,50,220,180 or 8,8,64,64:2"
        )
    frame, x0, y0, x1, y1, object_id = match.groups()
    return BoxPrompt(int(frame or 0), float(x0), float(y0), float(x1), float(y1), int(object_id or 1))


def _split_mask(text: str) -> tuple[int, str, int | None]:
    """FRAME, FILE and ID: the first reading whose file exists, the one with the fewest parts first."""
    if not text.strip():
        raise ReferenceInputError(f"mask '' is not of the form {_MASK_FORM}, for example mask.png or 12:mask.png:2")
    readings = list(_readings(text))
    for frame, path, object_id in readings:
        for there in dict.fromkeys((path, str(expanded(path)))):
            if _exists(there):
                return frame, there, object_id
    _, path, _ = readings[-1]
    seen = "" if path == text else f" (from {text!r})"
    raise ReferenceInputError(f"mask file {path!r} does not exist{seen}: the form is {_MASK_FORM}")


def _readings(text: str) -> Iterator[tuple[int, str, int | None]]:
    yield 0, text, None
    first = _FRAME_FIRST.fullmatch(text)
    last = _ID_LAST.fullmatch(text)
    if first:
        yield int(first[1]), first[2], None
    if last:
        yield 0, last[1], int(last[2])
    if first and (both := _ID_LAST.fullmatch(first[2])):
        yield int(first[1]), both[1], int(both[2])


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _renamed(understood: UnderstoodMask, object_id: int, text: str) -> np.ndarray:
    if not 1 <= object_id <= 255:
        raise ReferenceInputError(f"mask {text!r}: ID must be 1 to 255, got {object_id}")
    ids = understood.ids
    if len(ids) > 1:
        raise ReferenceInputError(
            f"mask {text!r}: ID {object_id} can only be given to a mask of one object, but this one holds {len(ids)} "
            f"(ids {', '.join(map(str, ids[:8]))}{', …' if len(ids) > 8 else ''}): leave out the :{object_id}"
        )
    return np.where(understood.index_map > 0, np.uint8(object_id), np.uint8(0))
