"""A comparison as numbers to keep: tables for the terminal, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from .compare import HOLD, STAGES, Cost, Entry, Run
from .continuity import Continuity
from .davis import Dataset
from .machine import machine
from .report import Report, csv_text, percent

_COUNTS = {
    "lost": "lost-frames",
    "losses": "losses",
    "recovered": "recovered",
    "swaps": "id-swaps",
    "mixed": "mixed-frames",
    "returns": "returns",
    "met": "returns-met",
    "ghosts": "ghost-frames",
}
_MEASURES = ("J&F-Mean", "J-Mean", "F-Mean", "J-Recall", "F-Recall")


@dataclass(frozen=True, eq=False)
class Row:
    """One entry over all sequences.

    Attributes:
        name: the entry's.
        facts: what it is, see `Entry`.
        report: its J and F.
        runs: sequence name -> what it did there, in the data set's order.
    """

    name: str
    facts: Mapping[str, Any]
    report: Report
    runs: Mapping[str, Run]

    @cached_property
    def cost(self) -> Cost:
        return Cost.total(run.cost for run in self.runs.values())

    @cached_property
    def continuity(self) -> Continuity:
        return sum((run.continuity for run in self.runs.values()), Continuity())

    @property
    def jf(self) -> float:
        """J&F, mean over objects."""
        return self.report.overall["J&F-Mean"]

    @property
    def numbers(self) -> dict[str, float | int | None]:
        """Everything in the table; shares as shares, times in ms per frame, memory in MB."""
        return {
            **{key: self.report.overall[key] for key in _MEASURES},
            "frames/s": self.cost.rate,
            **{f"{stage}-ms": value for stage, value in self.cost.ms.items()},
            **{_COUNTS[key]: value for key, value in asdict(self.continuity).items()},
            "process-peak-mb": self.cost.peak_mb,
        }


@dataclass(frozen=True)
class Column:
    """One number of a row.

    Attributes:
        title: of the column.
        meaning: one line.
        group: columns of one group stand together.
        text: as shown.
    """

    title: str
    meaning: str
    group: str
    text: Callable[[Row], str]


def _measure(key: str, meaning: str) -> Column:
    title = key.removesuffix("-Mean").replace("-R", " r")
    return Column(title, meaning, "score", lambda row: percent(row.report.overall[key]))


def _stage(stage: str) -> Column:
    return Column(f"{stage} ms", _STAGE_MEANINGS[stage], "time", lambda row: f"{row.cost.ms[stage]:.1f}")


_STAGE_MEANINGS = {
    "decode": "reading a frame, ms per frame",
    "encode": "embedding it, ms per frame",
    "locate": "finding the objects, ms per frame",
    "segment": "prompting the segmenter, ms per frame",
    "merge": "objects to one map, ms per frame",
    "learn": "taking in references and results, ms per frame",
    "other": "the rest of the step, ms per frame",
    "write": "writing the masks, ms per frame",
}

COLUMNS = (
    _measure("J&F-Mean", "mean of J and F, percent"),
    _measure("J-Mean", "region similarity (intersection over union), percent"),
    _measure("F-Mean", "boundary accuracy, percent"),
    _measure("J-Recall", "share of frames with J above 50, percent"),
    _measure("F-Recall", "share of frames with F above 50, percent"),
    Column("frames/s", "frames per second, one stage after the other", "time", lambda row: f"{row.cost.rate:.2f}"),
    *(_stage(stage) for stage in STAGES),
    Column(
        "lost frames",
        "objects times frames in which the object is there but its mask is empty or has IoU below 0.1",
        "continuity",
        lambda row: str(row.continuity.lost),
    ),
    Column(
        "recovered",
        "times found again (IoU 0.5 or more) of times lost",
        "continuity",
        lambda row: f"{row.continuity.recovered}/{row.continuity.losses}",
    ),
    Column(
        "id swaps",
        "objects times frames in which the mask overlaps another object more than its own",
        "continuity",
        lambda row: str(row.continuity.swaps),
    ),
    Column(
        "mixed",
        "objects times frames in which more than a tenth of the mask is what another object covers",
        "continuity",
        lambda row: str(row.continuity.mixed),
    ),
    Column(
        "returns met",
        "times found (IoU 0.5 or more) within 10 frames of times that an object came back into the picture",
        "continuity",
        lambda row: f"{row.continuity.met}/{row.continuity.returns}",
    ),
    Column(
        "ghosts",
        "objects times frames in which the object is not there and its mask takes more than 0.1 % of the frame",
        "continuity",
        lambda row: str(row.continuity.ghosts),
    ),
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """All entries on one data set, the baseline first."""

    dataset: Dataset
    rows: tuple[Row, ...]

    @classmethod
    def of(
        cls, dataset: Dataset, entries: Iterable[Entry], runs: Iterable[tuple[str, Mapping[str, Run]]]
    ) -> Comparison:
        """Puts together what `eval.compare.compare` yields."""
        by_sequence = dict(runs)
        rows = []
        for entry in entries:
            own = {name: by_sequence[name][entry.name] for name in dataset.names}
            report = Report.of(dataset, [run.score for run in own.values()], entry.name)
            rows.append(Row(entry.name, entry.facts, report, own))
        return cls(dataset, tuple(rows))

    @property
    def baseline(self) -> Row | None:
        """The first mask held still."""
        return next((row for row in self.rows if row.name == HOLD), None)

    @property
    def peak_mb(self) -> float | None:
        """Peak memory of the process, MB."""
        return Cost.total(row.cost for row in self.rows).peak_mb

    def tables(self, console: Console) -> Iterator[Table]:
        """For a terminal: one column per entry, in as many tables as fit its width.

        Shares are in percent, times in ms per frame.
        """
        unbounded = console.options.update(max_width=10_000)
        together: list[Row] = []
        for row in self.rows:
            wider = _table([*together, row])
            if together and Measurement.get(console, unbounded, wider).maximum > console.width:
                yield _table(together)
                together = []
            together.append(row)
        yield _table(together)

    def notes(self) -> list[str]:
        """What a reader of the numbers should know, one line each."""
        notes = [
            "decode and encode are measured once per frame and charged to each preset as if it ran alone; frames/s is "
            "of one stage after the other, with the model loaded"
        ]
        if self.peak_mb is not None:
            notes.append(f"peak memory of the whole process, all rows together: {self.peak_mb:.0f} MB")
        cached = [row.name for row in self.rows if row.facts["settings"].get("cache_embeddings") is not None]
        if cached:
            notes.append(f"embeddings may come from a cache, so encode and frames/s do not show the model's own: "
                         f"{', '.join(cached)}")  # fmt: skip
        if len({row.cost.timed for row in self.rows}) > 1:
            notes.append(
                "the rows were timed in several runs, so their times may not compare; --overwrite does all anew"
            )
        if self.baseline is not None:
            behind = [row.name for row in self.rows if row is not self.baseline and row.jf <= self.baseline.jf]
            if behind:
                notes.append(f"no better than holding the first mask still: {', '.join(behind)}")
        return notes

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: NaN is None."""
        data = self.dataset
        return {
            "dataset": {
                "root": str(data.root), "set": data.subset, "year": data.year, "resolution": data.resolution,
                "sequences": list(data.names),
            },
            "machine": machine(),
            "notes": self.notes(),
            "rows": {
                row.name: {
                    **_without_nan(row.numbers),
                    "sequences": {name: _sequence_dict(run) for name, run in row.runs.items()},
                    "run": dict(row.facts),
                }
                for row in self.rows
            },
        }  # fmt: skip

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """One line per entry: the table's numbers, shares from 0 to 1."""
        header = ("preset", *self.rows[0].numbers)
        return csv_text(header, [(row.name, *map(_plain, row.numbers.values())) for row in self.rows])


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(row.name.replace("+", "\n+"), justify="right", overflow="fold")
    for column, after in zip_longest(COLUMNS, COLUMNS[1:]):
        ends = after is None or after.group != column.group
        table.add_row(column.title, *(column.text(row) for row in rows), end_section=ends)
    return table


def _sequence_dict(run: Run) -> dict[str, Any]:
    return {
        "J-Mean": run.score.j,
        "F-Mean": run.score.f,
        "frames": run.cost.frames,
        "seconds": dict(run.cost.seconds),
        **{_COUNTS[key]: value for key, value in asdict(run.continuity).items()},
        "objects": {
            item.name: {"J-frames": item.j.tolist(), "F-frames": item.f.tolist()} for item in run.score.objects
        },
    }


def _without_nan(values: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    return {key: None if value is None or math.isnan(value) else value for key, value in values.items()}


def _plain(value: float | int | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}"
