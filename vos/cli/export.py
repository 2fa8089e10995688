"""`vos export`: results in other forms, without tracking again."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import typer

from vos.cli.console import FrameProgress, stderr
from vos.cli.report import called, tell
from vos.cli.report import frames as counted
from vos.cli.track import number, split_names
from vos.errors import OutputError
from vos.results import KINDS, Labels, ResultWriter, Run
from vos.results.kinds import kinds_of
from vos.results.lock import alone
from vos.results.saved import SavedResults
from vos.results.track import relabel
from vos.video import open_source

_MADE_BY_TRACKING = ("masks", "json")
_FORMATS = [name for name in KINDS if name not in _MADE_BY_TRACKING]


def export(
    results: Path = typer.Argument(metavar="OUT", help="A folder of results that holds masks and track.json."),
    to: str = typer.Option(..., "--to", metavar="KIND,...", help=f"What to write: {', '.join(_FORMATS)}."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder to write to.  [default: OUT itself]"),
    source: str | None = typer.Option(
        None, "--source", help="The video, where pictures are needed and it is no longer where it was."
    ),
    start_number: str | None = typer.Option(
        None,
        "--start-number",
        metavar="N",
        help="Number of the first image of alpha and cutouts, such as 1001.  [default: as tracked]",
    ),
    label: list[str] = typer.Option(
        [],
        "--label",
        metavar="NAME[:ID,...]",
        help="What objects are called from now on, in place of all labels of the run: all, or those of these IDs.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace what is there under the same names."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Convert results to other forms, without tracking again."""
    kinds = kinds_of(split_names(to))
    for kind in kinds:
        if kind.name in _MADE_BY_TRACKING:
            raise OutputError(f"{kind.name}: is what results are converted from; there are {', '.join(_FORMATS)}")
    saved = SavedResults(results)
    for kind in kinds:
        if kind.needs_soft and saved.soft is None:
            raise OutputError(
                f"{results}: {kind.name} shows soft edges, and soft masks were not saved; track again with "
                "--save masks,json,alpha"
            )
    pixels = any(kind.pixels for kind in kinds)
    given = source or saved.given
    if pixels and given is None:
        raise OutputError(f"{results}: pictures are needed, and where they came from is not known; give --source")
    first = number(start_number) or saved.first_number
    labels = Labels(tuple(label)) if label else saved.labels
    target = out or results
    in_place = target.resolve() == results.resolve()
    if label and in_place:
        others = [kind for kind in KINDS.values() if kind.labelled and kind not in kinds and kind.target.files(results)]
        if others:
            names = ", ".join(kind.name for kind in others)
            raise OutputError(
                f"{results}: {names} there would keep other labels; add to --to, or choose another folder with -o"
            )
    if saved.soft is not None and in_place:
        for kind in kinds:
            if kind.target.name == saved.soft.name:
                raise OutputError(f"{saved.soft}: soft edges are read from there; choose another folder with -o")
    if in_place and first != saved.first_number:
        for kind in kinds:
            if kind.name in ("alpha", "alpha8"):
                raise OutputError(
                    f"{results}: {kind.name} is numbered there as the run was, for what is converted from it; choose "
                    "another folder with -o"
                )
    with alone(target), open_source(str(given), reading=saved.reading) if pixels else nullcontext() as opened:
        clip = saved.clip if opened is None else opened
        run = Run(clip, ids=saved.ids, labels=labels, first_number=first)
        with ResultWriter(
            target, run, save=[kind.name for kind in kinds], overwrite=overwrite, conversion=True
        ) as writer:
            with FrameProgress(saved.clip.frame_count, quiet=quiet, what="converting") as progress:
                for result in saved.results(None if opened is None else iter(opened)):
                    writer.write(result)
                    progress.advance()
            summary = writer.close()
        if label and in_place:
            relabel(results, labels)
    where = ", ".join(str(path) for path in summary.outputs)
    tell(quiet, *called(labels, saved.ids), f"{counted(summary.frames)} -> {where}")
    if not saved.complete:
        tell(quiet, f"{results}: the run ended early; these are the frames until then")
    if saved.others:
        stderr.print(
            f"vos: note: {counted(saved.others)} of {given} are other pictures than were tracked; if that is not the "
            "right clip, give it with --source, and --overwrite",
            markup=False,
        )
