"""Everything the user asked to track, checked as a whole and looked up by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vos.errors import ReferenceInputError
from vos.references.grey import MAX_ID
from vos.references.masks import object_ids
from vos.references.types import BoxPrompt, Click, MaskReference, Reference


@dataclass(frozen=True, eq=False)
class ClickBoxPrompt:
    """The clicks and the box that point at one object on one frame.

    Attributes:
        points: float32 (P, 2), xy, pixels of the frame; P may be 0 where there is a box.
        labels: int8 (P,): 1 positive, 0 negative.
        box: float32 (4,), xyxy, inclusive; None where no box was given.
        mends: the object begins on another frame, and these are clicks alone: its mask is to be mended.
    """

    points: np.ndarray
    labels: np.ndarray
    box: np.ndarray | None
    mends: bool = False

    @property
    def points_at_something(self) -> bool:
        """Whether it says where the object is, not only where it is not."""
        return self.box is not None or bool((self.labels == 1).any())

    def held_by(self, mask: np.ndarray) -> np.ndarray:
        """Which points are on a mask, bool (H, W): bool (P,)."""
        return np.asarray(mask[self.pixels(mask.shape)])

    def pixels(self, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The pixels of a frame (H, W) that the points are on: rows and columns, int64 (P,) each."""
        x, y = np.clip(np.rint(self.points).astype(np.int64), 0, (size[1] - 1, size[0] - 1)).T
        return y, x

    def __repr__(self) -> str:
        box = "no box" if self.box is None else f"box {self.box.tolist()}"
        return (
            f"ClickBoxPrompt({int((self.labels == 1).sum())} positive, {int((self.labels == 0).sum())} negative, {box})"
        )


