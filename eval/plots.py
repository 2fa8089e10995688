"""Pictures of a report: bars per sequence, J and F over time, and the worst frames.

Needs matplotlib, which comes with `persam-vos[eval]`; in this room `html` and `compare_page` do too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from vos.errors import EvaluationError, OutputError
from vos.palette import davis_palette

from .davis import UNREADABLE, Dataset, Sequence, read_result
from .metrics import boundary
from .report import Report, percent
from .scoring import SequenceScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

J_COLOUR, F_COLOUR, INK, GRID = "#2563eb", "#ea580c", "#1f2937", "#e5e7eb"
WORST = 3
_UNMATCHED = (200, 200, 200)
_PANEL_WIDTH = 480


@dataclass(frozen=True, eq=False)
class WorstFrame:
    """One of a sequence's worst frames.

    Attributes:
        position: its place among the scored frames.
        frame: its name.
        j, f: means over the objects.
        image, truth, prediction: uint8 (h, w, 3) RGB, at most 480 px wide: the frame, and it under either mask.
    """

    position: int
    frame: str
    j: float
    f: float
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


def worst_positions(score: SequenceScore, n: int = WORST) -> list[int]:
    """The frames with the lowest J&F (mean over objects), worst first, not next to each other."""
    value = np.mean([(o.j + o.f) / 2 for o in score.objects], axis=0)
    apart = max(1, len(value) // 12)
    chosen: list[int] = []
    for t in np.argsort(value, kind="stable"):
        if all(abs(t - other) >= apart for other in chosen):
            chosen.append(int(t))
        if len(chosen) == n:
            break
    return chosen


def worst_frames(dataset: Dataset, results: Path, score: SequenceScore) -> list[WorstFrame]:
    """Reads and draws the worst frames of one sequence; where the data set has no images they lie on grey.

    Raises:
        EvaluationError: an annotation or result cannot be read.
    """
    sequence = dataset.sequence(score.name)
    return [_worst_frame(sequence, results, score, t) for t in worst_positions(score)]


def as_text(name: str) -> str:
    """A name as matplotlib shows it as it is, in which pairs of dollars would be mathematics."""
    return name.replace("$", r"\$")


def bar_figure(report: Report) -> Figure:
    """J and F of every sequence as horizontal bars, with J&F in figures."""
    scores = report.scores
    figure = new_figure(9, 1.3 + 0.42 * len(scores))
    axes = figure.add_subplot()
    rows = np.arange(len(scores))
    axes.barh(rows - 0.19, [100 * s.j for s in scores], 0.36, color=J_COLOUR, label="J  region")
    axes.barh(rows + 0.19, [100 * s.f for s in scores], 0.36, color=F_COLOUR, label="F  boundary")
    for row, score in zip(rows, scores, strict=True):
        text = percent((score.j + score.f) / 2)
        axes.text(101.5, float(row), text, va="center", ha="left", color=INK, fontsize=9, fontweight="bold")
    axes.text(101.5, -0.95, "J&F", va="center", ha="left", color=INK, fontsize=9)
    overall = 100 * report.overall["J&F-Mean"]
    axes.axvline(overall, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"J&F, mean over objects: {overall:.1f}")
    axes.set(yticks=rows, yticklabels=[as_text(s.name) for s in scores], xlim=(0, 100), ylim=(len(scores) - 0.4, -0.6))
    axes.set_xticks(range(0, 101, 20))
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    bare(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def time_figure(score: SequenceScore, worst: list[WorstFrame]) -> Figure:
    """J and F over the frames of one sequence, the worst frames marked."""
    figure = new_figure(9, 2.4)
    _draw_time(figure.add_subplot(), score, worst)
    return figure


def sequence_figure(score: SequenceScore, worst: list[WorstFrame]) -> Figure:
    """`time_figure` above the worst frames: image, ground truth and prediction side by side."""
    height, width = worst[0].image.shape[:2]
    row = 9 / 3 * height / width + 0.3
    figure = new_figure(9, 2.7 + row * len(worst))
    grid = figure.add_gridspec(1 + len(worst), 3, height_ratios=[2.4, *[row] * len(worst)])
    axes = figure.add_subplot(grid[0, :])
    _draw_time(axes, score, worst)
    jf = (score.j + score.f) / 2
    title = f"{as_text(score.name)}    J&F {percent(jf)}    J {percent(score.j)}    F {percent(score.f)}"
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=14, wrap=True)
    for k, item in enumerate(worst, 1):
        titles = (
            f"{k}   frame {as_text(item.frame)}",
            "ground truth",
            f"prediction   J {percent(item.j)}  F {percent(item.f)}",
        )
        for column, picture in enumerate((item.image, item.truth, item.prediction)):
            panel = figure.add_subplot(grid[k, column])
            panel.imshow(picture)
            panel.set_title(titles[column], loc="left", fontsize=8, color=INK)
            panel.set_axis_off()
    return figure


def write_pngs(report: Report, results: Path, folder: Path) -> list[Path]:
    """Writes `sequences.png` (bars) and `<sequence>.png` (J and F over time, worst frames) and returns their paths.

    Raises:
        EvaluationError: matplotlib is not installed, or a mask cannot be read.
        OutputError: the folder cannot be written.
    """
    require_matplotlib()
    paths = [folder / "sequences.png"]
    _save(bar_figure(report), paths[0])
    for score in report.scores:
        paths.append(folder / f"{score.name}.png")
        _save(sequence_figure(score, worst_frames(report.dataset, results, score)), paths[-1])
    return paths


def require_matplotlib() -> None:
    """Raises EvaluationError, with the way to install it, where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise EvaluationError(f"plots need matplotlib: pip install 'persam-vos[eval]' ({error})") from error


