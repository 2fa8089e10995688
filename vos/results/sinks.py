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
        """Finish and publish; a file that cannot be finished is removed."""


class MaskSink:
    """A folder of indexed PNG with the DAVIS palette, each named after its frame's index: 00000.png."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self.path = path
        self._reserve = reserve
        self._palette = davis_palette().tobytes()
        path.mkdir(exist_ok=True)

    def write(self, result: FrameResult) -> None:
        image = Image.fromarray(result.index_map)
        image.putpalette(self._palette)
        encoded = BytesIO()
        image.save(encoded, "PNG")
        file = PartFile(self.path / f"{result.frame.index:05d}.png", self._reserve)
        try:
            file.write(encoded.getvalue())
            file.publish()
        except BaseException:
            file.discard()
            raise
        file.check()

    def close(self, summary: Summary) -> None:
        """Nothing is left to do: every mask is whole as soon as it is written."""
