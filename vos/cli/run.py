"""One run: a source tracked, its results written, and whatever end it comes to told."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vos.backwards import Backwards, reopening
from vos.cli.console import FrameProgress, duration, stderr
from vos.cli.reading import Watch, notes
from vos.cli.report import called, ended, frames, pointed_at, system_error, tell, understood, valid
from vos.cli.session import Session
from vos.cli.stopping import STOPPED, Stopped
from vos.errors import OutputError, ResumeError, VosError, one_line
from vos.installed import is_resumable
from vos.references import Reference, ReferencePlan, placed
from vos.results import DEFAULT_KINDS, Kept, Labels, ResultWriter, Run, is_finished
from vos.results.finished import check_finished
from vos.results.kinds import DATA_SETS
from vos.results.labels import UNNAMED
from vos.results.lock import alone
from vos.types import Frame, FrameResult
from vos.video import Reading, Source, count_packets, open_source
from vos.video.reading import EVERYTHING

if TYPE_CHECKING:
    from vos.passes import VideoPass
    from vos.pipeline import VideoTracker

KEEP_EVERY = 10


@dataclass(frozen=True)
class Wishes:
    """What is read of a source, and how a run ends up on disk.

    Attributes:
        save: which outputs.
        first_number: of the first image of a sequence, with the zeros that pad it; None for its frame's.
        overwrite: replace results.
        resume: go on with an interrupted run.
        keep_every: frames between two states that are kept.
        quiet: print errors only.
        max_frames: stop after that many.
        reading: which frames, and how.
        both_ways: track objects backwards too, to the frames before they enter.
        labels: what the objects are called.
    """

    save: tuple[str, ...] = DEFAULT_KINDS
    first_number: str | None = None
    overwrite: bool = False
    resume: bool = False
    keep_every: int = KEEP_EVERY
    quiet: bool = False
    max_frames: int | None = None
    reading: Reading = EVERYTHING
    both_ways: bool = False
    labels: Labels = UNNAMED


def run(source: str, wanted: list[Reference], session: Session, out: Path, wishes: Wishes) -> None:
    """Track and write results, telling on the way what was understood and what is being done.

    Whatever goes wrong after the first frame, what was written is finished properly and stays valid.
    """
    with alone(out), open_source(source, reading=wishes.reading) as opened:
        wanted = placed(wanted, opened)
        count = _known_frames(opened, wanted, wishes.max_frames)
        plan = ReferencePlan.build(wanted, frame_size=opened.size, frame_count=count, both_ways=wishes.both_ways)
        again = reopening(opened) if wishes.both_ways else None
        about = Run.of(opened, plan, settings=session.record, labels=wishes.labels, first_number=wishes.first_number)
        job = _job(opened, about, session, wishes)
        if wishes.resume and job is None:
            what = "this source" if opened.origin is None else f"tracker {session.settings.tracker.name}"
            raise OutputError(f"{out}: a run of {what} cannot be resumed; leave out --resume")
        if wishes.resume and (labels := _finished(out, about, opened.first(), wishes)) is not None:
            tell(wishes.quiet, f"{out}: finished already; nothing to resume", *_other_classes(labels, wishes))
            return
        tell(
            wishes.quiet,
            opened.describe(),
            *notes(opened, plan, wishes.save),
            *understood(plan),
            *called(wishes.labels, plan.ids),
        )
        kept = _kept(out, job, wishes) if wishes.resume and job is not None else None
        with ResultWriter(
            out,
            about,
            save=wishes.save,
            overwrite=wishes.overwrite,
            job=job,
            resumed=None if kept is None else kept.frames,
        ) as writer:
            session.tracker  # noqa: B018 - loaded here, before the progress bar
            tell(wishes.quiet, session.describe())
            with nullcontext() if again is None else Backwards(plan, again, opened.reading) as before:
                _follow(opened, plan, session, kept, writer, wishes, before, resumable=job is not None)


def _finished(out: Path, about: Run, first: Frame, wishes: Wishes) -> Labels | None:
    """The labels of OUT's results, if it holds all of this run; ResumeError where they are of another that may not be
    replaced."""
    if not is_finished(out, wishes.save):
        return None
    try:
        return check_finished(out, about, first)
    except ResumeError:
        if not wishes.overwrite:
            raise
        return None


def _other_classes(labels: Labels, wishes: Wishes) -> list[str]:
    """That finished data sets have other classes than these jobs would give them."""
    if labels.names == wishes.labels.names or not any(name in DATA_SETS for name in wishes.save):
        return []
    return ["its data sets have the classes that they had; vos dataset makes one of several clips, with classes of all"]


def _kept(out: Path, job: dict[str, Any], wishes: Wishes) -> Kept | None:
    """What is kept of this run; ResumeError where it is of another that may not be replaced."""
    try:
        return Kept.read(out, job)
    except ResumeError:
        if not wishes.overwrite:
            raise
        return None


def _follow(
    opened: Source,
    plan: ReferencePlan,
    session: Session,
    kept: Kept | None,
    writer: ResultWriter,
    wishes: Wishes,
    before: Backwards | None,
    *,
    resumable: bool,
) -> None:
    """The run itself, with progress, to whatever end it comes."""
    done = 0 if kept is None else kept.frames
    if done:
        tell(wishes.quiet, f"resumed: of {frames(done)} the results are kept")
    count = opened.frame_count
    if wishes.max_frames is not None:
        count = min(wishes.max_frames, count or wishes.max_frames)
    video = session.tracker.begin()
    incoming: Iterator[Frame] = iter(opened)
    watch = Watch(opened, quiet=wishes.quiet)
    problem: Exception | Stopped | None = None
    progress = FrameProgress(count, quiet=wishes.quiet, done=done)
    try:
        ahead = opened.first().index + done * opened.reading.every  # the number of the next frame, or less
        if before is not None and ahead <= before.entry:
            _look_back(before, session, wishes)
        with progress:
            if kept is not None and kept.state is not None:
                for result in kept.results(incoming):
                    writer.write(result)
                    watch.answered(result.frame.index, cut=result.frame.cut)
                kept.restore(video.restore)
            left = incoming if wishes.max_frames is None else islice(incoming, wishes.max_frames - done)
            with closing(_results(session.tracker, left, plan, video, wishes.reading)) as results:
                for result in results:
                    result = result if before is None else before.join(result)
                    writer.write(result)
                    watch.answered(result.frame.index, cut=result.frame.cut)
                    tell(wishes.quiet, *pointed_at(plan, result))
                    progress.advance()
                    if resumable and progress.done % wishes.keep_every == 0:
                        writer.keep(video.state())
            if plan.beyond(watch.reached):
                problem = plan.never_reached(watch.reached)
    except (Exception, Stopped) as error:
        problem = error
    try:
        summary = writer.close(error=_said(problem))
    except Stopped as stopped:  # while outputs were being finished, which they are now
        problem, summary = problem or stopped, writer.close()
    tell(wishes.quiet, *watch.lines(), *ended(summary, wishes.labels, progress))
    if problem is None:
        return
    again = (
        "; the same command with --resume goes on"
        if resumable and (summary.frames or done) and not summary.complete
        else ""
    )
    if isinstance(problem, Stopped):
        if summary.frames:
            where = f" after {frames(summary.frames)}; what is written is valid"
        else:
            where = f"; of {frames(done)} the results are kept" if done else " before the first frame"
        stderr.print(f"vos: stopped{where}{again}", markup=False)
        raise typer.Exit(STOPPED)
    if isinstance(problem, ResumeError):
        raise problem
    if isinstance(problem, OutputError):
        raise type(problem)(f"{problem}{again}") from problem
    if isinstance(problem, VosError):
        raise type(problem)(f"{problem}; {valid(summary)}") from problem
    if isinstance(problem, OSError):
        raise OutputError(f"{system_error(problem)}; {valid(summary)}{again}") from problem
    stderr.print(f"vos: ended by an error; {valid(summary)}{again}", markup=False)
    raise problem


def _look_back(before: Backwards, session: Session, wishes: Wishes) -> None:
    """The pass backwards, with progress of its own."""
    if before.count <= 1:
        tell(wishes.quiet, "every object is given on the first frame; nothing is before that")
        return
    tracker = session.tracker
    with FrameProgress(before.count, quiet=wishes.quiet, what="backwards") as progress:
        for _ in before.find(lambda frames, plan: _results(tracker, frames, plan, tracker.begin(), wishes.reading)):
            progress.advance()
    tell(
        wishes.quiet,
        f"backwards from frame {before.begins}: {frames(progress.done)} in {duration(progress.seconds)} "
        f"({progress.rate:.2f} frames/s)",
    )


def _results(
    tracker: VideoTracker, frames: Iterator[Frame], plan: ReferencePlan, video: VideoPass, reading: Reading
) -> Generator[FrameResult, None, None]:
    from vos.reduced import run_reduced

    return run_reduced(partial(tracker.run, video=video), frames, plan, reading.max_size)


def _said(problem: Exception | Stopped | None) -> str | None:
    """Why a run ended early, for the record."""
    if isinstance(problem, Stopped):
        return "stopped by the user"
    return None if problem is None else one_line(problem)


def _known_frames(source: Source, wanted: list[Reference], max_frames: int | None) -> int | None:
    """How many frames there are at most, where a reference on a later frame makes it worth knowing beforehand."""
    first = source.first().index
    if source.frame_count_exact or source.origin is None or all(reference.frame == first for reference in wanted):
        count = source.frame_bound if source.frame_count_exact else None
    else:
        count = source.reading.bound(count_packets(source.origin))
    return count if max_frames is None or count is None else min(count, max_frames)


def _job(opened: Source, about: Run, session: Session, wishes: Wishes) -> dict[str, Any] | None:
    """All that the results depend on, which an interrupted run must have in common; None if it cannot be resumed."""
    import torch

    if opened.origin is None or not is_resumable(session.settings.tracker.parts):
        return None
    height, width = opened.size
    return {
        "source": {"name": opened.name, "width": width, "height": height, "rate": str(opened.rate)},
        "frames": opened.reading.record,
        "references": list(about.references),
        "reference masks": list(about.reference_prints),
        "settings": about.settings,
        "--save": list(wishes.save),
        "--both-ways": about.both_ways,
        "--start-number": about.first_number,
        "versions": about.versions,
        "threads": torch.get_num_threads(),
    }
