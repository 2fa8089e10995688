"""What a run keeps in OUT/.resume so that it can go on after a kill, to the same bytes.

    job.json      what was asked: source, references, settings, versions
    00000000.npz  the first results, as they came; the next file is named after how many there are
    state.npz     what the frame after the `next` first ones depends on

Every file is written under a temporary name and renamed, and the state last: it never speaks of results that are not
there. Every `n` frames costs one file of results and a new state. To go on, frames are read anew from the start; up to
`next` their results come from here, and every output is written as if nothing had happened. Deriving the state from the
saved masks would not do: scores, points and embeddings are not in them.

All is plain data (`vos.results.plain`), so that a folder from somebody else can do no harm.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vos.errors import ResumeError
from vos.results.files import PartFile, Reserve
from vos.results.plain import pack, unpack
from vos.results.record import print_of, record_of, result_of
from vos.results.summary import Summary
from vos.results.track import dump
from vos.types import Frame, FrameResult

FOLDER = ".resume"
_JOB, _STATE = "job.json", "state.npz"
_OWN = re.compile(r"(job\.json|state\.npz|\d{8}\.npz)(\.part)?")
_BEGIN_ANEW = "track again with --overwrite"


class Journal:
    """A sink that keeps results until the next `keep` and then both them and the state.

    Args:
        out: the results' folder.
        job: what identifies the run.
        soft: keep the logits too.
        begin: how many results are kept already and come again.
    """

    def __init__(self, out: Path, reserve: Reserve, job: Mapping[str, Any], *, soft: bool, begin: int) -> None:
        self.path = out / FOLDER
        self._reserve = reserve
        self._soft = soft
        self._begin = self._next = self._again = begin
        self._waiting: list[dict[str, Any]] = []
        if not begin:
            forget(out)
            self.path.mkdir(exist_ok=True)
            self._save(_JOB, dump(job).encode())

    def write(self, result: FrameResult) -> None:
        if self._again:
            self._again -= 1
        else:
            self._waiting.append(record_of(result, soft=self._soft))

    def keep(self, state: Mapping[str, Any]) -> None:
        """All results so far, and the state after the last of them; OSError."""
        if not self._waiting:
            return
        self._save(f"{self._next:08d}.npz", pack({"frames": self._waiting}))
        self._next += len(self._waiting)
        self._waiting = []
        self._save(_STATE, pack({"next": self._next, "state": state}))

    def close(self, summary: Summary) -> None:
        """Nothing is left of a run that came to its end, or that has no whole frame, now or before."""
        if summary.complete or not (summary.frames or self._begin):
            forget(self.path.parent)

    def _save(self, name: str, data: bytes) -> None:
        file = PartFile(self.path / name, self._reserve)
        try:
            file.write(data)
            file.publish()
        except BaseException:
            file.discard()
            raise
        file.check()


class Kept:
    """A run that was interrupted.

    Attributes:
        frames: how many results there are, from the first frame on.
        state: what the next frame depends on; None where no frame is kept.
    """

    def __init__(self, folder: Path, frames: int, state: Mapping[str, Any] | None) -> None:
        self._folder = folder
        self.frames = frames
        self.state = state

    @classmethod
    def read(cls, out: Path, job: Mapping[str, Any]) -> Kept | None:
        """What is kept of a run in OUT; None where there is nothing.

        Raises:
            ResumeError: it is damaged, or of another job.
        """
        folder = out / FOLDER
        if not (folder / _JOB).is_file():
            return None
        try:
            found = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(out, error) from error
        if not isinstance(found, dict):
            raise _damaged(out, None)
        other = difference(found, json.loads(dump(job)))
        if other is not None:
            raise ResumeError(f"{out}: cannot be resumed: {other}; give the same again, or {_BEGIN_ANEW}")
        if not (folder / _STATE).is_file():
            return cls(folder, 0, None)
        try:
            kept = unpack(folder / _STATE)
            return cls(folder, int(kept["next"]), kept["state"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(out, error) from error

    def restore(self, restore: Callable[[Mapping[str, Any]], None]) -> None:
        """Give the state, of a run that has one, to what takes it over; ResumeError if it is of another version."""
        assert self.state is not None
        try:
            restore(self.state)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self._folder.parent, error) from error

    def results(self, frames: Iterator[Frame]) -> Iterator[FrameResult]:
        """The results that are kept, with their frames, which are taken from `frames`.

        Raises:
            ResumeError: something is damaged, or the frames are not those that were tracked.
        """
        out, done = self._folder.parent, 0
        while done < self.frames:
            try:
                records = unpack(self._folder / f"{done:08d}.npz")["frames"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _damaged(out, error) from error
            if not records:
                raise _damaged(out, None)
            for record in records:
                frame = next(frames, None)
                if frame is None or print_of(frame) != record.get("print"):
                    what = "is missing" if frame is None else "is another"
                    raise ResumeError(
                        f"{out}: cannot be resumed: frame {record['frame']} of the source {what}; {_BEGIN_ANEW}"
                    )
                try:
                    result = result_of(frame, record)
                except (zlib.error, ValueError, KeyError, TypeError) as error:
                    raise _damaged(out, error) from error
                yield result
                done += 1


def forget(out: Path) -> None:
    """Delete what is kept in OUT, the state first, and nothing that another program put there."""
    folder = out / FOLDER
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name != _STATE):
        if _OWN.fullmatch(path.name):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def is_kept(out: Path) -> bool:
    """Whether an interrupted run in OUT can be resumed."""
    return (out / FOLDER / _JOB).is_file()


def difference(found: Any, wanted: Any, name: str = "") -> str | None:
    """The first thing in which two jobs differ, in words; None where they are the same."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*found, *wanted]):
            below = difference(found.get(key), wanted.get(key), f"{name}.{key}" if name else key)
            if below is not None:
                return below
        return None
    if found == wanted:
        return None
    return f"it had {name} = {_shown(found)}, this is {_shown(wanted)}"


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _damaged(out: Path, error: Exception | None) -> ResumeError:
    refusal = ResumeError(
        f"{out}: what is kept of the interrupted run ({FOLDER}/) is damaged, or of another version; {_BEGIN_ANEW}"
    )
    refusal.__cause__ = error
    return refusal
