"""Files that appear whole or not at all, and the space kept back to finish them on a full disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vos.errors import OutputError
from vos.paths import put

PART = ".part"


@dataclass(frozen=True)
class Target:
    """Where an output goes.

    Attributes:
        name: of the file or folder, below OUT.
        own: what the output's own files are called in that folder, a regular expression for their path below it with
            slashes; None where the target is one file.
    """

    name: str
    own: str | None = None

    def files(self, out: Path, suffix: str = "") -> list[Path]:
        """Those of its files that are there, with `suffix` added to their names."""
        path = out / self.name
        if self.own is None:
            # What an output keeps aside has the output's name with something added.
            found = path.parent.glob(f"{path.name}*{suffix}") if suffix else [path]
            return [file for file in found if file.is_file()]
        if not path.is_dir():
            return []
        pattern = re.compile(f"(?:{self.own}){re.escape(suffix)}")
        return [found for found in path.rglob("*") if pattern.fullmatch(found.relative_to(path).as_posix())]

    def check(self, out: Path) -> None:
        """OutputError where something else has its name."""
        path = out / self.name
        if path.is_dir() if self.own is None else path.exists() and not path.is_dir():
            is_, wanted = ("a folder", "a file") if self.own is None else ("a file", "a folder")
            raise OutputError(f"{path}: is {is_}, and {wanted} of that name is to be written; choose another folder")

    def __str__(self) -> str:
        return self.name if self.own is None else f"{self.name}/"


class Reserve:
    """A file of zeros, given up when the disk is full so that what was begun can be finished.

    Raises:
        OSError: if there is no room for it.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / f".reserve{PART}"
        chunk = bytes(1 << 20)
        try:
            with open(self._path, "wb") as file:
                for start in range(0, size, len(chunk)):
                    file.write(chunk[: size - start])
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        self._held = True

    def release(self) -> bool:
        """Free the space; False if it was free already, or cannot be freed (a disk that takes no more changes)."""
        held, self._held = self._held, False
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return False
        return held


class PartFile:
    """A binary file under a temporary name, for one writer; `publish` gives it its own name.

    A write that fails is tried again with the reserve given up. Where that helps the data are in the file, and it is
    `check` that raises the error, so that the caller can come to an orderly end; else the write raises it.
    """

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self._path = path
        self._failure: OSError | None = None
        self._broken: OSError | None = None
        self._part = path.with_name(path.name + PART)
        self._reserve = reserve
        self._file = open(self._part, "wb", buffering=0)  # noqa: SIM115 - closed by publish or discard

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                if not self._reserve.release():
                    self._broken = error
                    raise
                self._failure = error
        return len(data)

    def check(self) -> None:
        """Raise the OSError of a write that took the reserve, if there was one."""
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Nothing waits in a buffer."""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def rewind(self, offset: int) -> None:
        """Forget what was written from `offset` on, and what failed there."""
        self._file.seek(offset)
        self._file.truncate()
        self._broken = None

    def lines(self) -> Iterator[str]:
        """What was written, from the start."""
        with open(self._part, encoding="utf-8", newline="\n") as file:
            yield from file

    def publish(self) -> None:
        """Close and rename; replaces a file of that name. OSError if the file lacks data that were to be written."""
        self._file.close()
        # FFmpeg does not pass on every error of the writes it asks for.
        if self._broken is not None:
            raise self._broken
        put(self._part, self._path)

    def discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


class TextPart:
    """Text under a temporary name that is appended to in whole pieces, such as lines."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self._file = PartFile(path, reserve)
        self._good = 0

    def append(self, text: str) -> None:
        """Add a piece. After an OSError, call nothing but `finish` or `discard`."""
        # For file names that are not UTF-8; see `dump`.
        self._file.write(text.encode(errors="backslashreplace"))
        self._good = self._file.tell()

    def check(self) -> None:
        """As `PartFile.check`."""
        self._file.check()

    def finish(self, tail: str = "") -> None:
        """Overwrite a piece of which the disk took only a part by the last one, `tail`, and publish; OSError."""
        try:
            self._file.rewind(self._good)
            self.append(tail)
            self._file.publish()
        except BaseException:
            self._file.discard()
            raise

    def lines(self) -> Iterator[str]:
        """The lines of all whole pieces; nothing is appended after that."""
        self._file.rewind(self._good)
        return self._file.lines()

    def discard(self) -> None:
        self._file.discard()


def check_folder(
    out: Path, targets: Sequence[Target], *, overwrite: bool, origin: Path | None, advice: str = "pass --overwrite"
) -> None:
    """Refuse a folder that cannot take the results; creates it if it is not there, and changes nothing else.

    Args:
        targets: what may be replaced.
        origin: the file or folder that frames will be read from; it must not be among the files to be replaced.
        advice: what to do about results that are there.

    Raises:
        OutputError: OUT is a file, cannot be created, already holds results, or holds the source where results go.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: this is a file; results need a folder")
    if origin is not None and _replaced(origin.resolve(), out.resolve(), targets):
        raise OutputError(f"{out}: the source {origin} lies where results would be written; choose another folder")
    held = [str(target) for target in targets if target.files(out)]
    if held and not overwrite:
        raise OutputError(f"{out}: already holds results ({', '.join(held)}); {advice} or choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be created: {error.strerror}") from error


def _replaced(origin: Path, out: Path, targets: Sequence[Target]) -> bool:
    """Whether a source, a file or a folder of images, is among what would be replaced."""
    return any(
        origin == out / target.name
        or any(origin == file or (target.own is not None and origin == file.parent) for file in target.files(out))
        for target in targets
    )


def remove_results(out: Path, targets: Sequence[Target]) -> None:
    """Delete the results of an earlier run, finished or not, and nothing that another program put there."""
    # Single files first: on Windows one that a player has open cannot be removed, and then nothing else has been.
    for target in sorted(targets, key=lambda target: target.own is not None):
        files = target.files(out)
        for path in files:
            path.unlink(missing_ok=True)
        folders = {path.parent for path in files} | {out / target.name}
        for folder in sorted(folders - {out}, key=lambda folder: -len(folder.parts)) if files else ():
            with suppress(OSError):
                folder.rmdir()
    remove_unfinished(out, targets)


def remove_unfinished(out: Path, targets: Sequence[Target]) -> None:
    """Delete the temporary files of this run, or of one that was killed."""
    for target in targets:
        for path in target.files(out, PART):
            path.unlink(missing_ok=True)
