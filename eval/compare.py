"""Presets side by side: the same frames, in lockstep, each decoded once and embedded once per encoder.

The folder OUT holds one folder per preset, laid out as `eval.run` does it: masks, `settings.json`, and a `done.json`
per finished sequence, which here also says what the sequence cost. So a stopped comparison goes on where it was, a
preset added later is the only one that runs, and `vos eval OUT/<preset>` scores what lies there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vos.errors import EvaluationError
from vos.references import FrameReferences, ReferencePlan, as_references
from vos.settings import Changes, load_settings, preset_names
from vos.tracking import with_following
from vos.types import Frame, FrameResult
from vos.video import open_source

from . import metrics
from .continuity import Continuity, ContinuityCounter
from .davis import Dataset, Sequence, Task, missing_frames, read_result, result_path
from .machine import peak_memory
from .run import (
    DONE,
    Progress,
    about,
    contents,
    forget,
    image_names,
    is_done,
    keep_apart,
    settle,
    write_json,
    write_mask,
)
from .scoring import SequenceScore, SequenceScorer

HOLD = "hold"
# What a pass tells apart in its step.
STEP_STAGES = ("locate", "segment", "merge", "learn")
STAGES = ("decode", "encode", "locate", "segment", "merge", "learn", "other", "write")


class Times(Protocol):
    """As `vos.timing.StageTimes`."""

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far."""


class Pass(Protocol):
    """One entry's way through one sequence; `vos.passes.VideoPass` is one."""

    @property
    def times(self) -> Times: ...

    @property
    def latency(self) -> int:
        """How many later frames `step` is to be shown."""

    def needs(self, frame: Frame, given: FrameReferences) -> bool:
        """Whether `step` will look at the next frame's features; asked once for each frame, before it."""

    def step(self, frame: Frame, given: FrameReferences, features: Any, upcoming: tuple[Frame, ...]) -> FrameResult:
        """The next frame, with what `Entry.encode` gave for it (None where that is not needed), and at least the
        `latency` frames that follow it, fewer where the clip ends; returns when the answer is there."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of a comparison.

    Attributes:
        name: of the row, and of its folder in OUT.
        facts: what it is, ready for JSON; kept in OUT and compared when a comparison is taken up again.
        encode: what `step` needs of a frame's pixels, returned when it is there. Entries with an equal one share its
            answer. None: nothing.
        begin: a fresh pass over frames of a size, (H, W). Called, for all entries that are to run, before the first
            frame of a sequence.
    """

    name: str
    facts: Mapping[str, Any]
    encode: Callable[[Frame], Any] | None
    begin: Callable[[tuple[int, int]], Pass]


@dataclass(frozen=True)
class Cost:
    """What a sequence, or several, cost one entry as if it had run alone.

    Attributes:
        frames: all of them, scored or not.
        seconds: stage -> seconds, one entry for each of `STAGES`. `decode` and `encode` were measured once and are
            charged to each entry in full; `learn` is taking in references and results; `other` the rest of the step.
        peak_mb: peak memory of the whole process until the end of it, all entries together, MB; None if unknown.
        timed: when the comparisons began that measured it (a sequence done before keeps its times), ISO 8601, UTC.
    """

    frames: int
    seconds: Mapping[str, float]
    peak_mb: float | None
    timed: frozenset[str]

    @property
    def rate(self) -> float:
        """Frames per second, one stage after the other."""
        return self.frames / max(sum(self.seconds.values()), 1e-9)

    @property
    def ms(self) -> dict[str, float]:
        """Stage -> milliseconds per frame."""
        return {stage: 1000 * self.seconds[stage] / max(self.frames, 1) for stage in STAGES}

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        """Sums, and the highest peak."""
        costs = tuple(costs)
        peaks = [cost.peak_mb for cost in costs if cost.peak_mb is not None]
        seconds = {stage: sum(cost.seconds[stage] for cost in costs) for stage in STAGES}
        timed = frozenset[str]().union(*(cost.timed for cost in costs))
        return cls(sum(cost.frames for cost in costs), seconds, max(peaks, default=None), timed)


@dataclass(frozen=True, eq=False)
class Run:
    """One entry on one sequence."""

    score: SequenceScore
    continuity: Continuity
    cost: Cost


def hold_entry(dataset: Dataset) -> Entry:
    """The baseline: the first mask, held still."""
    return Entry(HOLD, about(HOLD, None, dataset), None, lambda size: _Hold())


