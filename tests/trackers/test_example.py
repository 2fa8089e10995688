"""The tracker of `docs/trackers.md`: installed as a package of its own, it is listed, runs, and keeps the contract."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import DISC, VOS, encode
from tests.drawn import clip

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "example_tracker"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which the example is an installed package; installing needs no network."""
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", folder / "site", source], check=True)
    return {**os.environ, "PYTHONPATH": str(folder / "site"), "COLUMNS": "200"}


def _output(command: list[str | Path], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["pyproject.toml", "vos_colour.py"])
def test_the_page_shows_the_package_word_for_word(name: str) -> None:
    shown = re.findall(r"```\w+\n(.*?)```", (ROOT / "docs" / "trackers.md").read_text(encoding="utf-8"), re.DOTALL)
    assert (EXAMPLE / name).read_text(encoding="utf-8") in shown


def test_the_class_has_forty_lines_at_most() -> None:
    code = (EXAMPLE / "vos_colour.py").read_text(encoding="utf-8")
    (tracker,) = re.findall(r"^class ColourTracker.*?(?=^\w)", code, re.DOTALL | re.MULTILINE)
    assert sum(bool(line.strip()) for line in tracker.splitlines()) <= 40


@pytest.mark.slow
def test_it_is_listed_once_installed(environment: dict[str, str], tmp_path: Path) -> None:
    listing = _output([VOS, "trackers"], environment, tmp_path)
    assert re.search(r"^ ?colour +vos-colour 0\.1\.0 +Apache-2\.0 +The object's colours", listing, re.MULTILINE)
    assert "tracker.colour.min_likeness" in _output([VOS, "presets"], environment, tmp_path)


@pytest.mark.slow
def test_it_tracks_through_the_installed_command(environment: dict[str, str], checkpoint: Path, tmp_path: Path) -> None:
    images, truth = clip([DISC], 4, size=(120, 160))
    encode(tmp_path / "clip.mp4", images)
    Image.fromarray(truth[0] * 255).save(tmp_path / "mask.png")
    chosen = ["--preset", "persam", "--tracker", "colour", "--set", "tracker.colour.margin=8"]
    command = [VOS, "track", "clip.mp4", "--ref", "mask.png", "--device", "cpu", *chosen]
    assert "tracker colour" in _output(command, environment, tmp_path)
    for path, true in zip(sorted((tmp_path / "clip-vos" / "masks").glob("*.png")), truth, strict=True):
        found = np.array(Image.open(path)) > 0
        assert (found & (true > 0)).sum() / (found | (true > 0)).sum() > 0.8, path.name


@pytest.mark.slow
def test_it_keeps_the_contract(environment: dict[str, str]) -> None:
    contract = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/trackers/test_contract.py"]
    assert " passed" in _output([*contract, "-k", "colour", "-m", "not slow"], environment, ROOT)
