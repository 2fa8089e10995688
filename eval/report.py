"""Scores as numbers to keep: the official measures and columns, a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from vos.errors import OutputError

from .davis import Dataset, Task
from .scoring import ObjectScore, SequenceScore, Statistic

MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
_DECIMALS = 3
_WRAPS_AT = 256


@dataclass(frozen=True, eq=False)
class Report:
    """The scores of one results folder on one data set.

    Attributes:
        dataset: what was scored, by which rules.
        scores: one per sequence, in the data set's order.
        title: what the results are called, for tables and pages.
        official_decay: the Decay measures follow the official tool; the correct ones stand beside them either way.
        extra: further facts for the JSON file and the page (preset, versions, ...).
    """

    dataset: Dataset
    scores: tuple[SequenceScore, ...]
    title: str
    official_decay: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        scores: Iterable[SequenceScore],
        title: str,
        *,
        official_decay: bool = True,
        extra: Mapping[str, Any] | None = None,
    ) -> Report:
        """Puts the scores, in any order, into the data set's order."""
        by_name = {score.name: score for score in scores}
        ordered = tuple(by_name[name] for name in dataset.names)
        return cls(dataset, ordered, title, official_decay, dict(extra or {}))

    @property
    def objects(self) -> tuple[ObjectScore, ...]:
        return tuple(item for score in self.scores for item in score.objects)

    @property
    def missing(self) -> int:
        """Frames that had no result and were scored as empty."""
        return sum(len(score.missing) for score in self.scores)

    @cached_property
    def overall(self) -> dict[str, float]:
        """The official measures, means over objects, and both correct Decays."""
        return self._measures(self.objects)

    def of_sequence(self, score: SequenceScore) -> dict[str, float]:
        """The measures of one sequence, means over its objects."""
        return self._measures(score.objects)

    def of_object(self, item: ObjectScore) -> dict[str, float]:
        """The measures of one object."""
        return self._measures((item,))

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: NaN is None."""
        data = self.dataset
        return {
            "title": self.title,
            "dataset": {
                "root": str(data.root),
                "set": data.subset,
                "year": data.year,
                "task": data.task.value,
                "resolution": data.resolution,
            },
            "decay": "official" if self.official_decay else "correct",
            **self.extra,
            "missing-frames": self.missing,
            "global": _without_nan(self.overall),
            "sequences": {
                score.name: {
                    **_without_nan(self.of_sequence(score)),
                    "frames": list(score.frames),
                    "missing": list(score.missing),
                }
                for score in self.scores
            },
            "objects": {
                item.name: {
                    **_without_nan(self.of_object(item)),
                    "object": item.object_id,
                    "proposal": item.proposal_id,
                    "J-frames": item.j.tolist(),
                    "F-frames": item.f.tolist(),
                }
                for item in self.objects
            },
        }

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)

    def write_csv(self, folder: Path) -> tuple[Path, Path]:
        """Writes the official tool's two files, with its names, columns and three decimals.

        Returns:
            The paths of `global_results-<set>.csv` and `per-sequence_results-<set>.csv`.

        Raises:
            OutputError: the folder cannot be written.
        """
        overall = folder / f"global_results-{self.dataset.subset}.csv"
        rows = folder / f"per-sequence_results-{self.dataset.subset}.csv"
        per_object = [(o.name, _csv(o.j_statistic.mean), _csv(o.f_statistic.mean)) for o in self.objects]
        write_text(overall, csv_text(MEASURES, [[_csv(self.overall[name]) for name in MEASURES]]))
        write_text(rows, csv_text(("Sequence", "J-Mean", "F-Mean"), per_object))
        return overall, rows

    def table(self, *, per_object: bool = False) -> Table:
        """For the terminal, in percent: one row per sequence (or object), and the mean over all objects."""
        table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_footer=True)
        overall = self.overall
        unsupervised = self.dataset.task is Task.UNSUPERVISED
        table.add_column(
            "object" if per_object else "sequence", f"mean of {counted(len(self.objects), 'object')}", overflow="fold"
        )
        if per_object and unsupervised:
            table.add_column("proposal", "", justify="right")
        columns = columns_shown(self.official_decay)
        for key, title in columns:
            table.add_column(
                title.translate({ord(" "): "\n", ord("("): None, ord(")"): None}),
                percent(overall[key]),
                justify="right",
                no_wrap=True,
            )
        for score in self.scores:
            if per_object:
                for item in score.objects:
                    matched = [f"{item.proposal_id} -> {item.object_id}"] if unsupervised else []
                    values = self.of_object(item)
                    table.add_row(item.name, *matched, *(percent(values[key]) for key, _ in columns))
            else:
                values = self.of_sequence(score)
                table.add_row(score.name, *(percent(values[key]) for key, _ in columns))
        return table

    def notes(self) -> list[str]:
        """What a reader of the numbers should know, one line each."""
        notes = []
        if self.missing:
            short = ", ".join(f"{s.name} {len(s.missing)}" for s in self.scores if s.missing)
            notes.append(f"scored as empty for want of a result: {counted(self.missing, 'frame')} ({short})")
        long = [score.name for score in self.scores if len(score.frames) >= _WRAPS_AT]
        if long and self.official_decay:
            notes.append(
                f"J-Decay and F-Decay follow the official tool, which is wrong beyond 255 scored frames "
                f"({', '.join(long)}); the correct values stand beside them"
            )
        return notes

    def _measures(self, objects: tuple[ObjectScore, ...]) -> dict[str, float]:
        j, f = [o.j_statistic for o in objects], [o.f_statistic for o in objects]
        values: dict[str, float] = {}
        for measure, statistics in (("J", j), ("F", f)):
            values[f"{measure}-Mean"] = _mean([s.mean for s in statistics])
            values[f"{measure}-Recall"] = _mean([s.recall for s in statistics])
            values[f"{measure}-Decay"] = _mean([self._decay(s) for s in statistics])
            values[f"{measure}-Decay-correct"] = _mean([s.decay for s in statistics])
        return {"J&F-Mean": (values["J-Mean"] + values["F-Mean"]) / 2.0, **values}

    def _decay(self, statistic: Statistic) -> float:
        return statistic.official_decay if self.official_decay else statistic.decay


def columns_shown(official_decay: bool) -> tuple[tuple[str, str], ...]:
    """The measures of tables as (key, title); the correct Decay is left out only where it is the Decay shown."""
    keys = ["J&F-Mean"]
    for measure in "JF":
        keys += [f"{measure}-Mean", f"{measure}-Recall", f"{measure}-Decay"]
        keys += [f"{measure}-Decay-correct"] if official_decay else []
    titles = {key: key.removesuffix("-Mean").replace("-correct", " (correct)").replace("-", " ") for key in keys}
    return tuple(titles.items())


def percent(value: float) -> str:
    """A share as percent with one decimal."""
    return "nan" if math.isnan(value) else f"{round(100 * value, 1) + 0.0:.1f}"


def counted(number: int, noun: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def write_text(path: Path, text: str) -> None:
    """Writes a file and the folders above it.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def _csv(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{_DECIMALS}f}"


def csv_text(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """CSV with a header line, lines ended by a line feed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
