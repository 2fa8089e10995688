"""`vos trackers`: the installed ways to find an object in the next frame."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from vos.cli.console import stdout
from vos.tracking import installed_trackers


def trackers() -> None:
    """List the installed trackers, and where each comes from."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("tracker", "from", "what it is"):
        table.add_column(column, overflow="fold")
    for tracker in installed_trackers():
        what = escape(tracker.summary) if tracker.problem is None else f"[red]{escape(tracker.problem)}[/red]"
        table.add_row(escape(tracker.name), escape(tracker.distribution), what)
    stdout.print(table)
    stdout.print("\nChoose one with --tracker NAME; + joins several: --tracker matching+klt", markup=False)
