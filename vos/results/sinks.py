"""What an output is, what it is told about the run, and the outputs that are one image per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

import numpy as np
from PIL import Image

from vos.palette import davis_palette
from vos.paths import expanded
from vos.references import MaskReference
from vos.results.files import PartFile, Reserve
from vos.results.labels import UNNAMED, Labels
from vos.results.summary import Summary
from vos.types import Frame, FrameResult
from vos.versions import versions

if TYPE_CHECKING:
    from vos.references import ReferencePlan
    from vos.video import Source


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


class Clip(Protocol):
    """What outputs ask of a source, open or remembered; see `vos.video.Source`."""

    @property
    def name(self) -> str: ...

    @property
    def rate(self) -> Fraction: ...

    @property
    def frame_count(self) -> int | None: ...

    @property
    def frame_count_exact(self) -> bool: ...

    @property
    def time_base(self) -> Fraction | None: ...

    @property
    def pixel_aspect(self) -> Fraction: ...

    @property
    def timecode(self) -> str | None: ...

    @property
    def origin(self) -> Path | None: ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""


@dataclass(frozen=True)
class Run:
    """What every output may ask.

    Attributes:
        clip: the source.
        ids: the objects that are known to come; files of their own begin with the first frame.
        first_number: of the first image of a sequence, which then has no gaps, as text with the zeros that pad it:
            "1001"; None numbers images as the masks are, by their frames.
        settings, versions, references: kept in track.json.
        reference_prints: checksums of the masks among the references, kept there too.
        reading: how the source can be opened again, kept in track.json with the source's facts.
        both_ways: objects are tracked backwards too, from where they enter; kept in track.json.
        labels: what the objects are called.
    """

    clip: Clip
    ids: tuple[int, ...] = ()
    first_number: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    references: Sequence[str] = ()
    reference_prints: Sequence[int] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    both_ways: bool = False
    labels: Labels = UNNAMED

    @classmethod
    def of(
        cls,
        source: Source,
        plan: ReferencePlan,
        *,
        settings: Mapping[str, Any] | None = None,
        labels: Labels = UNNAMED,
        first_number: str | None = None,
    ) -> Run:
        """Of a plan through an open source, with all that is kept of it.

        Args:
            settings: as `vos.VideoTracker.record` tells them.
        """
        given = None if source.origin is None or not isinstance(source.given, str | PathLike) else source.given
        return cls(
            source,
            ids=plan.ids,
            first_number=first_number,
            settings=settings or {},
            versions=versions(),
            references=[reference.option for reference in plan.references],
            reference_prints=[crc32(r.mask.tobytes()) for r in plan.references if isinstance(r, MaskReference)],
            reading={
                **({} if given is None else {"given": str(expanded(given).absolute())}),
                "reading": source.reading.record,
            },
            both_ways=plan.both_ways,
            labels=labels,
        )

    def number(self, frame: Frame, position: int) -> str:
        """The number in the name of a sequence's image that shows `frame`, result number `position`."""
        if self.first_number is None:
            return f"{frame.index:05d}"
        return f"{int(self.first_number) + position:0{len(self.first_number)}d}"


class FileFolder:
    """A folder of files, each whole as soon as it is there. A run without a whole frame leaves no trace of its own."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self.path = path
        self._reserve = reserve
        self._made: list[Path] = []
        self._latest: list[Path] = []
        self._position = -1
        self._folder(path)

    def begin(self) -> int:
        """A new frame's files follow; how many frames came before it."""
        self._latest = []
        self._position += 1
        return self._position

    def save(self, name: str, data: bytes) -> None:
        """Write a file; OSError."""
        path = self.path / name
        self._folder(path.parent)
        there = path.exists()  # a run that was interrupted wrote it
        file = PartFile(path, self._reserve)
        try:
            file.write(data)
            file.publish()
        except BaseException:
            file.discard()
            raise
        if not there:
            self._latest.append(path)
        file.check()

    def close(self, summary: Summary) -> None:
        if summary.frames:
            return
        for path in self._latest:
            path.unlink(missing_ok=True)
        for folder in reversed(self._made):
            with suppress(OSError):
                folder.rmdir()

    def _folder(self, path: Path) -> None:
        if not path.exists():
            path.mkdir()
            self._made.append(path)


class MaskSink(FileFolder):
    """A folder of indexed PNG with the DAVIS palette, each named after its frame's index: 00000.png."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        super().__init__(path, reserve)
        self._palette = davis_palette().tobytes()

    def write(self, result: FrameResult) -> None:
        self.begin()
        image = Image.fromarray(result.index_map)
        image.putpalette(self._palette)
        self.save(f"{result.frame.index:05d}.png", png(image))


class PictureSink(FileFolder):
    """The frames as they were read, JPEG, named as data sets name those of a video: 00000.jpg."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        super().__init__(path, reserve)

    def write(self, result: FrameResult) -> None:
        self.begin()
        self.save(picture_name(result.frame), jpeg(result.frame.image))


class AlphaSink(FileFolder):
    """Soft masks as grey PNG of `bits` 8 or 16, a folder per object: 1/00000.png. At least half is the object."""

    def __init__(self, path: Path, reserve: Reserve, run: Run, *, bits: int = 16) -> None:
        super().__init__(path, reserve)
        self._run, self._bits = run, bits

    def write(self, result: FrameResult) -> None:
        number = self._run.number(result.frame, self.begin())
        for object_id in every_id(self._run, result):
            alpha = alpha_of(result, object_id)
            image = alpha if self._bits == 16 else (alpha >> 8).astype(np.uint8)
            self.save(f"{object_id}/{number}.png", png(Image.fromarray(image)))


class CutoutSink(FileFolder):
    """Each object on a transparent ground: RGBA PNG, 8 bits, straight alpha, a folder per object: 1/00000.png."""

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        super().__init__(path, reserve)
        self._run = run

    def write(self, result: FrameResult) -> None:
        number = self._run.number(result.frame, self.begin())
        for object_id in every_id(self._run, result):
            alpha = (alpha_of(result, object_id) >> 8).astype(np.uint8)
            colours = np.where(alpha[..., None] > 0, result.frame.image, 0)
            self.save(f"{object_id}/{number}.png", png(Image.fromarray(np.dstack([colours, alpha]))))


def picture_name(frame: Frame) -> str:
    """What a frame is called where it is written as an image."""
    return f"{frame.index:05d}.jpg"


def png(image: Image.Image) -> bytes:
    encoded = BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    """uint8 (H, W, 3) RGB, with all of its colour and little loss."""
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=95, subsampling=0)
    return encoded.getvalue()


def every_id(run: Run, result: FrameResult) -> list[int]:
    """The objects that are known to come and those that are there, ascending."""
    return sorted({*run.ids, *(item.id for item in result.objects)})


def alpha_of(result: FrameResult, object_id: int) -> np.ndarray:
    """uint16 (H, W); 0 for an object that has not entered yet."""
    if any(item.id == object_id for item in result.objects):
        return result.alpha(object_id)
    return np.zeros(result.index_map.shape, dtype=np.uint16)
