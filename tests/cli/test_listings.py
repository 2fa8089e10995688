"""What `vos presets`, `vos --version` and the help print."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Vos
from vos.settings import describe_settings, preset_names


def test_presets_and_every_setting_are_listed(vos: Vos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ended = vos("presets")
    assert ended.code == 0
    for name in preset_names():
        assert re.search(rf"^\s*{re.escape(name)}\b", ended.out, re.MULTILINE), name
    for key, *_ in describe_settings():
        assert key in ended.out
    assert "persam-f (default)" in ended.out


def test_one_preset_shows_its_values(vos: Vos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ended = vos("presets", "reference")
    assert re.search(r"decoder\.first .*largest-mod-256", ended.out)
    assert re.search(r"half_embeddings .*true", ended.out)


def test_version_and_help(vos: Vos) -> None:
    assert re.fullmatch(r"vos \d+\.\d+\.\d+\n", vos("--version").out)
    listing = vos("--help").out
    for command in ("track", "demo", "presets", "weights", "eval"):
        assert command in listing
    assert "--click" in vos("track", "--help").out
