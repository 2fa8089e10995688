"""What `vos bench` and `vos bench reference` measured, as tables: on the terminal, and as Markdown for the docs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from vos.errors import EvaluationError

from .plain_loop import FIT_STEPS
from .report import write_text
from .speed import STAGES

SPEED, REFERENCE = "vos bench", "vos bench reference"
BEGIN, END = "<!-- written by vos bench report: begin -->", "<!-- written by vos bench report: end -->"
# Characters for the name of a row on a terminal.
_NAME = 26
# Share of the cores in other programs' hands above which a measurement says so.
_QUIET = 0.02

Rows = list[list[str]]


def read_measurement(path: Path) -> dict[str, Any]:
    """A file of `vos bench` or `vos bench reference`.

    Raises:
        EvaluationError: it is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = data["kind"] in (SPEED, REFERENCE)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise EvaluationError(f"{path}: not a file of vos bench or vos bench reference; give what --json wrote")
    return data


def markdown(measurements: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """A section per file: how it was made, and its tables.

    Args:
        measurements: (file's name, what is in it).

    Raises:
        EvaluationError: something is missing in one.
    """
    sections = []
    for name, data in measurements:
        try:
            tables = [_markdown_table(header, rows) for header, rows in tables_of(data)]
            sections += [f"`{name}`: {made(data)}", *tables, *notes(data)]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise EvaluationError(
                f"{name}: damaged, or of another version of vos: {type(error).__name__} {error}; measure again"
            ) from error
    return "\n\n".join(sections) + "\n"


def put_into(page: Path, text: str) -> None:
    """Replaces what is between the marks of a page.

    Raises:
        EvaluationError: the page cannot be read or has no marks.
        OutputError: it cannot be written.
    """
    try:
        before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise EvaluationError(f"{page}: cannot be read: {reason}") from error
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise EvaluationError(f"{page}: has no place for the tables; put these lines where they belong: {BEGIN} {END}")
    write_text(page, f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def show(data: Mapping[str, Any], width: int) -> list[Table]:
    """The tables for a terminal of so many characters a line; one that is wider becomes several."""
    return [
        _terminal_table(header, rows, part)
        for header, rows in tables_of(data)
        for part in _parts(header, rows, width - _NAME)
    ]


def tables_of(data: Mapping[str, Any]) -> list[tuple[Sequence[str], Rows]]:
    """Headers and rows, as text."""
    if data["kind"] == SPEED:
        return [_speed(data["cases"]), _stages(data["cases"])]
    return [_ratios(data["rows"]), *_fits(data), *_counts(data["ten_over_one"])]


def made(data: Mapping[str, Any]) -> str:
    """On what machine and with which versions, when, on how many frames, and what disturbed it."""
    about = data["machine"]
    parts = [about["processor"], f"{about['cores']} cores", *about.get("gpus", [])]
    parts += [f"{name} {number}" for name, number in about["versions"].items() if name in ("persam-vos", "torch")]
    return f"{', '.join(parts)}; {data['made']}; {data['command']}"


def notes(data: Mapping[str, Any]) -> list[str]:
    """What a reader should know of the numbers."""
    found = []
    rows = data["cases"] if data["kind"] == SPEED else data["rows"]
    busy = max((row["elsewhere"] for row in rows if row["elsewhere"] is not None), default=0.0)
    if busy > _QUIET:
        found.append(
            f"Not a quiet machine: other programs used up to {100 * busy:.0f} % of its cores meanwhile, and the times "
            "are as much too long."
        )
    return found


def _speed(cases: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], Rows]:
    header = (
        "run", "frames/s", "encoder alone", "share of it", "reference frame", "warm-up", "peak memory", "on the GPU",
        "growth",
    )  # fmt: skip
    rows = [
        [
            _name(case),
            f"{case['rate']:.2f}",
            f"{case['encoder_rate']:.2f}",
            f"{100 * case['rate'] / case['encoder_rate']:.0f} %",
            f"{case['reference_s']:.2f} s",
            f"{case['warm_up_s']:.1f} s",
            _megabytes(case["peak_mb"]),
            _of_encoder(case["gpu_peak_mb"], case.get("encoder_gpu_peak_mb")),
            _megabytes(case["growth_mb"]),
        ]
        for case in cases
    ]
    return header, rows


def _stages(cases: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], Rows]:
    rows = [[_name(case), *(f"{case['ms'][stage]:.1f}" for stage in STAGES)] for case in cases]
    return ("ms per frame", *STAGES), rows


def _ratios(found: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], Rows]:
    header = ("run", "frames/s", "plain loop", "times as fast", "masks alike", "encoder alone", "peak memory")
    rows = [
        [
            _name(row),
            f"{row['rate']:.2f}",
            f"{row['plain_rate']:.3f} ({row['recipe']})",
            f"{row['ratio']:.1f}",
            "" if row["agreement"] is None else f"IoU {row['agreement']:.3f}",
            f"{row['encoder_rate']:.2f}",
            _megabytes(row["peak_mb"]),
        ]
        for row in found
    ]
    return header, rows


def _fits(data: Mapping[str, Any]) -> list[tuple[Sequence[str], Rows]]:
    fit = data["fit"]
    if fit is None:
        return []
    steps, plain = fit["steps"], fit["plain_s"]
    whole = plain * FIT_STEPS / steps
    said = f"{plain:.1f} s" if steps == FIT_STEPS else f"{whole:.0f} s, extrapolated from {plain:.1f} s for {steps}"
    rows = [[name, f"{s:.2f} s", said, f"{100 * s / whole:.2f} %"] for name, s in fit["ours_s"].items()]
    return [(("fit of one object", "ours", f"plain loop, {FIT_STEPS} decoder calls", "ours / plain"), rows)]


def _counts(found: Mapping[str, Mapping[str, float]]) -> list[tuple[Sequence[str], Rows]]:
    if not found:
        return []
    counts = sorted({int(count) for ratios in found.values() for count in ratios})
    rows = [[name, *(f"{ratios[str(n)]:.2f}" if str(n) in ratios else "" for n in counts)] for name, ratios in
            found.items()]  # fmt: skip
    return [(("time of a frame over that with the fewest objects", *(f"{n} objects" for n in counts)), rows)]


def _name(row: Mapping[str, Any]) -> str:
    count = row["objects"]
    return f"{row['name']}, {row['clip']} {row['size']}, {count} object{'' if count == 1 else 's'}"


def _megabytes(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f} MB"


def _of_encoder(number: float | None, encoder: float | None) -> str:
    ratio = f" ({number / encoder:.2f}x the encoder's)" if number is not None and encoder else ""
    return _megabytes(number) + ratio


def _markdown_table(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parts(header: Sequence[str], rows: Rows, room: int) -> list[range]:
    """The columns after the first, in runs that fit."""
    wide = [3 + max(map(len, column)) for column in zip(header, *rows, strict=True)]
    parts, first = [], 1
    for column in range(2, len(header)):
        if sum(wide[first : column + 1]) > room:
            parts.append(range(first, column))
            first = column
    return [*parts, range(first, len(header))]


def _terminal_table(header: Sequence[str], rows: Rows, columns: range) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(header[0], overflow="fold", min_width=_NAME - 2)
    for column in columns:
        table.add_column(header[column], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row[0], *(row[column] for column in columns))
    return table
