from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.davis import Task, missing_frames, open_dataset, read_result
from eval.run import contents, image_names
from eval.scoring import score_dataset, score_sequence
from tests.eval.data import drawn_truth, rectangles, write_dataset, write_png, write_results
from vos.errors import EvaluationError

TRUTH = {
    "cow": [rectangles([(1, 5, 5, 20, 20 + t), (2, 25, 30, 38, 50)]) for t in range(5)],
    "dog": [rectangles([(1, 5 + t, 5, 20, 20)]) for t in range(4)],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "davis", TRUTH)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results", TRUTH)


def binary(value: int = 255) -> dict[str, list[np.ndarray]]:
    return {"cow": [(m == 1).astype(np.uint8) * value for m in TRUTH["cow"]]}


def fails(root: Path, results: Path, *parts: str, **options: object) -> None:
    with pytest.raises(EvaluationError) as error:
        list(score_dataset(open_dataset(root), results, **options))
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_sequence(root: Path) -> None:
    sequence = open_dataset(root).sequence("cow")
    assert sequence.frames == ("00000", "00001", "00002", "00003", "00004")
    assert sequence.scored == ("00001", "00002", "00003")
    assert (sequence.size, sequence.objects, sequence.image("00001")) == ((40, 60), 2, None)


def test_first_and_last_result_are_not_needed(root: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "inner", {"cow": TRUTH["cow"]}, frames=lambda t: 0 < t < 4)
    score = score_sequence(open_dataset(root).sequence("cow"), results)
    assert (score.j, score.f, score.missing) == (1.0, 1.0, ())


def test_missing_frame(root: Path, results: Path) -> None:
    (results / "cow" / "00002.png").unlink()
    fails(
        root,
        results,
        "sequence cow, frame 00002: no such file",
        "(1 of 3 scored frames are missing)",
        "--allow-missing",
    )


def test_missing_sequence(root: Path, results: Path) -> None:
    for path in (results / "dog").iterdir():
        path.unlink()
    (results / "dog").rmdir()
    fails(root, results, "sequence dog, frame 00001: no results, there is no folder", "--allow-missing")


def test_missing_is_found_before_anything_is_scored(root: Path, results: Path) -> None:
    (results / "dog" / "00002.png").unlink()
    scores = score_dataset(open_dataset(root), results)
    with pytest.raises(EvaluationError, match="sequence dog, frame 00002"):
        next(scores)


def test_allow_missing_scores_empty_masks(root: Path, results: Path) -> None:
    (results / "cow" / "00002.png").unlink()
    (results / "dog" / "00001.png").unlink()
    scores = {s.name: s for s in score_dataset(open_dataset(root), results, allow_missing=True)}
    assert scores["cow"].missing == ("00002",)
    assert scores["cow"].objects[1].j.tolist() == [1.0, 0.0, 1.0]
    assert missing_frames(results, open_dataset(root).sequence("dog")) == ("00001",)


def test_results_folder_not_found(root: Path, tmp_path: Path) -> None:
    fails(root, tmp_path / "nowhere", "results folder not found")


def test_stray_id(root: Path, results: Path) -> None:
    write_png(results / "cow" / "00003.png", rectangles([(2, 1, 1, 9, 9), (5, 20, 20, 30, 30)]))
    fails(
        root,
        results,
        "sequence cow, frame 00003: the result holds the stray ids 5; the first annotation has ids up to 2",
    )


def test_size_mismatch(root: Path, results: Path) -> None:
    write_png(results / "cow" / "00001.png", np.zeros((20, 30), np.uint8))
    fails(root, results, "sequence cow, frame 00001: the result is 30x20, the annotation 60x40")


def test_0_255_mask_where_ids_are_expected(root: Path, results: Path) -> None:
    write_png(results / "dog" / "00002.png", rectangles([(255, 5, 5, 9, 9)]))
    fails(
        root,
        results,
        "sequence dog, frame 00002: the result is a 0/255 mask where object ids are expected",
        "--year 2016",
    )


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_unreadable_png(root: Path, results: Path, content: bytes | None) -> None:
    path = results / "cow" / "00002.png"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    fails(root, results, f"sequence cow, frame 00002: cannot read {path}")


def test_colour_image(root: Path, results: Path) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[5:9, 5:9, 0] = 200
    Image.fromarray(picture).save(results / "cow" / "00002.png")
    fails(
        root,
        results,
        "sequence cow, frame 00002:",
        "is a colour image; an indexed or grey PNG of object ids is expected",
    )


