"""What several commands take to change a preset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

# Changes to settings, as `vos.settings.load_settings` takes them.
Changes = Iterable[str | tuple[str, Any]]

CACHE = typer.Option(
    None,
    "--cache-embeddings",
    metavar="FOLDER",
    help="When tracking: keep embeddings there, rounded to half precision; repeated runs skip the encoder.",
)


def changes(overrides: Iterable[str], cache: Path | None) -> Changes:
    """What `--override` and `--cache-embeddings` change in a preset."""
    return [*overrides, *([("cache_embeddings", str(cache))] if cache is not None else [])]
