"""`vos dataset`: what several runs have left becomes one data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from tests.cli.conftest import Ended, Vos
from tests.cli.resumed import draw
from tests.cli.test_resume import contents
from tests.results.test_formats import inside
from vos.results import joined


@pytest.fixture
def runs(vos: Vos, light: None, tmp_path: Path) -> Path:
    """Two finished runs: one with an object that enters on frame 7, and one with a label of the other's."""
    for name, labels, more in (("a", ("mouse:1", "rat:2"), True), ("b", ("rat:1",), False)):
        (tmp_path / name).mkdir()
        video, first, second = draw(tmp_path / name, 9)
        given = ("--ref", f"{first}:1", *(("--ref", f"7:{second}:2") if more else ()))
        options = [part for label in labels for part in ("--label", label)]
        out = tmp_path / "runs" / f"{name}-vos"
        ended = vos("track", video, *given, *options, "-o", out, "--preset", "persam", "--save", "masks,json")
        assert ended.code == 0, ended.err
    return tmp_path / "runs"


@pytest.fixture
def dataset(vos: Vos, runs: Path, tmp_path: Path) -> Callable[..., Ended]:
    def make(*more: object, results: Path = runs) -> Ended:
        return vos("dataset", results, "-o", tmp_path / "set", *more)

    return make


def test_one_set_of_two_clips(dataset: Callable[..., Ended], runs: Path, tmp_path: Path) -> None:
    ended = dataset("--val", "b*", "--every", "2")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "classes: mouse, rat",
        "train: 1 clip, 1 picture, 2 masks",
        "val: 1 clip, 5 pictures, 5 masks",
        "left out: 4 frames before all objects have entered",
        f"6 pictures -> {tmp_path / 'set'}",
    ]
    made = tmp_path / "set"
    assert not list(tmp_path.rglob("*.part"))
    about = yaml.safe_load((made / "data.yaml").read_text())
    assert about == {"train": "images/train", "val": "images/val", "names": {0: "mouse", 1: "rat"}}
    for split, shown in (("train", {("a", 1): "mouse", ("a", 2): "rat"}), ("val", {("b", 1): "rat"})):
        coco = COCO(made / "annotations" / f"instances_{split}.json")
        assert {c["id"]: c["name"] for c in coco.cats.values()} == {1: "mouse", 2: "rat"}
        pictures = {path.relative_to(made / "images" / split).as_posix() for path in made.glob(f"images/{split}/*/*")}
        assert pictures == {image["file_name"] for image in coco.imgs.values()}
        for annotation in coco.anns.values():
            image = coco.imgs[annotation["image_id"]]
            assert coco.cats[annotation["category_id"]]["name"] == shown[image["clip"], annotation["track_id"]]
            truth = np.array(Image.open(runs / f"{image['clip']}-vos/masks/{image['frame']:05d}.png"))
            np.testing.assert_array_equal(coco.annToMask(annotation) == 1, truth == annotation["track_id"])
        for image in coco.imgs.values():
            lines = (made / "labels" / split / image["file_name"]).with_suffix(".txt").read_text().splitlines()
            own = coco.imgToAnns[image["id"]]
            assert len(lines) == len(own)
            for line, annotation in zip(lines, own, strict=True):
                number, *shares = line.split()
                assert int(number) == annotation["category_id"] - 1
                corners = np.array(shares, float).reshape(-1, 2) * (image["width"], image["height"]) - 0.5
                mask = coco.annToMask(annotation) == 1
                np.testing.assert_array_equal(inside(corners, mask.shape), mask)


def test_numbers_are_unique_in_a_set(dataset: Callable[..., Ended], tmp_path: Path) -> None:
    assert dataset("--to", "coco").code == 0
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["annotations", "dataset.json", "images"]
    read = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    for part in ("images", "annotations"):
        numbers = [one["id"] for one in read[part]]
        assert len(set(numbers)) == len(numbers) > 9
    assert {image["file_name"].split("/")[0] for image in read["images"]} == {"a", "b"}


def test_frames_of_which_something_is_unsure_may_be_left_out(
    dataset: Callable[..., Ended], runs: Path, tmp_path: Path
) -> None:
    track = runs / "b-vos/track.json"
    lines = track.read_text().splitlines()
    for number in (3, 5):
        lines[number] = lines[number].replace('"visible"', '"uncertain"')
    track.write_text("\n".join(lines) + "\n")
    ended = dataset("--sure", "--to", "yolo", results=runs / "b-vos")
    assert "left out: 2 frames with an object that is uncertain" in ended.out
    names = sorted(path.stem for path in (tmp_path / "set/labels/train/b").iterdir())
    assert names == [f"{k:05d}" for k in range(9) if k not in (2, 4)]
    about = yaml.safe_load((tmp_path / "set/data.yaml").read_text())
    assert about["val"] == "images/train", "what there is"


def test_masks_that_were_corrected_count(dataset: Callable[..., Ended], runs: Path, tmp_path: Path) -> None:
    assert dataset("--to", "coco").code == 0
    before = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    mask = runs / "b-vos/masks/00004.png"
    Image.fromarray(np.zeros_like(np.array(Image.open(mask)))).save(mask)
    assert "holds a data set already; pass --overwrite or choose another folder" in dataset("--to", "coco").error
    assert dataset("--to", "coco", "--overwrite").code == 0
    after = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    assert len(after["annotations"]) == len(before["annotations"]) - 1
    assert len(after["images"]) == len(before["images"])


