"""Grey values to object ids."""

from __future__ import annotations

import numpy as np

from vos.errors import ReferenceInputError
from vos.references.edges import settle_edges
from vos.references.softness import count_pieces, is_black_and_white, is_soft, lone_pixels

MAX_ID = 255
_VOID = 255
_SMALL_IDS = 32  # above, 255 beside grey values is the brightest of them and not void
_WHITES = (1, 255, 65535)
_EDGE_VALUES = 8  # fewer values that are nowhere solid are small objects
_PIECES_PER_EDGE_VALUE = 1.4


def ids_from_grey(values: np.ndarray, *, lossy: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the grey values of a mask mean.

    Args:
        values: integers (H, W), 0 to 65535 where they are to mean anything but ids.
        lossy: they come from a format that does not keep values exactly (JPEG), so they cannot be ids.

    Returns:
        The index map, uint8 (H, W), and notes for the user.

    Raises:
        ReferenceInputError: nothing but background, ids out of range, or a photograph.
    """
    distinct = _checked_values(values)
    if len(distinct) == 1:
        value = int(distinct[0])
        if lossy or value in _WHITES:
            return (values > 0).astype(np.uint8), ()
        return ids_from_indices(values)
    full = 255 if distinct[-1] <= 255 else 65535
    if distinct[-1] <= full and is_soft(values, full):
        return _cut_soft(values)
    if lossy:
        if not is_black_and_white(values.astype(np.int32)):
            raise ReferenceInputError(
                f"{len(distinct)} grey values from a lossy format, which blurs ids: save the mask as PNG"
            )
        return _cut_soft(values)
    if _has_soft_borders(values):
        levels = np.unique(values[lone_pixels(values)])
        solid = np.concatenate([[0], levels])
        labels = np.where(np.isin(values, solid), np.searchsorted(solid, values), -1)
        labels = settle_edges(values[..., None], labels, solid[:, None].astype(np.float32))
        index_map, notes = ids_from_indices(solid[labels])
        return index_map, (
            *notes,
            "in-between grey values at the borders were given to the nearest object or background",
        )
    return ids_from_indices(values)


def ids_from_indices(values: np.ndarray, *, indexed: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """What integers mean that are ids already; 255 beside smaller ids is void, as in DAVIS.

    Args:
        values: integers (H, W).
        indexed: they are indices of a palette; otherwise 255 is void only where all other ids are small.

    Returns:
        The index map, uint8 (H, W), and notes for the user; raises as `ids_from_grey`.
    """
    distinct = _checked_values(values)
    if len(distinct) == 1 and distinct[0] == _VOID:
        return (values > 0).astype(np.uint8), ()
    if len(distinct) > MAX_ID:
        raise ReferenceInputError(
            f"holds {len(distinct)} objects, but at most {MAX_ID} can be tracked: keep at most {MAX_ID} of them, "
            f"with ids 1 to {MAX_ID}"
        )
    if distinct[-1] > MAX_ID:
        raise ReferenceInputError(
            f"holds the id {distinct[-1]}, but ids must be 1 to {MAX_ID}: renumber the {_count(len(distinct))}"
        )
    index_map = values.astype(np.uint8)
    if distinct[-1] == _VOID and distinct[-2] < (_VOID - 1 if indexed else _SMALL_IDS):
        index_map[index_map == _VOID] = 0
        return index_map, ("255 beside other ids is void, as in DAVIS, and was taken as background",)
    return index_map, ()


def _checked_values(values: np.ndarray) -> np.ndarray:
    """The distinct values but 0, ascending, at least one and none negative."""
    distinct = np.unique(values)
    if distinct[0] < 0:
        raise ReferenceInputError(f"holds the negative id {distinct[0]}: ids must be 1 to {MAX_ID}, background 0")
    distinct = distinct[distinct > 0]
    if not len(distinct):
        raise ReferenceInputError("all background: there is no object in it (every pixel is 0)")
    return distinct


def _cut_soft(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    top = int(values.max())
    flat_share = float(((values == 0) | (values == top)).mean())
    if flat_share < 0.5 and _is_grainy(values, top):
        raise ReferenceInputError("not a mask: grey values without flat areas, like a photograph")
    note = f"in-between grey values were read as the soft edges of one object and cut at half of the maximum ({top})"
    return (2 * values.astype(np.int64) >= top).astype(np.uint8), (note,)


def _is_grainy(values: np.ndarray, top: int) -> bool:
    """Whether most pixels lie between black and white and still differ a lot from the pixel beside them."""
    band = top // 8
    between = (values > band) & (values < top - band)
    if between.mean() < 0.5 or len(np.unique(values)) < 64:
        return False
    change = np.abs(np.diff(values.astype(np.int32), axis=1))
    return float(np.mean(change[between[:, 1:]] > top / 100)) > 0.2


def _has_soft_borders(values: np.ndarray) -> bool:
    """Whether most distinct values are nowhere solid, and scattered: edges between several flat objects."""
    present = np.unique(values[values > 0])
    solid = np.unique(values[lone_pixels(values)])
    edge_values = len(present) - len(solid)
    if not 0 < len(solid) <= MAX_ID or edge_values < max(_EDGE_VALUES, 2 * len(solid)):
        return False
    edges = (values > 0) & ~np.isin(values, solid)
    return count_pieces(values, edges) >= _PIECES_PER_EDGE_VALUE * edge_values


def _count(n: int) -> str:
    return "1 object" if n == 1 else f"{n} objects"
