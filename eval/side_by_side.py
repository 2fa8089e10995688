"""A video of what several rows of a comparison made of one sequence, beside the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vos.errors import EvaluationError, OutputError
from vos.objects import measure
from vos.paths import put
from vos.results import OverlayPainter
from vos.results.yuv import bt709, tag_bt709
from vos.types import Frame, FrameResult
from vos.video import open_source

from .davis import Sequence, read_result
from .report import percent
from .scoring import SequenceScore

_PANEL_WIDTH = 640
_RATE = Fraction(24)
_OPTIONS = {"preset": "veryfast", "crf": "23"}
_BAR, _INK = (31, 41, 55), (255, 255, 255)


def write_side_by_side(sequence: Sequence, out: Path, scores: Mapping[str, SequenceScore], path: Path) -> None:
    """Writes an MP4 (H.264) with the truth and each row's masks, OUT/<row>/<sequence>, as panels of a grid.

    Args:
        sequence: what to show.
        out: folder of the comparison.
        scores: row -> its scores on the sequence, in the order of the panels.
        path: of the video; appears when it is whole.

    Raises:
        EvaluationError: a mask cannot be read or is missing.
        OutputError: the video cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(sequence, out, scores, part)
            put(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, av.error.FFmpegError, av.codec.codec.UnknownCodecError) as error:
        raise OutputError(f"cannot write {path}: {' '.join(str(error).split())}") from error


def _write(sequence: Sequence, out: Path, scores: Mapping[str, SequenceScore], path: Path) -> None:
    panels = _Panels(sequence, out, scores)
    with open_source(sequence.images) as source, av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_RATE, options=_OPTIONS)
        stream.height, stream.width = panels.size
        stream.pix_fmt = "yuv420p"
        tag_bt709(stream.codec_context)
        for frame in source:
            container.mux(stream.encode(bt709(panels.draw(frame), "yuv420p")))
        container.mux(stream.encode())


class _Panels:
    """Draws the panels of one frame; all of one size, the truth first.

    Attributes:
        size: (H, W) of the whole picture, even numbers.
    """

    def __init__(self, sequence: Sequence, out: Path, scores: Mapping[str, SequenceScore]) -> None:
        self._sequence = sequence
        self._out = out
        self._scores = scores
        self._painter = OverlayPainter(sequence.size)
        self._columns = math.ceil(math.sqrt(len(scores) + 1))
        self._rows = math.ceil((len(scores) + 1) / self._columns)
        width = min(_PANEL_WIDTH, sequence.size[1]) // 2 * 2
        height = round(sequence.size[0] * width / sequence.size[1]) // 2 * 2
        self._panel = (max(height, 2), max(width, 2))
        self._font = max(11, width // 32)
        self._bar = round(1.8 * self._font) // 2 * 2
        self.size = (self._rows * (self._panel[0] + self._bar), self._columns * self._panel[1])

    def draw(self, frame: Frame) -> np.ndarray:
        """uint8 (H, W, 3) RGB."""
        name = Path(frame.name).stem
        titles, maps = ["truth"], [self._truth(name)]
        for row, score in self._scores.items():
            titles.append(f"{row}{_value(score, name)}")
            maps.append(self._found(row, name))
        canvas = np.full((*self.size, 3), _BAR, dtype=np.uint8)
        high, wide = self._panel
        for number, (title, index_map) in enumerate(zip(titles, maps, strict=True)):
            top, left = number // self._columns * (high + self._bar), number % self._columns * wide
            canvas[top : top + self._bar, left : left + wide] = self._title(title)
            painted = frame.image if index_map is None else self._paint(frame, index_map)
            shrunk = cv2.resize(painted, (wide, high), interpolation=cv2.INTER_AREA)
            canvas[top + self._bar : top + self._bar + high, left : left + wide] = shrunk
        return canvas

    def _truth(self, name: str) -> np.ndarray | None:
        """None for a frame without annotation."""
        if name not in self._sequence.frames:
            return None
        truth, _ = self._sequence.annotation(name)
        return np.where(truth > self._sequence.objects, 0, truth).astype(np.uint8)

    def _found(self, row: str, name: str) -> np.ndarray:
        found = read_result(self._out / row, self._sequence, name)
        if found is None:
            raise EvaluationError(f"sequence {self._sequence.name}, frame {name}: {row} has no mask to show")
        return found.astype(np.uint8)

    def _paint(self, frame: Frame, index_map: np.ndarray) -> np.ndarray:
        ids = range(1, self._sequence.objects + 1)
        objects = tuple(measure(index_map, i, score=1.0, uncertain_below=0.0, given=False) for i in ids)
        return self._painter.paint(FrameResult(frame, index_map, objects))

    def _title(self, text: str) -> np.ndarray:
        image = Image.new("RGB", (self._panel[1], self._bar), _BAR)
        font = ImageFont.load_default(self._font)
        ImageDraw.Draw(image).text((self._font // 2, self._bar / 2), text, fill=_INK, font=font, anchor="lm")
        return np.asarray(image)


def _value(score: SequenceScore, name: str) -> str:
    """The frame's J&F; nothing where it is not scored."""
    if name not in score.frames:
        return ""
    t = score.frames.index(name)
    return f"   J&F {percent(float(np.mean([(o.j[t] + o.f[t]) / 2 for o in score.objects])))}"
