"""Whether results are there already, and of what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vos.errors import ResumeError
from vos.results.files import PartFile, Reserve
from vos.results.journal import difference, is_kept
from vos.results.kinds import kinds_of
from vos.results.labels import Labels
from vos.results.sinks import Run
from vos.results.track import TRACK_FILE, dump, head, read_track

_ASKED = ("source", "references", "reference_prints", "both_ways", "first_number", "settings")
# What a run without a track file leaves beside its results, to be known by.
_RECORD = ".run.json"
# Ignored when two finished runs are compared: where they were computed, where the source lay, and how it was counted.
_NO_MATTER = (
    ("settings", "device"),
    ("source", "given"),
    ("source", "frame_count"),
    ("source", "frame_count_exact"),
)


def remember(out: Path, run: Run, reserve: Reserve) -> None:
    """Keep of what the results in a folder are, where they have no track file; OSError."""
    file = PartFile(out / _RECORD, reserve)
    try:
        file.write(dump(head(run)).encode())
        file.publish()
    except BaseException:
        file.discard()
        raise


def forget_record(out: Path) -> None:
    """Delete what `remember` has kept."""
    (out / _RECORD).unlink(missing_ok=True)


def is_finished(out: Path, save: Sequence[str]) -> bool:
    """Whether a folder holds these outputs of a run that came to its end."""
    wanted = kinds_of(save)
    if is_kept(out) or not all(kind.target.files(out) for kind in wanted):
        return False
    return not (out / TRACK_FILE).is_file() or read_track(out).get("complete") is True


def check_finished(out: Path, run: Run) -> None:
    """Refuse finished results that were made of something else, or of which that is not known.

    Raises:
        ResumeError.
    """
    track = read_track(out) if (out / TRACK_FILE).is_file() else _recorded(out)
    if track is None:
        raise ResumeError(f"{out}: holds results, and nothing says of what; track again with --overwrite")
    wanted = json.loads(dump(head(run)))
    found = {name: track.get(name) for name in _ASKED}
    for record in (found, wanted):
        for section, name in _NO_MATTER:
            if isinstance(facts := record.get(section), dict):
                facts.pop(name, None)
    other = difference(found, {name: wanted[name] for name in found})
    if other is not None:
        raise ResumeError(
            f"{out}: holds the finished results of another run: {other}; give the same again, or track again with "
            "--overwrite"
        )
    labels = Labels(tuple(track.get("labels", ())))
    for i in run.ids:
        if (labels.of(i), labels.number(i)) != (run.labels.of(i), run.labels.number(i)):
            raise ResumeError(
                f"{out}: holds finished results in which object {i} is {_called(labels, i)}, and this is "
                f"{_called(run.labels, i)}; `vos export` changes labels without tracking, or track again with "
                "--overwrite"
            )


def _called(labels: Labels, object_id: int) -> str:
    return f"{labels.of(object_id) or 'without label'} (class {labels.number(object_id)})"


def _recorded(out: Path) -> dict[str, Any] | None:
    """What `remember` has kept; None where there is none that can be read."""
    try:
        found = json.loads((out / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
