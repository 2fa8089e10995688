"""Evidence instead of prompts: what the object looks like, learnt as it goes, and where motion carries its mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel

from trackers.absence import Absence
from trackers.apart import contested, given_back, leads, told_apart
from trackers.appearance import Cells, Sums, alike, likeness, recalled, solve, view
from trackers.belief import belief, regions, rivalled, rivals
from trackers.company import company
from trackers.known import Known
from trackers.memory_settings import MemorySettings
from trackers.motion import Grid, Motion, Motions
from vos.evidence import contrast
from vos.hypotheses import prompts_of
from vos.models.features import PLACES, Features
from vos.soft import LowLogits
from vos.types import Evidence, Frame, FrameResult, ObjectResult, Prompts

# Logits are kept within these bounds, so that no frame can speak louder than the evidence of the next.
_SURE = 6.0
# Of the largest area that an object has taken, what is left a frame later.
_LARGEST_KEPT = 0.97
# A mask holds its object in place wholly from this mean likeness on, and from an area of 1 / _HELD of the largest.
_LIKE, _HELD = 0.3, 3.0
# What is found again may be something else: the hold grows by this much per frame, and until then a better place wins.
_REGAINED = 0.15


class _Here:
    """What is known of one object on a frame before it is answered, each part made when first asked for.

    Args:
        known: the object after the last frame or, where its mask was given on this one, as it was given.
        motion: to this frame; None after a cut, and on the first.
        given: its mask was given on this frame.
    """

    def __init__(self, known: Known, motion: Motion | None, *, given: bool) -> None:
        self.known = known
        self.given = given
        self._motion = motion

    @cached_property
    def carried(self) -> np.ndarray:
        """The last logits where they are now, float32 (h, w); nowhere after a cut. A given mask is where it is."""
        if self.given:
            return self.known.logits
        if self._motion is None:
            return np.full_like(self.known.logits, -_SURE)
        return self._motion.carry(self.known.logits, -_SURE)

    @cached_property
    def absence(self) -> Absence | None:
        """Where it is not; None if nothing says so."""
        if self._motion is None or self.given or self.known.cut_off:
            return None
        return (self.known.absence or Absence.beside(self.known.logits)).carried(self._motion)

    @cached_property
    def company(self) -> np.ndarray | None:
        """What has been seen beside it, where that is now; None if nothing has."""
        kept = self.known.company
        return None if kept is None or self._motion is None else self._motion.keep(kept)

    def unlike(self, settings: MemorySettings) -> np.ndarray:
        """How much less like it places are than they look, float32 (h, w).

        What has been seen beside it for a while is, always; what was beside it when it was last seen, and what is far
        from there, more so the less of the object was in view.
        """
        less = np.zeros_like(self.known.logits) if self.company is None else settings.company * self.company
        weight = np.float32(settings.absence * (1 - self.known.hold))
        absence = self.absence if weight > 0 else None
        return less if absence is None else np.maximum(less, weight * absence.unlike(self.known.largest))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is made of a frame once, however many objects there are.

    Attributes:
        given: objects whose mask was given on this frame.
        here: of objects; filled in as they are asked for.
    """

    frame: Frame
    cells: Cells
    grid: Grid
    given: set[int] = field(default_factory=set)
    here: dict[int, _Here] = field(default_factory=dict)


