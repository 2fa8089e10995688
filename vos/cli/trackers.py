"""`vos trackers`: the installed ways to find an object in the next frame."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from vos.cli.console import stdout
from vos.installed import installed_trackers


def trackers() -> None:
    """List trackers, and what is missing for them.

    Where each comes from, its licence, and how to get what it needs.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, column in enumerate(("tracker", "from", "licence", "what it is")):
        table.add_column(column, overflow="fold", no_wrap=k == 0)
    for tracker in installed_trackers():
        problem = [] if tracker.problem is None else [f"[red]{escape(tracker.problem)}[/red]"]
        what = "\n".join([escape(tracker.summary)] * bool(tracker.summary) + problem)
        table.add_row(escape(tracker.name), escape(tracker.distribution), escape(tracker.licence), what)
    stdout.print(table)
    stdout.print("\nChoose one with --tracker NAME; + joins several: --tracker matching+klt", markup=False)
    stdout.print("`vos presets` lists the options of each.", markup=False)
