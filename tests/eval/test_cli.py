from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from eval import plain
from eval.bench import bench, drawn_pairs
from eval.cli import register
from eval.metrics import Counts, count, tolerance_radius
from eval.scoring import Statistic
from tests.eval.data import drawn_truth, shifted, write_dataset, write_results
from tests.eval.test_run import FakeTracker
from vos.errors import EvaluationError, OutputError
from vos.results.lock import alone
from vos.types import FrameResult

Run = Callable[..., Result]


@pytest.fixture
def vos() -> Run:
    """Runs a command line that holds our commands only; errors come back as they were raised."""
    app = typer.Typer()
    register(app)

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth = {k: v for k, v in drawn_truth().items() if k in ("pair", "void")}
    write_dataset(tmp_path / "davis", truth, images=True)
    write_results(tmp_path / "ours", shifted(truth))
    return tmp_path


def test_table(vos: Run, folder: Path) -> None:
    text = vos("eval", folder / "ours", "--davis", folder / "davis").stdout
    assert "ours: DAVIS 2017 val, semi-supervised, 480p; values in percent" in text
    assert "mean of 4 objects" in text
    assert "J&F 64.3 over 4 objects in 2 sequences, 14 scored frames" in text


def test_all_outputs(vos: Run, folder: Path) -> None:
    out = folder / "out"
    vos(
        "eval", folder / "ours", "--davis", folder / "davis", "--sequences", "void", "--jobs", 2, "--objects",
        "--json", out / "s.json", "--csv", out / "csv", "--plot", out / "plots",
    )  # fmt: skip
    assert list(json.loads((out / "s.json").read_text())["sequences"]) == ["void"]
    assert sorted(p.name for p in (out / "csv").iterdir()) == ["global_results-val.csv", "per-sequence_results-val.csv"]
    assert sorted(p.name for p in (out / "plots").iterdir()) == ["report.html", "sequences.png", "void.png"]


def test_json_on_standard_output(vos: Run, folder: Path) -> None:
    data = json.loads(vos("eval", folder / "ours", "--davis", folder / "davis", "--json", "-").stdout)
    assert data["title"] == "ours"


def test_devices_agree(vos: Run, folder: Path) -> None:
    arguments = ("eval", folder / "ours", "--davis", folder / "davis", "--json", "-")
    assert vos(*arguments).stdout == vos(*arguments, "--device", "cpu").stdout


def test_allow_missing(vos: Run, folder: Path) -> None:
    (folder / "ours" / "pair" / "00003.png").unlink()
    arguments = ("eval", folder / "ours", "--davis", folder / "davis")
    with pytest.raises(EvaluationError, match="sequence pair, frame 00003"):
        vos(*arguments)
    assert "note: scored as empty for want of a result: 1 frame (pair 1)" in vos(*arguments, "--allow-missing").stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        *(
            (given, "--preset, --override, --cache-embeddings and --overwrite say how to track: they need --run")
            for given in (("--preset", "persam"), ("--cache-embeddings", "cache"))
        ),
        (("--run", "--jobs", "2"), "--jobs and --allow-missing do not go with it"),
        (("--run", "--allow-missing"), "--jobs and --allow-missing do not go with it"),
        (("--sequences", "cat"), "no sequence 'cat' in set val of"),
        (
            ("--check-official",),
            "--check-official needs the official tool: pip install scikit-image tqdm, then pip install --no-deps",
        ),
    ],
)
def test_errors(
    vos: Run, folder: Path, arguments: tuple[str, ...], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "davis2017", None)
    with pytest.raises(EvaluationError) as raised:
        vos("eval", folder / "ours", "--davis", folder / "davis", *arguments)
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


