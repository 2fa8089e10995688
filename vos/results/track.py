"""The track file: what happened to every object in every frame, as JSON."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vos.errors import OutputError
from vos.paths import put
from vos.results.files import PART, Reserve, TextPart
from vos.results.labels import Labels
from vos.results.record import print_of
from vos.results.sinks import Clip, Run
from vos.results.summary import Summary
from vos.types import FrameResult, ObjectResult

FORMAT, VERSION = "vos-track", 1
TRACK_FILE = "track.json"
# What a run without a track file leaves beside its results, to be known by.
RECORD_FILE = ".run.json"


class TrackSink:
    """One JSON object, one line per frame, written as the frames come."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._file = TextPart(path, reserve)
        self._separator = "\n"
        self._cuts: list[int] = []
        self._file.append(dump(head(run))[:-1] + ', "frames": [')

    def write(self, result: FrameResult) -> None:
        frame = result.frame
        if frame.cut:
            self._cuts.append(frame.index)
        record = {
            "frame": frame.index,
            "name": frame.name,
            "time": None if frame.time is None else float(frame.time),
            "print": print_of(frame),
            "objects": [_record(item) for item in result.objects],
        }
        self._file.append(self._separator + dump(record))
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
            "summary": {"frames": summary.frames, "objects": lost, "cuts": self._cuts},
            "complete": summary.complete,
            "error": summary.error,
        }
        if summary.frames:
            self._file.finish("\n], " + dump(tail)[1:] + "\n")
        else:
            self._file.discard()


def head(run: Run) -> dict[str, Any]:
    """What a track file says of the run as a whole."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": {**about(run.clip), **run.reading},
        "references": run.references,
        "reference_prints": run.reference_prints,
        "ids": run.ids,
        "labels": run.labels.given,
        "both_ways": run.both_ways,
        "first_number": run.first_number,
        "settings": run.settings,
        "versions": run.versions,
    }


def about(clip: Clip) -> dict[str, Any]:
    """A source's facts as plain data."""
    height, width = clip.size
    return {
        "name": clip.name,
        "width": width,
        "height": height,
        "fps": float(clip.rate),
        "rate": _ratio(clip.rate),
        "pixel_aspect": _ratio(clip.pixel_aspect),
        "frame_count": clip.frame_count,
        "frame_count_exact": clip.frame_count_exact,
    }


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _record(item: ObjectResult) -> dict[str, Any]:
    return {
        "id": item.id,
        "state": item.state.value,
        "score": round(float(item.score), 4),
        "box": None if item.box is None else [round(float(x), 2) for x in item.box],
        "area": int(item.area),
        "given": item.given,
    }


def dump(value: Any) -> str:
    """A value as one line of JSON that UTF-8 can hold."""
    text = json.dumps(_plain(value), allow_nan=False, ensure_ascii=False)
    # A lone surrogate, which stands for a byte of a file name that is not UTF-8, becomes its JSON escape.
    return text.encode(errors="backslashreplace").decode()


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


def read_track(out: Path) -> dict[str, Any]:
    """The track file of a folder of results; OutputError where there is none, or another thing."""
    path = out / TRACK_FILE
    if not path.is_file():
        advice = "--resume the run" if (out / ".resume").is_dir() else "track again with --save masks,json among others"
        raise OutputError(f"{out}: no finished results: there is no {path.name}; {advice}")
    try:
        track = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise not_a_track(out) from error
    if not isinstance(track, dict) or track.get("format") != FORMAT or track.get("version") != VERSION:
        raise not_a_track(out)
    return track


def relabel(out: Path, labels: Labels) -> None:
    """Change what the track file of a folder of results says that objects are called.

    Raises:
        OutputError: it cannot be written; it is as it was.
    """
    path = out / TRACK_FILE
    part = path.with_name(path.name + PART)
    try:
        with open(path, "rb") as old, open(part, "wb") as new:
            # The first line is all that there is before the frames, as long as nobody has formatted it otherwise.
            first = old.readline().rstrip()
            if first.endswith(b"["):
                about = {**json.loads(first + b"]}"), "labels": labels.given}
                new.write((dump(about).removesuffix("]}") + "\n").encode())
                shutil.copyfileobj(old, new)
            else:
                new.write((dump({**read_track(out), "labels": labels.given}) + "\n").encode())
        put(part, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise not_a_track(out) from error
    finally:
        part.unlink(missing_ok=True)


def not_a_track(out: Path) -> OutputError:
    """That a folder's track file cannot be understood."""
    return OutputError(f"{out / TRACK_FILE}: damaged, or not a track file of this version of vos")