def _worst_frame(sequence: Sequence, results: Path, score: SequenceScore, t: int) -> WorstFrame:
    frame = score.frames[t]
    path = sequence.image(frame)
    truth, _ = sequence.annotation(frame)
    found = read_result(results, sequence, frame)
    image = np.full((*sequence.size, 3), 128, np.uint8) if path is None else _read_image(path, sequence.size)
    object_of = np.zeros(256, np.uint8)
    for item in score.objects:
        object_of[item.proposal_id] = item.object_id
    prediction = np.zeros_like(truth) if found is None else object_of[found]
    spare = None if found is None else (found > 0) & (prediction == 0)
    truth = np.where(truth > sequence.objects, 0, truth)
    return WorstFrame(
        position=t,
        frame=frame,
        j=float(np.mean([o.j[t] for o in score.objects])),
        f=float(np.mean([o.f[t] for o in score.objects])),
        image=_shrink(image),
        truth=_shrink(_paint(image, truth)),
        prediction=_shrink(_paint(image, prediction, spare)),
    )


def _read_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGB"))
    except UNREADABLE as error:
        raise EvaluationError(f"cannot read image {path}: {error}") from error
    return image if image.shape[:2] == size else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def _paint(image: np.ndarray, index_map: np.ndarray, spare: np.ndarray | None = None) -> np.ndarray:
    """The image under coloured masks with white contours; `spare` pixels, of no object, are grey."""
    colours = davis_palette()[index_map]
    inside = index_map > 0
    if spare is not None:
        colours[spare] = _UNMATCHED
        inside = inside | spare
    painted = image.copy()
    painted[inside] = (0.45 * image[inside] + 0.55 * colours[inside]).astype(np.uint8)
    for i in np.unique(index_map[index_map > 0]):
        edge = cv2.dilate(boundary(index_map == i), np.ones((2, 2), np.uint8))
        painted[edge > 0] = 255
    return painted


def _shrink(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= _PANEL_WIDTH:
        return image
    return cv2.resize(image, (_PANEL_WIDTH, round(height * _PANEL_WIDTH / width)), interpolation=cv2.INTER_AREA)


def _draw_time(axes: Axes, score: SequenceScore, worst: list[WorstFrame]) -> None:
    frames = np.arange(len(score.frames))
    for measure, colour in (("j", J_COLOUR), ("f", F_COLOUR)):
        values = np.array([getattr(o, measure) for o in score.objects])
        if len(values) > 1:
            axes.plot(frames, 100 * values.T, color=colour, linewidth=0.7, alpha=0.35)
        label = measure.upper() if len(values) == 1 else f"{measure.upper()}, mean of {len(values)} objects"
        marker = "o" if len(frames) == 1 else None
        axes.plot(frames, 100 * values.mean(axis=0), color=colour, linewidth=1.8, label=label, marker=marker)
    for k, item in enumerate(worst, 1):
        axes.axvline(item.position, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate(
            str(k), (item.position, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", va="bottom", fontsize=8, color=INK,
        )  # fmt: skip
    ticks = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 9)).round().astype(int))
    axes.set(ylim=(-2, 102), xlim=(-0.5, len(frames) - 0.5))
    axes.set_xticks(ticks, [as_text(score.frames[t]) for t in ticks])
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, frameon=False, fontsize=8, borderaxespad=0)
    bare(axes)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in this room's style; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def bare(axes: Axes) -> None:
    """Takes the frame off."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
