"""One loaded model for many videos, in all the ways that `vos.track` has; and what may go wrong around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

import vos
import vos.pipeline as pipeline
from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from vos.errors import OutputError, ReferenceInputError, SettingsError, SourceError
from vos.models.features import Features
from vos.references import plan_for
from vos.results import Labels, ResultWriter, Run
from vos.results.saved import SavedResults
from vos.settings import load_settings
from vos.types import FrameResult, Prompts
from vos.video import Reading, open_source
from vos.windows import box_of, grown_box

THING = Thing(13, hue=0, path=lambda t: (20 + 3 * t, 22), seed=1)
IMAGES, TRUTH = clip([THING], 8, size=(60, 80))


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded."""
    monkeypatch.setattr(pipeline, "load_models", lambda *_: stand_in_models())


@pytest.fixture
def tracker() -> vos.VideoTracker:
    return vos.VideoTracker.load("persam")


def same(found: list[FrameResult], expected: list[FrameResult]) -> None:
    assert [result.frame.index for result in found] == [result.frame.index for result in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.index_map, other.index_map)
        assert one.objects == other.objects


@pytest.mark.parametrize(
    ("references", "more"),
    [
        (TRUTH[0], {}),
        ({4: TRUTH[4]}, {"both_ways": True}),
        (TRUTH[2], {"reading": Reading(start=2, end=6, every=2, max_size=40)}),
    ],
)
def test_a_loaded_model_tracks_as_vos_track_does(tracker: vos.VideoTracker, references: Any, more: Any) -> None:
    expected = list(vos.track(IMAGES, references, preset="persam", **more))
    assert all(result.objects for result in expected)
    for _ in range(2):
        same(list(tracker.track(IMAGES, references, **more)), expected)


def test_an_open_source_and_a_plan_will_do_and_stay_open(tracker: vos.VideoTracker) -> None:
    reading = Reading(start=2, max_size=40)
    with open_source(IMAGES, reading=reading) as source:
        plan = plan_for(source, {4: TRUTH[4]}, both_ways=True)
        same(
            list(tracker.track(source, plan)),
            list(vos.track(IMAGES, {4: TRUTH[4]}, preset="persam", both_ways=True, reading=reading)),
        )
        assert source.size == (60, 80)


def test_a_source_that_is_closed_too_early_says_so(tracker: vos.VideoTracker) -> None:
    with open_source(IMAGES) as source:
        late = tracker.track(source, TRUTH[0])
    with pytest.raises(SourceError, match="frames: it was closed before all of it was read"):
        list(late)
    with open_source(IMAGES) as source:
        frames = iter(source)
        assert next(frames).index == 0
        source.close()
        with pytest.raises(SourceError, match="closed before all of it was read"):
            next(frames)
    with open_source(IMAGES) as source:
        assert len(list(source)) == len(IMAGES)


def test_what_cannot_go_together_is_refused(tracker: vos.VideoTracker) -> None:
    with open_source(IMAGES) as source, pytest.raises(SettingsError, match="is open already; give reading to"):
        next(tracker.track(source, TRUTH[0], reading=Reading(end=3)))
    with open_source(IMAGES) as source, pytest.raises(SettingsError, match="goes one way; give both_ways to plan_for"):
        next(tracker.track(source, plan_for(source, TRUTH[0]), both_ways=True))
    with pytest.raises(SettingsError, match=r"reading must be a vos\.Reading, got dict"):
        next(tracker.track(IMAGES, TRUTH[0], reading={"start": 1}))  # type: ignore[arg-type]
    with open_source([image[:30] for image in IMAGES]) as small:
        plan = plan_for(small, TRUTH[0][:30])
    with (
        open_source(IMAGES) as source,
        pytest.raises(ReferenceInputError, match="frame 0 is 80x60, and the references are for 80x30"),
    ):
        list(tracker.run(source, plan))


def test_a_sequence_that_is_no_iterable_by_name_is_read() -> None:
    class Pictures:
        def __len__(self) -> int:
            return len(IMAGES)

        def __getitem__(self, index: int) -> np.ndarray:
            return IMAGES[index]

    with open_source(Pictures()) as source:  # type: ignore[arg-type]
        assert source.frame_count == len(list(source)) == len(IMAGES)


