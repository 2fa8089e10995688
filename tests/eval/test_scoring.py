from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from eval.davis import Task, open_dataset
from eval.scoring import SequenceScorer, Statistic, make_counter, score_dataset
from tests.eval.data import drawn_truth, proposals, rectangles, shifted, write_dataset, write_results
from vos.errors import DeviceError, EvaluationError


def test_recall_counts_what_is_strictly_above_a_half() -> None:
    assert Statistic.of(np.array([0.5, 0.5, 0.6, 0.4])).recall == 0.25


def test_decay_by_hand() -> None:
    # Five frames make four bins that share their ends: the first is frames 0 and 1, the last frames 3 and 4.
    assert Statistic.of(np.array([1.0, 0.8, 0.5, 0.4, 0.2])).decay == pytest.approx(0.6)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 17, 100, 255])
def test_official_decay_is_right_up_to_255_frames(frames: int) -> None:
    statistic = Statistic.of(np.linspace(1, 0, frames))
    assert statistic.official_decay == statistic.decay


def test_official_decay_wraps_beyond_255_frames() -> None:
    # 256 frames: the last bin would be 191 to 255, but 255 + 1 wraps to 0 and the slice is empty.
    falling = Statistic.of(np.linspace(1, 0, 256))
    assert np.isnan(falling.official_decay)
    assert falling.decay == pytest.approx(0.75, abs=0.01)
    # 349 frames: the edges are 0, 87, 174, 261, 348, so the last bin, 261 to 348, becomes 5 to 92.
    values = np.linspace(1, 0, 349) ** 2
    assert Statistic.of(values).official_decay == pytest.approx(values[:88].mean() - values[5:93].mean())


def test_frames_in_any_order_and_unscored_ones_ignored(tmp_path: Path) -> None:
    truth = {"pair": drawn_truth()["pair"]}
    found = shifted(truth)["pair"]
    sequence = open_dataset(write_dataset(tmp_path, truth)).sequence("pair")
    forward, backward = SequenceScorer(sequence), SequenceScorer(sequence)
    for t in range(len(found)):
        forward.update(f"{t:05d}", found[t])
    for t in reversed(range(1, len(found) - 1)):
        backward.update(f"{t:05d}", found[t])
    for a, b in zip(forward.finish().objects, backward.finish().objects, strict=True):
        assert np.array_equal(a.j, b.j)
        assert np.array_equal(a.f, b.f)


def test_a_frame_left_out_is_an_error(tmp_path: Path) -> None:
    sequence = open_dataset(write_dataset(tmp_path, {"dog": [rectangles([(1, 3, 3, 9, 9)])] * 4})).sequence("dog")
    scorer = SequenceScorer(sequence)
    scorer.update("00001", rectangles([]))
    with pytest.raises(
        EvaluationError, match=r"sequence dog, frame 00002: no result \(1 of 2 scored frames are missing\)"
    ):
        scorer.finish()


def test_a_result_that_comes_later_is_not_missing(tmp_path: Path) -> None:
    truth = rectangles([(1, 3, 3, 9, 9)])
    sequence = open_dataset(write_dataset(tmp_path, {"dog": [truth] * 4})).sequence("dog")
    scorer = SequenceScorer(sequence)
    for _ in range(2):
        scorer.update("00001", None)
        scorer.update("00002", None)
    scorer.update("00001", truth)
    assert scorer.finish().missing == ("00002",)


@pytest.mark.parametrize(
    "wrong", [0.7 * np.ones((2, 2)), -np.ones((2, 2), int), [[1, 1], [1, 1]], np.full((2, 2), np.nan)]
)
def test_results_that_are_no_ids_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    sequence = open_dataset(write_dataset(tmp_path, {"dog": [rectangles([(1, 3, 3, 9, 9)])] * 4})).sequence("dog")
    with pytest.raises(EvaluationError, match="frame 00001: the result must be an array of ids, whole numbers from 0"):
        SequenceScorer(sequence).update("00001", wrong)


