"""Tracking in a smaller picture: what the model sees shrinks, what comes out keeps the source's size.

References are checked at the source's size and shrunk with the frames. Masks are enlarged from the decoder's own
logits, so that their edges are as smooth as without the detour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np

from vos.errors import ReferenceInputError
from vos.objects import measured_again
from vos.references import BoxPrompt, Click, MaskReference, Reference, ReferencePlan
from vos.soft import LowLogits
from vos.types import Frame, FrameResult, State
from vos.video.prefetch import source_of

Track = Callable[[Iterable[Frame], ReferencePlan], Generator[FrameResult, None, None]]


def reduced_size(size: tuple[int, int], max_size: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer side is at most `max_size`; never enlarged."""
    scale = min(1.0, max_size / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def run_reduced(
    run: Track, frames: Iterable[Frame], plan: ReferencePlan, max_size: int | None
) -> Generator[FrameResult, None, None]:
    """What `run` makes of frames whose longer side is at most `max_size` pixels, at the size that they had.

    Args:
        run: tracks a plan through frames, as `VideoTracker.run`.
        frames: of the plan's size.
        plan: what to track.
        max_size: None for frames as they are.
    """
    small = plan.frame_size if max_size is None else reduced_size(plan.frame_size, max_size)
    if small == plan.frame_size:
        yield from run(frames, plan)
        return
    incoming = _Reduced(frames, small)
    with closing(run(incoming, _reduced_plan(plan, small))) as results:
        for result in results:
            yield _enlarge(result, incoming.originals.popleft(), plan)


class _Reduced(Iterator[Frame]):
    """Frames made smaller, and the originals of those that are not answered yet."""

    def __init__(self, frames: Iterable[Frame], size: tuple[int, int]) -> None:
        self.source = source_of(frames)
        self.originals: deque[Frame] = deque()
        self._frames = iter(frames)
        self._size = size

    def __next__(self) -> Frame:
        frame = next(self._frames)
        self.originals.append(frame)
        return replace(frame, image=_resized(frame.image, self._size, cv2.INTER_AREA))


def _resized(image: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    return cv2.resize(image, (size[1], size[0]), interpolation=how)


def _reduced_plan(plan: ReferencePlan, small: tuple[int, int]) -> ReferencePlan:
    """The same references on smaller frames; masks of one frame as one, so that none is hidden by another."""
    pointers = [given for given in plan.references if not isinstance(given, MaskReference)]
    references = [_reduce(given, plan.frame_size, small) for given in pointers]
    for frame in plan.frames:
        given = plan.at(frame)
        if given.masks:
            references.append(
                MaskReference(frame, _reduce_mask(given.index_map(plan.frame_size), small), understood=True)
            )
    reduced = ReferencePlan.build(references, frame_size=small, both_ways=plan.both_ways)
    return reduced.way_back() if plan.backwards else reduced


def _reduce(reference: Click | BoxPrompt, size: tuple[int, int], small: tuple[int, int]) -> Reference:
    (y_scale, x_scale) = small[0] / size[0], small[1] / size[1]

    def scaled(x: float, y: float) -> tuple[float, float]:
        # What lies on the frame's far edge must not be rounded beyond it.
        return min((x + 0.5) * x_scale, small[1]) - 0.5, min((y + 0.5) * y_scale, small[0]) - 0.5

    if isinstance(reference, Click):
        x, y = scaled(reference.x, reference.y)
        return replace(reference, x=x, y=y)
    (x0, y0), (x1, y1) = scaled(reference.x0, reference.y0), scaled(reference.x1, reference.y1)
    return replace(reference, x0=x0, y0=y0, x1=x1, y1=y1)


def _reduce_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An index map of another size, uint8 (H, W): each pixel goes to who has most of it, and no object is lost."""

    def share(object_id: int) -> np.ndarray:
        return _resized((mask == object_id).astype(np.float32), size, cv2.INTER_AREA)

    reduced, most = np.zeros(size, np.uint8), share(0)
    ids = np.unique(mask[mask > 0]).tolist()
    for object_id in ids:
        own = share(object_id)
        more = own > most
        reduced[more], most[more] = object_id, own[more]
    for object_id in (0, *ids):
        if object_id in mask and not (reduced == object_id).any():
            reduced[_place_for(share(object_id), reduced)] = object_id
    return reduced


def _place_for(share: np.ndarray, reduced: np.ndarray) -> tuple[np.intp, ...]:
    """The pixel that holds most of an object, float32 (h, w), of those that are not all that another one has.

    Where it has no part of any of them, the nearest.
    """
    free = (np.bincount(reduced.ravel(), minlength=256) > 1)[reduced]
    if not free.any():
        h, w = reduced.shape
        raise ReferenceInputError(f"the objects do not fit into {w}x{h} pixels; give a larger max_size")
    y, x = np.unravel_index(share.argmax(), share.shape)
    rows, columns = np.indices(share.shape)
    away = np.hypot(rows - y, columns - x)
    worth = share - 1e-6 * away / away.max(initial=1)
    return np.unravel_index(np.where(free, worth, -np.inf).argmax(), share.shape)


def _enlarge(result: FrameResult, frame: Frame, plan: ReferencePlan) -> FrameResult:
    """The result at the original frame's size; masks that were given come out as they were given, and none is lost."""
    size = frame.size
    soft = replace(result.soft, frame_size=size) if isinstance(result.soft, LowLogits) else None
    index_map = np.zeros(size, np.uint8)
    best = np.full(size, 0.5, np.float32)
    given = plan.at(frame.index).masks
    for item in result.objects:
        if item.state is State.ABSENT or item.id in given:
            continue
        near = _resized((result.index_map == item.id).astype(np.float32), size, cv2.INTER_LINEAR)
        alpha = None if soft is None else soft.alpha(item.id)
        # Logits decide where exactly the edge runs, but only within a pixel of the small picture.
        share = near if alpha is None else np.where(near > 0, alpha.astype(np.float32) / 65535, 0)
        won = share > best
        index_map[won] = item.id
        best[won] = share[won]
    for item in result.objects:
        if item.area and item.id not in given and not (index_map == item.id).any():
            near = _resized((result.index_map == item.id).astype(np.float32), size, cv2.INTER_LINEAR)
            index_map[_place_for(near, index_map)] = item.id
    for object_id, mask in given.items():
        index_map[mask] = object_id
    objects = tuple(measured_again(index_map, item) for item in result.objects)
    return FrameResult(frame, index_map, objects, soft)
