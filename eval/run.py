"""Tracking a data set and scoring it as the frames come out, in a way that can be stopped and taken up again.

The folder OUT holds `settings.json` (what is run), and per sequence the masks `OUT/<sequence>/<frame>.png` and, once
all of them are there, `OUT/<sequence>/done.json`, which knows what they were made of. Every file is written under
another name and renamed, so what exists is whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vos.errors import EvaluationError, OutputError
from vos.palette import davis_palette
from vos.paths import is_image_name, natural_key, put
from vos.settings import Settings
from vos.types import FrameResult
from vos.video import open_source
from vos.weights.store import sha256_of

from . import metrics
from .davis import Dataset, Sequence, Task, missing_frames, result_path
from .scoring import SequenceScore, SequenceScorer, score_sequence

# source (a folder of images), index map uint8 (H, W) of the first frame -> one result per frame
TrackFunction = Callable[[str, np.ndarray], Iterable[FrameResult]]

SETTINGS = "settings.json"
DONE = "done.json"


@dataclass(frozen=True)
class Progress:
    """Where a run is: called after every frame, and once for a sequence that was done before (`resumed`)."""

    sequence: str
    frame: int
    frames: int
    resumed: bool = False


def run_dataset(
    dataset: Dataset,
    out: Path,
    track: TrackFunction,
    settings: Mapping[str, Any],
    *,
    overwrite: bool = False,
    tolerance: float = metrics.DEFAULT_TOLERANCE,
    counter: metrics.Counter = metrics.count,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[SequenceScore]:
    """Tracks and scores every sequence; one that is done is only scored, one that is half done is done again.

    Args:
        dataset: what to track; semi-supervised.
        out: folder for the masks.
        track: the method.
        settings: what the method is, ready for JSON; kept in `out` and compared on the next run.
        overwrite: track everything anew, whatever `out` holds.
        tolerance, counter: see `SequenceScorer`.
        on_progress: called as frames are done.

    Raises:
        EvaluationError: the data set cannot be tracked, a frame has no result, or `out` was made with other settings or
            of other frames.
        OutputError: `out` cannot be written.
        VosError: whatever `track` raises.
    """
    if dataset.task is not Task.SEMI_SUPERVISED:
        raise EvaluationError("--run tracks from the first annotation, which is the semi-supervised task")
    sequences = [dataset.sequence(name) for name in dataset.names]
    images = {sequence.name: image_names(sequence) for sequence in sequences}
    keep_apart(out, sequences)
    settle(out, settings, dataset, replace=overwrite)
    made_of = {sequence.name: contents(sequence, images[sequence.name]) for sequence in sequences}
    done_before = {name for name, digest in made_of.items() if is_done(out / name, settings, digest)}
    for sequence in sequences:
        folder = out / sequence.name
        if sequence.name in done_before and not missing_frames(out, sequence):
            on_progress(Progress(sequence.name, len(sequence.frames), len(sequence.frames), resumed=True))
            yield score_sequence(sequence, out, tolerance=tolerance, counter=counter)
            continue
        forget(folder)
        scorer = SequenceScorer(sequence, tolerance=tolerance, counter=counter)
        began = time.monotonic()
        frames = len(images[sequence.name])
        done = 0
        reference, _ = sequence.annotation(sequence.frames[0])
        for result in track(str(sequence.images), reference.astype(np.uint8)):
            name = Path(result.frame.name).stem
            write_mask(result_path(out, sequence.name, name), result.index_map)
            scorer.update(name, result.index_map)
            done += 1
            on_progress(Progress(sequence.name, done, frames))
        score = scorer.finish()
        facts = {"frames": done, "seconds": round(time.monotonic() - began, 3)}
        write_json(folder / DONE, {**facts, "settings": dict(settings), "made-of": made_of[sequence.name]})
        yield score


def keep_apart(out: Path, sequences: Iterable[Sequence]) -> None:
    """EvaluationError where results would lie among the files of the data set."""
    for sequence in sequences:
        if (out / sequence.name).resolve() in (sequence.annotations.resolve(), sequence.images.resolve()):
            raise EvaluationError(f"{out}: holds the data set itself; choose another folder for the results")


def about(preset: str, settings: Settings | None, dataset: Dataset) -> dict[str, Any]:
    """What makes masks, ready for JSON, but for the frames: `settings` of `run_dataset`; None where none can be set.

    Raises:
        EvaluationError: weights cannot be read.
    """
    tree = {} if settings is None else settings.model_dump(mode="json")
    files = {key: Path(value) for key, value in _flat(tree).items() if key.endswith("weights") and value is not None}
    try:
        # Loading says what is wrong with those that are not there.
        weights = {key: sha256_of(path) for key, path in files.items() if path.is_file()}
    except OSError as error:
        raise EvaluationError(f"cannot read weights {error.filename}: {error.strerror or error}") from error
    data = {"year": dataset.year, "resolution": dataset.resolution}
    return {"preset": preset, "settings": tree, "data": data, **({"weights": weights} if weights else {})}


def contents(sequence: Sequence, images: Iterable[str]) -> str:
    """A digest of what a sequence is tracked from: its first annotation and its `images`, by name and content."""
    digest = hashlib.sha256(np.ascontiguousarray(sequence.annotation(sequence.frames[0])[0]).tobytes())
    try:
        for name in images:
            path = sequence.image(name)
            assert path is not None
            digest.update(f"{path.name} {sha256_of(path)}".encode(errors="surrogateescape"))
    except OSError as error:
        raise EvaluationError(f"sequence {sequence.name}: cannot read {error.filename}: {error.strerror}") from error
    return digest.hexdigest()


def is_done(folder: Path, settings: Mapping[str, Any], made_of: str) -> bool:
    """Whether a sequence's folder is finished, with these settings.

    Raises:
        EvaluationError: it is, but of other contents.
    """
    try:
        marker = json.loads((folder / DONE).read_text(encoding="utf-8"))
        done, before = marker["settings"] == json.loads(json.dumps(settings)), marker["made-of"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if done and before != made_of:
        raise EvaluationError(
            f"{folder} was made of other images or another first annotation; choose another folder for the results, "
            "delete that one, or --overwrite to track everything anew"
        )
    return done


def image_names(sequence: Sequence) -> tuple[str, ...]:
    """Names of the frames to track, which begin with the first annotated one.

    Raises:
        EvaluationError: there is none, the first has no annotation or one of another size, two have one name, or one
            that is scored is not there.
        SourceError: the first cannot be read.
    """
    folder = sequence.images
    names = [p.stem for p in sorted(filter(is_image_name, folder.glob("*")), key=natural_key)]
    if not names:
        raise EvaluationError(f"sequence {sequence.name}: no images to track in {folder}")
    if names[0] != sequence.frames[0]:
        raise EvaluationError(
            f"sequence {sequence.name}, frame {sequence.frames[0]}: the first annotation is not of the first image, "
            f"{names[0]}"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise EvaluationError(f"sequence {sequence.name}, frame {name}: {folder} has {count} images of that name")
    there = set(names)
    for frame in sequence.scored:
        if frame not in there:
            raise EvaluationError(
                f"sequence {sequence.name}, frame {frame}: it is scored, and has no image in {folder}"
            )
    with open_source(folder) as source:
        sequence.check_image(source.size, names[0])
    return tuple(names)


def settle(out: Path, settings: Mapping[str, Any], dataset: Dataset, *, replace: bool) -> None:
    """Keeps the settings in `out`, or finds that it holds results of others.

    Args:
        replace: what `out` has of the data set's chosen sequences is removed, and where it was made with other
            settings, what it has of all others too.

    Raises:
        EvaluationError: `out` was made with other settings, or by something else.
        OutputError: it cannot be written.
    """
    path = out / SETTINGS
    before, wanted = _kept_settings(path), json.loads(json.dumps(settings))
    if replace:
        names = set(dataset.names)
        if before != wanted:
            names.update(folder.name for folder in dataset.annotations.iterdir())
        for name in sorted(names):
            forget(out / name)
    elif before == wanted:
        return
    elif before is not None:
        raise EvaluationError(
            f"{out} holds results made with other settings ({_changes(before, settings)}); "
            "choose another folder, or --overwrite to track everything anew"
        )
    elif path.is_file():
        raise EvaluationError(f"cannot read settings from {path}; use --overwrite to track everything anew")
    elif out.is_dir() and any(out.iterdir()):
        raise EvaluationError(f"{out} is not empty and not of an earlier run; choose another folder, or --overwrite")
    write_json(path, dict(settings))


def _kept_settings(path: Path) -> Mapping[str, Any] | None:
    """The settings in a file; None where there are none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two trees of settings, as `key was a, is b`."""
    old, new = _flat(before), _flat(now)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    first = "; ".join(f"{key} was {old.get(key)}, is {new.get(key)}" for key in changed[:3])
    return first + (f"; {len(changed) - 3} more" if len(changed) > 3 else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat


def forget(folder: Path) -> None:
    """Removes what a run left in a sequence's folder, the marker first; other files stay. OutputError if it cannot."""
    try:
        (folder / DONE).unlink(missing_ok=True)
        for pattern in ("*.png", "*.part"):
            for path in folder.glob(pattern):
                path.unlink()
    except OSError as error:
        raise OutputError(f"cannot clear {folder}: {error.strerror or error}") from error


def write_mask(path: Path, index_map: np.ndarray) -> None:
    """Writes an index map, uint8 (H, W), as a PNG with the DAVIS palette. OutputError if it cannot be written."""
    image = Image.fromarray(index_map)
    image.putpalette(davis_palette().tobytes())
    _write(path, lambda part: image.save(part, format="PNG"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file. OutputError if it cannot be written."""
    text = json.dumps(value, indent=1)
    _write(path, lambda part: part.write_text(text, encoding="utf-8"))


def _write(path: Path, save: Callable[[Path], object]) -> None:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(part)
        put(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
