"""Presets and settings: what they hold, and the text of every refusal."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, Field

import vos
from vos import settings
from vos.errors import SettingsError
from vos.references import as_references
from vos.settings import (
    DEFAULT_PRESET,
    First,
    Settings,
    describe_settings,
    load_settings,
    preset_description,
    preset_names,
)

ABLATIONS = Path(__file__).resolve().parents[1] / "configs" / "ablations"


def test_every_preset_loads_and_says_what_it_is() -> None:
    assert {"best", "fast", "persam", "persam-f", "reference", "reference-f"} <= set(preset_names())
    assert DEFAULT_PRESET in preset_names()
    for name in preset_names():
        load_settings(name)
        assert preset_description(name)


def test_presets_differ_where_the_published_programs_do() -> None:
    persam, fitted = load_settings("persam"), load_settings("persam-f")
    assert (persam.decoder.first, persam.decoder.second_box) == (First.LARGEST, False)
    assert (fitted.decoder.first, fitted.decoder.second_box) == (First.FITTED, True)
    assert persam.tracker.parts["matching"].model_dump()["points"] == 2
    assert fitted.tracker.parts["matching"].model_dump()["points"] == 1
    assert load_settings("reference").decoder.first is First.LARGEST_MOD_256
    assert load_settings("reference").tracker.parts["matching"].model_dump()["box_of"].value == "rank"


def test_overrides_as_text_and_as_mapping() -> None:
    by_text = load_settings(
        "persam", ["decoder.cascade=2", "tracker.matching.points=4", "tracker.matching.presence=0.45"]
    )
    by_name = load_settings(
        "persam", {"decoder.cascade": 2, "tracker.matching.points": 4, "tracker.matching.presence": 0.45}
    )
    assert by_text == by_name
    assert by_text.decoder.cascade == 2
    assert by_text.tracker.parts["matching"].model_dump()["points"] == 4
    assert load_settings("persam", ["weights=my=file.pt"]).weights == Path("my=file.pt")


def test_an_optional_setting_is_unset_by_none() -> None:
    given = load_settings("persam", ["tracker.matching.presence=0.3", "tracker.matching.presence=none", "weights=none"])
    assert given.tracker.parts["matching"].model_dump()["presence"] is None
    assert given.weights is None


def test_values_given_as_they_are_are_not_parsed() -> None:
    assert load_settings("persam", [("weights", Path("#1: old.pt"))]).weights == Path("#1: old.pt")
    assert load_settings("persam", ["weights=~/w.pt"]).weights == Path.home() / "w.pt"
    assert load_settings("persam", "decoder.cascade=2").decoder.cascade == 2


@pytest.mark.parametrize(("preset", "overrides"), [(None, ()), (3, ()), ("persam", {3: 2})])
def test_what_is_not_text_is_refused(preset: object, overrides: object) -> None:
    with pytest.raises(SettingsError):
        load_settings(preset, overrides)


def test_a_preset_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("description: mine\ndecoder: {cascade: 1}\n")
    assert load_settings(str(path)).decoder.cascade == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decoder.cascde=2", "unknown setting 'decoder.cascde'; valid in decoder: cascade, first, second_box"),
        ("colour=2", "unknown setting 'colour'; valid: model, features, weights, features_weights, device, "),
        ("decoder.cascade=15", "setting 'decoder.cascade': input should be less than or equal to 14; found 15"),
        ("model=sam9", "setting 'model': input should be 'mobile_sam', 'sam_vit_b', 'sam_vit_l' or 'sam_vit_h'; found"),
        ("model.x=2", "unknown setting 'model.x'; 'model' is a single value, not a section"),
        ("tracker.name=psychic", "unknown tracker 'psychic'; installed: "),
        ("tracker.psychic.x=1", "unknown setting 'tracker.psychic'; valid in tracker: name, "),
        ("tracker.matching.ponts=1", "unknown setting 'tracker.matching.ponts'; valid in tracker.matching: points, "),
        ("tracker.matching.points=99", "setting 'tracker.matching.points': input should be less than or equal to 16"),
        ("cascade", "setting 'cascade': expected KEY=VALUE, for example decoder.cascade=2"),
        ("=3", "setting '=3': expected KEY=VALUE"),
        (
            "decoder=9",
            "'decoder' is a section of settings, not one value; set one of its own, as in decoder.NAME=VALUE",
        ),
        ("tracker.klt=0", "'tracker.klt' is a section of settings, not one value"),
        ("weights=5", "setting 'weights': expected a path; found 5"),
        ("fit.learning_rate=.inf", "setting 'fit.learning_rate': input should be a finite number"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(override: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings("persam", [override])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_preset_lists_the_presets(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown preset 'best-ever'; presets: .*persam-f"):
        load_settings("best-ever")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load_settings(str(broken))
    broken.write_text("just text")
    with pytest.raises(SettingsError, match="expected settings as 'key: value' lines, found str"):
        load_settings(str(broken))


def test_every_setting_has_a_meaning() -> None:
    rows = list(describe_settings())
    keys = [key for key, *_ in rows]
    assert {"model", "decoder.cascade", "tracker.name", "tracker.matching.points"} <= set(keys)
    assert len(keys) == len(set(keys))
    for key, kind, default, meaning in rows:
        assert kind, key
        assert default, key
        assert meaning, key


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_files_of_the_ablation_are_settings(path: Path) -> None:
    assert load_settings(path) != load_settings(DEFAULT_PRESET)


def test_sections_that_are_one_in_yaml_are_changed_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "alias.yaml"
    path.write_text("tracker: {name: klt, klt: &it {points: 5}, flow: *it}")
    found = load_settings(path, ["tracker.klt.points=6", "tracker.name=klt+flow"]).tracker.parts
    assert [found[name].points for name in ("klt", "flow")] == [6, 5]  # type: ignore[attr-defined]


def test_what_the_caller_gives_is_not_changed() -> None:
    own = {"first": "best"}
    assert load_settings("best", [("decoder", own), "decoder.cascade=7"]).decoder.cascade == 7
    assert own == {"first": "best"}


@pytest.mark.parametrize("overrides", [None, 3, [3], [None], [{"decoder.cascade": 2}], [("a", 2, 3)]])
def test_overrides_of_another_shape(overrides: Any) -> None:
    with pytest.raises(
        SettingsError, match=r"overrides are a dict or a list of KEY=VALUE|an override is KEY=VALUE or a pair"
    ):
        load_settings("best", overrides)


@pytest.mark.parametrize("override", ["cache_limit_gb=1e300", ("cache_embeddings", "a\0b")])
def test_values_that_nothing_can_be_done_with(override: Any) -> None:
    with pytest.raises(SettingsError, match="setting 'cache_"):
        load_settings("best", [override])


def test_home_folders_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("precision: float32\n")
    assert load_settings("~/mine.yaml").precision == "float32"
    np.save(tmp_path / "mask.npy", np.eye(4, dtype=np.uint8))
    (found,) = as_references("~/mask.npy")
    assert found.source == "~/mask.npy"


def test_a_default_that_is_made_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Options(BaseModel):
        colours: list[int] = Field(default_factory=lambda: [3, 4], description="which")

    assert list(settings._describe(Options, "")) == [("colours", "list[int]", "[3, 4]", "which")]


def test_settings_are_equal_if_they_run_alike() -> None:
    settings = load_settings("best", ["tracker.memory.learn_every=7"])
    for again in (settings.model_dump(), settings.model_dump(mode="json")):
        assert Settings.model_validate(again) == settings
    assert load_settings("best") != settings
    assert hash(load_settings("best").tracker) == hash(settings.tracker)


def test_the_package_says_what_it_offers() -> None:
    assert {"track", "Click", "Reading", "load_settings"} <= set(dir(vos))
    assert vos.__version__ == version("persam-vos")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = vos.nonsense
