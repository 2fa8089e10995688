"""`vos weights`: the checkpoints, their downloads and their verification."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from vos.cli.console import stderr, stdout
from vos.weights import Progress, cache_dir, cached_path, fetch, get_checkpoint, known, verify

app = typer.Typer(help="List, download and verify checkpoints.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """Show the known checkpoints and which of them are in the cache."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for heading in ("licence", "in cache", "what for"):
        table.add_column(heading, overflow="fold")
    for checkpoint in known():
        cached = "yes" if cached_path(checkpoint).is_file() else "no"
        table.add_row(checkpoint.name, decimal(checkpoint.size), checkpoint.licence, cached, checkpoint.description)
    stdout.print(table)
    stdout.print(f"cache: {cache_dir()}", markup=False)


@app.command()
def get(names: list[str] = typer.Argument(metavar="NAME", help="Names as in `vos weights list`.")) -> None:
    """Download checkpoints into the cache; one that is there already is only verified."""
    for name in names:
        get_checkpoint(name)
    for name in names:
        with download_progress(name) as progress:
            path = fetch(name, progress=progress)
        stdout.print(f"{name}: {path}", markup=False)


@app.command("verify")
def verify_(
    targets: list[str] | None = typer.Argument(
        None, metavar="NAME|FILE", help="Names or files; everything in the cache by default."
    ),
) -> None:
    """Compare checkpoints with their published size and SHA-256; exit code 1 if any differs."""
    targets = targets or [checkpoint.name for checkpoint in known() if cached_path(checkpoint).exists()]
    if not targets:
        stdout.print(f"no checkpoint in {cache_dir()}", markup=False)
    found = [verify(target) for target in targets]
    for result in found:
        stdout.print(f"{'ok ' if result.ok else 'BAD'} {result.path} {result.message}", markup=False)
    if not all(result.ok for result in found):
        raise typer.Exit(1)


@contextmanager
def download_progress(label: str) -> Iterator[Progress]:
    """A progress callback that draws a bar on a terminal's standard error, or writes a line every tenth elsewhere.

    Nothing is shown before the first call, so a file that is in the cache already is silent.
    """
    if not stderr.is_terminal:
        yield _lines(label)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=stderr, transient=True) as bar:

        def show(done: int, total: int | None) -> None:
            task = bar.task_ids[0] if bar.task_ids else bar.add_task(label, total=None)
            bar.update(task, completed=done, total=total)

        yield show


def _lines(label: str) -> Callable[[int, int | None], None]:
    last = -1

    def show(done: int, total: int | None) -> None:
        nonlocal last
        tenths = 10 * done // total if total else 0
        if tenths != last:
            last = tenths
            amount = f"{10 * tenths} % of {decimal(total)}" if total else "downloading"
            stderr.print(f"{label}: {amount}", markup=False)

    return show
