"""The verified copies on this machine: fetched once, checked, remembered.

Beside each cached file may lie `<file>.part` (an unfinished download, taken up again next time), `<file>.lock` (one
process fetches, the others wait) and `<file>.digest` (the SHA-256 with the size and modification time of the file it
was taken of, so that gigabytes are not hashed on every start).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir

from vos.errors import WeightsError
from vos.paths import expanded, put
from vos.weights.registry import Checkpoint, PinnedFile, get_checkpoint, known
from vos.weights.sources import Progress, Source


@dataclass(frozen=True)
class Verification:
    """What was found out about one file.

    Attributes:
        path: the file.
        checkpoint: what it is, or should be; None where it is none of the known ones.
        ok: it is that checkpoint, byte for byte.
        message: one line for the user.
    """

    path: Path
    checkpoint: Checkpoint | None
    ok: bool
    message: str


def cache_dir() -> Path:
    """The environment variable VOS_CACHE, else the platform's cache folder for `vos`. Not created here."""
    override = os.environ.get("VOS_CACHE")
    return expanded(override) if override else Path(user_cache_dir("vos", appauthor=False))


def cached_path(checkpoint: Checkpoint) -> Path:
    """Where the checkpoint's file is kept, whether it is there or not."""
    return cache_dir() / "weights" / checkpoint.file


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """The verified file of a known checkpoint, downloaded if it is not in the cache yet.

    Raises WeightsError: an unknown name, no source that works, or a cache folder that cannot be written.
    """
    checkpoint = get_checkpoint(name)
    advice = f"download {checkpoint.file} on another machine and pass it with {checkpoint.option}"
    return obtain(checkpoint, cached_path(checkpoint), advice=advice, progress=progress)


def obtain(item: PinnedFile, path: Path, *, advice: str, progress: Progress | None = None) -> Path:
    """Returns `path` once it holds exactly `item`, downloading it from the first source that works.

    Args:
        advice: what the user can do where every source fails; ends the error's line.

    Raises WeightsError: no source works, or the folder of `path` cannot be written.
    """
    try:
        if _fault(path, item, _digest) is None:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_beside(path, "lock")):
            # Another process may have fetched it while this one waited.
            fault = _fault(path, item, _digest)
            if fault is not None:
                failures = [f"the cached copy {fault}"] if path.exists() else []
                _download(item, path, failures, advice, progress or _silent)
        return path
    except (OSError, NotImplementedError) as error:
        # filelock raises NotImplementedError where the file system has no locks.
        reason = getattr(error, "strerror", None) or error
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        remedy = f"{'free space or ' if full else ''}set VOS_CACHE to a folder that can be written"
        raise WeightsError(f"cannot store {path}: {reason}; {remedy}") from error


def verify(name_or_path: str | Path, checkpoint: Checkpoint | None = None) -> Verification:
    """Hashes a checkpoint in the cache (by name) or any file (by path) anew, whatever is remembered of it.

    Args:
        name_or_path: a str that is a known name is that checkpoint in the cache; anything else is a path.
        checkpoint: what a file given by path must be; None finds out by its hash, else by its file name.

    Raises WeightsError: neither a known name nor an existing file.
    """
    path = Path(name_or_path)
    names = [known_one.name for known_one in known()]
    if checkpoint is None and name_or_path in names:
        checkpoint = get_checkpoint(str(name_or_path))
        path = cached_path(checkpoint)
        if not path.exists():
            return Verification(
                path, checkpoint, False, f"is not in the cache; run `vos weights get {checkpoint.name}`"
            )
    elif not path.exists():
        raise WeightsError(f"{name_or_path} is neither a file nor a known checkpoint; known: {', '.join(names)}")
    try:
        size, digest = path.stat().st_size, sha256_of(path)
    except OSError as error:
        return Verification(path, checkpoint, False, f"cannot be read: {error.strerror or error}")
    expected = checkpoint or _recognise(path, digest)
    if expected is None:
        return Verification(path, None, False, f"is no known checkpoint ({size} bytes, SHA-256 {digest})")
    if path == cached_path(expected):
        _remember(path, digest)
    fault = _fault(path, expected, lambda _: digest)
    return Verification(path, expected, fault is None, fault or f"is {expected.name}")


def _recognise(path: Path, digest: str) -> Checkpoint | None:
    by_content = [checkpoint for checkpoint in known() if checkpoint.sha256 == digest]
    by_name = [checkpoint for checkpoint in known() if checkpoint.file == path.name]
    return next(iter(by_content + by_name), None)


def _download(item: PinnedFile, path: Path, failures: list[str], advice: str, progress: Progress) -> None:
    """Puts `item` at `path`, whole and verified, in one rename. `failures` is what is already known to be wrong."""
    part = _beside(path, "part")
    for source in item.sources:
        try:
            _complete(part, item, source, progress)
        except WeightsError as error:
            failures.append(f"{source.label}: {error}")
            continue
        put(part, path)
        _remember(path, item.sha256)
        return
    raise WeightsError(f"cannot get {item.name} ({item.size / 1e6:.1f} MB): {'; '.join(failures)}; {advice}")


def _complete(part: Path, item: PinnedFile, source: Source, progress: Progress) -> None:
    """Fills `part` from one source. Wrong bytes are deleted; where a part was continued, it starts again once."""
    while True:
        continued = part.exists()
        source.fetch(part, item.size, progress)
        fault = _fault(part, item, sha256_of)
        if fault is None:
            return
        part.unlink()
        if not continued:
            raise WeightsError(f"sent a file that {fault}")


def _fault(path: Path, item: PinnedFile, digest_of: Callable[[Path], str]) -> str | None:
    """How the file differs from `item`, None where it does not. The size comes first: it costs nothing."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != item.size:
        return f"has {size} bytes where {item.name} has {item.size}"
    digest = digest_of(path)
    return None if digest == item.sha256 else f"has SHA-256 {digest} where {item.name} has {item.sha256}"


def _digest(path: Path) -> str:
    """The file's SHA-256, remembered from an earlier run if the file has not been touched since."""
    try:
        memory = json.loads(_beside(path, "digest").read_text(encoding="utf-8"))
        if memory["stat"] == _stat(path):
            return str(memory["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = sha256_of(path)
    _remember(path, digest)
    return digest


def _remember(path: Path, digest: str) -> None:
    # A cache that can only be read is hashed every time.
    with contextlib.suppress(OSError):
        memory = json.dumps({"stat": _stat(path), "sha256": digest})
        _beside(path, "digest").write_text(memory + "\n", encoding="utf-8")


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def sha256_of(path: Path) -> str:
    """A file's SHA-256, read piece by piece; OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _silent(done: int, total: int | None) -> None:
    pass
