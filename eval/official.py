"""The official DAVIS tool, run beside ours and compared number by number.

The package `davis2017` (github.com/davisvideochallenge/davis2017-evaluation) is not on the package index and no
requirement of ours but the extra `official`; it is used where the user has installed it. The way to install it says
`--no-deps` because it asks for `opencv-python`, which would lie on top of the headless OpenCV that this project uses.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vos.errors import EvaluationError

from .davis import Dataset, Sequence, Task, read_result, result_path
from .scoring import SequenceScore

AGREEMENT = 1e-9

_INSTALL = (
    "--check-official needs the official tool: pip install scikit-image tqdm, then pip install --no-deps "
    "git+https://github.com/davisvideochallenge/davis2017-evaluation"
)


def check_official(dataset: Dataset, results: Path, scores: Iterable[SequenceScore]) -> int:
    """Scores the same results with the official tool, one sequence at a time, and compares.

    Returns:
        How many numbers agreed: J and F of every frame, their mean, recall and (official) decay.

    Raises:
        EvaluationError: `davis2017` is not installed, failed, or differs by more than 1e-9; the line names the first
            number that differs and says how many do.
    """
    evaluation = require_official()
    differences: list[str] = []
    compared = 0
    for score in scores:
        official = _run(evaluation, dataset.sequence(score.name), results)
        ours = _numbers(score)
        if official.keys() != ours.keys():
            raise EvaluationError(
                f"sequence {score.name}: the official tool has the objects {sorted({k[0] for k in official})}, "
                f"ours {sorted({k[0] for k in ours})}"
            )
        compared += len(ours)
        differences += [
            f"{name} {measure}: official {official[name, measure]!r}, ours {value!r}"
            for (name, measure), value in ours.items()
            if not np.isclose(value, official[name, measure], rtol=0, atol=AGREEMENT, equal_nan=True)
        ]
    if differences:
        raise EvaluationError(
            f"{len(differences)} of {compared} numbers differ from the official tool's, first {differences[0]}"
        )
    return compared


def require_official() -> Any:
    try:
        return importlib.import_module("davis2017.evaluation")
    except ImportError as error:
        raise EvaluationError(f"{_INSTALL} ({error})") from error


def _run(evaluation: Any, sequence: Sequence, results: Path) -> dict[tuple[str, str], float]:
    """The official numbers of one sequence, by (object, measure)."""
    frames: list[tuple[np.ndarray, np.ndarray]] = []

    class Recording(evaluation.DAVISEvaluation):
        """The official class, keeping the values per frame that it works out and drops."""

        def _evaluate_semisupervised(self, *args: Any) -> tuple[np.ndarray, np.ndarray]:
            frames.append(evaluation.DAVISEvaluation._evaluate_semisupervised(*args))
            return frames[-1]

        def _evaluate_unsupervised(self, *args: Any) -> tuple[np.ndarray, np.ndarray]:
            frames.append(evaluation.DAVISEvaluation._evaluate_unsupervised(*args))
            return frames[-1]

    with tempfile.TemporaryDirectory(prefix="vos-official-") as folder:
        root = Path(folder)
        _lay_out(root, sequence, results)
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as said:
                tool = Recording(str(root), sequence.task.value, "val", [sequence.name], codalab=True)
                measured = tool.evaluate(str(root / "results"))
        except (Exception, SystemExit) as error:
            why = " ".join(f"{said.getvalue()} {error}".split())
            raise EvaluationError(f"sequence {sequence.name}: the official tool failed: {why}") from error
    numbers: dict[tuple[str, str], float] = {}
    for measure, per_frame in zip("JF", frames[0], strict=True):
        for k, name in enumerate(measured[measure]["M_per_object"]):
            for label, key in (("Mean", "M"), ("Recall", "R"), ("Decay", "D")):
                numbers[name, f"{measure}-{label}"] = float(measured[measure][key][k])
            for frame, value in zip(sequence.scored, per_frame[k], strict=True):
                numbers[name, f"{measure} of frame {frame}"] = float(value)
    return numbers


def _lay_out(root: Path, sequence: Sequence, results: Path) -> None:
    """Writes one sequence and its results as the official tool wants to find them.

    Files of DAVIS 2017 go as they are; 0/255 masks go as ids, and a missing result as an empty mask.
    """
    unsupervised = sequence.task is Task.UNSUPERVISED
    annotations = root / ("Annotations_unsupervised" if unsupervised else "Annotations") / "480p" / sequence.name
    found = root / "results" / sequence.name
    for folder in (annotations, found, root / "ImageSets" / "2017"):
        folder.mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text(f"{sequence.name}\n", encoding="utf-8")
    for frame in sequence.frames:
        if sequence.year == 2017:
            shutil.copyfile(sequence.annotations / f"{frame}.png", annotations / f"{frame}.png")
        else:
            _write(annotations / f"{frame}.png", sequence.annotation(frame)[0])
    for frame in sequence.scored:
        result = read_result(results, sequence, frame)
        if result is None:
            _write(found / f"{frame}.png", np.zeros(sequence.size, np.uint8))
        elif sequence.year == 2017:
            shutil.copyfile(result_path(results, sequence.name, frame), found / f"{frame}.png")
        else:
            _write(found / f"{frame}.png", result)


def _write(path: Path, index_map: np.ndarray) -> None:
    Image.fromarray(index_map.astype(np.uint8)).save(path, compress_level=1)


def _numbers(score: SequenceScore) -> dict[tuple[str, str], float]:
    """Our numbers of one sequence, by (object, measure)."""
    numbers: dict[tuple[str, str], float] = {}
    for item in score.objects:
        for measure, values, statistic in (("J", item.j, item.j_statistic), ("F", item.f, item.f_statistic)):
            numbers[item.name, f"{measure}-Mean"] = statistic.mean
            numbers[item.name, f"{measure}-Recall"] = statistic.recall
            numbers[item.name, f"{measure}-Decay"] = statistic.official_decay
            for frame, value in zip(score.frames, values, strict=True):
                numbers[item.name, f"{measure} of frame {frame}"] = float(value)
    return numbers
