"""What an output is, and the simplest one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Protocol

from PIL import Image

from vos.palette import davis_palette
from vos.results.files import PartFile, Reserve
from vos.results.summary import Summary
from vos.types import FrameResult


class Sink(Protocol):
    """An output: one thread gives it every result in order and closes it once.

    Both methods raise OSError when the disk will not take the data; what was written before stays valid.
    """

    @property
    def path(self) -> Path:
        """The file or folder that it makes."""

    def write(self, result: FrameResult) -> None: ...

    def close(self, summary: Summary) -> None:
        """Finish and publish; a file that cannot be finished, or of a run without a whole frame, is removed."""


class MaskSink:
    """A folder of indexed PNG with the DAVIS palette, each named after its frame's index: 00000.png."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self.path = path
        self._reserve = reserve
        self._palette = davis_palette().tobytes()
        self._created = not path.exists()
        self._latest: Path | None = None
        path.mkdir(exist_ok=True)

    def write(self, result: FrameResult) -> None:
        image = Image.fromarray(result.index_map)
        image.putpalette(self._palette)
        encoded = BytesIO()
        image.save(encoded, "PNG")
        path = self.path / f"{result.frame.index:05d}.png"
        file = PartFile(path, self._reserve)
        try:
            file.write(encoded.getvalue())
            file.publish()
        except BaseException:
            file.discard()
            raise
        self._latest = path
        file.check()

    def close(self, summary: Summary) -> None:
        """Every mask is whole as soon as it is written; what is left to do is to remove that of an unfinished run."""
        if summary.frames:
            return
        if self._latest is not None:
            self._latest.unlink(missing_ok=True)
        if self._created:
            self.path.rmdir()