@dataclass(frozen=True, eq=False)
class FrameReferences:
    """What was given for one frame.

    Attributes:
        frame: index of the frame.
        masks: object id -> bool (H, W), ids ascending.
        prompts: object id -> clicks and box, ids ascending; no id is in both.
    """

    frame: int
    masks: Mapping[int, np.ndarray]
    prompts: Mapping[int, ClickBoxPrompt]

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids, ascending."""
        return tuple(sorted((*self.masks, *self.prompts)))

    def index_map(self, size: tuple[int, int]) -> np.ndarray:
        """The masks as one index map, uint8 (H, W), of frames of that size."""
        painted = np.zeros(size, np.uint8)
        for object_id, mask in self.masks.items():
            painted[mask] = object_id
        return painted

    def __repr__(self) -> str:
        return f"FrameReferences({self.frame}, masks={list(self.masks)}, prompts={list(self.prompts)})"


@dataclass(frozen=True, eq=False)
class ReferencePlan:
    """References that fit the frames and each other; made by `build`. Its memory grows with the references alone.

    Attributes:
        references: as given, in the order given.
        frame_size: (H, W) of the frames, pixels.
        notes: what the user should know, one line each, masks named.
        entries: object id -> the frame with which it begins, in the order in which they enter: by frame, then id. That
            is the first with a reference of it. Where objects are tracked both ways it is the first with a mask or a
            box, or, where an object has none, that of its first positive click in the order given: clicks may be
            before it.
        both_ways: objects are tracked both ways.
        backwards: this is for the way back: `at` gives clicks before an object's entry too.
    """

    references: tuple[Reference, ...]
    frame_size: tuple[int, int]
    notes: tuple[str, ...]
    entries: Mapping[int, int]
    both_ways: bool
    backwards: bool
    _merged: Mapping[int, np.ndarray] = field(repr=False)
    _prompts: Mapping[int, Mapping[int, ClickBoxPrompt]] = field(repr=False)

    @classmethod
    def build(
        cls,
        references: Iterable[Reference],
        *,
        frame_size: tuple[int, int],
        frame_count: int | None = None,
        both_ways: bool = False,
    ) -> ReferencePlan:
        """Checks references against the frames and against each other.

        Where masks of one frame overlap, the later one has the shared pixels, and a note says so.

        Args:
            references: any number of each kind, in any order.
            frame_size: (H, W) of the frames, pixels.
            frame_count: how many frames there are, where that is known exactly; else None.
            both_ways: objects will be tracked both ways.

        Raises:
            ReferenceInputError: there is none; one does not fit the frame or lies past the end; two for one object on
                one frame; only negative clicks where an object begins; a mask hidden by later ones.
        """
        references = tuple(references)
        if not references:
            raise ReferenceInputError("nothing to track: give at least one mask, click or box")
        for reference in references:
            _check_fits(reference, frame_size, frame_count)
        notes = [
            f"{r.source}: {note}"
            for r in references
            if isinstance(r, MaskReference)
            for note in (*r.notes, *_border_notes(r.mask))
        ]
        entries = _entries(references, both_ways=both_ways)
        merged: dict[int, np.ndarray] = {}
        prompts: dict[int, dict[int, ClickBoxPrompt]] = {}
        for frame in sorted({reference.frame for reference in references}):
            here = [reference for reference in references if reference.frame == frame]
            _check_one_reference_per_id(here)
            masks = [reference for reference in here if isinstance(reference, MaskReference)]
            pointers = [reference for reference in here if not isinstance(reference, MaskReference)]
            if masks:
                merged[frame] = _merge(masks, notes)
            if pointers:
                prompts[frame] = _prompts_by_id(pointers, {i for i, entry in entries.items() if entry == frame})
        return cls(references, frame_size, tuple(notes), entries, both_ways, False, merged, prompts)

    def way_back(self) -> ReferencePlan:
        """The same for the way back, from the last object's entry to the first frame."""
        return replace(self, backwards=True)

    def at(self, frame: int) -> FrameReferences:
        """What was given for a frame; empty where that is nothing."""
        index_map = self._merged.get(frame)
        masks = {} if index_map is None else {i: index_map == i for i in object_ids(index_map)}
        prompts = self.pointers(frame)
        if not self.backwards:
            prompts = {i: prompt for i, prompt in prompts.items() if self.entries[i] <= frame}
        return FrameReferences(frame, masks, prompts)

    def pointers(self, frame: int) -> Mapping[int, ClickBoxPrompt]:
        """Object id -> clicks and box on a frame, ids ascending, whichever way they are for."""
        return self._prompts.get(frame, {})

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames for which `at` gives something, ascending."""
        pointed = {
            k for k, prompts in self._prompts.items() if self.backwards or any(self.entries[i] <= k for i in prompts)
        }
        return tuple(sorted({*self._merged, *pointed}))

    @property
    def ids(self) -> tuple[int, ...]:
        """Every object's id once, in the order of `entries`."""
        return tuple(self.entries)

    def beyond(self, frame_count: int) -> tuple[Reference, ...]:
        """References that a clip of `frame_count` frames never reaches."""
        return tuple(reference for reference in self.references if reference.frame >= frame_count)

    def never_reached(self, frame_count: int) -> ReferenceInputError:
        """That a clip of `frame_count` frames ends before the first reference `beyond` it."""
        first = self.beyond(frame_count)[0]
        frames = f"{frame_count} frame{'' if frame_count == 1 else 's'} (0 to {frame_count - 1})"
        return ReferenceInputError(
            f"{first.source}: reference on frame {first.frame}, but the clip ended after {frames}"
        )

    def __repr__(self) -> str:
        return f"ReferencePlan({len(self.references)} references, ids={list(self.ids)}, frames={list(self.frames)})"


def _entries(references: Sequence[Reference], *, both_ways: bool) -> dict[int, int]:
    """`ReferencePlan.entries`."""
    entries: dict[int, int] = {}
    for object_id in sorted({object_id for reference in references for object_id in reference.ids}):
        own = [reference for reference in references if object_id in reference.ids]
        if both_ways:
            shown = [reference.frame for reference in own if not isinstance(reference, Click)]
            clicked = [reference.frame for reference in own if isinstance(reference, Click) and reference.positive]
            first = min(shown) if shown else clicked[0] if clicked else own[0].frame
        else:
            first = min(reference.frame for reference in own)
        entries[object_id] = first
    return dict(sorted(entries.items(), key=lambda entry: (entry[1], entry[0])))


