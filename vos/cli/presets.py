"""`vos presets`: what there is to choose from, and every setting with its meaning."""

from __future__ import annotations

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from vos.cli.console import stdout
from vos.errors import SettingsError
from vos.installed import check_trackers
from vos.settings import DEFAULT_PRESET, describe_settings, load_settings, preset_description, preset_names


def presets(
    name: str | None = typer.Argument(None, metavar="[PRESET]", help="Show every setting's value in this preset."),
) -> None:
    """List presets, and settings with their meaning."""
    values = {} if name is None else _flat(load_settings(name).model_dump(mode="json"))
    if name is None:
        table = _table("preset", "what it is")
        for preset in preset_names():
            mark = " (default)" if preset == DEFAULT_PRESET else ""
            missing = _missing(preset)
            table.add_row(
                preset + mark,
                escape(preset_description(preset)) + (f"\n[red]{escape(missing)}[/red]" if missing else ""),
            )
        stdout.print(table)
        stdout.print()
    table = _table("setting", "values", "default" if name is None else f"in {name}", "meaning")
    for key, kind, default, meaning in describe_settings():
        value = default if name is None else str(values.get(key, default)).replace("None", "none")
        value = value.lower() if value in ("True", "False") else value
        table.add_row(*map(escape, (key, kind, value, meaning)))
    stdout.print(table)
    stdout.print("\nChoose a preset with --preset NAME; `vos presets NAME` shows its values.", markup=False)
    stdout.print("Change a setting with --set KEY=VALUE, for example: --set decoder.cascade=2", markup=False)


def _missing(preset: str) -> str | None:
    """Why a preset cannot be used here, in one line; None if it can."""
    try:
        check_trackers(load_settings(preset).tracker.parts)
    except SettingsError as error:
        return str(error)
    return None


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=k == 0)
    return table


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
