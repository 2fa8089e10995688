"""All outputs of a run, written by one background thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from shutil import rmtree
from threading import Event, Thread
from types import TracebackType
from typing import Any

import av.error

from vos.errors import OutputError, one_line
from vos.paths import expanded, put
from vos.results.files import Reserve, check_folder, remove_results, remove_unfinished
from vos.results.finished import forget_record, remember
from vos.results.journal import Journal, forget, is_kept
from vos.results.kinds import DEFAULT_KINDS, kinds_of, targets
from vos.results.sinks import Run, Sink
from vos.results.summary import Span, SpanLog, Summary
from vos.types import FrameResult

# Results waiting to be written. Each holds a frame, so this bounds the memory of a slow disk.
_QUEUE_SIZE = 4
# Where conversions are until they are whole, in the folder of results.
_CONVERTING = ".converting"
# Bytes kept back for a full disk: for indices and summaries, and per pixel for the frames inside the video encoder.
_RESERVE_BYTES, _RESERVE_BYTES_PER_PIXEL = 1 << 20, 8

# What PyAV raises is an OSError only where FFmpeg's error is one of the system's.
_DISK_ERRORS = (OSError, av.error.FFmpegError)


@dataclass(frozen=True)
class _End:
    error: str | None


@dataclass(frozen=True, eq=False)
class _State:
    state: Mapping[str, Any]


class ResultWriter:
    """Writes FrameResults to a folder: indexed masks, an overlay video, a track file, and whatever else is asked for.

    Use it as a context manager. Leaving the block, also by an exception or Ctrl-C, finishes every output, so that all
    frames written until then can be used; `close` tells what was written. Nothing in the folder changes before the
    first result.

    Args:
        out: the folder; created if missing.
        run: what the outputs are told. Its clip is not read.
        overwrite: replace the results that the folder holds.
        save: which outputs, of `KINDS`.
        conversion: results are converted, not tracked: outputs of other kinds in the folder stay as they are (else they
            are refused, or replaced with `overwrite`), and a conversion that fails changes nothing.
        job: what identifies the run; where it is given, `keep` makes the run one that can be resumed.
        resumed: the number of results that are kept of an interrupted run, which are written again first. What it
            left in the folder stays until it is replaced.

    Raises:
        OutputError: if the folder cannot take the results, or holds some and `overwrite` is off; if an encoder is
            missing.
        SettingsError: if `save` names an unknown output.
    """

    def __init__(
        self,
        out: Path | str,
        run: Run,
        *,
        overwrite: bool = False,
        save: Sequence[str] = DEFAULT_KINDS,
        conversion: bool = False,
        job: Mapping[str, Any] | None = None,
        resumed: int | None = None,
    ) -> None:
        self._kinds = kinds_of(save)
        for kind in self._kinds:
            kind.check(run.clip.size)
        out = expanded(out)
        self._created = not out.exists()
        self._targets = targets(self._kinds) if conversion else targets()
        advice = "pass --overwrite"
        if is_kept(out) and not conversion:
            advice = "pass --resume to go on with the interrupted run, --overwrite"
        replace = overwrite or resumed is not None
        for kind in self._kinds:
            kind.target.check(out)
        check_folder(out, self._targets, overwrite=replace, origin=run.clip.origin, advice=advice)
        self._out, self._run, self._job, self._resumed = out, run, job, resumed
        self._conversion = conversion
        self._base = out / _CONVERTING if conversion else out
        height, width = run.clip.size
        try:
            per_pixel = _RESERVE_BYTES_PER_PIXEL * max(1, len(run.ids))
            self._reserve = Reserve(out, _RESERVE_BYTES + per_pixel * height * width)
        except OSError as error:
            self._remove_folder()
            raise OutputError(f"{out}: cannot be written: {error.strerror}; choose another folder") from error
        self._sinks: list[Sink] = []
        self._journal: Journal | None = None
        self._log = SpanLog()
        self._frames, self._latest = 0, -1
        self._span: Span | None = None
        self._failure: Exception | None = None
        self._reported = False
        self._summary = Summary(0, False, None, (), ())
        self._queue: Queue[FrameResult | _State | _End] = Queue(_QUEUE_SIZE)
        self._ending = False
        self._ended = Event()
        self._thread = Thread(target=self._work, name="vos-writer", daemon=True)
        self._thread.start()

    def write(self, result: FrameResult) -> None:
        """Hand over one result, in order; waits while the writer is behind.

        Raises:
            OutputError: if an earlier result could not be written.
            ValueError: after `close`; of a frame that is not later than the last one, or of another size than the clip.
        """
        self._check_open()
        index, (height, width), (rows, columns) = result.frame.index, result.frame.size, self._run.clip.size
        if index <= self._latest:
            raise ValueError(f"results come in order, each once: frame {index} came after frame {self._latest}")
        if (height, width) != (rows, columns):
            raise ValueError(f"frame {index} is {width}x{height}, and the clip is {columns}x{rows}")
        self._latest = index
        self._queue.put(result)

    def keep(self, state: Mapping[str, Any]) -> None:
        """Make that the run can be resumed after the last result; waits as `write`.

        Args:
            state: what the next frame depends on, plain data as `VideoPass.state` gives it.

        Raises:
            OutputError: if an earlier result could not be written.
        """
        if self._job is not None:
            self._check_open()
            self._queue.put(_State(state))

    def close(self, error: str | None = None) -> Summary:
        """Write what is waiting, finish all outputs and say what they hold; a second call says it again.

        Args:
            error: why the run ended early, one line; None if it ran to its end.

        Raises:
            OutputError: if something could not be written, unless that has been raised before.
            KeyboardInterrupt, or what else a signal's handler has raised meanwhile: once the outputs are finished; a
                second one at once.
        """
        stopped = None
        if not self._ending:
            stopped = _insisting(lambda: self._queue.put(_End(error)))
            self._ending = True
        # Not by `join`: after one that was interrupted, Python takes the thread for ended.
        stopped = _insisting(self._ended.wait) or stopped
        if stopped is not None:
            raise stopped
        if self._failure is not None and not self._reported:
            self._reported = True
            raise self._failure
        return self._summary

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(None if error is None else one_line(error))

    def _check_open(self) -> None:
        if self._ending:
            raise ValueError("the results are closed; nothing more can be written")
        if self._failure is not None:
            self._reported = True
            raise self._failure

    def _work(self) -> None:
        """The thread. After a failure it goes on emptying the queue, so that nobody waits for room in it."""
        try:
            while not isinstance(item := self._queue.get(), _End):
                if self._failure is None and (failure := self._write_all(item)) is not None:
                    self._end(None, failure)
            if self._failure is None:
                self._end(item.error, None)
        finally:
            self._ended.set()

    def _end(self, error: str | None, failure: Exception | None) -> None:
        """`_finish`, whose own failures reach the caller like all others."""
        try:
            self._finish(error, failure)
        except Exception as problem:
            self._summary = self._summarise(error, problem, [])
            self._failure = failure or problem

    def _write_all(self, item: FrameResult | _State) -> Exception | None:
        """Give one result to every sink, or a state to the journal; returns what went wrong."""
        try:
            if isinstance(item, _State):
                if self._journal is not None:
                    self._journal.keep(item.state)
                return None
            if not self._sinks:
                self._start()
            for sink in self._sinks:
                sink.write(item)
        except _DISK_ERRORS as error:
            what = "what is kept for --resume" if isinstance(item, _State) else f"frame {item.frame.index}"
            return self._refusal(error, f"{what} cannot be written: {_reason(error)}; {self._kept()}")
        except Exception as error:
            return error
        self._frames += 1
        self._span = Span(item.frame.index if self._span is None else self._span.first, item.frame.index)
        self._log.add(item)
        return None

    def _kept(self) -> str:
        """What a failure leaves, in words."""
        if self._frames and not self._conversion:
            return f"all {self._frames} frames before it are written and valid"
        return "the interrupted run is kept as it was" if self._resumed else "nothing is kept"

    def _start(self) -> None:
        rmtree(self._out / _CONVERTING, ignore_errors=True)
        if self._conversion:
            self._base.mkdir()
        elif self._resumed is None:
            remove_results(self._out, self._targets)
            if self._job is None:
                forget(self._out)
        else:
            # What was converted from the part that was there.
            remove_results(self._out, [target for target in self._targets if target not in targets(self._kinds)])
            remove_unfinished(self._out, self._targets)
        if not self._conversion:
            forget_record(self._out)
        if self._job is not None:
            soft = any(kind.takes_soft for kind in self._kinds)
            self._journal = Journal(self._out, self._reserve, self._job, soft=soft, begin=self._resumed or 0)
        # The record comes last: it tells of no frame that another output has not taken.
        for kind in sorted(self._kinds, key=lambda kind: kind.name == "json"):
            self._sinks.append(kind.make(self._base / kind.target.name, self._reserve, self._run))
        if self._journal is not None:
            # Closed last, when it is known whether all others could be finished.
            self._sinks.append(self._journal)

    def _finish(self, error: str | None, failure: Exception | None) -> None:
        """Close all sinks, however many fail, and set the summary; last of all let the caller see the failure."""
        self._reserve.release()
        outputs: list[Path] = []
        for sink in self._sinks:
            try:
                sink.close(self._summarise(error, failure, outputs))
            except _DISK_ERRORS as problem:
                text = f"{sink.path.name} cannot be finished and is removed: {_reason(problem)}"
                failure = self._refusal(problem, text, before=failure)
            except Exception as problem:
                failure = failure or problem
            else:
                if self._frames and sink is not self._journal:
                    outputs.append(self._out / sink.path.name)
        complete = self._frames > 0 and error is None and failure is None
        if complete and self._job is not None and not any(kind.name == "json" for kind in self._kinds):
            try:
                remember(self._out, self._run, self._reserve)
            except OSError as problem:
                failure = self._refusal(problem, f"what was tracked cannot be kept: {_reason(problem)}")
        if self._conversion:
            if complete:
                try:
                    self._replace()
                except OSError as problem:
                    failure = self._refusal(problem, f"cannot be replaced: {_reason(problem)}")
            else:
                self._frames, self._span, outputs = 0, None, []
            rmtree(self._base, ignore_errors=True)
        with suppress(OSError):
            remove_unfinished(self._out, self._targets)
        if not self._frames:
            self._remove_folder()
        self._summary = self._summarise(error, failure, outputs)
        self._failure = failure

    def _replace(self) -> None:
        """Put what was converted in the place of what was there; OSError."""
        remove_results(self._out, self._targets)
        for path in sorted(self._base.rglob("*")):
            place = self._out / path.relative_to(self._base)
            if path.is_dir():
                place.mkdir(exist_ok=True)
            else:
                put(path, place)

    def _remove_folder(self) -> None:
        """Remove the folder if it was not there before and nothing is in it."""
        if self._created:
            with suppress(OSError):
                self._out.rmdir()

    def _summarise(self, error: str | None, failure: Exception | None, outputs: list[Path]) -> Summary:
        if error is None and failure is not None:
            error = one_line(failure)
        return Summary(self._frames, error is None, error, self._log.objects(), tuple(outputs), self._span)

    def _refusal(self, cause: Exception, message: str, before: Exception | None = None) -> OutputError:
        """One error for the caller; where one came `before`, `message` is added to it."""
        error = OutputError(f"{self._out}: {message}" if before is None else f"{before}; {message}")
        error.__cause__ = cause
        return error


def _insisting(act: Callable[[], object]) -> BaseException | None:
    """Call `act`, and once more if a signal interrupts it; the interruption, or None."""
    try:
        act()
    except BaseException as stopped:
        act()
        return stopped
    return None


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # On Windows it may be one that another program has open.
    return f"{reason}: {error.filename}" if isinstance(error, PermissionError) and error.filename else reason