def test_what_is_refused_changes_nothing(
    dataset: Callable[..., Ended], vos: Vos, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dataset("--val", "c").error == "vos: error: --val c: no clip is called so; there are a, b"
    assert "every clip is for validation" in dataset("--val", "*").error
    assert "unknown data set 'voc'; there are coco, yolo" in dataset("--to", "voc").error
    assert "no finished results in it: there is no track.json" in dataset(results=tmp_path / "a").error
    (tmp_path / "more/a-vos").mkdir(parents=True)
    for name in ("track.json", "masks"):
        (tmp_path / "more/a-vos" / name).symlink_to(runs / "a-vos" / name)
    twice = vos("dataset", runs, tmp_path / "more", "-o", tmp_path / "set")
    assert "have one name; a data set needs another for each clip" in twice.error
    assert "--to names nothing; there are coco, yolo" in dataset("--to", "").error
    (runs / "a-vos").rename(runs / "images-vos")
    assert "no clip of a data set may be called images; rename the folder" in dataset().error
    (runs / "images-vos").rename(runs / "a-vos")
    assert not (tmp_path / "set").exists()
    (tmp_path / "set").mkdir()
    (tmp_path / "set/mine.txt").write_text("mine")
    assert "is there already, and holds no data set of vos; choose another" in dataset("--overwrite").error
    (tmp_path / "set/mine.txt").unlink()
    assert dataset().code == 0
    (tmp_path / "set/mine.txt").write_text("mine")
    kept = contents(tmp_path / "set")
    assert dataset("--overwrite").code == 0
    assert contents(tmp_path / "set") == kept
    (runs / "b-vos/masks/00006.png").unlink()
    assert "there is no such file" in dataset("--overwrite").error
    assert contents(tmp_path / "set") == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "more", "runs", "set"]
    (tmp_path / "b/clip.mp4").unlink()
    assert "clip.mp4: no such file or folder" in dataset("--overwrite").error
    assert contents(tmp_path / "set") == kept

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joined, "jpeg", full)
    only = vos("dataset", runs / "a-vos", "-o", tmp_path / "set", "--overwrite")
    assert only.error.endswith("set: cannot be written: No space left on device")
    assert contents(tmp_path / "set") == kept


def test_folders_that_are_given_twice_count_once(vos: Vos, runs: Path, tmp_path: Path) -> None:
    ended = vos("dataset", runs, runs / "a-vos", "-o", tmp_path / "set", "--val", "a, b")
    assert ended.error.startswith("vos: error: every clip is for validation")
    assert "train: 2 clips, " in vos("dataset", runs, runs / "a-vos", "-o", tmp_path / "set").out


def test_clips_of_any_name_may_be_for_validation(vos: Vos, runs: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("clip[1]", "a, b")):
        (runs / ("a-vos" if not number else "clip[1]")).rename(runs / name)
        ended = vos("dataset", runs, "-o", tmp_path / f"{number}", "--val", name)
        assert "val: 1 clip, 2 pictures" in ended.out, ended.err


def test_a_run_that_ended_before_all_was_there(vos: Vos, runs: Path, tmp_path: Path) -> None:
    """Its later object was to come on frame 7, and is not known in what there is."""
    track = runs / "a-vos/track.json"
    lines = track.read_text().splitlines()
    about = json.loads(lines[0] + "]}")
    assert about["ids"] == [1, 2]
    track.write_text("\n".join([*lines[:7], lines[7].rstrip(","), lines[-1].replace("true", "false")]) + "\n")
    error = vos("dataset", runs, "-o", tmp_path / "set").error
    assert error.endswith("a-vos: not one of its frames can be taken: in all, an object has not entered yet")
    track.write_text(track.read_text().replace('"ids": [1, 2]', '"ids": [1]'))
    ended = vos("dataset", runs, "-o", tmp_path / "set")
    assert "the run ended early of a; the frames until then are in it" in ended.out


def test_objects_without_a_label_are_pointed_out(vos: Vos, runs: Path, tmp_path: Path) -> None:
    for name in ("a-vos", "b-vos"):
        track = runs / name / "track.json"
        lines = track.read_text().splitlines(keepends=True)
        about = {**json.loads(lines[0].strip() + "]}"), "labels": []}
        track.write_text(json.dumps(about).removesuffix("]}") + "\n" + "".join(lines[1:]))
    said = vos("dataset", runs, "-o", tmp_path / "set").out
    assert "classes: object 1, object 2" in said
    assert "objects without a label are of one class wherever they have one id: a, b; vos export --label" in said


def test_every_counts_what_can_be_taken(dataset: Callable[..., Ended], runs: Path) -> None:
    assert "train: 1 clip, 1 picture, 2 masks" in dataset("--every", "100", results=runs / "a-vos").out


def test_a_data_set_that_cannot_be_replaced_stays(
    dataset: Callable[..., Ended], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dataset().code == 0
    kept = contents(tmp_path / "set")
    rename = Path.rename

    def stuck(self: Path, target: Path) -> Path:
        if self.name == "annotations" and self.parent.name == "new":
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stuck)
    assert "Permission denied" in dataset("--overwrite", "--every", "2").error
    assert contents(tmp_path / "set") == kept
    assert not list(tmp_path.glob(".set*"))


def test_into_the_folder_where_one_is(vos: Vos, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert vos("dataset", Path("../runs"), "-o", ".").code == 0
    about = json.loads((tmp_path / "here/dataset.json").read_text())
    assert all(Path(clip["results"]).is_absolute() for clip in about["clips"])
