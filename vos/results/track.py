"""The track file: what happened to every object in every frame, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos.results.files import PartFile, Reserve
from vos.results.summary import Summary
from vos.types import FrameResult, ObjectResult

if TYPE_CHECKING:
    from vos.video.source import Source


class TrackSink:
    """One JSON object, one line per frame, written as the frames come."""

    def __init__(
        self,
        path: Path,
        reserve: Reserve,
        source: Source,
        *,
        settings: Mapping[str, Any],
        versions: Mapping[str, Any],
        references: Sequence[str],
    ) -> None:
        self.path = path
        height, width = source.size
        about = {
            "name": source.name,
            "width": width,
            "height": height,
            "fps": float(source.rate),
            "rate": f"{source.rate.numerator}/{source.rate.denominator}",
            "frame_count": source.frame_count,
            "frame_count_exact": source.frame_count_exact,
        }
        head = {
            "format": "vos-track",
            "version": 1,
            "source": about,
            "references": references,
            "settings": settings,
            "versions": versions,
        }
        self._file = PartFile(path, reserve)
        self._separator = "\n"
        self._good = 0
        self._append(_dump(head)[:-1] + ', "frames": [')

    def write(self, result: FrameResult) -> None:
        frame = result.frame
        record = {
            "frame": frame.index,
            "name": frame.name,
            "time": None if frame.time is None else float(frame.time),
            "objects": [_record(item) for item in result.objects],
        }
        self._append(self._separator + _dump(record))
        self._separator = ",\n"
        self._file.check()

    def close(self, summary: Summary) -> None:
        lost = [
            {
                "id": item.id,
                "absent": [[span.first, span.last] for span in item.absent],
                "uncertain": [[span.first, span.last] for span in item.uncertain],
            }
            for item in summary.objects
        ]
        tail = {
            "summary": {"frames": summary.frames, "objects": lost},
            "complete": summary.complete,
            "error": summary.error,
        }
        if not summary.frames:
            self._file.discard()
            return
        try:
            # A line of which the disk took only a part is overwritten.
            self._file.rewind(self._good)
            self._append("\n], " + _dump(tail)[1:] + "\n")
            self._file.publish()
        except BaseException:
            self._file.discard()
            raise

    def _append(self, text: str) -> None:
        # A lone surrogate, which stands for a byte of a file name that is not UTF-8, becomes its JSON escape.
        self._file.write(text.encode(errors="backslashreplace"))
        self._good = self._file.tell()


def _record(item: ObjectResult) -> dict[str, Any]:
    return {
        "id": item.id,
        "state": item.state.value,
        "score": round(float(item.score), 4),
        "box": None if item.box is None else [round(float(x), 2) for x in item.box],
        "area": int(item.area),
        "given": item.given,
    }


def _dump(value: Any) -> str:
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """The nearest thing that JSON has: null for NaN and infinities, text for what it does not know."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | AbstractSet):
        return [_plain(item) for item in value]
    return str(value)