def preset_entries(presets: Iterable[str], overrides: Changes, dataset: Dataset) -> tuple[Entry, ...]:
    """One entry per preset, in the order given; models are loaded when first needed, one for all that agree on it.

    Args:
        presets: names, or paths of YAML files, whose rows are called after the file.
        overrides: settings changed in each.

    Raises:
        EvaluationError: no preset, or two rows of one name.
        SettingsError: an unknown preset or setting.
    """
    from .presets import SharedModels

    wanted = tuple(dict.fromkeys(presets))
    if not wanted:
        raise EvaluationError(f"nothing to compare; give at least one preset of: {', '.join(preset_names())}")
    shared: dict[str, SharedModels] = {}
    entries: list[Entry] = []
    for preset in wanted:
        settings = load_settings(preset, overrides)
        name = preset if preset in preset_names() else Path(preset).stem
        if name in (HOLD, *(entry.name for entry in entries)):
            raise EvaluationError(f"two rows would be called {name!r}; rename the file of preset {preset}")
        models = shared.setdefault(SharedModels.key(settings), SharedModels(settings))
        # As `vos eval --run` keeps them, so that either may go on with the other's folder.
        entries.append(Entry(name, about(preset, settings, dataset), models.encode, models.passes(settings)))
    return tuple(entries)


