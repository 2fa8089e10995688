"""A report as one HTML page that needs nothing beside it: no scripts, no network, every picture inside."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .davis import Task
from .plots import WorstFrame, bar_figure, require_matplotlib, time_figure, worst_frames
from .report import MEASURES, Report, columns_shown, counted, percent, write_text
from .scoring import SequenceScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --j: #2563eb; --f: #ea580c; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 4px; }
p.about { color: var(--soft); margin: 4px 0 24px; overflow-wrap: anywhere; }
p.note { background: #fffbeb; border-left: 3px solid #f59e0b; padding: 8px 14px; margin: 0 0 12px; }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin: 0 0 20px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 20px; }
.card { flex: 1 1 110px; background: white; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 24px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.card.main { background: var(--ink); color: white; } .card.main span { color: #d1d5db; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
table.wide { font-size: 12.5px; } .wide th, .wide td { padding: 6px 3px; } .wide th { vertical-align: bottom; }
.wide td:first-child { white-space: normal; }
tfoot td { font-weight: 700; border-bottom: 0; }
td a { color: inherit; }
img { display: block; max-width: 100%; height: auto; }
.figure { width: 100%; }
.worst { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; margin-top: 14px; }
.worst figure { margin: 0; } .worst img { width: 100%; border-radius: 4px; }
figcaption { color: var(--soft); font-size: 13px; padding-top: 2px; font-variant-numeric: tabular-nums; }
figcaption b { color: var(--ink); }
.j { color: var(--j); font-weight: 600; } .f { color: var(--f); font-weight: 600; }
details { margin-top: 14px; } summary { cursor: pointer; color: var(--soft); }
footer { color: var(--soft); font-size: 13px; }
@media print { body { background: white; } section { break-inside: avoid; } }
"""


def write_html(report: Report, results: Path, path: Path) -> None:
    """Writes the page.

    Raises:
        EvaluationError: matplotlib is not installed, or a mask cannot be read.
        OutputError: the file cannot be written.
    """
    write_text(path, html_page(report, results))


def html_page(report: Report, results: Path) -> str:
    """The page; see `write_html`."""
    require_matplotlib()
    sections = [_sequence(report, score, worst_frames(report.dataset, results, score)) for score in report.scores]
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in report.notes())
    body = (
        f'<h1>{escape(report.title)}</h1><p class="about">{_about(report)}</p>{_cards(report)}{notes}'
        f"<section><h2>Sequences</h2>{svg(bar_figure(report), 'J and F of every sequence')}"
        f'<div class="scroll">{_sequence_table(report)}</div></section>{"".join(sections)}'
        f"<footer>{_legend(report)}</footer>"
    )
    return page(f"{report.title}: J&F", body)


def page(title: str, body: str) -> str:
    """A whole page in this room's style.

    Args:
        title: plain text.
        body: HTML.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def _about(report: Report) -> str:
    data = report.dataset
    frames = sum(len(score.frames) for score in report.scores)
    parts = [
        f"DAVIS {data.year} {escape(data.subset)}",
        data.task.value,
        escape(data.resolution),
        f"{counted(len(report.scores), 'sequence')}, {counted(len(report.objects), 'object')}, "
        f"{counted(frames, 'scored frame')}",
    ]
    return " · ".join(parts)


def _cards(report: Report) -> str:
    cards = []
    for key in MEASURES:
        title = escape(key.removesuffix("-Mean").replace("-", " "))
        beside = ""
        if report.official_decay and key.endswith("Decay"):
            beside = f" (correct: {percent(report.overall[f'{key}-correct'])})"
        main = " main" if key == "J&F-Mean" else ""
        value = percent(report.overall[key])
        cards.append(f'<div class="card{main}"><b>{value}</b><span>{title}{beside}</span></div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _sequence_table(report: Report) -> str:
    rows = [
        (f'<a href="#{escape(score.name)}">{escape(score.name)}</a>', report.of_sequence(score))
        for score in report.scores
    ]
    return _table(report, "sequence", rows, footer=f"mean of {counted(len(report.objects), 'object')}")


def _table(report: Report, first: str, rows: list[tuple[str, dict[str, float]]], footer: str | None = None) -> str:
    columns = columns_shown(report.official_decay)
    head = "".join(f"<th>{escape(title)}</th>" for title in (first, *(title for _, title in columns)))
    body = "".join(f"<tr><td>{name}</td>{_cells(values, columns)}</tr>" for name, values in rows)
    foot = f"<tfoot><tr><td>{footer}</td>{_cells(report.overall, columns)}</tr></tfoot>" if footer else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _cells(values: dict[str, float], columns: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"<td>{percent(values[key])}</td>" for key, _ in columns)


def _sequence(report: Report, score: SequenceScore, worst: list[WorstFrame]) -> str:
    name = escape(score.name)
    numbers = (
        f"J&amp;F <b>{percent((score.j + score.f) / 2)}</b> · "
        f'<span class="j">J {percent(score.j)}</span> · <span class="f">F {percent(score.f)}</span>'
    )
    if score.missing:
        numbers += f" · {len(score.missing)} of {len(score.frames)} frames had no result"
    pictures = "".join(_worst(k, item) for k, item in enumerate(worst, 1))
    objects = ""
    if len(score.objects) > 1:
        unsupervised = report.dataset.task is Task.UNSUPERVISED
        rows = [
            (escape(o.name) + (f" (proposal {o.proposal_id} as object {o.object_id})" if unsupervised else ""),
             report.of_object(o))
            for o in score.objects
        ]  # fmt: skip
        objects = (
            f"<details><summary>{len(score.objects)} objects</summary>"
            f'<div class="scroll">{_table(report, "object", rows)}</div></details>'
        )
    return (
        f'<section id="{name}"><h2>{name}</h2><div>{numbers}</div>'
        f"{svg(time_figure(score, worst), f'J and F of {score.name} over time')}"
        f'<div class="worst">{pictures}</div>{objects}</section>'
    )


def _worst(number: int, item: WorstFrame) -> str:
    captions = (
        f"<b>{number}</b> · frame {escape(item.frame)}",
        "ground truth",
        f'prediction · <span class="j">J {percent(item.j)}</span> <span class="f">F {percent(item.f)}</span>',
    )
    pictures = (item.image, item.truth, item.prediction)
    names = ("image", "ground truth", "prediction")
    return "".join(
        f'<figure><img src="{_jpeg(picture)}" alt="frame {escape(item.frame)}, {name}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
        for picture, caption, name in zip(pictures, captions, names, strict=True)
    )


def _legend(report: Report) -> str:
    decay = "as the official tool computes it" if report.official_decay else "the correct one"
    return (
        "All values in percent. J: region similarity (intersection over union). F: boundary accuracy. Recall: share of "
        f"frames above 50. Decay: mean of the first quarter less the mean of the last, {decay}. Numbered lines in the "
        "plots mark the frames shown below them, the worst by J&amp;F."
    )


def _jpeg(picture: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="JPEG", quality=85)
    return data_uri("image/jpeg", data.getvalue())


def svg(figure: Figure, text: str) -> str:
    """A figure as an <img>; `text` says what it shows."""
    data = io.BytesIO()
    figure.savefig(data, format="svg")
    return f'<img class="figure" src="{data_uri("image/svg+xml", data.getvalue())}" alt="{escape(text)}">'


def data_uri(kind: str, data: bytes) -> str:
    """Bytes of a media type, such as image/jpeg, as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
