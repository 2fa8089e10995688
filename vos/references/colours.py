"""Colours to object ids."""

from __future__ import annotations

import numpy as np

from vos.errors import ReferenceInputError
from vos.palette import CODES, codes_of, ids_of
from vos.references.edges import settle_edges
from vos.references.grey import MAX_ID, ids_from_grey, ids_from_indices
from vos.references.softness import flat_pixels, lone_pixels

_NEAR_GREY = 12  # largest difference of channels that a lossy format makes out of grey
_BLEND_TOLERANCE = 4.0  # distance of a blended colour from the line between the two it blends
_EDGE_COLOURS = 8  # from here on, colours that are nowhere solid and outnumber the solid ones are edges
_MANY_COLOURS = 256  # more than objects could have
_PHOTO_COLOURS = 64
_PHOTO_FLAT_SHARE = 0.12  # measured at most 0.04 for photographs, from 0.21 for compressed masks of 30 colours
_QUANTUM = 32  # width of a colour bin where colours are smeared
_CLOSE_COLOURS = 6  # differences of channels below this between most colours show that they are smeared
_COMPARED = 1024  # colours
_SMEARED_AREA = 2e-4  # share of the frame that a smeared colour must fill to be an object
_SAME_COLOUR = 40  # largest difference of channels between smeared versions of one colour
_LISTED = 8


def ids_from_colours(rgb: np.ndarray, *, lossy: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the colours of a mask mean: black is background, any other colour an object.

    Grey images are read as `ids_from_grey` does. Colours that are all in the DAVIS palette keep their index; others are
    numbered in order of first appearance, row by row. Blended colours at borders go to the nearest solid colour.

    Args:
        rgb: uint8 (H, W, 3).
        lossy: the colours come from a format that does not keep them exactly (JPEG).

    Returns:
        The index map, uint8 (H, W), and notes for the user.

    Raises:
        ReferenceInputError: nothing but background, too many colours, or a photograph.
    """
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    if spread.max() <= (_NEAR_GREY if lossy else 0):
        return ids_from_grey(np.sort(rgb, axis=2)[..., 1], lossy=lossy)
    ids, are = ids_of(rgb)
    if are.all():
        index_map, notes = ids_from_indices(ids, indexed=True)
        return index_map, ("colours were read with the DAVIS palette", *notes)
    codes = codes_of(rgb)
    colours = _distinct(codes)
    if is_photograph(rgb):
        raise ReferenceInputError(f"not a mask: {len(colours)} colours without flat areas, like a photograph")
    solid = _distinct(codes[lone_pixels(codes)])
    if lossy or (len(colours) > _MANY_COLOURS and _are_smeared(solid)):
        return _number(*_settle_smeared(rgb))
    edges = colours[(colours != 0) & ~np.isin(colours, solid)]
    levels = np.concatenate([[0], solid if _are_blends(edges, solid) else colours[colours != 0]])
    _check_count(len(levels) - 1)
    row_of = np.full(CODES, -1, np.int32)
    row_of[levels] = np.arange(len(levels))
    levels_rgb = _decode(levels)
    return _number(settle_edges(rgb, row_of[codes], levels_rgb), levels_rgb)


def is_photograph(rgb: np.ndarray, where: np.ndarray | None = None) -> bool:
    """Whether uint8 (H, W, 3), or its pixels `where`, bool (H, W), has many colours and hardly a flat area."""
    codes = codes_of(rgb)
    if where is None:
        where = np.ones(codes.shape, bool)
    return len(_distinct(codes[where])) > _PHOTO_COLOURS and float(flat_pixels(codes)[where].mean()) < _PHOTO_FLAT_SHARE


def _distinct(codes: np.ndarray) -> np.ndarray:
    """The distinct colour codes, ascending; a table of all of them is much faster than sorting millions of pixels."""
    present = np.zeros(CODES, bool)
    present[codes] = True
    return np.flatnonzero(present)


def _decode(codes: np.ndarray) -> np.ndarray:
    """int (K,) -> float32 (K, 3)."""
    return np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=1).astype(np.float32)


def _are_blends(edges: np.ndarray, solid: np.ndarray) -> bool:
    """Whether colours that are nowhere solid, codes (E,), are blends of the solid ones, codes (S,), and of black."""
    if not len(edges) or not 0 < len(solid) <= MAX_ID:
        return False
    if len(edges) >= _EDGE_COLOURS and len(edges) >= len(solid):
        return True
    ends = _decode(np.concatenate([[0], solid]))
    for colour in _decode(edges):
        along = ends[None, :] - ends[:, None]
        length = np.square(along).sum(axis=2)
        share = ((colour - ends[:, None]) * along).sum(axis=2) / np.maximum(length, 1)
        foot = ends[:, None] + share[..., None] * along
        distance = np.linalg.norm(colour - foot, axis=2)
        if not ((distance <= _BLEND_TOLERANCE) & (share > 0) & (share < 1) & (length > 0)).any():
            return False
    return True


def _are_smeared(solid: np.ndarray) -> bool:
    """Whether most solid colours, codes (S,), lie so close to another or to black that they are versions of it."""
    levels = _decode(np.concatenate([[0], solid[:_COMPARED]]))
    difference = np.abs(levels[:, None] - levels[None]).max(axis=2)
    np.fill_diagonal(difference, np.inf)
    return float((difference.min(axis=1) < _CLOSE_COLOURS).mean()) > 0.5


def _settle_smeared(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 (H, W) and their colours, float32 (K, 3), row 0 black, where compression or a blur smeared them."""
    image = rgb.astype(np.float32)
    bins = codes_of(((rgb.astype(np.int32) + _QUANTUM // 2) // _QUANTUM).astype(np.uint8))
    found, counts = np.unique(bins[lone_pixels(bins)], return_counts=True)
    levels = [np.zeros(3, np.float32)]
    common_first = np.argsort(-counts, kind="stable")[: int((counts >= _SMEARED_AREA * bins.size).sum())]
    for code in found[common_first]:
        colour = image[bins == code].mean(axis=0)
        if min(float(np.abs(colour - level).max()) for level in levels) > _SAME_COLOUR:
            levels.append(colour)
    stacked = np.stack(levels)
    labels = np.full(bins.shape, -1, np.int32)
    for k, level in enumerate(stacked):
        labels[np.abs(image - level).max(axis=2) <= _QUANTUM] = k
    return settle_edges(image, labels, stacked), stacked


def _number(labels: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Ids for the levels but 0, in order of first appearance; labels int (H, W), levels float32 (K, 3)."""
    present, first = np.unique(labels, return_index=True)
    order = [int(k) for k in present[np.argsort(first)] if k != 0]
    if not order:
        raise ReferenceInputError("all background: there is no object in it (every pixel is black)")
    _check_count(len(order))
    ids = np.zeros(len(levels), np.uint8)
    ids[order] = np.arange(1, len(order) + 1)
    named = [f"({', '.join(str(round(float(c))) for c in levels[k])}) is {ids[k]}" for k in order[:_LISTED]]
    more = f" and {len(order) - _LISTED} more" if len(order) > _LISTED else ""
    return ids[labels], (f"colours were numbered as they appear: {', '.join(named)}{more}",)


def _check_count(colours: int) -> None:
    if colours > MAX_ID:
        raise ReferenceInputError(
            f"holds {colours} colours, but at most {MAX_ID} objects can be tracked: keep at most {MAX_ID} of them"
        )
