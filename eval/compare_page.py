"""A comparison as one HTML page that needs nothing beside it.

Needs matplotlib, which comes with `persam-vos[eval]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from vos.errors import OutputError

from .compare import HOLD, STAGES
from .compare_report import COLUMNS, Comparison, Row
from .html import data_uri, page, svg
from .plots import GRID, INK, as_text, bare, new_figure, require_matplotlib
from .report import counted, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#db2777", "#0891b2", "#ca8a04", "#4b5563", "#b91c1c")
# Lines, marks and hatches, one after the other each time that all colours are used up.
_LINES, _MARKS, _HATCHES = ("-", (0, (1, 1)), (0, (6, 1.5, 1, 1.5))), ("o", "s", "^"), ("", "////", "....")
_HOLD_COLOUR, _HOLD_LINE = "#9ca3af", (0, (4, 3))
_STAGE_COLOURS = ("#bfdbfe", "#1d4ed8", "#f59e0b", "#16a34a", "#a855f7", "#f472b6", "#9ca3af", "#d6d3d1")
# Characters of a line of a legend, 7 of which each entry needs for its mark.
_LEGEND_WIDTH = 120


def write_page(comparison: Comparison, path: Path, videos: Mapping[str, Path] | None = None) -> None:
    """Writes the page.

    Args:
        videos: sequence -> side-by-side MP4 to put into it.

    Raises:
        EvaluationError: matplotlib is not installed.
        OutputError: a video cannot be read or the page cannot be written.
    """
    require_matplotlib()
    write_text(path, _page(comparison, {name: _read(video) for name, video in (videos or {}).items()}))


def speed_figure(comparison: Comparison) -> Figure:
    """J&F against frames per second; the baseline, which costs nothing, is a line."""
    figure = new_figure(9, 3.8)
    axes = figure.add_subplot()
    looks = _looks(comparison)
    rows = [row for row in comparison.rows if row.name != HOLD]
    for row in rows:
        look = looks[row.name]
        point: dict[str, Any] = {"marker": look.mark, "linestyle": "", "markersize": 11}
        axes.plot(row.cost.rate, 100 * row.jf, color=look.colour, label=as_text(row.name), **point)
    if comparison.baseline is not None:
        held = 100 * comparison.baseline.jf
        axes.axhline(held, color=_HOLD_COLOUR, linewidth=1.5, linestyle=_HOLD_LINE, label=f"{HOLD}: {held:.1f}")
    fastest = max(row.cost.rate for row in comparison.rows if row.name != HOLD or not rows)
    axes.set(xlim=(0, 1.12 * fastest), xlabel="frames per second", ylabel="J&F, percent")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low - 3, -2), min(high + 3, 102))
    _finish(figure, axes, "both")
    return figure


def stage_figure(comparison: Comparison) -> Figure:
    """Milliseconds per frame as stacked bars."""
    figure = new_figure(9, 1.4 + 0.36 * len(comparison.rows))
    axes = figure.add_subplot()
    lines = np.arange(len(comparison.rows))
    left = np.zeros(len(lines))
    for stage, colour in zip(STAGES, _STAGE_COLOURS, strict=True):
        width = np.array([row.cost.ms[stage] for row in comparison.rows])
        axes.barh(lines, width, 0.6, left=left, color=colour, label=stage)
        left += width
    for line, total in zip(lines, left, strict=True):
        axes.annotate(f"{total:.0f}", (total, line), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set(yticks=lines, yticklabels=[as_text(row.name) for row in comparison.rows], ylim=(len(lines) - 0.5, -0.5))
    axes.set(xlim=(0, 1.08 * left.max()), xlabel="ms per frame")
    _finish(figure, axes, "x")
    return figure


def sequences_figure(comparison: Comparison) -> Figure:
    """J&F of every sequence, one bar per entry, and their mean over objects last."""
    names, rows, looks = comparison.dataset.names, comparison.rows, _looks(comparison)
    step = 0.8 / len(rows)
    groups = np.arange(len(names) + 1)
    figure = new_figure(9, 1.3 + len(groups) * max(0.4, 0.17 * len(rows) + 0.1))
    axes = figure.add_subplot()
    for k, row in enumerate(rows):
        values = [100 * _jf(row, name) for name in names] + [100 * row.jf]
        lines = groups + (k - (len(rows) - 1) / 2) * step
        look = looks[row.name]
        bar: dict[str, Any] = {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0}
        axes.barh(lines, values, 0.92 * step, label=as_text(row.name), **bar)
        for line, value in zip(lines, values, strict=True):
            axes.text(value + 0.6, float(line), f"{value:.1f}", va="center", fontsize=7, color=INK)
    labels = [*map(as_text, names), f"mean of {counted(len(rows[0].report.objects), 'object')}"]
    axes.axhline(len(names) - 0.5, color=INK, linewidth=0.8)
    axes.set(yticks=groups, yticklabels=labels, xlim=(0, 106), ylim=(len(groups) - 0.5, -0.5))
    axes.set_xticks(range(0, 101, 20))
    _finish(figure, axes, "x")
    return figure


def curves_figure(comparison: Comparison, name: str) -> Figure:
    """J&F over the scored frames of one sequence, mean over its objects."""
    figure = new_figure(9, 2.6 + 0.2 * _legend_lines([as_text(row.name) for row in comparison.rows]))
    axes = figure.add_subplot()
    frames, looks = comparison.rows[0].runs[name].score.frames, _looks(comparison)
    for row in comparison.rows:
        values = np.mean([(item.j + item.f) / 2 for item in row.runs[name].score.objects], axis=0)
        look = looks[row.name]
        line: dict[str, Any] = {
            "linewidth": 1.6,
            "linestyle": look.line,
            "marker": look.mark if len(frames) == 1 else None,
        }
        axes.plot(100 * values, color=look.colour, label=as_text(row.name), **line)
    ticks = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 9)).round().astype(int))
    axes.set(ylim=(-2, 102), xlim=(-0.5, len(frames) - 0.5), ylabel="J&F, percent")
    axes.set_xticks(ticks, [frames[t] for t in ticks])
    _finish(figure, axes, "both")
    return figure


def _page(comparison: Comparison, videos: Mapping[str, bytes]) -> str:
    data = comparison.dataset
    presets = counted(len(comparison.rows) - (comparison.baseline is not None), "preset")
    frames = sum(run.cost.frames for run in comparison.rows[0].runs.values())
    about = (
        f"DAVIS {data.year} {escape(data.subset)} · {escape(data.resolution)} · "
        f"{counted(len(data.names), 'sequence')}, {counted(len(comparison.rows[0].report.objects), 'object')}, "
        f"{counted(frames, 'frame')}"
    )
    sections = "".join(_sequence(comparison, name, videos.get(name)) for name in data.names)
    body = (
        f'<h1>{presets} on the same frames</h1><p class="about">{about}</p>'
        f'<section><h2>Table</h2><div class="scroll">{_table(comparison)}</div></section>'
        + "".join(f'<p class="note">{escape(note)}</p>' for note in comparison.notes())
        + _section("J&F against speed", svg(speed_figure(comparison), "J&F against frames per second"))
        + _section("Time per frame", svg(stage_figure(comparison), "milliseconds per frame by stage"))
        + _section("J&F by sequence", svg(sequences_figure(comparison), "J&F of every sequence"))
        + f"{sections}<footer>{_legend()}</footer>"
    )
    return page(f"{presets} compared", body)


def _section(title: str, body: str) -> str:
    return f'<section id="{escape(title)}"><h2>{escape(title)}</h2>{body}</section>'


def _sequence(comparison: Comparison, name: str, video: bytes | None) -> str:
    body = svg(curves_figure(comparison, name), f"J&F of {name} over time")
    if video is not None:
        body += f'<video class="figure" controls loop muted src="{data_uri("video/mp4", video)}"></video>'
    return _section(name, body)


def _table(comparison: Comparison) -> str:
    head = "".join(
        f'<th title="{escape(column.meaning)}">{escape(column.title).replace(" ", "<br>")}</th>' for column in COLUMNS
    )
    body = ""
    for row in comparison.rows:
        name = escape(row.name).replace("+", "<wbr>+")
        body += f"<tr><td>{name}</td>{''.join(f'<td>{column.text(row)}</td>' for column in COLUMNS)}</tr>"
    return f'<table class="wide"><thead><tr><th>preset</th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _legend() -> str:
    meanings = "; ".join(f"<b>{escape(column.title)}</b>: {escape(column.meaning)}" for column in COLUMNS)
    return f"<b>{HOLD}</b>: the first mask held still; {meanings}."


class _Look(NamedTuple):
    """How a row is drawn, no two alike up to 27 presets."""

    colour: str
    line: Any
    mark: str
    hatch: str


def _looks(comparison: Comparison) -> dict[str, _Look]:
    looks = {HOLD: _Look(_HOLD_COLOUR, _HOLD_LINE, "o", "")}
    for k, name in enumerate(row.name for row in comparison.rows if row.name != HOLD):
        again, colour = divmod(k, len(_COLOURS))
        again %= len(_LINES)
        looks[name] = _Look(_COLOURS[colour], _LINES[again], _MARKS[again], _HATCHES[again])
    return looks


def _jf(row: Row, name: str) -> float:
    score = row.runs[name].score
    return (score.j + score.f) / 2


def _finish(figure: Figure, axes: Axes, grid: Literal["both", "x", "y"]) -> None:
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.grid(axis=grid, color=GRID)
    axes.set_axisbelow(True)
    bare(axes)
    labels = axes.get_legend_handles_labels()[1]
    figure.legend(loc="outside lower center", ncols=_legend_columns(labels), frameon=False, fontsize=9)


def _legend_columns(labels: Sequence[str]) -> int:
    return max(1, _LEGEND_WIDTH // (max(map(len, labels)) + 7))


def _legend_lines(labels: Sequence[str]) -> int:
    return -(-len(labels) // _legend_columns(labels))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
