"""All outputs of a run, written by one background thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av.error

from vos.errors import OutputError, SettingsError, VosError
from vos.results.files import MASKS, OVERLAY, TRACK, Reserve, check_folder, remove_old_results, remove_unfinished
from vos.results.movie import OverlaySink, check_encoder
from vos.results.sinks import MaskSink, Sink
from vos.results.summary import SpanLog, Summary
from vos.results.track import TrackSink
from vos.types import FrameResult

if TYPE_CHECKING:
    from vos.video.source import Source

KINDS = ("masks", "overlay", "json")

# Results waiting to be written. Each holds a frame, so this bounds the memory of a slow disk.
_QUEUE_SIZE = 4
# Bytes kept back for a full disk: for indices and summaries, and per pixel for the frames inside the video encoder.
_RESERVE_BYTES, _RESERVE_BYTES_PER_PIXEL = 1 << 20, 8

# What PyAV raises is an OSError only where FFmpeg's error is one of the system's.
_DISK_ERRORS = (OSError, av.error.FFmpegError)


@dataclass(frozen=True)
class _End:
    error: str | None


class ResultWriter:
    """Writes FrameResults to a folder: indexed masks, an overlay video and a track file.

    Use it as a context manager. Leaving the block, also by an exception or Ctrl-C, finishes every output, so that all
    frames written until then can be used; `close` tells what was written. Nothing in the folder changes before the
    first result.

    Args:
        out: the folder; created if missing.
        settings, versions: kept in track.json; anything JSON has no form for is kept as text.
        references: what was asked to be tracked, as text that can be given again; kept in track.json.
        source: gives name, size, rate and clock. It is not read.
        overwrite: replace the results that the folder holds.
        save: which outputs, of `KINDS`.

    Raises:
        OutputError: if the folder cannot take the results, or holds some and `overwrite` is off; if H.264 is missing.
        SettingsError: if `save` names an unknown output.
    """

    def __init__(
        self,
        out: Path,
        *,
        settings: Mapping[str, Any],
        source: Source,
        versions: Mapping[str, Any],
        references: Sequence[str] = (),
        overwrite: bool = False,
        save: Sequence[str] = KINDS,
    ) -> None:
        unknown = [kind for kind in save if kind not in KINDS]
        if unknown:
            raise SettingsError(f"unknown output {unknown[0]!r}; there are {', '.join(KINDS)}")
        if "overlay" in save:
            check_encoder()
        self._created = not out.exists()
        check_folder(out, overwrite=overwrite, origin=source.origin)
        self._out, self._save = out, tuple(save)
        self._source = source
        self._facts: dict[str, Any] = {"settings": settings, "versions": versions, "references": tuple(references)}
        height, width = source.size
        try:
            self._reserve = Reserve(out, _RESERVE_BYTES + _RESERVE_BYTES_PER_PIXEL * height * width)
        except OSError as error:
            self._remove_folder()
            raise OutputError(f"{out}: cannot be written: {error.strerror}; choose another folder") from error
        self._sinks: list[Sink] = []
        self._log = SpanLog()
        self._frames = 0
        self._failure: Exception | None = None
        self._reported = False
        self._summary = Summary(0, False, None, (), ())
        self._queue: Queue[FrameResult | _End] = Queue(_QUEUE_SIZE)
        self._ending = False
        self._thread = Thread(target=self._work, name="vos-writer", daemon=True)
        self._thread.start()

    def write(self, result: FrameResult) -> None:
        """Hand over one result, in order; waits while the writer is behind.

        Raises:
            OutputError: if an earlier result could not be written.
        """
        if self._failure is not None:
            self._reported = True
            raise self._failure
        self._queue.put(result)

    def close(self, error: str | None = None) -> Summary:
        """Write what is waiting, finish all outputs and say what they hold; a second call says it again.

        Args:
            error: why the run ended early, one line; None if it ran to its end.

        Raises:
            OutputError: if something could not be written, unless that has been raised before.
        """
        if not self._ending:
            self._ending = True
            self._queue.put(_End(error))
        self._thread.join()
        if self._failure is not None and not self._reported:
            self._reported = True
            raise self._failure
        return self._summary

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(None if error is None else _one_line(error))

    def _work(self) -> None:
        """The thread. After a failure it goes on emptying the queue, so that nobody waits for room in it."""
        while not isinstance(item := self._queue.get(), _End):
            if self._failure is None and (failure := self._write_all(item)) is not None:
                self._finish(None, failure)
        if self._failure is None:
            self._finish(item.error, None)

    def _write_all(self, result: FrameResult) -> Exception | None:
        """Give one result to every sink; returns what went wrong."""
        try:
            if not self._sinks:
                self._start()
            for sink in self._sinks:
                sink.write(result)
        except _DISK_ERRORS as error:
            kept = f"all {self._frames} frames before it are written and valid" if self._frames else "nothing is kept"
            return self._refusal(error, f"frame {result.frame.index} cannot be written: {_reason(error)}; {kept}")
        except Exception as error:
            return error
        self._frames += 1
        self._log.add(result)
        return None

    def _start(self) -> None:
        remove_old_results(self._out)
        for kind in self._save:
            if kind == "masks":
                self._sinks.append(MaskSink(self._out / MASKS, self._reserve))
            elif kind == "overlay":
                self._sinks.append(OverlaySink(self._out / OVERLAY, self._reserve, self._source))
            else:
                self._sinks.append(TrackSink(self._out / TRACK, self._reserve, self._source, **self._facts))

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
                if self._frames:
                    outputs.append(sink.path)
        with suppress(OSError):
            remove_unfinished(self._out)
        if not self._frames:
            self._remove_folder()
        self._summary = self._summarise(error, failure, outputs)
        self._failure = failure

    def _remove_folder(self) -> None:
        """Remove the folder if it was not there before and nothing is in it."""
        if self._created:
            with suppress(OSError):
                self._out.rmdir()

    def _summarise(self, error: str | None, failure: Exception | None, outputs: list[Path]) -> Summary:
        if error is None and failure is not None:
            error = _one_line(failure)
        return Summary(self._frames, error is None, error, self._log.objects(), tuple(outputs))

    def _refusal(self, cause: Exception, message: str, before: Exception | None = None) -> OutputError:
        """One error for the caller; where one came `before`, `message` is added to it."""
        error = OutputError(f"{self._out}: {message}" if before is None else f"{before}; {message}")
        error.__cause__ = cause
        return error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, GeneratorExit):
        return "stopped before the end"
    text = " ".join(str(error).split())
    return text if isinstance(error, VosError) else f"{type(error).__name__}: {text}"
