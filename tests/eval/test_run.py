from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.davis import Dataset, Task, open_dataset
from eval.run import Progress, about, run_dataset
from eval.scoring import SequenceScore, score_dataset
from tests.eval.data import drawn_truth, shifted, write_dataset, write_png
from vos.errors import EvaluationError, OutputError
from vos.settings import load_settings
from vos.types import Frame, FrameResult

SETTINGS = {"preset": "fake", "settings": {"decoder": {"cascade": 3}}}


class FakeTracker:
    """Answers with stored maps, notes what it is asked, and fails at a frame if told to."""

    def __init__(self, maps: dict[str, list[np.ndarray]]) -> None:
        self.maps = maps
        self.asked: list[str] = []
        self.references: dict[str, np.ndarray] = {}
        self.fail_at: tuple[str, int] | None = None
        self.frames: int | None = None

    def __call__(self, source: str, reference: np.ndarray) -> Iterator[FrameResult]:
        name = Path(source).name
        self.asked.append(name)
        self.references[name] = reference
        for t, path in enumerate(sorted(Path(source).iterdir())[: self.frames]):
            if self.fail_at == (name, t):
                raise KeyboardInterrupt
            with Image.open(path) as image:
                frame = Frame(t, np.asarray(image), name=path.name)
            yield FrameResult(frame, self.maps[name][t], ())


@pytest.fixture
def truth() -> dict[str, list[np.ndarray]]:
    return {k: v for k, v in drawn_truth().items() if k in ("pair", "void")}


@pytest.fixture
def dataset(tmp_path: Path, truth: dict[str, list[np.ndarray]]) -> Dataset:
    return open_dataset(write_dataset(tmp_path / "davis", truth, images=True))


@pytest.fixture
def tracker(truth: dict[str, list[np.ndarray]]) -> FakeTracker:
    return FakeTracker(shifted(truth))


def numbers(scores: list[SequenceScore]) -> dict[str, tuple[float, float]]:
    return {score.name: (score.j, score.f) for score in scores}


def test_tracks_writes_and_scores(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[Progress] = []
    scores = list(run_dataset(dataset, out, tracker, SETTINGS, on_progress=seen.append))
    assert numbers(scores) == numbers(list(score_dataset(dataset, out)))
    for name, maps in tracker.maps.items():
        paths = sorted((out / name).glob("*.png"))
        assert [p.name for p in paths] == [f"{t:05d}.png" for t in range(9)]
        with Image.open(paths[4]) as image:
            assert image.mode == "P"
            assert image.getpalette()[3:6] == [128, 0, 0]
            assert np.array_equal(np.asarray(image), maps[4])
        done = json.loads((out / name / "done.json").read_text())
        assert (done["frames"], done["settings"]) == (9, SETTINGS)
    assert not list(out.rglob("*.part"))
    assert seen[0] == Progress("pair", 1, 9)
    assert seen[-1] == Progress("void", 9, 9)


def test_reference_is_the_first_annotation_without_void(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))
    assert tracker.references["void"].dtype == np.uint8
    assert np.unique(tracker.references["void"]).tolist() == [0, 1, 2]


def test_a_sequence_is_scored_before_the_next_is_tracked(
    dataset: Dataset, tracker: FakeTracker, tmp_path: Path
) -> None:
    scores = run_dataset(dataset, tmp_path / "out", tracker, SETTINGS)
    assert next(scores).name == "pair"
    assert tracker.asked == ["pair"]


