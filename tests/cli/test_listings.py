"""What `vos presets`, `vos --version` and the help print."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.cli.conftest import Vos
from vos import installed as trackers_there
from vos.cli.console import stdout
from vos.settings import describe_settings, preset_names


def test_presets_and_every_setting_are_listed(vos: Vos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "width", 200)
    ended = vos("presets")
    assert ended.code == 0
    for name in preset_names():
        assert re.search(rf"^\s*{re.escape(name)}\b", ended.out, re.MULTILINE), name
    for key, *_ in describe_settings():
        assert key in ended.out
    assert "best (default)" in ended.out


def test_one_preset_shows_its_values(vos: Vos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "width", 200)
    ended = vos("presets", "reference")
    assert re.search(r"decoder\.first .*largest-mod-256", ended.out)
    assert re.search(r"half_embeddings .*true", ended.out)


def test_what_a_tracker_needs_and_its_licence_are_listed(vos: Vos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "width", 300)
    broken = EntryPoint("far", "not_installed_anywhere:Tracker", trackers_there.GROUP)
    installed = {**trackers_there._installed(), "far": broken}
    monkeypatch.setattr(trackers_there, "_installed", lambda: installed)
    monkeypatch.setattr(trackers_there, "find_spec", lambda name: None)
    ended = vos("trackers")
    assert ended.code == 0
    assert re.search(r"^ ?klt +persam-vos \S+ +Apache-2\.0 +Points", ended.out, re.MULTILINE)
    assert re.search(
        r"^ ?cotracker +persam-vos \S+ +CC-BY-NC-4\.0: non-commercial use only +Points", ended.out, re.MULTILINE
    )
    assert re.search(
        r"^ ?far +an unknown distribution +- +tracker 'far' .* cannot be loaded: No mod", ended.out, re.MULTILINE
    )
    missing = "needs the package cotracker, which is not installed; get it with: pip install git+https://github.com/"
    assert missing in ended.out
    presets = vos("presets")
    assert presets.code == 0
    assert missing in presets.out
    assert vos("presets", "persam-f+cotracker").code == 0
    assert missing in vos("track", "clip.mp4", "--ref", "mask.png", "--preset", "persam-f+cotracker").error


def test_trackers_that_are_broken_are_said_to_be_and_harm_no_other(
    vos: Vos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever they do as they are loaded."""
    (tmp_path / "boom.py").write_text("raise RuntimeError('boom')")
    (tmp_path / "syntax.py").write_text("def f(:")
    (tmp_path / "odd.py").write_text(
        "from pydantic import BaseModel\n"
        "class Nothing(BaseModel): pass\n"
        "class Bare: pass\n"
        "class Needs:\n    add = locate = update = print\n    licence = 3\n"
        "    requires = {'nopkg.sub': 'pip install nopkg'}\n    Settings = Nothing\n"
        "class Listed:\n    add = locate = update = print\n    requires = ['pkg']\n    Settings = Nothing\n"
        "class Path(BaseModel):\n    path: str\n"
        "class Asks:\n    Settings = Path\n    add = locate = update = print\n"
        "class Idle:\n    Settings = Nothing\n    add = update = print\n"
        "value = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(stdout, "width", 300)
    found = {
        "boom": ("boom:Tracker", "cannot be loaded: RuntimeError: boom; install what it needs"),
        "syntax": ("syntax:Tracker", "cannot be loaded: SyntaxError: "),
        "bare": ("odd:Bare", "is none: a tracker is a class, and its attribute Settings a pydantic model"),
        "idle": ("odd:Idle", "is none: it has no method locate"),
        "value": ("odd:value", "is none: a tracker is a class"),
        "needs": ("odd:Needs", "needs the package nopkg.sub, which is not installed; get it with: pip install nopkg"),
        "listed": ("odd:Listed", "says in requires what is no package"),
    }
    points = {name: EntryPoint(name, value, trackers_there.GROUP) for name, (value, _) in found.items()}
    points["asks"] = EntryPoint("asks", "odd:Asks", trackers_there.GROUP)
    installed = {**trackers_there._installed(), **points}
    monkeypatch.setattr(trackers_there, "_installed", lambda: installed)
    listed, presets = vos("trackers"), vos("presets")
    assert (listed.code, presets.code) == (0, 0)
    assert re.search(r"tracker\.asks\.path +text +\(required\)", presets.out)
    for name, (_, problem) in found.items():
        assert problem in listed.out, name
        error = vos("track", "clip.mp4", "--ref", "mask.png", "--tracker", name).error
        assert problem in error
    assert (
        "setting 'tracker.asks.path': field required" in vos("track", "a.mp4", "--ref", "b", "--tracker", "asks").error
    )


def test_version_and_help(vos: Vos) -> None:
    assert re.fullmatch(r"vos \d+\.\d+\.\d+\n", vos("--version").out)
    listing = vos("--help").out
    for command in ("track", "demo", "presets", "weights", "eval"):
        assert command in listing
    assert "--click" in vos("track", "--help").out
