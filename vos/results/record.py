"""One frame's result as plain data, to be kept in a file and read again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vos.soft import LowLogits
from vos.types import Frame, FrameResult, ObjectResult, State


def record_of(result: FrameResult, *, soft: bool) -> dict[str, Any]:
    """A result as plain data, its logits if they are wanted and its frame's pixels left out."""
    objects = [[o.id, o.state.value, o.score, o.box, o.area, o.given] for o in result.objects]
    packed = np.frombuffer(zlib.compress(result.index_map.tobytes(), 1), np.uint8)
    frame = result.frame
    record: dict[str, Any] = {"frame": frame.index, "print": print_of(frame), "map": packed}
    record |= {"objects": objects, "soft": None}
    if soft and isinstance(result.soft, LowLogits):
        low = result.soft
        record["soft"] = [low.ids, low.logits, low.ratio, low.input_size, low.frame_size]
    return record


def result_of(frame: Frame, record: Mapping[str, Any]) -> FrameResult:
    """The result of which `record_of` was made, with the frame that it was of.

    Raises:
        zlib.error, ValueError, KeyError, TypeError: it is none.
    """
    index_map = np.frombuffer(zlib.decompress(record["map"].tobytes()), np.uint8).reshape(frame.size)
    objects = tuple(
        ObjectResult(i, State(state), score, None if box is None else tuple(box), area, given)
        for i, state, score, box, area, given in record["objects"]
    )
    soft = None
    if record["soft"] is not None:
        ids, logits, ratio, input_size, frame_size = record["soft"]
        soft = LowLogits(tuple(ids), logits, ratio, tuple(input_size), tuple(frame_size))
    return FrameResult(frame, index_map, objects, soft)


def print_of(frame: Frame) -> int:
    """A checksum of the pixels."""
    return zlib.crc32(np.ascontiguousarray(frame.image).data)