def _check_fits(reference: Reference, frame_size: tuple[int, int], frame_count: int | None) -> None:
    height, width = frame_size
    if frame_count is not None and reference.frame >= frame_count:
        clip = "1 frame (0)" if frame_count == 1 else f"{frame_count} frames (0 to {frame_count - 1})"
        raise ReferenceInputError(f"{reference.source}: reference on frame {reference.frame}, but the clip has {clip}")
    if isinstance(reference, MaskReference):
        if reference.mask.shape != (height, width):
            mask_height, mask_width = reference.mask.shape
            raise ReferenceInputError(
                f"{reference.source}: the mask is {mask_width}x{mask_height}, but the frames are {width}x{height}: "
                "give a mask of the frames' size"
            )
        return
    if isinstance(reference, Click):
        points = [(reference.x, reference.y)]
    else:
        points = [(reference.x0, reference.y0), (reference.x1, reference.y1)]
    # The border pixels reach half a pixel beyond their centres.
    if not all(-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5 for x, y in points):
        raise ReferenceInputError(
            f"{reference.source} is outside of the {width}x{height} frame: "
            f"x is 0 to {width - 1}, y is 0 to {height - 1}"
        )


def _border_notes(index_map: np.ndarray) -> tuple[str, ...]:
    border = np.concatenate([index_map[0], index_map[-1], index_map[:, 0], index_map[:, -1]])
    if border[0] == 0 or (border != border[0]).any():
        return ()
    return (f"object {border[0]} covers the frame's whole border; is it the background?",)


def _check_one_reference_per_id(here: Sequence[Reference]) -> None:
    """References of one frame: at most one mask, or any number of clicks and at most one box, for each id."""
    owners: dict[int, Reference] = {}
    boxes: dict[int, BoxPrompt] = {}
    for reference in here:
        for object_id in reference.ids:
            first = owners.setdefault(object_id, reference)
            both_point = not isinstance(first, MaskReference) and not isinstance(reference, MaskReference)
            if first is not reference and not both_point:
                raise _two_references(object_id, first, reference)
        if isinstance(reference, BoxPrompt) and boxes.setdefault(reference.id, reference) is not reference:
            raise _two_references(reference.id, boxes[reference.id], reference)


def _two_references(object_id: int, first: Reference, second: Reference) -> ReferenceInputError:
    return ReferenceInputError(
        f"two references for object {object_id} on frame {first.frame}: {first.source} and {second.source}; "
        f"keep one, or give the other an id of its own (add :{object_id % MAX_ID + 1})"
    )


def _merge(masks: Sequence[MaskReference], notes: list[str]) -> np.ndarray:
    """One index map, uint8 (H, W), of the masks of one frame; adds to `notes` where they overlap."""
    merged = masks[0].mask.copy()
    for later in masks[1:]:
        shared = int(((merged > 0) & (later.mask > 0)).sum())
        if shared:
            notes.append(
                f"{later.source}: overlaps an earlier mask of frame {later.frame} on {shared} px and keeps them"
            )
        np.copyto(merged, later.mask, where=later.mask > 0)
    left = set(object_ids(merged))
    for reference in masks:
        for object_id in reference.ids:
            if object_id not in left:
                raise ReferenceInputError(
                    f"{reference.source}: object {object_id} on frame {reference.frame} is hidden by later masks: "
                    "give its mask last, or remove the overlap"
                )
    merged.flags.writeable = False
    return merged


def _prompts_by_id(pointers: Sequence[Click | BoxPrompt], begin: Collection[int]) -> dict[int, ClickBoxPrompt]:
    """The prompts of one frame, on which the objects `begin` begin."""
    prompts: dict[int, ClickBoxPrompt] = {}
    for object_id, count in sorted(Counter(pointer.id for pointer in pointers).items()):
        clicks = [p for p in pointers if isinstance(p, Click) and p.id == object_id]
        boxes = [p for p in pointers if isinstance(p, BoxPrompt) and p.id == object_id]
        if not boxes and not any(click.positive for click in clicks) and object_id in begin:
            raise ReferenceInputError(
                f"object {object_id} on frame {pointers[0].frame} has only negative clicks ({count}): "
                "add a positive click or a box that says where it is"
            )
        box = np.array([boxes[0].x0, boxes[0].y0, boxes[0].x1, boxes[0].y1], np.float32) if boxes else None
        points = np.array([(click.x, click.y) for click in clicks], np.float32).reshape(-1, 2)
        labels = np.array([click.positive for click in clicks], np.int8)
        prompts[object_id] = ClickBoxPrompt(points, labels, box, mends=object_id not in begin and box is None)
    return prompts