def test_resume(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tracker.fail_at = ("void", 5)
    with pytest.raises(KeyboardInterrupt):
        list(run_dataset(dataset, out, tracker, SETTINGS))
    assert len(list((out / "void").glob("*.png"))) == 5
    assert not (out / "void" / "done.json").exists()
    (out / "void" / "00077.png").write_bytes(b"left over")
    tracker.fail_at = None
    seen: list[Progress] = []
    again = list(run_dataset(dataset, out, tracker, SETTINGS, on_progress=seen.append))
    assert tracker.asked == ["pair", "void", "void"]
    assert seen[0] == Progress("pair", 9, 9, resumed=True)
    assert len(list((out / "void").glob("*.png"))) == 9
    tracker.asked.clear()
    assert numbers(list(run_dataset(dataset, out, tracker, SETTINGS))) == numbers(again)
    assert tracker.asked == []


def test_other_settings_are_refused(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tracker.fail_at = ("pair", 3)
    with pytest.raises(KeyboardInterrupt):
        list(run_dataset(dataset, out, tracker, SETTINGS))
    changed = {"preset": "fake", "settings": {"decoder": {"cascade": 1}}}
    with pytest.raises(EvaluationError, match=r"made with other settings \(settings\.decoder\.cascade was 3, is 1\)"):
        list(run_dataset(dataset, out, tracker, changed))
    tracker.fail_at = None
    assert len(list(run_dataset(dataset, out, tracker, changed, overwrite=True))) == 2
    assert json.loads((out / "settings.json").read_text()) == changed


def test_what_was_made_with_other_settings_is_made_again(
    dataset: Dataset, tracker: FakeTracker, tmp_path: Path
) -> None:
    out, changed = tmp_path / "out", {"preset": "another"}
    list(run_dataset(dataset, out, tracker, SETTINGS))
    one = replace(dataset, names=("pair",))
    list(run_dataset(one, out, tracker, changed, overwrite=True))
    tracker.asked.clear()
    list(run_dataset(dataset, out, tracker, changed))
    assert tracker.asked == ["void"]
    assert json.loads((out / "void" / "done.json").read_text())["settings"] == changed


def test_what_another_sequence_has_of_other_settings_goes_with_them(
    dataset: Dataset, tracker: FakeTracker, tmp_path: Path
) -> None:
    """Else the folder would be scored as if one run had made it."""
    out = tmp_path / "out"
    list(run_dataset(dataset, out, tracker, SETTINGS))
    list(run_dataset(replace(dataset, names=("pair",)), out, tracker, SETTINGS, overwrite=True))
    assert len(list((out / "void").glob("*.png"))) == 9
    (out / "void" / "done.json").unlink()  # as of a run that was stopped
    (out / "photos").mkdir()
    (out / "photos" / "mine.png").write_bytes(b"mine")
    (out / "photos" / "done.json").write_text('{"todo": []}')
    list(run_dataset(replace(dataset, names=("pair",)), out, tracker, {"preset": "another"}, overwrite=True))
    assert not list((out / "void").iterdir())
    assert (out / "photos" / "mine.png").exists()
    assert (out / "photos" / "done.json").exists()


@pytest.mark.parametrize("what", ["image", "annotation"])
def test_masks_of_other_frames_are_not_scored(
    dataset: Dataset, tracker: FakeTracker, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out"
    list(run_dataset(dataset, out, tracker, SETTINGS))
    if what == "image":
        path = dataset.images / "void" / "00004.jpg"
        with Image.open(path) as image:
            Image.fromarray(255 - np.asarray(image)).save(path)
    else:
        path = dataset.annotations / "void" / "00000.png"
        write_png(path, np.roll(drawn_truth()["void"][0], 3, axis=1))
    with pytest.raises(EvaluationError, match=r"void was made of other images or another first annotation; choose"):
        next(run_dataset(dataset, out, tracker, SETTINGS))  # before the first is scored
    assert len(list(run_dataset(dataset, out, tracker, SETTINGS, overwrite=True))) == 2


def test_a_mask_that_is_gone_is_made_again(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = numbers(list(run_dataset(dataset, out, tracker, SETTINGS)))
    (out / "void" / "00004.png").unlink()
    assert numbers(list(run_dataset(dataset, out, tracker, SETTINGS))) == before
    assert tracker.asked == ["pair", "void", "void"]


def test_weights_are_known_by_what_they_hold(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    settings = load_settings("persam", {"weights": str(path)})
    assert "weights" not in about("persam", settings, dataset)
    found = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        found.append(about("persam", settings, dataset)["weights"])
    assert [list(each) for each in found] == [["weights"]] * 2
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda folder: shutil.copy(folder / "00003.jpg", folder / "00003.PNG"),
            "frame 00003: .* has 2 images",
        ),
        (lambda folder: (folder / "00003.jpg").unlink(), "frame 00003: it is scored, and has no image in"),
        (
            lambda folder: Image.new("RGB", (20, 10)).save(folder / "00000.jpg"),
            "sequence pair, frame 00000: the image is 20x10, the annotation 60x40",
        ),
    ],
)
def test_images_that_do_not_fit_are_said_before_anything_is_tracked(
    dataset: Dataset, tracker: FakeTracker, tmp_path: Path, change: Callable[[Path], object], error: str
) -> None:
    change(dataset.images / "pair")
    with pytest.raises(EvaluationError, match=error):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))
    assert tracker.asked == []


