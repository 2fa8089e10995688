"""Video files through decord, where that is installed: the same frames as FFmpeg's own, for healthy files."""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vos.errors import SourceError
from vos.video.clock import StampReader
from vos.video.container import stamps
from vos.video.reading import RATE_IF_UNCLOCKED, Pending, Reading
from vos.video.source import Source

_SAID = re.compile(r"(?:\[[\d:]+\] \S+:\d+: )?(\S.*?)(?:\. |\n|$)")


class DecordSource(Source):
    """A video file that decord decodes; it keeps an index of all frames, so its memory grows with the file.

    It knows no time stamps to the tick: those are the file's own. Of a damaged file decord may make up frames, so it
    is refused where their number is not that of the time stamps.

    Raises:
        SourceError: decord is not installed, or cannot open the file.
    """

    def __init__(self, path: Path, *, reading: Reading) -> None:
        decord = _installed()
        # First, since decord prints lines of its own about what it cannot open.
        self._stamps = stamps(path)
        self._reader = _open(decord, path)
        if len(self._reader) != len(self._stamps.all):
            raise SourceError(
                f"{path}: decord finds {len(self._reader)} frames where the file has {len(self._stamps.all)}; "
                "read it with --reader pyav"
            )
        super().__init__(
            path.name,
            rate=self._stamps.rate or RATE_IF_UNCLOCKED,
            frame_count=len(self._stamps.all),
            frame_count_exact=True,
            time_base=self._stamps.unit,
            origin=path,
            reading=reading,
        )

    def _read(self) -> Generator[Pending, None, None]:
        clock = StampReader(self._stamps.unit, self.rate * self.reading.every, steady=self._stamps.steady)
        for index, stamp in enumerate(self._stamps.all):
            yield Pending(index, partial(self._picture, index), clock.read(stamp), str(index))

    def _release(self) -> None:
        self._reader = None

    def _picture(self, index: int) -> np.ndarray:
        try:
            return self._reader[index].asnumpy()
        except Exception as error:
            raise SourceError(
                f"{self.name}: decord cannot read frame {index}: {_reason(error)}; try --reader pyav"
            ) from error


def _installed() -> Any:
    try:
        import decord
    except ImportError as error:
        raise SourceError("the reader decord is not installed (pip install decord); leave out --reader") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _open(decord: Any, path: Path) -> Any:
    try:
        return decord.VideoReader(str(path))
    except Exception as error:
        raise SourceError(f"{path}: decord cannot open it: {_reason(error)}; try --reader pyav") from error


def _reason(error: Exception) -> str:
    """The first sentence of what decord says, without the time and its own source file and line before that."""
    match = _SAID.search(str(error))
    return match[1] if match else type(error).__name__