def compare(
    dataset: Dataset,
    entries: Iterable[Entry],
    out: Path,
    *,
    overwrite: bool = False,
    counter: metrics.Counter = metrics.count,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[tuple[str, dict[str, Run]]]:
    """Runs the entries through every sequence in lockstep and scores their frames as they come out.

    What an entry has done before is scored from its masks; a sequence that it has half done it does again. Beside the
    entries' own state one frame is held at a time, and the frames after it that a tracker wants to see.

    Args:
        dataset: what to track; semi-supervised.
        entries: the rows, names unique.
        out: folder for the masks.
        overwrite: do everything anew.
        counter: see `SequenceScorer`.
        on_progress: called as frames are done, and once for a sequence that all entries had done before.

    Yields:
        A sequence's name, and entry name -> Run.

    Raises:
        EvaluationError: the data set cannot be tracked, or `out` was made with other settings or of other frames.
        OutputError: `out` cannot be written.
        VosError: whatever an entry raises.
    """
    if dataset.task is not Task.SEMI_SUPERVISED:
        raise EvaluationError("a comparison tracks from the first annotation, which is the semi-supervised task")
    entries = tuple(entries)
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    sequences = [dataset.sequence(name) for name in dataset.names]
    images = {sequence.name: image_names(sequence) for sequence in sequences}
    for entry in entries:
        keep_apart(out / entry.name, sequences)
        settle(out / entry.name, entry.facts, dataset, replace=overwrite)
    made_of = {sequence.name: contents(sequence, images[sequence.name]) for sequence in sequences}
    before = {
        sequence.name: {entry.name: _cost_before(out, entry, sequence, made_of[sequence.name]) for entry in entries}
        for sequence in sequences
    }
    for sequence in sequences:
        costs = before[sequence.name]
        pending = [entry for entry in entries if costs[entry.name] is None]
        found = {
            name: _scored_before(out / name, sequence, cost, counter)
            for name, cost in costs.items()
            if cost is not None
        }
        total = len(images[sequence.name])
        if not pending:
            on_progress(Progress(sequence.name, total, total, resumed=True))
        else:
            lanes = [_Lane(entry, sequence, out / entry.name, counter) for entry in pending]
            for done in _lockstep(sequence, lanes):
                on_progress(Progress(sequence.name, done, total))
            found |= {lane.entry.name: lane.finish(began, made_of[sequence.name]) for lane in lanes}
        yield sequence.name, {entry.name: found[entry.name] for entry in entries}


def _lockstep(sequence: Sequence, lanes: list[_Lane]) -> Iterator[int]:
    """Takes all lanes through a sequence; yields the number of frames done."""
    reference, _ = sequence.annotation(sequence.frames[0])
    began = time.perf_counter()
    with open_source(sequence.images) as source:
        plan = ReferencePlan.build(as_references(reference.astype(np.uint8)), frame_size=source.size)
        latency = max(lane.latency for lane in lanes)
        for (frame, decoding), following in with_following(_timed(source, began), latency):
            upcoming = tuple(later for later, _ in following)
            # By what encodes; what needs nothing of a frame is charged nothing for it.
            embedded: dict[Callable[[Frame], Any] | None, tuple[Any, float]] = {None: (None, 0.0)}
            given = plan.at(frame.index)
            for lane in lanes:
                encode = lane.entry.encode if lane.needs(frame, given) else None
                if encode is not None and encode not in embedded:
                    began = time.perf_counter()
                    features = encode(frame)
                    embedded[encode] = features, time.perf_counter() - began
                features, encoding = embedded[encode]
                lane.step(frame, given, features, upcoming, decoding, encoding)
            yield frame.index + 1


def _timed(frames: Iterable[Frame], began: float) -> Iterator[tuple[Frame, float]]:
    """Frames, and the seconds that each took to come; the first since `began`."""
    for frame in frames:
        yield frame, time.perf_counter() - began
        began = time.perf_counter()


class _Judge:
    """Scores one entry on one sequence, frame by frame in order."""

    def __init__(self, sequence: Sequence, counter: metrics.Counter) -> None:
        self._sequence = sequence
        self._scored = frozenset(sequence.scored)
        self._scorer = SequenceScorer(sequence, counter=counter)
        self._continuity = ContinuityCounter(sequence.objects)

    def update(self, frame: str, index_map: np.ndarray) -> None:
        if frame not in self._scored:
            return
        self._scorer.update(frame, index_map)
        self._continuity.update(self._sequence.annotation(frame)[0], index_map)

    def finish(self, cost: Cost) -> Run:
        return Run(self._scorer.finish(), self._continuity.total, cost)


class _Lane:
    """One entry's way through one sequence: step, write, score, and what it cost."""

    def __init__(self, entry: Entry, sequence: Sequence, out: Path, counter: metrics.Counter) -> None:
        self.entry = entry
        self._sequence = sequence
        self._out = out
        forget(out / sequence.name)
        self._judge = _Judge(sequence, counter)
        self._pass = entry.begin(sequence.size)
        self._frames = 0
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @property
    def latency(self) -> int:
        return self._pass.latency

    def needs(self, frame: Frame, given: FrameReferences) -> bool:
        return self._pass.needs(frame, given)

    def step(
        self,
        frame: Frame,
        given: FrameReferences,
        features: Any,
        upcoming: tuple[Frame, ...],
        decoding: float,
        encoding: float,
    ) -> None:
        began = time.perf_counter()
        result = self._pass.step(frame, given, features, upcoming)
        between = time.perf_counter()
        name = Path(result.frame.name).stem
        write_mask(result_path(self._out, self._sequence.name, name), result.index_map)
        spent = {"decode": decoding, "encode": encoding, "other": between - began}
        for stage, seconds in {**spent, "write": time.perf_counter() - between}.items():
            self._seconds[stage] += seconds
        self._frames += 1
        self._judge.update(name, result.index_map)

    def finish(self, timed: str, made_of: str) -> Run:
        within = self._pass.times.seconds
        for stage in STEP_STAGES:
            self._seconds[stage] = within.get(stage, 0.0)
            self._seconds["other"] -= self._seconds[stage]
        cost = Cost(self._frames, self._seconds, peak_memory(), frozenset({timed}))
        run = self._judge.finish(cost)
        marker = {
            "frames": cost.frames,
            "seconds": round(sum(cost.seconds.values()), 3),
            "stages": {stage: round(seconds, 6) for stage, seconds in cost.seconds.items()},
            "peak-memory-mb": cost.peak_mb,
            "timed": timed,
            "settings": dict(self.entry.facts),
            "made-of": made_of,
        }
        write_json(self._out / self._sequence.name / DONE, marker)
        return run


@dataclass(frozen=True)
class _NoTimes:
    @property
    def seconds(self) -> dict[str, float]:
        return {}


class _Hold:
    """Answers with the references of the first frame, on every frame."""

    times = _NoTimes()
    latency = 0

    def __init__(self) -> None:
        self._held: np.ndarray | None = None

    def needs(self, frame: Frame, given: FrameReferences) -> bool:
        return False

    def step(
        self, frame: Frame, given: FrameReferences, features: None, upcoming: tuple[Frame, ...] = ()
    ) -> FrameResult:
        if self._held is None:
            self._held = np.zeros(frame.size, dtype=np.uint8)
            for object_id, mask in given.masks.items():
                self._held[mask] = object_id
        return FrameResult(frame, self._held, ())


def _cost_before(out: Path, entry: Entry, sequence: Sequence, made_of: str) -> Cost | None:
    """What a finished sequence cost an entry; None if it is not done as it is now, or not known."""
    folder = out / entry.name
    if not is_done(folder / sequence.name, entry.facts, made_of):
        return None
    try:
        marker = json.loads((folder / sequence.name / DONE).read_text(encoding="utf-8"))
        seconds = {stage: float(marker["stages"][stage]) for stage in STAGES}
        cost = Cost(int(marker["frames"]), seconds, marker["peak-memory-mb"], frozenset({marker["timed"]}))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if missing_frames(folder, sequence) else cost


def _scored_before(out: Path, sequence: Sequence, cost: Cost, counter: metrics.Counter) -> Run:
    judge = _Judge(sequence, counter)
    for frame in sequence.scored:
        result = read_result(out, sequence, frame)
        if result is not None:
            judge.update(frame, result)
    return judge.finish(cost)