def test_run_and_resume(vos: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = FakeTracker(shifted({k: v for k, v in drawn_truth().items() if k in ("pair", "void")}))
    calls: list[tuple[str, list[str]]] = []

    def track(source: str, reference: np.ndarray, *, preset: str, overrides: list[str]) -> Iterable[FrameResult]:
        calls.append((preset, list(overrides)))
        return tracker(source, reference)

    monkeypatch.setattr("vos.pipeline.track", track)
    arguments = ("eval", folder / "out", "--davis", folder / "davis", "--run", "--preset", "persam")
    first = vos(*arguments, "--override", "decoder.cascade=2")
    assert calls == [("persam", ["decoder.cascade=2"])] * 2
    assert "1/2 pair: J&F 63.8 (" in first.stderr
    assert "J&F 64.3 over 4 objects" in first.stdout
    again = vos(*arguments, "--override", "decoder.cascade=2", "--json", folder / "run.json")
    assert "2/2 void: J&F 64.8 (was done before)" in again.stderr
    assert len(calls) == 2
    run = json.loads((folder / "run.json").read_text())["run"]
    assert (run["preset"], run["settings"]["decoder"]["cascade"]) == ("persam", 2)
    with pytest.raises(EvaluationError, match=r"other settings \(settings\.decoder\.cascade was 2, is 3\)"):
        vos(*arguments)
    with alone(folder / "out"), pytest.raises(OutputError, match="another run is writing there"):
        vos(*arguments, "--overwrite")
    vos(*arguments, "--overwrite")
    assert len(calls) == 4


def fake_official(error: float = 0.0) -> ModuleType:
    """A stand-in for the official package with its class, file layout and return value; J of it is off by `error`."""

    class DAVISEvaluation:
        def __init__(self, root: str, task: str, subset: str, sequences: list[str], codalab: bool = False) -> None:
            (self.name,) = sequences
            self.folder = Path(root) / "Annotations" / "480p" / self.name

        @staticmethod
        def _evaluate_semisupervised(gt: np.ndarray, found: np.ndarray, void: None, metric: Any) -> Any:
            radius = tolerance_radius(gt.shape[2:])
            pairs = [list(zip(a, b, strict=True)) for a, b in zip(gt, found, strict=True)]
            j = np.array([[plain.jaccard(a, b) for a, b in row] for row in pairs])
            return j + error, np.array([[plain.boundary_f(a, b, radius) for a, b in row] for row in pairs])

        def evaluate(self, results: str) -> dict[str, Any]:
            paths = sorted(self.folder.glob("*.png"))
            truth = np.stack([np.asarray(Image.open(p)) for p in paths])
            found = np.stack([np.asarray(Image.open(Path(results) / self.name / p.name)) for p in paths[1:-1]])
            ids = range(1, int(np.where(truth[0] == 255, 0, truth[0]).max()) + 1)
            one_hot = [np.stack([m == i for i in ids]) for m in (truth[1:-1], found)]
            measured = {}
            for measure, rows in zip("JF", self._evaluate_semisupervised(*one_hot, None, ("J", "F")), strict=True):
                stats = [Statistic.of(row) for row in rows]
                measured[measure] = {
                    "M": [s.mean for s in stats],
                    "R": [s.recall for s in stats],
                    "D": [s.official_decay for s in stats],
                    "M_per_object": {f"{self.name}_{k}": s.mean for k, s in enumerate(stats, 1)},
                }
            return measured

    module = ModuleType("davis2017.evaluation")
    module.DAVISEvaluation = DAVISEvaluation
    return module


@pytest.mark.parametrize("year", [2016, 2017])
def test_check_official(vos: Run, folder: Path, year: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "davis2017", ModuleType("davis2017"))
    monkeypatch.setitem(sys.modules, "davis2017.evaluation", fake_official())
    davis, results, numbers = folder / "davis", folder / "ours", 4 * 2 * (3 + 7)
    if year == 2016:
        one = {"cow": [(m == 1).astype(np.uint8) * 255 for m in drawn_truth()["pair"]]}
        davis = write_dataset(folder / "davis16", one, year=2016)
        results, numbers = write_results(folder / "ours16", one, frames=lambda t: t != 3), 2 * (3 + 7)
    text = vos("eval", results, "--davis", davis, "--check-official", "--allow-missing").stderr
    assert f"the official tool gives the same {numbers} numbers" in text


def test_check_official_finds_a_difference(vos: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "davis2017", ModuleType("davis2017"))
    monkeypatch.setitem(sys.modules, "davis2017.evaluation", fake_official(error=2e-9))
    with pytest.raises(
        EvaluationError, match=r"\d+ of 80 numbers differ from the official tool's, first pair_1 J-Mean: "
    ):
        vos("eval", folder / "ours", "--davis", folder / "davis", "--check-official")


def test_bench(vos: Run, folder: Path) -> None:
    text = vos("bench", "eval", "--frames", 2, "--objects", 2, "--size", "120x80", "--json", folder / "b.json").stdout
    assert "2 drawn objects, 120x80: " in text
    assert "(2 frames, 4 masks, one thread)" in text
    data = json.loads((folder / "b.json").read_text())
    assert data["ratio"] == pytest.approx(data["plain_ms"] / data["ms"])
    assert data["machine"]["versions"]["numpy"] == np.__version__
    text = vos("bench", "eval", folder / "ours", "--davis", folder / "davis").stdout
    assert "(14 frames, 28 masks, one thread)" in text


def test_bench_errors(vos: Run, folder: Path) -> None:
    with pytest.raises(EvaluationError, match="--size must be WIDTHxHEIGHT in pixels, such as 854x480, got '12'"):
        vos("bench", "eval", "--size", "12")
    with pytest.raises(EvaluationError, match="RESULTS and --davis ROOT go together"):
        vos("bench", "eval", folder / "ours")
    with pytest.raises(EvaluationError, match="no frame to measure"):
        bench([])


def test_bench_holds_one_to_the_other() -> None:
    def wrong(*arguments: Any) -> Counts:
        counts = count(*arguments)
        return Counts.from_array(counts.to_array() * (1, 2, 1, 1, 1, 1))

    with pytest.raises(EvaluationError, match="frame 0 of the benchmark: J and F are"):
        bench(drawn_pairs(1, 2, (80, 120)), wrong)
