"""Finished data sets whose classes have come to have other numbers, such as when a table of clips has grown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from vos.errors import OutputError
from vos.paths import put
from vos.results.datasets import categories
from vos.results.labels import Labels
from vos.results.track import RECORD_FILE, TRACK_FILE, dump
from vos.results.yolo import data_yaml

_PART = ".part"
_CATEGORY = re.compile(r'("category_id": )(\d+)')
_CATEGORIES = '], "categories": '


def renumber(out: Path, ids: Iterable[int], before: Labels, after: Labels) -> None:
    """Give classes the numbers that other labels make of them, in all that is in a folder of results and has any.

    What the objects themselves are called stays; nothing else of the files changes.

    Args:
        out: the folder.
        ids: the objects.
        before, after: labels under which each of them is called the same.

    Raises:
        OutputError: a file cannot be read or written; all are as they were.
    """
    ids = sorted(ids)
    numbers = {before.number(i): after.number(i) for i in ids}
    changes: list[tuple[Path, Callable[[str], str]]] = [
        *((out / name, lambda line: _of_coco(line, numbers, after, ids)) for name in ("coco.json", "youtube.json")),
        *((path, lambda line: _of_yolo(line, numbers)) for path in (out / "yolo" / "labels").glob("*.txt")),
        *_labels(out, after),
    ]
    made = {out / "yolo" / "data.yaml": data_yaml(after, ids)}
    _change(out, changes, made)


def relabel(out: Path, labels: Labels) -> None:
    """Change what the track file of a folder of results says that objects are called; OutputError as `renumber`."""
    _change(out, _labels(out, labels), {})


def _labels(out: Path, labels: Labels) -> list[tuple[Path, Callable[[str], str]]]:
    return [(out / name, lambda line: _of_track(line, labels)) for name in (TRACK_FILE, RECORD_FILE)]


def _change(out: Path, lines: Sequence[tuple[Path, Callable[[str], str]]], whole: Mapping[Path, str]) -> None:
    """Change files that are there, line by line, or replace them, all or none of them; OutputError."""
    parts: list[tuple[Path, Path]] = []
    try:
        for path, change in [*lines, *((path, None) for path in whole)]:
            if not path.is_file():
                continue
            parts.append((path.with_name(path.name + _PART), path))
            with open(path, encoding="utf-8") as old, open(parts[-1][0], "w", encoding="utf-8") as new:
                new.writelines([whole[path]] if change is None else map(change, old))
        for part, path in parts:
            put(part, path)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written: {error.strerror}") from error
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)


def _of_coco(line: str, numbers: Mapping[int, int], labels: Labels, ids: Iterable[int]) -> str:
    if line.startswith(_CATEGORIES):
        return f"{_CATEGORIES}{dump(categories(labels, ids))}}}\n"
    # In a name, quotes have a backslash before them.
    return _CATEGORY.sub(lambda match: f"{match[1]}{numbers.get(int(match[2]), int(match[2]))}", line)


def _of_yolo(line: str, numbers: Mapping[int, int]) -> str:
    number, space, corners = line.partition(" ")
    return f"{numbers.get(int(number) + 1, int(number) + 1) - 1}{space}{corners}"


def _of_track(line: str, labels: Labels) -> str:
    """The first line is all that there is before the frames."""
    start = line.find('"labels": [')
    if start < 0:
        return line
    _, end = json.JSONDecoder().raw_decode(line, line.index("[", start))
    return f'{line[:start]}"labels": {dump(labels.given)}{line[end:]}'
