"""`vos bench`: what it measures, what it writes, and that the tables come from that. How fast it is, is not tested."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from eval.bench_cli import _looks_ahead
from eval.bench_clip import drawn_clip
from eval.cli import register
from eval.machine import Elsewhere, file_name, forget_peak, machine, peak_memory, resident_memory
from eval.speed import STAGES
from eval.speed_reference import agreement, ten_over_one
from eval.speed_report import BEGIN, END, markdown, put_into, read_measurement, show, tables_of
from vos.errors import EvaluationError, SettingsError
from vos.settings import load_settings
from vos.video import open_source

ROOT = Path(__file__).resolve().parents[2]
# The real model at its fastest.
SMALL = ("--sizes", "96x64", "--set", "input_size=256", "--set", "pad=false", "--set", "device=cpu", "--frames", 4)

Run = Callable[..., Result]


@pytest.fixture
def vos(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line that holds our commands only; errors come back as they were raised."""
    app = typer.Typer()
    register(app)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["vos", *map(str, arguments)])  # what a measurement says that it was made by
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.mark.slow
def test_every_case_is_measured_and_written(vos: Run, tmp_path: Path, checkpoint: Path) -> None:
    text = vos("bench", *SMALL, "--objects", "1,2", "--precisions", "float32", "-o", tmp_path).stdout
    (path,) = tmp_path.iterdir()
    assert path.name == f"bench-{file_name(machine())}.json"
    assert f"wrote {path}" in text
    data = read_measurement(path)
    assert [case["objects"] for case in data["cases"]] == [1, 2]
    for case in data["cases"]:
        assert case["frames"] == 4
        assert case["name"].endswith("precision=float32")
        assert case["settings"]["input_size"] == 256
        assert set(case["ms"]) == set(STAGES)
        assert all(value > 0 for stage, value in case["ms"].items() if stage not in ("other", "encode"))
        assert min(case["rate"], case["encoder_rate"], case["reference_s"], case["warm_up_s"]) > 0
        assert case["gpu_peak_mb"] is None
        assert 100 < case["peak_mb"] < 1e5
    assert data["machine"]["versions"]["torch"]
    assert data["machine"]["threads"] >= 1
    assert data["made"] and data["command"].startswith("vos bench --sizes 96x64 ")
    for shown in (text, markdown([(path.name, data)])):
        assert "96x64, 2 objects" in shown
        assert "segment" in shown


@pytest.mark.slow
def test_the_plain_loop_is_beside_ours(vos: Run, tmp_path: Path, checkpoint: Path) -> None:
    """It finds the same masks on the same frames, so it is the same method that is timed."""
    path = tmp_path / "new" / "r.json"
    quick = ("--set", "device=cpu", "--set", "pad=false", "--set", "precision=auto")
    sizes = ("--frames", 4, "--plain-frames", 1, "--rounds", 1, "--objects", "2", "--sizes", "192x128")
    vos("bench", "reference", *sizes, *quick, "--fit-steps", 3, "--json", path)
    data = read_measurement(path)
    assert [(row["name"].split()[0], row["objects"]) for row in data["rows"]] == [("persam", 2), ("persam-f", 2)]
    for row in data["rows"]:
        assert row["ratio"] == row["rate"] / row["plain_rate"]
        assert len(row["rounds"]["rate"]) == len(row["rounds"]["plain_rate"]) == 1
        if row["recipe"] == "persam":
            assert row["agreement"] > 0.97
        else:
            assert row["agreement"] is None
    assert data["ten_over_one"] == {}
    assert data["fit"]["steps"] == 3
    assert data["fit"]["plain_s"] > 0
    page = markdown([("r.json", data)])
    assert "times as fast" in page
    assert "s, extrapolated from " in page
    assert "2 objects" in page


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--clip", "a.mp4"), "--clip and --ref go together; leave both out to measure on a drawn clip"),
        (("--sizes", "97x64"), "a drawn clip is H.264 and needs an even size, got 97x64"),
        (("--sizes", "12"), "--sizes must be WIDTHxHEIGHT in pixels, such as 854x480, got '12'"),
        (("--sizes", ","), "nothing to measure; give at least one of --sizes"),
        (("eval", "--size", "999999x2"), "--size: sides are at most 16384 pixels, got '999999x2'"),
        (("--objects", "0"), "--objects must be numbers from 1 to 255, such as 1,10, got '0'"),
        (("--objects", ""), "--objects must be numbers from 1 to 255, such as 1,10, got ''"),
        (("--presets", ","), "nothing to measure; name at least one preset in --presets"),
        (("--frames", "9", "eval"), "options of vos bench do not go with vos bench eval"),
        (("reference", "--presets", "persam", "--fit-steps", "9"), "--fit-steps times PerSAM-F's fit; name a preset"),
        (("report", "none.json"), "none.json: cannot be read: No such file or directory"),
    ],
)
def test_errors(vos: Run, arguments: tuple[str, ...], error: str) -> None:
    with pytest.raises(EvaluationError) as raised:
        vos("bench", *arguments)
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_settings_are_refused_before_anything_is_measured(vos: Run) -> None:
    with pytest.raises(SettingsError, match="precision"):
        vos("bench", "--precisions", "float32,float8")


