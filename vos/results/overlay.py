"""The picture people look at: tinted masks, contours and ids on the frame."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vos.palette import davis_palette
from vos.results.labels import UNNAMED, Labels
from vos.types import FrameResult, ObjectResult, State

_FILL = 0.4
_RIM_DARKNESS = 0.6
_SUPERSAMPLING = 4
# Sizes as shares of the frame's shorter side, with a smallest size in pixels.
_CONTOUR, _CONTOUR_MIN = 1 / 270, 1
_RIM, _RIM_MIN = 1 / 540, 1
_FONT, _FONT_MIN = 1 / 30, 11
# Characters of a label that are shown.
_LABEL = 24
_NO_CHARACTER = "\uffff"
# A chip that hides no more than this share of another object is in nobody's way.
_HIDDEN = 0.1

_Place = tuple[int, int, int, int]  # top, left, bottom, right


class OverlayPainter:
    """Draws results on frames of one size, (H, W).

    Masks are tinted with the DAVIS colour of their id and outlined in a brighter one, which a thin dark rim outside
    sets off from a background of the same hue; a chip beside each object holds its id and its label, with a question
    mark where the state is uncertain. Absent objects are not drawn. Chips stay inside the frame, and off each other and
    other objects where there is room; a frame too small for a chip has none. A label is left out where there is no room
    for it, or the font lacks a character.
    """

    def __init__(self, size: tuple[int, int], labels: Labels = UNNAMED) -> None:
        short = min(size)
        self._size = size
        self._labels = labels
        self._contour = max(_CONTOUR_MIN, round(short * _CONTOUR))
        self._reach = self._contour // 2 + max(_RIM_MIN, round(short * _RIM))
        self._font = max(_FONT_MIN, round(short * _FONT))
        self._fill = davis_palette()
        self._bright = _brighten(self._fill)

    def paint(self, result: FrameResult) -> np.ndarray:
        """Return a painted copy of the frame, uint8 (H, W, 3) RGB."""
        canvas = result.frame.image.copy()
        drawn = [item for item in result.objects if item.state is not State.ABSENT and item.box is not None]
        if drawn:
            self._shade(canvas, result.index_map, drawn)
            for item in drawn:
                self._outline(canvas, result.index_map, item)
            self._label(canvas, result.index_map, drawn)
        return canvas

    def _shade(self, canvas: np.ndarray, index_map: np.ndarray, drawn: list[ObjectResult]) -> None:
        """Tint the masks, and darken what lies close around them; the contours will cover the inner part of that."""
        shown = np.zeros(256, bool)
        shown[[item.id for item in drawn]] = True
        windows = [self._window(item) for item in drawn]
        top = max(min(w[0].start for w in windows) - self._reach, 0)
        left = max(min(w[1].start for w in windows) - self._reach, 0)
        bottom, right = max(w[0].stop for w in windows) + self._reach, max(w[1].stop for w in windows) + self._reach
        region = canvas[top:bottom, left:right]
        ids = index_map[top:bottom, left:right]
        mixed = cv2.addWeighted(region, 1 - _FILL, self._fill[ids], _FILL, 0)
        inside = shown[ids]
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * self._reach + 1,) * 2)
        rim = (cv2.dilate(inside.astype(np.uint8), brush) > 0) & ~inside
        region[rim] = np.rint(region[rim] * (1 - _RIM_DARKNESS))
        np.copyto(region, mixed, where=inside[:, :, None])

    def _outline(self, canvas: np.ndarray, index_map: np.ndarray, item: ObjectResult) -> None:
        rows, columns = self._window(item)
        mask = (index_map[rows, columns] == item.id).astype(np.uint8)
        offset = (columns.start, rows.start)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=offset)
        colour = self._bright[item.id].tolist()
        cv2.drawContours(canvas, contours, -1, colour, self._contour, cv2.LINE_AA)

    def _label(self, canvas: np.ndarray, index_map: np.ndarray, drawn: list[ObjectResult]) -> None:
        taken: list[_Place] = []
        for item in drawn:
            found = [
                (self._hidden(place, index_map, item, drawn, taken), number, chip, place)
                for chip in self._chips(item)
                for number, place in enumerate(self._places(index_map, item, chip.shape[:2]))
            ]
            if not found:
                continue
            # The first that hides next to nothing, or else that which hides least.
            good = next((one for one in found if one[0] <= _HIDDEN), None)
            _, _, chip, place = good or min(found, key=lambda one: one[:2])
            taken.append(place)
            top, left, bottom, right = place
            under = canvas[top:bottom, left:right]
            alpha = chip[:, :, 3:].astype(np.float32) / 255
            under[:] = np.rint(under * (1 - alpha) + chip[:, :, :3] * alpha)

    @staticmethod
    def _hidden(
        place: _Place, index_map: np.ndarray, item: ObjectResult, drawn: list[ObjectResult], taken: list[_Place]
    ) -> float:
        """How much a chip there would hide: the largest share of another object, half of that of its own, and 1 more on
        another chip."""
        top, left, bottom, right = place
        under = np.bincount(index_map[top:bottom, left:right].ravel(), minlength=256)
        shares = [under[one.id] / one.area / (2 if one is item else 1) for one in drawn if under[one.id]]
        return float(max(shares, default=0)) + any(_overlap(place, other) for other in taken)

    def _chips(self, item: ObjectResult) -> list[np.ndarray]:
        """The chips that an object may have: with its label where that can be shown, and without."""
        label, unsure = self._labels.of(item.id), "?" if item.state is State.UNCERTAIN else ""
        texts = [f"{item.id}{unsure}"]
        if label is not None and _shows(label):
            texts.insert(0, f"{item.id} {_short(label)}{unsure}")
        colour = tuple(self._bright[item.id].tolist())
        return [_chip(text, self._font, colour) for text in texts]

    def _places(self, index_map: np.ndarray, item: ObjectResult, chip: tuple[int, int]) -> list[_Place]:
        """Where a chip may be, inside the frame: on top of the object, below, beside and in it."""
        height, width = chip
        if height > self._size[0] or width > self._size[1]:
            return []
        rows, columns = self._window(item)
        gap = self._contour + 1
        above = columns.start + _middle(index_map[rows.start, columns] == item.id) - width // 2
        below = columns.start + _middle(index_map[rows.stop - 1, columns] == item.id) - width // 2
        centre = (rows.start + rows.stop - height) // 2
        wanted = [
            (rows.start - gap - height, above),
            (rows.stop + gap, below),
            (centre, columns.stop + gap),
            (centre, columns.start - gap - width),
        ]
        inside = [(y, x) for y, x in wanted if 0 <= y <= self._size[0] - height and -width < x < self._size[1]]
        places = []
        for y, x in [*inside, (rows.start + gap, above)]:
            top, left = min(max(y, 0), self._size[0] - height), min(max(x, 0), self._size[1] - width)
            places.append((top, left, top + height, left + width))
        return places

    def _window(self, item: ObjectResult) -> tuple[slice, slice]:
        """The object's box as (rows, columns) of the frame."""
        assert item.box is not None
        x0, y0, x1, y1 = item.box
        rows = slice(max(int(y0), 0), min(int(y1) + 1, self._size[0]))
        return rows, slice(max(int(x0), 0), min(int(x1) + 1, self._size[1]))


