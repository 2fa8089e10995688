"""Tells a soft mask (one object whose edges take in-between grey values) from a label map (every grey value an object).

The two look alike in a histogram; they differ in how a value lies in the plane. A label is *lone*: most of its pixels
see only their own value and background. The edge of a soft mask is not: its pixels see the next step of the ramp. Very
wide ramps have flat terraces too, but a terrace of a ramp ends in a step of one, and that of a label in any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_LONE_SHARE = (
    0.05  # in-between pixels that are lone: below, edges; measured 0 to 0.04 for anti-aliasing, from 0.16 for labels
)
_SCATTERED_LONE_SHARE = 0.15  # the same where each value lies in many pieces, which labels seldom do
_BLOCKY_LONE_SHARE = 0.75  # the same where those pieces are many and tiny too: a soft mask enlarged pixel by pixel
_PIECES_PER_VALUE = 1.4  # measured at most 1.1 for cells, from 1.4 for edges
_BLOCKY_PIECE_AREA = 24  # pixels
_BLOCKY_VALUES = 12
_BLOCKY_LARGEST = 0.25
_FAINT_VALUES = 12  # what a mask that never reaches half of white must show before its values are taken for edges
_ROUGH_SHARE = 0.05  # steps too large for a ramp: below, a ramp; measured 0.04 for blurs, from 0.4 for touching cells
_NOISE_BAND = 1 / 8  # of the maximum: what compression and ringing add to black and take from white

_GREY_AREA_SHARE = 0.03  # lone in-between pixels for each white one that compression may leave


def lone_pixels(values: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of `values`, int (H, W), that are not 0 and whose 8 neighbours are 0 or equal to them."""
    lone = values != 0
    for neighbour in _neighbours(values):
        lone &= (neighbour == values) | (neighbour == 0)
    return lone