def test_a_clip_that_is_too_short(vos: Run, tmp_path: Path, checkpoint: Path) -> None:
    clip = drawn_clip(tmp_path, (64, 96), 1, 10)
    np.save(tmp_path / "mask.npy", clip.reference)
    with pytest.raises(EvaluationError, match=r"timing 4 frames takes a clip of 17, this one has 10; give fewer"):
        vos("bench", *SMALL, "--clip", clip.path, "--ref", tmp_path / "mask.npy")


def test_a_drawn_clip_has_its_objects(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path, (96, 160), 10, 60)
    assert clip.plan.ids == tuple(range(1, 11))
    with open_source(clip.path) as source:
        images = [frame.image for frame in source]
    assert len(images) == 60
    half, whole = (np.abs(images[0].astype(int) - images[k]).mean() for k in (24, 48))
    # It begins anew after 48 frames, up to what compression does.
    assert whole < half / 5


def test_agreement() -> None:
    a = np.array([[1, 1, 0, 2]], np.uint8)
    b = np.array([[1, 0, 0, 2]], np.uint8)
    assert agreement([a], [b]) == pytest.approx(0.75)
    assert agreement([a, a], [a, a]) == 1
    assert agreement([np.zeros_like(a)], [np.zeros_like(a)]) == 1


def test_ten_over_one() -> None:
    rows = [
        {"name": "fast", "recipe": "persam", "size": "80x60", "objects": 1, "rate": 4.0, "plain_rate": 0.5},
        {"name": "fast", "recipe": "persam", "size": "80x60", "objects": 10, "rate": 2.0, "plain_rate": 0.1},
    ]
    assert ten_over_one(rows) == {"fast": {"10": 2.0}, "persam (plain)": {"10": 5.0}}
    assert ten_over_one(rows[:1]) == {}
    larger = [{**row, "size": "160x120", "rate": row["rate"] ** 2} for row in rows]
    found = ten_over_one([*rows, *larger])
    assert (found["fast, 80x60"], found["fast, 160x120"]) == ({"10": 2.0}, {"10": 4.0})


def example() -> dict[str, Any]:
    case: dict[str, Any] = {
        "name": "persam", "clip": "drawn", "size": "854x480", "objects": 1, "frames": 8, "rate": 1.5,
        "encoder_rate": 2.0, "ms": dict.fromkeys(STAGES, 1.25), "reference_s": 0.5, "warm_up_s": 2.0,
        "peak_mb": 900.4, "growth_mb": None, "gpu_peak_mb": None, "elsewhere": 0.0, "settings": {},
    }  # fmt: skip
    return {
        "kind": "vos bench", "command": "vos bench", "made": "2030-01-01T00:00:00+00:00", "cases": [case],
        "machine": {"processor": "Z80", "cores": 1, "versions": {"persam-vos": "1", "torch": "2", "numpy": "3"}},
    }  # fmt: skip


