"""The official tool's numbers: on sequences drawn here, and on the optional reference data."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from eval.davis import Dataset, Task, open_dataset
from eval.report import MEASURES, Report
from eval.scoring import ObjectScore, score_dataset
from tests.eval.data import drawn_truth, proposals, shifted, write_dataset, write_results

ORDER = ("J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")


def same(ours: float, official: float | None) -> bool:
    return math.isnan(ours) if official is None else abs(ours - official) <= 1e-9


def measures(item: ObjectScore) -> dict[str, float]:
    return {
        f"{letter}-{label}": value
        for letter, s in (("J", item.j_statistic), ("F", item.f_statistic))
        for label, value in (("Mean", s.mean), ("Recall", s.recall), ("Decay", s.official_decay))
    }


def report_of(dataset: Dataset, results: Path, device: str | None = None) -> Report:
    return Report.of(dataset, score_dataset(dataset, results, device=device), "test")


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("task", list(Task))
def test_drawn_sequences(tmp_path: Path, task: Task, device: str | None) -> None:
    """tests/eval/official.json holds what the official tool says of the same drawn files."""
    truth = drawn_truth()
    semi = task is Task.SEMI_SUPERVISED
    root = write_dataset(tmp_path, truth, folder="Annotations" if semi else "Annotations_unsupervised")
    results = write_results(tmp_path / "results", shifted(truth) if semi else proposals(truth))
    official = json.loads((Path(__file__).parent / "official.json").read_text(encoding="utf-8"))[task.value]
    objects = report_of(open_dataset(root, task=task), results, device).objects
    assert [o.name for o in objects] == list(official)
    for item in objects:
        for key, value in zip(ORDER, official[item.name], strict=True):
            assert same(measures(item)[key], value), (item.name, key)


@pytest.mark.parametrize("name", ["shifted", "eroded", "drifting", "missing-object", "perfect", "empty", "noisy"])
def test_reference_sequences(shared: Path, name: str) -> None:
    root = shared / "reference" / "davis_eval"
    official = json.loads((root / "official.json").read_text(encoding="utf-8"))[name]
    report = report_of(open_dataset(root), root / "results" / name)
    for key in MEASURES:
        assert same(report.overall[key], official["global"][key]), key
    assert [o.name for o in report.objects] == list(official["objects"])
    for item in report.objects:
        expected = official["objects"][item.name]
        for key in ORDER:
            assert same(measures(item)[key], expected[key]), (item.name, key)
        assert np.max(np.abs(item.j - expected["J-frames"])) <= 1e-9
        assert np.max(np.abs(item.f - expected["F-frames"])) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mean", "camel"), [("persam", (62.5, 60.9, 64.2), 93.9), ("persam_f", (70.9, 71.1, 70.7), 94.3)]
)
def test_reference_programs_on_davis_2016(shared: Path, name: str, mean: tuple[float, ...], camel: float) -> None:
    report = report_of(open_dataset(shared / "davis"), shared / "reference" / "persam_mobile_sam" / name)
    assert tuple(round(100 * report.overall[key], 1) for key in ("J&F-Mean", "J-Mean", "F-Mean")) == mean
    by_name = {score.name: score for score in report.scores}
    assert round(50 * (by_name["camel"].j + by_name["camel"].f), 1) == camel