def flat_pixels(values: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of `values`, int (H, W), whose 8 neighbours are equal to them."""
    flat = np.ones(values.shape, bool)
    for neighbour in _neighbours(values):
        flat &= neighbour == values
    return flat


def _neighbours(values: np.ndarray) -> Iterator[np.ndarray]:
    """The 8 neighbours of each pixel, (H, W) each; the border repeats."""
    height, width = values.shape
    padded = np.pad(values, 1, mode="edge")
    for dy, dx in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        yield padded[dy : dy + height, dx : dx + width]


def count_pieces(values: np.ndarray, where: np.ndarray) -> int:
    """Connected pieces of equal value less their holes (the Euler number, 4-neighbours) over the pixels `where`.

    Args:
        values: int (H, W).
        where: bool (H, W).
    """
    right = (values[:, 1:] == values[:, :-1]) & where[:, 1:] & where[:, :-1]
    down = (values[1:] == values[:-1]) & where[1:] & where[:-1]
    squares = right[1:] & right[:-1] & down[:, 1:] & down[:, :-1]
    return int(where.sum()) - int(right.sum()) - int(down.sum()) + int(squares.sum())


def is_soft(values: np.ndarray, full: int) -> bool:
    """Whether a grey image of at least two values beside 0 is one object with soft edges.

    Args:
        values: integers (H, W), 0 to `full`.
        full: the value of solid white, 255 or 65535.
    """
    step = int(np.gcd.reduce(np.unique(values)))
    values, full = (values // step).astype(np.int32), full // step
    top = int(values.max())
    if _is_ramp(values, full):
        return True
    spread = _spread(values, (values > 0) & (values < top))
    if 2 * top <= full:
        return spread.distinct >= _FAINT_VALUES and spread.lone < _LONE_SHARE and spread.is_scattered
    if spread.is_edges and values[values < top].max() > full // 16:
        return True
    return top == full and _is_noisy(values, top)


@dataclass(frozen=True)
class _Spread:
    """How a set of pixels lies in the plane.

    Attributes:
        pixels: how many.
        distinct: different values among them.
        lone: share of lone pixels, 0 to 1.
        pieces: pieces of equal value, holes subtracted.
        largest: share of the pixels that the most frequent value has, 0 to 1.
    """

    pixels: int
    distinct: int
    lone: float
    pieces: int
    largest: float

    @property
    def is_scattered(self) -> bool:
        return self.pieces >= _PIECES_PER_VALUE * self.distinct

    @property
    def is_edges(self) -> bool:
        tiny = self.pixels <= _BLOCKY_PIECE_AREA * self.pieces and self.largest <= _BLOCKY_LARGEST
        tiny &= self.distinct >= _BLOCKY_VALUES
        return (
            self.lone < _LONE_SHARE
            or (self.lone < _SCATTERED_LONE_SHARE and self.is_scattered)
            or (self.lone < _BLOCKY_LONE_SHARE and self.is_scattered and tiny)
        )


def _spread(values: np.ndarray, where: np.ndarray) -> _Spread:
    pixels = int(where.sum())
    lone = int((lone_pixels(values) & where).sum()) / max(pixels, 1)
    counts = np.unique(values[where], return_counts=True)[1]
    largest = int(counts.max(initial=0)) / max(pixels, 1)
    return _Spread(pixels, len(counts), lone, count_pieces(values, where), largest)


def _is_noisy(values: np.ndarray, top: int) -> bool:
    """Whether this is black and white with what lossy compression or a sharpening filter leaves around edges."""
    band = max(1, int(top * _NOISE_BAND))
    below_white = (values > top - band) & (values < top)
    if not below_white.any():
        return False
    noise = below_white | ((values > 0) & (values < band))
    distinct = len(np.unique(values[noise]))
    if distinct < 4 and count_pieces(values, noise) < _PIECES_PER_VALUE * distinct:
        return False
    return _has_no_grey_area(values, top, band)


def is_black_and_white(values: np.ndarray) -> bool:
    """Whether a lossily compressed grey image, int (H, W), is black and white: hardly an area lies flat between."""
    top = int(values.max())
    return _has_no_grey_area(values, top, top // 4)


def _has_no_grey_area(values: np.ndarray, top: int, band: int) -> bool:
    clean = np.where(values < band, 0, np.where(values > top - band, top, values))
    between = (clean > 0) & (clean < top)
    spread = _spread(clean, between)
    return spread.is_edges or spread.lone * spread.pixels <= _GREY_AREA_SHARE * int((clean == top).sum())


def _is_ramp(values: np.ndarray, full: int) -> bool:
    """Whether values change so gently everywhere that only a wide blur or feather can have made them."""
    top = int(values.max())
    levels = len(np.unique(values[values > 0]))
    if levels < 8 or (levels < 12 and _peaks_at_border(values, top)):
        return False
    if 2 * top <= full and ((values == values[:1]).all() or (values == values[:, :1]).all()):
        return False  # stripes, numbered in order
    gentle = max(1 if levels < 16 else 2, top // 10)
    changes = jumps = peak_changes = peak_jumps = ends = cliffs = 0
    for rows in (values, values.T):
        inside = (rows > 0) & (rows < top)
        change = np.abs(np.diff(rows, axis=1))
        jump = change > gentle
        peak = (rows[:, 1:] == top) | (rows[:, :-1] == top)
        changes += int((change > 0).sum())
        jumps += int(jump.sum())
        peak_changes += int((peak & (change > 0)).sum())
        peak_jumps += int((peak & jump).sum())
        terrace = (change[:, :-1] == 0) & (change[:, 1:] == 0) & inside[:, 1:-1]
        for end, rise in ((terrace[:, :-1], change[:, 2:]), (terrace[:, 1:], change[:, :-2])):
            edge = end & (rise > 0)
            ends += int(edge.sum())
            cliffs += int((rise[edge] > 2).sum())
    return (
        jumps <= _ROUGH_SHARE * changes and peak_jumps <= _ROUGH_SHARE * peak_changes and cliffs <= _ROUGH_SHARE * ends
    )


def _peaks_at_border(values: np.ndarray, top: int) -> bool:
    """So few levels may be tiles numbered in order; a blurred object is brightest inside of the frame."""
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    return 2 * int(border.max()) > top