def test_assignment_takes_the_best_sum(tmp_path: Path) -> None:
    """Proposal 7 fits object 1 best and object 2 well; proposal 3 fits object 1 only, so 7 goes to object 2."""
    one, two = (4, 4, 20, 20), (4, 24, 20, 40)
    truth = [rectangles([(1, *one), (2, *two)])] * 3
    found = [rectangles([(3, 5, 4, 20, 20), (7, *two), (12, 30, 30, 36, 36)])] * 3
    root = write_dataset(tmp_path, {"pair": truth}, folder="Annotations_unsupervised")
    results = write_results(tmp_path / "results", {"pair": found})
    (score,) = score_dataset(open_dataset(root, task=Task.UNSUPERVISED), results)
    assert [(o.name, o.object_id, o.proposal_id) for o in score.objects] == [("pair_1", 1, 3), ("pair_2", 2, 7)]
    assert score.objects[1].j.tolist() == [1.0, 1.0, 1.0]


def test_fewer_proposals_than_objects(tmp_path: Path) -> None:
    truth = [rectangles([(1, 4, 4, 20, 20), (2, 4, 24, 20, 40)])] * 3
    root = write_dataset(tmp_path, {"pair": truth}, folder="Annotations_unsupervised")
    found = write_results(tmp_path / "results", {"pair": [(m == 2).astype(np.uint8) for m in truth]})
    (score,) = score_dataset(open_dataset(root, task=Task.UNSUPERVISED), found)
    assert [(o.object_id, o.j_statistic.mean) for o in score.objects] == [(2, 1.0), (1, 0.0)]


def test_processes_give_the_same_scores(tmp_path: Path) -> None:
    truth = {k: v for k, v in drawn_truth().items() if k != "long"}
    dataset = open_dataset(write_dataset(tmp_path, truth, folder="Annotations_unsupervised"), task=Task.UNSUPERVISED)
    results = write_results(tmp_path / "results", proposals(truth))
    alone = {s.name: s for s in score_dataset(dataset, results)}
    together = {s.name: s for s in score_dataset(dataset, results, jobs=2)}
    assert alone.keys() == together.keys() == truth.keys()
    for name, score in alone.items():
        assert (score.j, score.f) == (together[name].j, together[name].f)


def test_processes_from_a_script_without_a_main_guard(tmp_path: Path) -> None:
    truth = {k: v for k, v in drawn_truth().items() if k in ("pair", "gap")}
    root = write_dataset(tmp_path, truth)
    results = write_results(tmp_path / "results", truth)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom eval.davis import open_dataset\nfrom eval.scoring import score_dataset\n"
        f"print(sum(s.j for s in score_dataset(open_dataset(Path({str(root)!r})), Path({str(results)!r}), jobs=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("2.0\n", 0), done.stderr


def test_an_error_in_a_process_reaches_the_caller(tmp_path: Path) -> None:
    truth = {k: v for k, v in drawn_truth().items() if k in ("pair", "gap")}
    dataset = open_dataset(write_dataset(tmp_path, truth))
    results = write_results(tmp_path / "results", truth)
    (results / "gap" / "00003.png").write_bytes(b"broken")
    with pytest.raises(EvaluationError, match="sequence gap, frame 00003: cannot read"):
        list(score_dataset(dataset, results, jobs=2))


def test_unknown_device() -> None:
    with pytest.raises(DeviceError, match="unknown device 'quantum'; use auto, cpu, "):
        make_counter("quantum")


def test_the_device_that_is_there() -> None:
    masks = [np.eye(9, dtype=np.uint8), np.eye(9, k=1, dtype=np.uint8)]
    found, exact = make_counter("auto")(*masks, 1, 1), make_counter(None)(*masks, 1, 1)
    np.testing.assert_array_equal(found.to_array(), exact.to_array())


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = []
    for frames in (6, 60):
        maps = [rectangles([(1, 20, 20 + t, 90, 90 + t)], (240, 320)) for t in range(frames)]
        root = write_dataset(tmp_path / str(frames), {"dog": maps})
        results = write_results(tmp_path / str(frames) / "results", {"dog": maps})
        dataset = open_dataset(root)
        tracemalloc.start()
        list(score_dataset(dataset, results))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 240 * 320
