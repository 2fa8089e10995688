"""The wheel is complete: installed without the checkout and run from another folder, presets and plug-ins included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", ROOT, source], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path / "dist", source], check=True)
    (wheel,) = (tmp_path / "dist").glob("persam_vos-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)

    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    code = "import vos, trackers, eval; print(vos.__file__, trackers.__file__, eval.__file__)"
    found = _output([sys.executable, "-c", code], environment, tmp_path)
    assert all(Path(path).is_relative_to(site) for path in found.split())
    listing = _output([sys.executable, "-m", "vos", "presets"], environment, tmp_path)
    for preset in (ROOT / "configs").glob("*.yaml"):
        assert preset.stem in listing
    assert "tracker.matching.points" in listing
    assert "eval" in _output([sys.executable, "-m", "vos", "--help"], environment, tmp_path)


def _output(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
