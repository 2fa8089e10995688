"""One run at a time in a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from vos.errors import OutputError


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """No other run of this user on this machine that asks for it too writes results to OUT meanwhile.

    The lock lies with the system's temporary files, and stays there, empty: OUT may not be there yet. Where they take
    none, there is none.

    Raises:
        OutputError: somebody else is at it.
    """
    try:
        name = sha256(os.fsencode(out.resolve())).hexdigest()[:20]
        user = os.getuid() if hasattr(os, "getuid") else 0  # another one's file could not be locked
        lock = FileLock(Path(tempfile.gettempdir()) / f"vos-{user}-{name}.lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{out}: another run is writing there; wait for its end, or choose another folder") from error
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        # The file stays: who waits for it, or looks at it this moment, must not hold one that is gone.
        lock.release()