def test_results_do_not_go_where_the_data_are(dataset: Dataset, tracker: FakeTracker) -> None:
    before = sorted(dataset.annotations.rglob("*"))
    for out in (dataset.annotations, dataset.images / ".." / dataset.images.name):
        with pytest.raises(EvaluationError, match="holds the data set itself; choose another folder"):
            list(run_dataset(dataset, out, tracker, SETTINGS, overwrite=True))
    assert sorted(dataset.annotations.rglob("*")) == before


def test_a_folder_of_something_else_is_refused(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EvaluationError, match="is not empty and not of an earlier run"):
        list(run_dataset(dataset, tmp_path, tracker, SETTINGS))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert tracker.asked == []


def test_overwrite_keeps_what_is_not_ours(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(run_dataset(dataset, out, tracker, SETTINGS))
    (out / "pair" / "notes.txt").write_text("mine")
    list(run_dataset(dataset, out, tracker, SETTINGS, overwrite=True))
    assert tracker.asked == ["pair", "void"] * 2
    assert (out / "pair" / "notes.txt").exists()


def test_a_tracker_that_stops_early(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    tracker.frames = 5
    with pytest.raises(EvaluationError, match=r"sequence pair, frame 00005: no result \(3 of 7"):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))
    assert not (tmp_path / "out" / "pair" / "done.json").exists()


def test_broken_settings_file(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"cannot read settings from .*settings\.json; use --overwrite"):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))
    (tmp_path / "out" / "settings.json").write_text("[]")
    with pytest.raises(EvaluationError, match=r"cannot read settings from .*settings\.json; use --overwrite"):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))


def test_out_is_a_file(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*settings\.json"):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))


def test_images_are_needed(tmp_path: Path, truth: dict[str, list[np.ndarray]], tracker: FakeTracker) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "bare", truth))
    with pytest.raises(EvaluationError, match="sequence pair: no images to track in"):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))
    assert not (tmp_path / "out").exists()


def test_annotation_of_a_later_image(dataset: Dataset, tracker: FakeTracker, tmp_path: Path) -> None:
    (dataset.annotations / "pair" / "00000.png").unlink()
    with pytest.raises(EvaluationError, match="frame 00001: the first annotation is not of the first image, 00000"):
        list(run_dataset(dataset, tmp_path / "out", tracker, SETTINGS))


def test_unsupervised_cannot_be_tracked(
    tmp_path: Path, truth: dict[str, list[np.ndarray]], tracker: FakeTracker
) -> None:
    root = write_dataset(tmp_path / "u", truth, folder="Annotations_unsupervised", images=True)
    with pytest.raises(EvaluationError, match="--run tracks from the first annotation"):
        list(run_dataset(open_dataset(root, task=Task.UNSUPERVISED), tmp_path / "out", tracker, SETTINGS))