def _middle(row: np.ndarray) -> int:
    """The middle of the true entries of a bool (W,), or of the row where there are none."""
    true = np.flatnonzero(row)
    return int(true.mean()) if true.size else len(row) // 2


def _brighten(colours: np.ndarray) -> np.ndarray:
    """The same hues, lighter: gamma 1/2, then 15 % of the way to white. uint8 (N, 3) both."""
    light = np.sqrt(colours / 255.0)
    return np.rint(255 * (light + 0.15 * (1 - light))).astype(np.uint8)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"


@lru_cache(maxsize=256)
def _shows(text: str) -> bool:
    """Whether the font has every character: those that it has not all look alike."""
    font = ImageFont.load_default(_FONT_MIN)
    none = bytes(font.getmask(_NO_CHARACTER))
    return not any(bytes(font.getmask(character)) == none for character in text if not character.isspace())


@lru_cache(maxsize=1024)
def _chip(text: str, font_size: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A rounded label, uint8 (h, w, 4) RGBA: `text` in black or white on `colour`, with a thin dark rim."""
    scale = _SUPERSAMPLING
    font = ImageFont.load_default(font_size * scale)
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("0")
    height = round(font_size * 1.35)
    width = max(height, round((right - left) / scale + font_size * 0.8))
    chip = Image.new("RGBA", (width * scale, height * scale), (*colour, 0))
    draw = ImageDraw.Draw(chip)
    rim = max(1, font_size // 14) * scale
    corner = (width * scale - 1, height * scale - 1)
    draw.rounded_rectangle(
        (0, 0, *corner), radius=height * scale // 3, fill=(*colour, 255), outline=(0, 0, 0, 255), width=rim
    )
    luminance = np.dot(colour, (0.2126, 0.7152, 0.0722))
    ink = (0, 0, 0, 255) if luminance > 110 else (255, 255, 255, 255)
    x = (width * scale - (right - left)) / 2 - left
    y = (height * scale - (bottom - top)) / 2 - top
    draw.text((x, y), text, fill=ink, font=font)
    return np.asarray(chip.resize((width, height), Image.Resampling.BOX))


def _overlap(a: _Place, b: _Place) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