def test_grey_kinds_of_png_are_read_alike(root: Path, results: Path) -> None:
    expected = TRUTH["cow"][2]
    path = results / "cow" / "00002.png"
    sequence = open_dataset(root).sequence("cow")
    Image.fromarray(expected).save(path)
    assert np.array_equal(read_result(results, sequence, "00002"), expected)
    Image.fromarray(np.stack([expected] * 3, axis=-1)).save(path)
    assert np.array_equal(read_result(results, sequence, "00002"), expected)
    Image.fromarray(expected.astype(np.uint16)).save(path)
    assert np.array_equal(read_result(results, sequence, "00002"), expected)


def test_annotation_of_another_size(root: Path, results: Path) -> None:
    write_png(root / "Annotations/480p/cow/00002.png", np.ones((20, 30), np.uint8))
    fails(root, results, "sequence cow, frame 00002: the annotation is 30x20, but the first one is 60x40")


def test_first_annotation_without_objects(root: Path, results: Path) -> None:
    write_png(root / "Annotations/480p/dog/00000.png", np.zeros((40, 60), np.uint8))
    fails(root, results, "sequence dog, frame 00000: the first annotation has no object, so there is nothing to score")


def test_too_few_annotations(root: Path, results: Path) -> None:
    for name in ("00001", "00002"):
        (root / f"Annotations/480p/dog/{name}.png").unlink()
    fails(root, results, "sequence dog: 2 annotated frames", "at least 3 are needed")


def test_davis_2016_annotations_without_the_year(root: Path, results: Path) -> None:
    write_dataset(root, binary())
    fails(
        root,
        results,
        "sequence cow, frame 00000: the annotation is a 0/255 mask, not object ids; for DAVIS 2016 use --year 2016",
    )


@pytest.mark.parametrize("value", [1, 255])
def test_davis_2016(tmp_path: Path, value: int) -> None:
    root = write_dataset(tmp_path, binary(), year=2016, palette=False)
    results = write_results(tmp_path / "results", binary(value))
    dataset = open_dataset(root)
    assert dataset.year == 2016
    (score,) = score_dataset(dataset, results)
    assert (score.j, score.f, len(score.objects)) == (1.0, 1.0, 1)


def test_davis_2016_merges_ids_of_the_annotation(root: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "merged", {"cow": [(m > 0).astype(np.uint8) for m in TRUTH["cow"]]})
    (root / "ImageSets/2016").mkdir()
    (root / "ImageSets/2016/val.txt").write_text("cow\n", encoding="utf-8")
    (score,) = score_dataset(open_dataset(root, year=2016), results)
    assert score.j == 1.0


def test_davis_2016_has_one_object(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, binary(), year=2016)
    results = write_results(tmp_path / "results", {"cow": TRUTH["cow"]})
    fails(root, results, "sequence cow, frame 00001: the result holds the values 0, 1, 2; DAVIS 2016 has one object")
    with pytest.raises(EvaluationError, match="DAVIS 2016 has one object and no proposals"):
        open_dataset(root, task=Task.UNSUPERVISED)


def test_davis_2016_annotation_with_other_values(tmp_path: Path) -> None:
    maps = [np.where(m > 0, 255, 17).astype(np.uint8) for m in binary()["cow"]]
    root = write_dataset(tmp_path, {"cow": maps}, year=2016)
    with pytest.raises(EvaluationError, match="sequence cow, frame 00000: the annotation holds the values 17, 255"):
        open_dataset(root).sequence("cow")


def test_too_many_proposals(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, TRUTH, folder="Annotations_unsupervised")
    results = write_results(tmp_path / "results", TRUTH)
    write_png(results / "dog" / "00003.png", rectangles([(21, 5, 5, 9, 9)]))
    with pytest.raises(
        EvaluationError, match=r"sequence dog, frame 00003: the result holds the ids 21; at most 20 proposals"
    ):
        list(score_dataset(open_dataset(root, task=Task.UNSUPERVISED), results))


