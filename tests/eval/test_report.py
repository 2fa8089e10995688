from __future__ import annotations

import csv
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from eval.davis import Task, open_dataset
from eval.html import html_page
from eval.plots import worst_frames, worst_positions, write_pngs
from eval.report import MEASURES, Report, write_text
from eval.scoring import ObjectScore, SequenceScore, score_dataset
from tests.eval.data import drawn_truth, proposals, shifted, write_dataset, write_results
from vos.errors import EvaluationError, OutputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    truth = drawn_truth()
    write_dataset(folder / "davis", truth, images=True)
    write_results(folder / "results", shifted(truth))
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    dataset = open_dataset(folder / "davis")
    return Report.of(dataset, score_dataset(dataset, folder / "results"), "a <title>")


def printed(report: Report, **options: bool) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(report.table(**options))
    return capture.get()


def test_headline_is_the_mean_over_objects(report: Report) -> None:
    means = [o.j_statistic.mean for o in report.objects]
    assert len(means) == 11
    assert report.overall["J-Mean"] == pytest.approx(np.mean(means))
    assert report.overall["J-Mean"] != pytest.approx(np.mean([s.j for s in report.scores]))
    assert report.overall["J&F-Mean"] == (report.overall["J-Mean"] + report.overall["F-Mean"]) / 2


def test_both_decays(report: Report) -> None:
    assert math.isnan(report.overall["J-Decay"])
    assert report.overall["J-Decay-correct"] > 0
    (note,) = report.notes()
    assert "wrong beyond 255 scored frames (long)" in note
    correct = Report.of(report.dataset, report.scores, "x", official_decay=False)
    assert correct.overall["J-Decay"] == correct.overall["J-Decay-correct"] == report.overall["J-Decay-correct"]
    assert correct.notes() == []


def test_table(report: Report) -> None:
    text = printed(report)
    names = [line.split()[0] for line in text.splitlines() if re.match(r" ?[a-z]+ +\d", line)]
    assert names == ["pair", "leaves", "gap", "void", "late", "long"]
    (footer,) = [line for line in text.splitlines() if "mean of 11 objects" in line]
    shown = [report.overall[key] for key in ("J&F-Mean", "J-Mean", "J-Recall")]
    assert footer.split()[4:7] == [f"{100 * value:.1f}" for value in shown]
    assert footer.split()[7] == "nan"
    assert text.count("correct") == 2
    assert "leaves_2" in printed(report, per_object=True)
    assert "correct" not in printed(Report.of(report.dataset, report.scores, "x", official_decay=False))


def test_unsupervised_table_shows_the_assignment(tmp_path: Path) -> None:
    truth = {"pair": drawn_truth()["pair"]}
    root = write_dataset(tmp_path, truth, folder="Annotations_unsupervised")
    dataset = open_dataset(root, task=Task.UNSUPERVISED)
    scores = score_dataset(dataset, write_results(tmp_path / "results", proposals(truth)))
    text = printed(Report.of(dataset, scores, "x"), per_object=True)
    assert "4 -> 2" in text
    assert "9 -> 1" in text


def test_json_has_every_number(report: Report) -> None:
    data = json.loads(report.to_json())
    assert data["global"]["J-Decay"] is None
    assert data["global"]["J&F-Mean"] == report.overall["J&F-Mean"]
    assert set(MEASURES) < set(data["global"])
    assert data["objects"]["pair_2"]["J-frames"] == report.scores[0].objects[1].j.tolist()
    assert data["sequences"]["pair"]["frames"][0] == "00001"
    assert (data["dataset"]["year"], data["decay"], data["missing-frames"]) == (2017, "official", 0)


def test_csv_has_the_official_names_and_columns(report: Report, tmp_path: Path) -> None:
    overall, rows = report.write_csv(tmp_path / "csv")
    assert (overall.name, rows.name) == ("global_results-val.csv", "per-sequence_results-val.csv")
    assert overall.read_text().splitlines()[0] == "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay"
    (values,) = csv.DictReader(overall.open())
    assert values["J-Mean"] == f"{report.overall['J-Mean']:.3f}"
    assert values["J-Decay"] == ""
    table = list(csv.DictReader(rows.open()))
    assert list(table[0]) == ["Sequence", "J-Mean", "F-Mean"]
    assert table[1] == {"Sequence": "pair_2", "J-Mean": "0.745", "F-Mean": "0.646"}
    assert len(table) == 11


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file"):
        write_text(tmp_path / "file" / "x.json", "{}")


def test_missing_frames_are_counted(folder: Path, tmp_path: Path) -> None:
    truth = drawn_truth()
    results = write_results(tmp_path, shifted(truth), frames=lambda t: t != 4)
    dataset = open_dataset(folder / "davis", sequences=["pair", "gap"])
    report = Report.of(dataset, score_dataset(dataset, results, allow_missing=True), "x")
    assert report.notes() == ["scored as empty for want of a result: 2 frames (pair 1, gap 1)"]
    assert "1 of 7 frames had no result" in html_page(report, results)


def test_worst_frames_are_worst_first_and_apart() -> None:
    j = np.ones(36)
    j[[10, 11, 12, 30]] = 0.1, 0.0, 0.1, 0.3
    j[20] = 0.5
    score = SequenceScore("dog", tuple(map(str, range(36))), (ObjectScore("dog_1", 1, 1, j, j),))
    assert worst_positions(score) == [11, 30, 20]


def test_worst_frame_pictures(folder: Path, report: Report) -> None:
    item = worst_frames(report.dataset, folder / "results", report.scores[0])[0]
    assert item.image.shape == item.truth.shape == item.prediction.shape == (40, 60, 3)
    t = int(item.frame)
    assert np.abs(item.image.astype(int) - (40 + 5 * t)).max() <= 2
    truth = drawn_truth()["pair"][t]
    assert (item.truth[truth == 1, 0] > item.truth[truth == 1, 1]).mean() > 0.5
    assert not np.array_equal(item.truth, item.prediction)


class _Sources(HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_self_contained(folder: Path, report: Report) -> None:
    page = html_page(report, folder / "results")
    parser = _Sources()
    parser.feed(page)
    assert all(source.startswith(("data:image/", "#")) for source in parser.sources)
    assert not {"script", "link", "iframe"} & set(parser.tags)
    assert sum(source.startswith("data:image/jpeg") for source in parser.sources) == 6 * 3 * 3
    assert sum(source.startswith("data:image/svg+xml") for source in parser.sources) == 7
    assert "a <title>" in parser.text
    for score in report.scores:
        assert f'<section id="{score.name}">' in page
    assert f"{100 * report.overall['J&F-Mean']:.1f}" in parser.text
    assert "wrong beyond 255 scored frames" in parser.text


def test_png_plots(folder: Path, report: Report, tmp_path: Path) -> None:
    short = Report.of(open_dataset(folder / "davis", sequences=["pair"]), report.scores[:1], "x")
    paths = write_pngs(short, folder / "results", tmp_path)
    assert [path.name for path in paths] == ["sequences.png", "pair.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 1170
            assert np.asarray(image.convert("L")).std() > 10


def test_plots_without_images(folder: Path, tmp_path: Path) -> None:
    truth = {"pair": drawn_truth()["pair"]}
    dataset = open_dataset(write_dataset(tmp_path, truth))
    scores = tuple(score_dataset(dataset, folder / "results"))
    item = worst_frames(dataset, folder / "results", scores[0])[0]
    assert (item.image == 128).all()


def test_plots_without_matplotlib(folder: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(EvaluationError, match=re.escape("plots need matplotlib: pip install 'persam-vos[eval]'")):
        html_page(report, folder / "results")
