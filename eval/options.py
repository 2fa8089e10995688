"""What several commands take to change a preset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from vos.cli.track import split_names

CACHE = typer.Option(
    None,
    "--cache-embeddings",
    metavar="FOLDER",
    help="When tracking: keep embeddings there, rounded to half precision; repeated runs skip the encoder.",
)


def chosen(sequences: str | None) -> list[str] | None:
    """The names that `--sequences` gives; None for all of the set."""
    return None if sequences is None else split_names(sequences)


def changes(overrides: Iterable[str], cache: Path | None) -> list[str | tuple[str, Any]]:
    """What `--override` and `--cache-embeddings` change in a preset."""
    return [*overrides, *([("cache_embeddings", str(cache))] if cache is not None else [])]
