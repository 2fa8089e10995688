"""`vos`: the commands of this package and those plugged in under the entry-point group `vos.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version
from typing import Any, NoReturn

import typer

from vos.cli import dataset, demo, export, presets, track, trackers, weights
from vos.cli.allocation import share_freed_memory
from vos.cli.console import let_go, printable, show_all_characters, stderr, stdout
from vos.cli.report import system_error
from vos.cli.stopping import STOPPED, Stopped, stoppable
from vos.errors import VosError

GROUP = "vos.commands"
BAD_INPUT = 2
# What typer raises where it cannot understand the command line; it brings a click of its own, or uses the one there is.
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Track objects through a video from one mask: their masks in every frame.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        stdout.print(f"vos {version('persam-vos')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of `vos` itself."""


app.command("track")(track.track)
app.command("export")(export.export)
app.command("dataset")(dataset.dataset)
app.command("demo")(demo.demo)
app.command("presets")(presets.presets)
app.command("trackers")(trackers.trackers)
app.add_typer(weights.app, name="weights")
for _point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
    try:
        _point.load()(app)
    except Exception as _error:  # whatever somebody else's module does
        _why = f"{type(_error).__name__}: {_error}"
        stderr.print(printable(f"vos: warning: command '{_point.name}' is left out: {_why}"), markup=False)


def main() -> None:
    """Run the command line: bad input is one line on stderr and exit code 2, Ctrl-C is exit code 130."""
    show_all_characters()
    share_freed_memory()
    try:
        with stoppable():
            # Globs are the program's own, on Windows too.
            sys.exit(app(prog_name="vos", standalone_mode=False, windows_expand_args=False) or 0)
    except VosError as error:
        _refuse(str(error))
    except OSError as error:
        # A name that is too long, a folder that may not be written: what the system refuses, users can mend.
        _refuse(system_error(error))
    except _UsageError as error:
        text, context = error.format_message(), error.ctx
        if "\n" in text:  # Nothing was asked for: this is the help.
            error.show()
            sys.exit(BAD_INPUT)
        _refuse(text if context is None else f"{text.rstrip('.')}; see {context.command_path} --help")
    except Stopped:
        stderr.print("vos: stopped", markup=False)
        sys.exit(STOPPED)


def _refuse(text: str) -> NoReturn:
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it was closed
        try:
            stream.flush()
        except OSError:
            let_go(stream)
    stderr.print(f"vos: error: {printable(text)}", markup=False, style="bold red" if stderr.is_terminal else None)
    sys.exit(BAD_INPUT)