def test_what_is_written_from_python_is_what_the_command_line_writes(
    tracker: vos.VideoTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_source(IMAGES) as source:
        plan = plan_for(source, [TRUTH[0], vos.Click(3, 40, 30, id=2)])
        about = Run.of(source, plan, settings=tracker.record, labels=Labels("mouse"))
        with ResultWriter("~/out", about, save=["masks", "json", "csv"]) as writer:
            for result in tracker.track(source, plan):
                writer.write(result)
    track = json.loads((tmp_path / "out" / "track.json").read_text())
    assert track["references"] == ["--ref 0:mask array:1", "--click 3:40,30:2"]
    assert len(track["reference_prints"]) == 1
    assert track["settings"]["decoder"] == load_settings("persam").decoder.model_dump(mode="json")
    assert track["settings"]["device"] != "auto"
    assert {"torch", "persam-vos"} <= set(track["versions"])
    assert track["labels"] == ["mouse"]
    assert track["source"]["reading"]["start"] == "0"
    assert "given" not in track["source"], "arrays cannot be opened again"
    assert SavedResults(tmp_path / "out").ids == (1, 2)


def test_a_file_can_be_opened_again_for_pictures(
    tracker: vos.VideoTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    for k, image in enumerate(IMAGES[:2]):
        Image.fromarray(image).save(tmp_path / "shots" / f"{k}.png")
    with open_source("shots") as source:
        about = Run.of(source, plan_for(source, TRUTH[0]))
    assert about.reading["given"] == str(tmp_path / "shots")


@pytest.mark.parametrize("labels", [{1: "mouse"}, (1,), 3])
def test_labels_are_texts(labels: Any) -> None:
    with pytest.raises(SettingsError, match="labels are texts such as 'mouse'"):
        Labels(labels)


def test_a_reference_mask_cannot_be_changed_by_a_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    from trackers.matching import MatchingTracker

    def add(self: Any, object_id: int, frame: Any, features: Any, mask: np.ndarray) -> None:
        mask[:] = False

    monkeypatch.setattr(MatchingTracker, "add", add)
    with pytest.raises(vos.VosError, match="read-only"):
        list(vos.track(IMAGES, TRUTH[0], preset="persam"))


class Loose(BaseModel):
    margin: int = 3


class Still:
    """The box of the reference, grown."""

    Settings: ClassVar[type[BaseModel]] = Loose

    def __init__(self, settings: Loose) -> None:
        self._settings = settings
        self._boxes: dict[int, Any] = {}

    def add(self, object_id: int, frame: vos.Frame, features: Features, mask: np.ndarray) -> None:
        self._boxes[object_id] = grown_box(box_of(mask), self._settings.margin, frame.size)

    def locate(self, frame: vos.Frame, features: Features) -> Prompts:
        boxes = np.array([*self._boxes.values()], np.float32)
        n = len(boxes)
        return Prompts(np.zeros((n, 0, 2), np.float32), np.zeros((n, 0), np.int8), boxes)

    def update(self, result: FrameResult) -> None:
        pass


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vos.installed._REGISTERED", {})
    vos.register_tracker("still", Still)


def test_a_tracker_need_not_be_installed(still: None) -> None:
    overrides = {"tracker.name": "still", "tracker.still.margin": 9}
    assert all(result.objects[0].area for result in vos.track(IMAGES, TRUTH[0], preset="persam", overrides=overrides))
    assert load_settings("persam", {"tracker.name": "matching+still"}).tracker.parts["still"] == Loose()


def test_a_misspelt_option_of_somebodys_tracker_is_refused(still: None) -> None:
    with pytest.raises(SettingsError, match=r"unknown setting 'tracker.still.margn'; valid in tracker.still: margin"):
        load_settings("persam", {"tracker.still.margn": 5})
    assert load_settings("persam", {"tracker.still.margin": 5})


@pytest.mark.parametrize(
    ("name", "made_by", "message"),
    [
        ("a+b", Still, "'a\\+b' is no name for a tracker"),
        ("", Still, "'' is no name"),
        (5, Still, "5 is no name"),
        ("mine", Still(Loose()), "tracker 'mine' is none: a tracker is a class, and its attribute Settings"),
        ("mine", Loose, "tracker 'mine' is none: a tracker is a class, and its attribute Settings"),
        ("mine", type("Half", (), {"Settings": Loose, "add": print}), "it has no method locate, update"),
    ],
)
def test_what_is_no_tracker_is_refused(still: None, name: str, made_by: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        vos.register_tracker(name, made_by)


def test_save_may_name_one_output(tmp_path: Path) -> None:
    with open_source(IMAGES) as source, pytest.raises((OutputError, SettingsError), match="unknown output 'mask'"):
        ResultWriter(tmp_path, Run(source), save="mask")
