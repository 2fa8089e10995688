"""Whether results are there already, and of what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vos.errors import ResumeError
from vos.results.journal import difference, is_kept
from vos.results.kinds import kinds_of
from vos.results.sinks import Run
from vos.results.track import TRACK_FILE, dump, head, read_track

_ASKED = ("source", "references", "labels", "both_ways", "first_number", "settings")
# Ignored when two finished runs are compared: where they were computed, where the source lay, and how it was counted.
_NO_MATTER = (
    ("settings", "device"),
    ("source", "given"),
    ("source", "frame_count"),
    ("source", "frame_count_exact"),
)


def is_finished(out: Path, save: Sequence[str]) -> bool:
    """Whether a folder holds these outputs of a run that came to its end."""
    wanted = kinds_of(save)
    if is_kept(out) or not all(kind.target.files(out) for kind in wanted):
        return False
    return not (out / TRACK_FILE).is_file() or read_track(out).get("complete") is True


def check_finished(out: Path, run: Run) -> None:
    """Refuse finished results that were made of something else, as far as their track file tells.

    Raises:
        ResumeError.
    """
    if not (out / TRACK_FILE).is_file():
        return
    track = read_track(out)
    wanted = json.loads(dump(head(run)))
    found = {
        name: track.get(name) for name in ("source", "references", "labels", "both_ways", "first_number", "settings")
    }
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