def test_the_page_says_what_the_file_says(tmp_path: Path) -> None:
    data = example()
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(page, markdown([("z80.json", data)]))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "`z80.json`: Z80, 1 cores, persam-vos 1, torch 2; 2030-01-01T00:00:00+00:00; vos bench" in text
    assert "| persam, drawn 854x480, 1 object | 1.50 | 2.00 | 75 % | 0.50 s | 2.0 s | 900 MB | - | - |" in text
    assert "Not a quiet machine" not in text
    data["cases"][0]["elsewhere"] = 0.31
    assert "other programs used up to 31 % of its cores" in markdown([("z80.json", data)])


def test_a_page_without_marks_and_a_file_of_something_else(vos: Run, tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.json"
    page.write_text("text\n")
    with pytest.raises(EvaluationError, match="has no place for the tables; put these lines where they belong"):
        put_into(page, "table")
    for text in ("{}", "[]", "no JSON", '{"kind": "else"}'):
        other.write_text(text)
        with pytest.raises(EvaluationError, match="not a file of vos bench or vos bench reference"):
            vos("bench", "report", other)


def test_a_file_that_lacks_something(vos: Run, tmp_path: Path) -> None:
    (tmp_path / "part.json").write_text('{"kind": "vos bench", "cases": [{"rate": 1}]}')
    with pytest.raises(EvaluationError, match=r"part\.json: damaged, or of another version of vos"):
        vos("bench", "report", tmp_path / "part.json")


def test_clips_are_long_enough_for_trackers_that_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackers.klt.KltTracker.latency", 15, raising=False)
    monkeypatch.setattr("trackers.klt.KltTracker.ahead", lambda self, frames: None, raising=False)
    assert _looks_ahead([load_settings("persam"), load_settings("persam+klt")]) == 15
    assert _looks_ahead([load_settings("best")]) == 0


def test_the_docs_are_generated_from_the_files_beside_them() -> None:
    files = sorted((ROOT / "docs" / "performance").glob("*.json"))
    assert files
    text = markdown((path.name, read_measurement(path)) for path in files)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == f"\n\n{text}\n"


@pytest.mark.parametrize("width", [80, 100, 160, 240])
@pytest.mark.parametrize("name", ["objects.json", "reference.json"])
def test_on_a_narrow_terminal_there_are_several_tables_and_all_is_shown(name: str, width: int) -> None:
    data = read_measurement(ROOT / "docs" / "performance" / name)
    terminal = Console(width=width, file=io.StringIO())
    for table in show(data, width):
        terminal.print(table)
    shown = cast("io.StringIO", terminal.file).getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for header, rows in tables_of(data):
        for text in (*header[1:], *(cell for row in rows for cell in row[1:])):
            assert text in shown, text
        if width > 160:
            assert all(row[0] in shown for row in rows)


def test_files_are_named_by_machine_and_versions() -> None:
    about = {"processor": "AMD EPYC (TM)", "cores": 2, "gpus": ["NVIDIA H100 80GB"], "versions": {"torch": "2.9+cu"}}
    assert file_name(about) == "amd-epyc-tm-2-cores-nvidia-h100-80gb-torch-2.9-cu"


def test_memory_and_load_are_of_this_machine() -> None:
    peak, now = peak_memory(), resident_memory()
    assert peak is not None
    assert 20 < peak < 1e6
    assert now is None or 20 < now < 1e6
    others = Elsewhere()
    sum(range(10**6))
    share = others.share()
    assert share is None or 0 <= share <= 1


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux can forget a peak")  # noqa: PTH110
def test_a_peak_can_be_forgotten() -> None:
    block = np.ones(300_000_000 // 8)
    before = peak_memory()
    del block
    if forget_peak():
        after = peak_memory()
        assert before is not None
        assert after is not None
        assert after < before - 200


def test_json_is_plain(tmp_path: Path) -> None:
    assert json.loads(json.dumps(machine()))["cores"] >= 1
