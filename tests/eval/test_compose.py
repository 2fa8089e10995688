"""Composed clips: their truth against what was put in, and the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from eval.cli import register
from eval.compose import clips_of, compose
from eval.davis import Dataset, open_dataset
from tests.eval.data import SIZE, rectangles, write_dataset
from vos.errors import EvaluationError

H, W = SIZE
FRAMES = 50


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sequences whose object, 10 wide, is 200 in every channel on 20; written by the rules of 2016."""
    maps = {
        "one": [rectangles([(1, 4, 2 + t // 10, 24, 12 + t // 10)]) for t in range(FRAMES)],
        "two": [rectangles([(1, 20, 30, 36, 50)]) for _ in range(FRAMES - 2)],
    }
    root = write_dataset(tmp_path / "real", maps, year=2016)
    for name, sequence in maps.items():
        for t, truth in enumerate(sequence):
            path = root / "JPEGImages" / "480p" / name / f"{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.repeat((20 + 180 * truth)[..., None], 3, axis=2)).save(path)
    return root


@pytest.fixture
def real(root: Path) -> Dataset:
    return open_dataset(root, year=2016)


def shots(real: Dataset, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    (clip,) = [clip for clip in clips_of(real) if clip.name == name]
    return list(clip.shots())


def test_beside_has_both_objects_where_they_are(real: Dataset) -> None:
    made = shots(real, "beside-one-two")
    assert len(made) == FRAMES - 2
    for t, (image, truth) in enumerate(made):
        assert image.shape == (H // 2, W // 2 * 2, 3)
        assert set(np.unique(truth[:, : W // 2])) == {0, 1}
        assert set(np.unique(truth[:, W // 2 :])) == {0, 2}
        one, _ = real.sequence("one").annotation(f"{t:05d}")
        np.testing.assert_array_equal(truth[:, : W // 2], one[::2, ::2])


def test_over_shows_the_second_in_front(real: Dataset) -> None:
    for t, (image, truth) in enumerate(shots(real, "over-one-two")):
        one, two = (real.sequence(name).annotation(f"{t:05d}")[0] > 0 for name in ("one", "two"))
        np.testing.assert_array_equal(truth, np.where(two, 2, one))
        np.testing.assert_array_equal(image[..., 0], np.where(one | two, 200, 20))


def test_behind_hides_all_of_it_and_shows_it_again(real: Dataset) -> None:
    made = shots(real, "behind-one")
    there = np.array([truth.any() for _, truth in made])
    assert there[:5].all()
    assert not there.all()
    assert there[45:].all()
    for image, truth in made:
        assert (image[truth > 0] == 200).all()
    for t in range(45, FRAMES):
        np.testing.assert_array_equal(made[t][1], real.sequence("one").annotation(f"{t:05d}")[0])


def test_away_has_nothing_while_another_shot_is_on(real: Dataset) -> None:
    made = shots(real, "away-two-one")
    assert len(made) == FRAMES - 2 + 12
    assert [t for t, (_, truth) in enumerate(made) if not truth.any()] == list(range(15, 27))
    one = np.asarray(Image.open(real.images / "one" / "00000.png"))
    np.testing.assert_array_equal(made[15][0], one)


def test_it_becomes_a_data_set(real: Dataset, tmp_path: Path) -> None:
    made = clips_of(real, ["over", "away-one"], frames=6)
    assert list(compose(made, tmp_path / "composed")) == [6, 6, 6]
    written = open_dataset(tmp_path / "composed")
    assert written.year == 2017
    assert written.names == ("over-one-two", "away-one-two", "over-two-one")
    sequence = written.sequence("over-one-two")
    assert sequence.objects == 2
    for (_, truth), frame in zip(made[0].shots(), sequence.frames, strict=True):
        np.testing.assert_array_equal(sequence.annotation(frame)[0], truth)
        assert sequence.image(frame) is not None
    with pytest.raises(EvaluationError, match="is there already"):
        next(compose(made, tmp_path / "composed"))


def test_what_cannot_be_composed_is_said(real: Dataset, root: Path) -> None:
    with pytest.raises(EvaluationError, match="two or more sequences"):
        clips_of(open_dataset(root, year=2016, sequences=["one"]))
    with pytest.raises(EvaluationError, match="no clip has 'three' in its name; there are beside-one-two"):
        clips_of(real, ["three"])
    (real.images / "one" / "00000.png").unlink()
    with pytest.raises(EvaluationError, match="sequence one, frame 00000: it has no image"):
        list(clips_of(real, ["over-one"])[0].shots())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:60]), r"sequence two, frame 00003: cannot read .*00003\.png"),
        (
            lambda path: Image.new("RGB", (7, 5)).save(path),
            "sequence two, frame 00003: the image is 7x5, the annotation",
        ),
        (lambda path: path.unlink(), "sequence two, frame 00003: it has no image in"),
    ],
)
def test_nothing_is_left_of_what_failed(
    real: Dataset, tmp_path: Path, change: Callable[[Path], object], error: str
) -> None:
    change(real.images / "two" / "00003.png")
    with pytest.raises(EvaluationError, match=error):
        list(compose(clips_of(real), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_to_do_next(root: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    out = tmp_path / "composed"
    done = CliRunner().invoke(app, ["compose", str(out), "--davis", str(root), "--only", "beside", "--frames", "4"])
    assert done.exit_code == 0, done.output
    assert "2 clips, 8 frames; to run presets on them: vos compare --davis" in " ".join(done.stdout.split())
    assert open_dataset(out).names == ("beside-one-two", "beside-two-one")