def test_full_resolution(root: Path, tmp_path: Path) -> None:
    big = {"dog": [np.kron(m, np.ones((2, 2), np.uint8)) for m in TRUTH["dog"]]}
    for t, index_map in enumerate(big["dog"]):
        write_png(root / "Annotations/Full-Resolution/dog" / f"{t:05d}.png", index_map)
    dataset = open_dataset(root, resolution="Full-Resolution", sequences=["dog"])
    (score,) = score_dataset(dataset, write_results(tmp_path / "big", big))
    assert (score.j, dataset.sequence("dog").size) == (1.0, (80, 120))
    with pytest.raises(EvaluationError, match=r"no annotations in .*1080p; Annotations has 480p, Full-Resolution"):
        open_dataset(root, resolution="1080p")


def test_sets_and_choices(root: Path, tmp_path: Path) -> None:
    assert open_dataset(root).names == ("cow", "dog")
    assert open_dataset(root, sequences=["dog"]).names == ("dog",)
    listing = tmp_path / "mine.txt"
    listing.write_text("dog\n\n", encoding="utf-8")
    chosen = open_dataset(root, str(listing))
    assert (chosen.names, chosen.subset) == (("dog",), "mine")
    listing.write_text("", encoding="utf-8")
    for error, options in (
        (f"DAVIS folder not found: {tmp_path / 'no'}", {"root": tmp_path / "no"}),
        ("no list of sequences for set train", {"subset": "train"}),
        ("2017 has val", {"subset": "train"}),
        (f"the list of sequences {listing} is empty", {"subset": str(listing)}),
        ("no sequence 'cat' in set val", {"sequences": ["dog", "cat"]}),
        ("no sequence is named; leave the option out for all of the set", {"sequences": []}),
        ("year must be 2016 or 2017, got 2019", {"year": 2019}),
    ):
        with pytest.raises(EvaluationError, match=re.escape(error)):
            open_dataset(**{"root": root, **options})


def test_frames_are_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "Annotations" / "480p" / "ants"
    folder.mkdir(parents=True)
    for frame in range(8, 13):
        Image.fromarray(np.eye(12, dtype=np.uint8) * 255).save(folder / f"{frame}.png")
    (tmp_path / "ImageSets" / "2016").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2016" / "val.txt").write_text("ants")
    assert open_dataset(tmp_path, year=2016).sequence("ants").frames == ("8", "9", "10", "11", "12")


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    """Other systems put some beside the images that they copy."""
    root = write_dataset(tmp_path, drawn_truth(), images=True)
    for path in root.glob("*/480p/*/00000.*"):
        path.with_name(f"._{path.name}").write_bytes(b"of another system")
    sequence = open_dataset(root).sequence("pair")
    assert sequence.frames == image_names(sequence) == tuple(f"{t:05d}" for t in range(9))


def test_capitals_a_mark_and_comments(tmp_path: Path) -> None:
    """As Windows writes file names and lists."""
    root = write_dataset(tmp_path / "d", {"a": [rectangles([(1, 2, 2, 9, 9)])] * 4}, images=True)
    for path in (*root.rglob("*.jpg"), *(root / "Annotations").rglob("*.png")):
        path.rename(path.with_suffix(path.suffix.title() if path.stem == "00001" else path.suffix.upper()))
    (root / "ImageSets/2017/val.txt").write_bytes(b"\xef\xbb\xbf# mine\r\n\r\na # the first\r\n")
    dataset = open_dataset(root)
    assert dataset.names == ("a",)
    sequence = dataset.sequence("a")
    assert sequence.frames == ("00000", "00001", "00002", "00003")
    assert sequence.image("00001") == root / "JPEGImages/480p/a/00001.Jpg"
    assert len(contents(sequence, image_names(sequence))) == 64
    assert sequence.annotation("00002")[0].max() == 1
    (root / "ImageSets/2017/val.txt").write_text("#b\nrun#2\n")
    assert open_dataset(root).names == ("run#2",)
    (root / "ImageSets/2017/val.txt").write_text("a/\n")
    with pytest.raises(EvaluationError, match=r"val\.txt has 'a/'; expected names of folders"):
        open_dataset(root)


def test_more_objects_than_a_mask_can_hold(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", {"a": [rectangles([(1, 2, 2, 9, 9)])] * 4})
    Image.fromarray(rectangles([(1, 2, 2, 9, 9)]).astype(np.uint16) * 300).save(root / "Annotations/480p/a/00000.png")
    with pytest.raises(EvaluationError, match="the first annotation has ids up to 300; ids are at most 254"):
        open_dataset(root).sequence("a")


def test_an_enormous_png_is_one_line(root: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(EvaluationError, match=r"cannot read .* decompression bomb"):
        list(score_dataset(open_dataset(root), results))
