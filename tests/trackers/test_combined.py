"""Combinations by name, and what is said of trackers that are not there."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

import vos.installed
from tests.trackers.scenes import Thing, draw, place
from trackers.klt import KltSettings, KltTracker
from trackers.matching import MatchingSettings, MatchingTracker
from vos.cli.trackers import trackers as list_trackers
from vos.errors import SettingsError, TrackerError
from vos.installed import installed_trackers, known_trackers, make_tracker, tracker_class, tracker_parts
from vos.settings import load_settings
from vos.tracking import CombinedTracker
from vos.types import Evidence, Frame, FrameResult, Prompts


class _Fixed:
    """Answers with the same prompts whatever it is asked."""

    Settings: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts
        self.told: list[str] = []

    def add(self, object_id: int, frame: Frame, features: object, mask: np.ndarray) -> None:
        self.told.append(f"add {object_id}")

    def locate(self, frame: Frame, features: object) -> Prompts:
        return self._prompts

    def update(self, result: FrameResult) -> None:
        self.told.append("update")


def _prompts(labels: list[list[int]], boxes: list[float]) -> Prompts:
    """One row per label list; a row's box is its number four times, and NaN is none."""
    marks = np.array(labels, dtype=np.int8).reshape(len(boxes), -1)
    points = np.arange(marks.size * 2, dtype=np.float32).reshape(*marks.shape, 2)
    return Prompts(points, marks, np.repeat(np.array(boxes, dtype=np.float32)[:, None], 4, axis=1))


def test_points_stand_side_by_side_and_the_first_box_wins() -> None:
    nan = float("nan")
    parts = [
        _Fixed(_prompts([[1, 1], [1, -1], [-1, -1], [-1, -1]], [1, nan, nan, nan])),
        _Fixed(_prompts([[1, 0, 1], [1, 1, 1], [-1, -1, -1], [1, -1, -1]], [2, 2, nan, 2])),
    ]
    combined = CombinedTracker(parts)
    scene = draw([Thing(7, lambda t: place(90, 90), 3)], 0)
    for object_id in (1, 2, 3, 7):
        combined.add(object_id, scene.frame, scene.features, scene.masks[7])
    prompts = combined.locate(scene.frame, scene.features)
    assert prompts.labels.tolist() == [
        [1, 1, 1, 0, 1],
        [1, -1, 1, 1, 1],
        [-1, -1, -1, -1, -1],
        [-1, -1, 1, -1, -1],
    ]
    np.testing.assert_array_equal(prompts.boxes[:, 0], [1, 2, nan, 2])
    np.testing.assert_array_equal(prompts.points[:, :2], parts[0].locate(scene.frame, None).points)
    np.testing.assert_array_equal(prompts.points[:, 2:], parts[1].locate(scene.frame, None).points)
    assert prompts.active.tolist() == [True, True, False, True]
    combined.update(scene.result())
    assert parts[0].told == parts[1].told == [*(f"add {i}" for i in (1, 2, 3, 7)), "update"]
    for wrong, gave in ((None, "NoneType"), (_prompts([[1]], [1]), "1 rows")):
        with pytest.raises(TrackerError, match=f"'_Fixed' was asked for a row .* of 4 objects, and gave {gave}"):
            combined.parts[1]._prompts = wrong  # type: ignore[attr-defined]
            combined.locate(scene.frame, scene.features)


def test_the_first_evidence_is_kept() -> None:
    maps, numbers = np.zeros((1, 4, 6), np.float32), np.zeros(1, np.float32)
    evidence, other = (
        Evidence(maps, maps > 0, maps, maps, maps, maps, numbers, numbers, (None,), numbers) for _ in range(2)
    )
    parts = [_Fixed(replace(_prompts([[1, 1]], [1]), evidence=known)) for known in (None, evidence, other)]
    scene = draw([Thing(7, lambda t: place(90, 90), 3)], 0)
    for some, kept in ((parts, evidence), (parts[:1], None)):
        combined = CombinedTracker(some)
        combined.add(7, scene.frame, scene.features, scene.masks[7])
        assert combined.locate(scene.frame, scene.features).evidence is kept


def test_a_combination_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        CombinedTracker([])


def test_settings_name_the_parts_and_their_options() -> None:
    settings = load_settings("persam-f+klt", ["tracker.klt.points=5"])
    assert settings.tracker.parts == {"matching": MatchingSettings(points=1), "klt": KltSettings(points=5)}
    assert load_settings("persam-f", ["tracker.name=klt + matching"]).tracker.parts == {
        "klt": KltSettings(),
        "matching": MatchingSettings(points=1),
    }
    dumped = settings.model_dump(mode="json")["tracker"]
    assert dumped["name"] == "matching+klt"
    assert (dumped["matching"]["points"], dumped["klt"]["points"]) == (1, 5)
    assert type(settings).model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("preset", ["persam", "persam-f"])
def test_presets_differ_from_the_published_ones_by_their_tracker_alone(preset: str) -> None:
    plain, combined = (load_settings(name).model_dump(mode="json") for name in (preset, f"{preset}+klt"))
    tracker = combined.pop("tracker")
    assert tracker["matching"] == plain.pop("tracker")["matching"]
    assert combined == plain


def test_a_tracker_is_made_from_options() -> None:
    assert isinstance(make_tracker({"klt": KltSettings()}), KltTracker)
    assert isinstance(make_tracker({"matching": MatchingSettings()}), MatchingTracker)
    assert isinstance(make_tracker({"matching": MatchingSettings(), "klt": KltSettings()}), CombinedTracker)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("psychic", r"^unknown tracker 'psychic'; installed: .*flow, klt, matching"),
        ("matching+psychic", r"^unknown tracker 'psychic'; installed: .*flow, klt, matching"),
        ("matching+", r"^unknown tracker ''; installed: "),
        ("klt+matching+klt", r"^tracker 'klt\+matching\+klt' names 'klt' twice; name each part once$"),
    ],
)
def test_names_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tracker_parts(name)
    with pytest.raises(SettingsError, match=message):
        load_settings("persam", {"tracker.name": name})


def test_what_is_installed_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {tracker.name: tracker for tracker in installed_trackers()}
    assert set(listed) == set(known_trackers()) >= {"flow", "klt", "matching"}
    assert listed["klt"].distribution.startswith("persam-vos ")
    assert listed["klt"].summary.startswith("Points followed by")
    assert listed["klt"].problem is None
    list_trackers()
    shown = " ".join(capsys.readouterr().out.split())
    assert "klt persam-vos" in shown
    assert "--tracker matching+klt" in shown


def test_a_tracker_that_cannot_be_loaded_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EntryPoint("far", "not_installed_anywhere:Tracker", vos.installed.GROUP)
    monkeypatch.setattr(vos.installed, "_installed", lambda: {"far": broken})
    problem = (
        "tracker 'far' of an unknown distribution cannot be loaded: No module named 'not_installed_anywhere'; "
        "install what it needs or choose another"
    )
    with pytest.raises(SettingsError) as raised:
        tracker_class("far")
    assert str(raised.value) == problem
    assert [tracker.problem for tracker in installed_trackers()] == [problem]
    list_trackers()
    assert "not_installed_anywhere" in capsys.readouterr().out.replace("\n", "")