class MemoryTracker:
    """What the object looks like, learnt from trusted frames, weighed against where motion carries its mask.

    Appearance: a classifier of grid cells in closed form, of the references and of recent frames; what has been seen
    beside the object for a while counts less. Motion: dense flow (DIS, OpenCV) carries the last logits; a place counts
    less the farther it is from them. How much they tie the object to its place falls with the mask's likeness and with
    its area, so that an object that is covered is looked for ever farther away, and one that is lost everywhere but in
    what was seen beside it. After a cut, motion says nothing.

    The memory learns from a frame if its mask agrees with what was believed and either stands out from what is beside
    it, for the references' classifier, as it usually does, or is where motion carries the last one.
    """

    Settings: ClassVar[type[BaseModel]] = MemorySettings

    def __init__(self, settings: MemorySettings) -> None:
        self._settings = settings
        self._motions = Motions()
        self._objects: dict[int, Known] = {}
        self._seen: _Seen | None = None
        self._evidence: Evidence | None = None
        # What tells the objects apart, and the classifiers of the time at which it was solved.
        self._apart: tuple[list[torch.Tensor], torch.Tensor] = [], torch.empty(0)

    def prepare(self, before: Frame, frame: Frame, features: Features) -> None:
        self._motions.prepare(before, frame, Grid(features.image))

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        seen = self._look(frame, features)
        shares = _at_least_one(seen.grid.shares(mask))
        share = _share(shares, seen.cells, seen.grid)
        sums = Sums.of(seen.cells, share, self._settings.near)
        known = self._objects.get(object_id)
        count = 1 if known is None else known.references + 1
        reference = sums if known is None else known.reference.mixed(sums, 1 / count)
        recent = None if known is None else known.recent
        first, now = self._solved(reference, None), self._solved(reference, recent)
        area = float(shares.sum())
        logits = (2 * shares - 1) * _SURE
        shown = view(seen.cells, share)
        seen.given.add(object_id)
        self._objects[object_id] = Known(
            reference=reference,
            references=count,
            recent=recent,
            first=first,
            now=now,
            logits=logits,
            area=area,
            largest=area,
            view=shown,
        )
        # What was carried here was of the mask before.
        seen.here.pop(object_id, None)
        self._evidence = None

    def locate(self, frame: Frame, features: Features) -> Prompts:
        seen = self._look(frame, features)
        if self._evidence is None:
            self._evidence = self._weighed(seen)
        prompts = prompts_of(self._evidence, features.image)
        lost = np.array([known.lost for known in self._objects.values()], dtype=bool)
        return prompts.with_boxes(np.where(lost[:, None], np.float32(np.nan), prompts.boxes))

    def update(self, result: FrameResult) -> None:
        seen = self._seen
        if seen is None:
            return
        evidence = self._weighed(seen) if self._evidence is None else self._evidence
        rows = {object_id: row for row, object_id in enumerate(self._objects)}
        for found in result.objects:
            if not found.given:
                row = rows[found.id]
                own = evidence.rows(slice(row, row + 1))
                self._objects[found.id] = self._after(self._objects[found.id], found, result, own)
        self._give_back(evidence.belief, {found.id: rows[found.id] for found in result.objects if not found.given})
        for object_id, known in self._objects.items():
            kept = company(self._here(object_id, seen).company, known.logits, known.hold)
            self._objects[object_id] = replace(known, company=kept)
        self._motions.advance(seen.frame, seen.grid)
        self._seen, self._evidence = None, None

    def state(self) -> dict[str, Any]:
        objects = {str(object_id): known.state() for object_id, known in self._objects.items()}
        return {"objects": objects, "last": self._motions.last}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._objects = {int(i): Known.restored(kept) for i, kept in state["objects"].items()}
        self._motions.last = state["last"]

    def _look(self, frame: Frame, features: Features) -> _Seen:
        if self._seen is None or self._seen.frame is not frame:
            cells, grid = Cells(features.image), Grid(features.image)
            # A restored state does not know where frames are.
            self._objects = {i: known.to(cells.x.device) for i, known in self._objects.items()}
            self._seen, self._evidence = _Seen(frame, cells, grid), None
        return self._seen

    def _solved(self, reference: Sums, recent: Sums | None) -> torch.Tensor:
        mixed = reference if recent is None else reference.mixed(recent, self._settings.recent)
        return solve(mixed, self._settings.damping)

    def _told_apart(self) -> torch.Tensor:
        """What tells the objects from each other, float32 (N, D + 1), solved again once one of them has learnt."""
        now = [known.now for known in self._objects.values()]
        if len(now) != len(self._apart[0]) or any(a is not b for a, b in zip(now, self._apart[0], strict=True)):
            own = (known.own(self._settings.recent) for known in self._objects.values())
            self._apart = now, told_apart(own, self._settings.damping)
        return self._apart[1]

    def _weighed(self, seen: _Seen) -> Evidence:
        """All that is known of the objects on this frame."""
        objects, cells, grid = list(self._objects.values()), seen.cells, seen.grid
        weights = torch.stack([*(known.now for known in objects), *(known.first for known in objects)])
        now, first = np.split(_on_grid(likeness(cells, weights), cells, grid), 2)
        motion = self._motions.to(seen.frame, grid)
        here = [self._here(i, seen) for i in self._objects]
        carried = np.stack([one.carried for one in here])
        unlike = [one.unlike(self._settings) for one in here]
        alone = np.stack(
            [
                belief(self._settings, known, like, less, where, elsewhere, motion, grid)
                for known, like, less, where, elsewhere in zip(
                    objects, now, unlike, carried, rivals(carried), strict=True
                )
            ]
        )
        cut = seen.frame.cut
        # The less of the object there was in the last frame, the more it takes to be it.
        loose = np.array([1 if cut and i not in seen.given else 1 - known.sure for i, known in self._objects.items()])
        settings = self._settings
        unseen = [
            (cut or known.cut_off) and known.recall is not None and i not in seen.given
            for i, known in self._objects.items()
        ]
        views = [
            _on_grid(alike(cells.x.unflatten(0, cells.size), known.view), cells, grid, 1) if u else None
            for known, u in zip(objects, unseen, strict=True)
        ]
        needed = [
            settings.cut_recall * (known.recall or 0) if u else -1 for known, u in zip(objects, unseen, strict=True)
        ]
        if len(objects) > 1 and settings.apart > 0:
            lead = leads(cells, self._told_apart())
            alone = contested(alone, _on_grid(lead, cells, grid), settings.apart)
        beliefs = rivalled(alone)
        return Evidence(
            belief=beliefs,
            region=regions(beliefs, carried),
            carried=carried,
            likeness=now,
            first_likeness=first,
            recognised=now - np.stack(unlike),
            least=(settings.least + settings.return_margin * loose).astype(np.float32),
            area=np.array([known.area for known in objects], dtype=np.float32),
            views=tuple(views),
            least_recall=np.array(needed, dtype=np.float32),
        )

    def _give_back(self, beliefs: np.ndarray, rows: Mapping[int, int]) -> None:
        """Have what is carried on follow the belief where answers have what was surely another's.

        Args:
            beliefs: float32 (N, h, w).
            rows: of the objects that answers were sought for, by id.
        """
        if len(rows) < 2:
            return
        last = np.stack([self._objects[object_id].logits for object_id in rows])
        carried = given_back(last, beliefs[list(rows.values())], self._settings.given_back)
        for object_id, logits in zip(rows, carried, strict=True):
            self._objects[object_id] = replace(self._objects[object_id], logits=logits)

    def _here(self, object_id: int, seen: _Seen) -> _Here:
        if object_id not in seen.here:
            motion = self._motions.to(seen.frame, seen.grid)
            seen.here[object_id] = _Here(self._objects[object_id], motion, given=object_id in seen.given)
        return seen.here[object_id]

    def _after(self, known: Known, found: ObjectResult, result: FrameResult, evidence: Evidence) -> Known:
        """An object after a frame, from its final mask and its own row of the evidence."""
        assert self._seen is not None
        cells, grid, settings = self._seen.cells, self._seen.grid, self._settings
        here = self._here(found.id, self._seen)
        shares = _at_least_one(grid.shares(result.index_map == found.id))
        logits = _final_logits(result, found.id, shares)
        inside = logits > 0
        if not inside.any():
            cut_off = known.cut_off or self._seen.frame.cut
            absence = here.absence
            gone = None if absence is None or cut_off else absence.gone(known.logits)
            return replace(known, logits=logits, sure=0.0, hold=0.0, lost=True, cut_off=cut_off, absence=gone)
        taken = float(shares.sum())
        largest = max(_LARGEST_KEPT * known.largest, taken)
        area = 0.9 * known.area + 0.1 * taken
        like, first = evidence.likeness[0], evidence.first_likeness[0]
        sure = float(np.clip(like[inside].mean() / _LIKE, 0, 1) * np.clip(_HELD * taken / largest, 0, 1))
        hold = min(sure, known.hold + _REGAINED)
        after = replace(
            known,
            logits=logits,
            area=area,
            largest=largest,
            sure=sure,
            hold=hold,
            lost=False,
            cut_off=False,
            absence=Absence.beside(logits, hold, here.absence) if hold < 1 else None,
        )
        standing = float(contrast(torch.from_numpy(first), torch.from_numpy(inside)[None], area)[0])
        usual = standing if known.contrast is None else known.contrast
        # What an object shows as it turns or comes near looks like nothing on its references; motion, which knows
        # nothing of looks, vouches for it.
        vouched = _iou(evidence.carried[0] > 0, inside) >= settings.vouched
        if found.score < settings.min_score or not (vouched or standing >= settings.min_contrast * usual):
            return replace(after, contrast=usual)
        share = _share(shares, cells, grid)
        shown = recalled(known.view, cells, share)
        usually = shown if known.recall is None else 0.9 * known.recall + 0.1 * shown
        after = replace(after, contrast=0.9 * usual + 0.1 * standing, recall=usually)
        if known.recent is not None and known.passed + 1 < settings.learn_every:
            return replace(after, passed=known.passed + 1)
        sums = Sums.of(cells, share, settings.near)
        rate = 1 - (1 - settings.rate) ** settings.learn_every
        recent = sums if known.recent is None else known.recent.mixed(sums, rate)
        now = self._solved(known.reference, recent)
        return replace(after, recent=recent, now=now, view=view(cells, share), passed=0)


