"""Files that appear whole or not at all, and the space kept back to finish them on a full disk."""

from __future__ import annotations

import re
from pathlib import Path

from vos.errors import OutputError

MASKS, OVERLAY, TRACK = "masks", "overlay.mp4", "track.json"
_PART = ".part"
_OWN_MASK = re.compile(r"\d{5,}\.png")
_OWN_MASK_PART = re.compile(r"\d{5,}\.png\.part")


class Reserve:
    """A file of zeros, given up when the disk is full so that what was begun can be finished.

    Raises:
        OSError: if there is no room for it.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / f".reserve{_PART}"
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
        """Free the space; False if it was free already."""
        held, self._held = self._held, False
        self._path.unlink(missing_ok=True)
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
        self._part = path.with_name(path.name + _PART)
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

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def rewind(self, offset: int) -> None:
        """Forget what was written from `offset` on, and what failed there."""
        self._file.seek(offset)
        self._file.truncate()
        self._broken = None

    def publish(self) -> None:
        """Close and rename; replaces a file of that name. OSError if the file lacks data that were to be written."""
        self._file.close()
        # FFmpeg does not pass on every error of the writes it asks for.
        if self._broken is not None:
            raise self._broken
        self._part.replace(self._path)

    def discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def check_folder(out: Path, *, overwrite: bool, origin: Path | None) -> None:
    """Refuse a folder that cannot take the results; creates it if it is not there, and changes nothing else.

    Args:
        origin: the file or folder that frames will be read from; it must not be among the files to be replaced.

    Raises:
        OutputError: OUT is a file, cannot be created, already holds results, or holds the source where results go.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: this is a file; results need a folder")
    if origin is not None and origin.resolve() in [(out / name).resolve() for name in (MASKS, OVERLAY, TRACK)]:
        raise OutputError(f"{out}: the source {origin} lies where results would be written; choose another folder")
    held = [name for name in (OVERLAY, TRACK) if (out / name).exists()]
    if any((out / MASKS).glob("*.png")):
        held.insert(0, f"{MASKS}/")
    if held and not overwrite:
        raise OutputError(
            f"{out}: already holds results ({', '.join(held)}); pass --overwrite or choose another folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be created: {error.strerror}") from error


def remove_old_results(out: Path) -> None:
    """Delete the results of an earlier run, finished or not, and nothing that another program put there."""
    for path in [*_matching(out / MASKS, _OWN_MASK), out / OVERLAY, out / TRACK]:
        path.unlink(missing_ok=True)
    remove_unfinished(out)


def remove_unfinished(out: Path) -> None:
    """Delete the temporary files of this run, or of one that was killed."""
    for path in [*_matching(out / MASKS, _OWN_MASK_PART), out / (OVERLAY + _PART), out / (TRACK + _PART)]:
        path.unlink(missing_ok=True)


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name)] if folder.is_dir() else []
