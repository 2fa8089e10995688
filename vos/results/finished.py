"""Whether results are there already, and of what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vos.errors import ResumeError
from vos.results.files import PartFile, Reserve
from vos.results.journal import difference, is_kept
from vos.results.kinds import kinds_of
from vos.results.labels import Labels
from vos.results.record import print_of
from vos.results.sinks import Run
from vos.results.track import RECORD_FILE, TRACK_FILE, dump, head, read_track
from vos.types import Frame

_ASKED = ("source", "references", "both_ways", "first_number", "settings")
# Ignored when two finished runs are compared: where they were computed, where the source lay, how it was counted.
_NO_MATTER = (
    ("settings", "device"),
    ("source", "given"),
    ("source", "frame_count_exact"),
)


def remember(out: Path, run: Run, reserve: Reserve) -> None:
    """Keep of what the results in a folder are, where they have no track file; OSError."""
    file = PartFile(out / RECORD_FILE, reserve)
    try:
        file.write(dump(head(run)).encode())
        file.publish()
    except BaseException:
        file.discard()
        raise


def forget_record(out: Path) -> None:
    """Delete what `remember` has kept."""
    (out / RECORD_FILE).unlink(missing_ok=True)


def is_finished(out: Path, save: Sequence[str]) -> bool:
    """Whether a folder holds these outputs of a run that came to its end."""
    wanted = kinds_of(save)
    if is_kept(out) or not all(kind.target.files(out) for kind in wanted):
        return False
    return not (out / TRACK_FILE).is_file() or read_track(out).get("complete") is True


def check_finished(out: Path, run: Run, first: Frame) -> Labels:
    """Refuse finished results that were made of something else, or of which that is not known.

    Classes of objects that are not in it may be others, as when a table of clips has grown.

    Args:
        out: the folder.
        run: what would be done.
        first: the first frame that would be read.

    Returns:
        The labels that the results have.

    Raises:
        ResumeError.
    """
    track = read_track(out) if (out / TRACK_FILE).is_file() else _recorded(out)
    if track is None:
        raise ResumeError(f"{out}: holds results, and nothing says of what; track again with --overwrite")
    wanted = json.loads(dump(head(run)))
    # Results of an earlier version may lack some.
    found = {name: track[name] for name in _ASKED if name in track}
    # What one way of counting has counted says nothing of what another one estimates.
    otherwise = len({record.get("source", {}).get("frame_count_exact") for record in (found, wanted)}) > 1
    for record in (found, wanted):
        for section, name in (*_NO_MATTER, *([("source", "frame_count")] if otherwise else [])):
            if isinstance(facts := record.get(section), dict):
                facts.pop(name, None)
    other = difference(found, {name: wanted[name] for name in found})
    prints = wanted["reference_prints"]
    if other is None and track.get("reference_prints", prints) != prints:
        other = "another mask"
    if other is None and _pictures_differ(track, first):
        other = "another clip"
    if other is not None:
        raise ResumeError(
            f"{out}: holds the finished results of another run: {other}; give the same again, or track again with "
            "--overwrite"
        )
    labels = Labels(tuple(track.get("labels", ())))
    for i in run.ids:
        if labels.of(i) != run.labels.of(i):
            raise ResumeError(
                f"{out}: holds finished results in which object {i} is {labels.of(i) or 'without label'}, and this is "
                f"{run.labels.of(i) or 'without label'}; `vos export --label` changes labels without tracking, or "
                "track again with --overwrite"
            )
    return labels


def _pictures_differ(track: Mapping[str, Any], first: Frame) -> bool:
    """Whether the first picture that was tracked is known to be another."""
    frames = track.get("frames")
    begun = frames[0] if isinstance(frames, list) and frames and isinstance(frames[0], dict) else {}
    return begun.get("print", print_of(first)) != print_of(first)


def _recorded(out: Path) -> dict[str, Any] | None:
    """What `remember` has kept; None where there is none that can be read."""
    try:
        found = json.loads((out / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