def _share(shares: np.ndarray, cells: Cells, grid: Grid) -> torch.Tensor:
    """How much of every cell an object covers, float32 (h, w), from how much of every place."""
    return torch.from_numpy(_at_least_one(grid.averaged(shares, cells.size))).to(cells.x.device)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks, bool (h, w), not both empty."""
    return float((a & b).sum() / (a | b).sum())


def _at_least_one(shares: np.ndarray) -> np.ndarray:
    """Shares enlarged, if need be, until what holds most of a small object counts as all its own."""
    most = float(shares.max())
    return shares / most if 0 < most <= 0.5 else shares


def _final_logits(result: FrameResult, object_id: int, shares: np.ndarray) -> np.ndarray:
    """An object's logits, float32 (h, w), within +-6: the decoder's own, where the final mask agrees."""
    soft = result.soft
    if not isinstance(soft, LowLogits) or object_id not in soft.ids or soft.logits.shape[1:] != shares.shape:
        return (2 * shares - 1) * _SURE
    own = soft.logits[soft.ids.index(object_id)].astype(np.float32)
    # Where other objects have won the place, or most of it, it is not this one's.
    return np.clip(np.minimum(own, (4 * shares - 1) * _SURE), -_SURE, _SURE)


def _on_grid(maps: torch.Tensor, cells: Cells, grid: Grid, ratio: int = PLACES) -> np.ndarray:
    """Maps of cells enlarged by `ratio`, float32 (N, h, w); nothing looks like the object in the padding."""
    (h, w), (n, _, _) = cells.size, maps.shape
    whole = np.full((n, *(side * ratio // PLACES for side in grid.size)), -1, np.float32)
    if ratio > 1:
        maps = F.interpolate(maps[:, None], (ratio * h, ratio * w), mode="bilinear", align_corners=False)[:, 0]
    rows, columns = (-(-side * ratio // PLACES) for side in grid.covered)
    whole[:, :rows, :columns] = maps[:, :rows, :columns].cpu().numpy()
    return whole
