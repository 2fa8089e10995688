"""From prompts to masks: the cascade, the choice among candidates, and the merge of objects.

Policy lives here (which candidate, which prompt next); the model only decodes what it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from vos.clicks import mended_mask
from vos.corrections import Correction, Looks, Samples, detail
from vos.evidence import Choice, choose, completed
from vos.hypotheses import Hypotheses, hypotheses, remainders
from vos.models.features import FeatureMap
from vos.models.sam import SegmentAnything
from vos.personalize import fit_scale_weights
from vos.references import ClickBoxPrompt
from vos.resample import shares
from vos.settings import DecoderSettings, First, FitSettings
from vos.types import Candidates, Evidence, Prompts

# Logit of an object that is not there.
_NOTHING = -1e4


@dataclass(frozen=True, eq=False)
class Segmented:
    """N objects on one frame.

    Attributes:
        logits: float (N, h, w), the decoder's resolution, padding included.
        scores: float32 (N,), estimated IoU of the chosen masks, as in `ObjectResult`; 0 for rows without an answer.
        uncorrected: the logits before anything was corrected, float (N, h, w); the same tensor where nothing was. The
            tracker goes on from these: a correction that went into the next frame's evidence would feed itself.
    """

    logits: torch.Tensor
    scores: np.ndarray
    uncorrected: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Answers:
    """What the decoder says of N objects.

    Attributes:
        chosen: the answer of each, or None.
        first: for each that was asked for, the three candidates of its first hypothesis, float (3, h, w).
    """

    chosen: list[Choice]
    first: dict[int, torch.Tensor]


class Segmenter:
    """Turns prompts into masks, with what is learnt of each object on its references: its scale (PerSAM-F), and what
    the decoder misses of it (`vos.corrections`).

    Args:
        model: the segmenter.
        settings: how to run the cascade.
        fit: how to fit the scale weights; used when `settings.first` is "fitted".
    """

    def __init__(self, model: SegmentAnything, settings: DecoderSettings, fit: FitSettings) -> None:
        self._model = model
        self._settings = settings
        self._fit = fit
        self._weights: dict[int, np.ndarray] = {}
        self._samples: dict[int, Samples] = {}
        self._corrections: dict[int, Correction] = {}

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain data by object id: the fitted mix of the three scales, float64 (3,), and what
        corrections need."""
        return {
            "scale_weights": {str(object_id): weights for object_id, weights in self._weights.items()},
            "samples": {str(object_id): asdict(samples) for object_id, samples in self._samples.items()},
            "corrections": {str(object_id): fitted.state() for object_id, fitted in self._corrections.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` told."""
        device = self._model.device
        self._weights = {int(object_id): weights for object_id, weights in state["scale_weights"].items()}
        self._samples = {int(object_id): Samples(**kept) for object_id, kept in state["samples"].items()}
        self._corrections = {int(i): Correction.restored(kept, device) for i, kept in state["corrections"].items()}

    @property
    def corrects(self) -> bool:
        """Whether `learn_corrections` and `segment` are to be told a frame's `detail`."""
        return self._settings.correct and self._settings.first is First.EVIDENCE

    def detail(self, pixels: np.ndarray, image: FeatureMap) -> np.ndarray | None:
        """What corrections need of a frame's pixels, uint8 RGB (H, W, 3): float32 (C, h, w); None if there are none.

        (h, w) is the part of the logits' grid that the frame covers.
        """
        return detail(pixels, image.covered_places) if self.corrects else None

    def learn_corrections(
        self, ids: list[int], image: FeatureMap, prompts: Prompts, masks: list[np.ndarray], shown: np.ndarray
    ) -> None:
        """Learn what the decoder lacks of objects on their reference frame (`vos.corrections`), if that is wished.

        Args:
            ids: the objects.
            image: the reference frame's embedding.
            prompts: one row per object, as in tracking; without evidence nothing is learnt.
            masks: their reference masks, bool (H, W).
            shown: the frame's `detail`, float32 (C, h, w).
        """
        evidence = prompts.evidence
        if not self.corrects or evidence is None:
            return
        answers = self._answers(image, prompts, evidence)
        for row, (object_id, mask) in enumerate(zip(ids, masks, strict=True)):
            truth = shares(mask, (shown.shape[1], shown.shape[2]))
            looks = _looks(answers, row, evidence, shown, truth > 0.5)
            if looks is not None:
                samples, known = Samples.of(looks, truth), self._samples.get(object_id)
                self._samples[object_id] = samples if known is None else known.joined(samples)
                self._corrections[object_id] = Correction.fit(self._samples[object_id], image.features.device)

    def learn(self, ids: list[int], image: FeatureMap, prompts: Prompts, masks: list[np.ndarray]) -> None:
        """Fit the scale weights of objects on their reference frame (PerSAM-F, section 3.2).

        Args:
            ids: the objects.
            image: the reference frame's embedding.
            prompts: one row per object, as in tracking.
            masks: their reference masks, bool (H, W).
        """
        if self._settings.first is not First.FITTED:
            return
        candidates = self._model.decode(image, self._opening(prompts))
        for object_id, logits, mask in zip(ids, candidates.logits, masks, strict=True):
            full = self._model.to_frame(logits, image)
            self._weights[object_id] = fit_scale_weights(full.cpu().numpy(), mask, self._fit)

    def segment(
        self, ids: list[int], image: FeatureMap, prompts: Prompts, shown: np.ndarray | None = None
    ) -> Segmented:
        """Masks of all objects together; row i of `prompts` is object `ids[i]`, and `shown` the frame's `detail`."""
        if self._settings.first is First.EVIDENCE and prompts.evidence is not None:
            return self._weighed(ids, image, prompts, prompts.evidence, shown)
        logits = torch.full((len(prompts), *image.places), _NOTHING, device=image.features.device)
        scores = np.zeros(len(prompts), dtype=np.float32)
        active = np.flatnonzero(prompts.active)
        if active.size:
            chosen, score = self._cascade([ids[row] for row in active], image, prompts.rows(active))
            logits[torch.from_numpy(active).to(logits.device)] = chosen
            scores[active] = score.cpu().numpy()
        return Segmented(logits, scores, logits)

    def _weighed(
        self, ids: list[int], image: FeatureMap, prompts: Prompts, evidence: Evidence, shown: np.ndarray | None
    ) -> Segmented:
        """The most credible of several hypotheses for each object (see `vos.evidence`), corrected."""
        answers = self._answers(image, prompts, evidence)
        logits = torch.full((len(ids), *image.places), _NOTHING)
        scores = np.zeros(len(ids), dtype=np.float32)
        for row, found in enumerate(answers.chosen):
            if found is not None:
                logits[row], scores[row] = found
        if shown is None:
            return Segmented(logits, scores, logits)
        corrected = logits
        for row, object_id in enumerate(ids):
            correction = self._corrections.get(object_id)
            looks = None if correction is None else _looks(answers, row, evidence, shown)
            if correction is not None and looks is not None:
                if corrected is logits:
                    corrected = logits.clone()
                part = corrected[row][looks.window]
                part[torch.from_numpy(looks.near)] = torch.from_numpy(correction(looks)).to(part)
        return Segmented(corrected, scores, logits)

    def _answers(self, image: FeatureMap, prompts: Prompts, evidence: Evidence) -> _Answers:
        """What the decoder says when it is asked as the evidence has it."""
        asked = hypotheses(evidence, prompts, image)
        if not len(asked.owners):
            return _Answers([None] * len(evidence), {})
        candidates = self._decoded(image, asked)
        chosen = choose(evidence, candidates, asked.owners)
        rest = remainders(evidence, chosen, image)
        if len(rest.owners):
            more = self._decoded(image, rest)
            chosen = completed(evidence, chosen, more, rest.owners)
        owners, rows = np.unique(asked.owners, return_index=True)
        return _Answers(chosen, {int(i): candidates.logits[row] for i, row in zip(owners, rows, strict=True)})

    def _decoded(self, image: FeatureMap, asked: Hypotheses) -> Candidates:
        """On the CPU, like the evidence: what comes of them is many small steps, for which a GPU takes longer."""
        masks = torch.from_numpy(asked.masks).to(image.features.device)
        found = self._model.decode(image, asked.prompts, masks, asked.windows)
        return Candidates(found.logits.cpu(), found.scores.cpu())

    def mend(self, row: int, found: Segmented, image: FeatureMap, clicks: ClickBoxPrompt) -> Segmented:
        """The same with one object's mask changed where clicks say that it is wrong (see `vos.clicks`)."""
        mended = mended_mask(self._model, image, found.logits[row], clicks)
        logits = found.logits.clone()
        logits[row] = mended
        if found.uncorrected is found.logits:
            return Segmented(logits, found.scores, logits)
        uncorrected = found.uncorrected.clone()
        # Where clicks change nothing, the tracker goes on from what was not corrected either.
        uncorrected[row] = torch.where(mended == found.logits[row], uncorrected[row], mended)
        return Segmented(logits, found.scores, uncorrected)

    def enlarged(self, image: FeatureMap, logits: torch.Tensor) -> np.ndarray:
        """An object's logits (h, w) on the frame, float32 (H, W): above 0 is what it claims for itself."""
        return np.asarray(self._model.to_frame(logits[None], image)[0].float().cpu().numpy())

    def merge(self, image: FeatureMap, logits: torch.Tensor) -> np.ndarray:
        """Objects compete for every pixel: the largest logit wins where it is above 0.

        Args:
            image: the frame's embedding.
            logits: float (N, h, w).

        Returns:
            int16 (H, W), the winning row, -1 for background.
        """
        best = torch.zeros(image.frame_size, device=logits.device)
        winner = torch.full(image.frame_size, -1, dtype=torch.int16, device=logits.device)
        for part in self._model.positive_parts(logits, image):
            value, row = part.logits.max(dim=0)
            won, most = winner[part.window], best[part.window]
            won[:] = torch.where(value > most, (row + part.rows.start).to(winner.dtype), won)
            most[:] = torch.maximum(value, most)
        return winner.cpu().numpy()

    def from_prompts(self, image: FeatureMap, prompts: Prompts) -> torch.Tensor:
        """What clicks and boxes ask for, logits float (N, h, w): the best candidate, refined once by itself."""
        low, _ = _best(self._model.decode(image, prompts))
        return _best(self._model.decode(image, prompts, low))[0]

    def _cascade(self, ids: list[int], image: FeatureMap, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """Low-resolution logits (N, h, w) and scores (N,) after `cascade` steps."""
        settings = self._settings
        low, scores, boxes = self._first(ids, image, self._model.decode(image, self._opening(prompts)))
        if settings.cascade >= 2:
            second = _reboxed(prompts, boxes if settings.second_box else np.full_like(boxes, np.nan))
            low, scores = _best(self._model.decode(image, second, low))
        if settings.cascade >= 3:
            low, scores = self._refined(image, prompts, low, scores)
        return low, scores

    def _opening(self, prompts: Prompts) -> Prompts:
        """What step 1 is asked: all of it or, with `positives_first`, of each row that has any its positive points."""
        if not self._settings.positives_first:
            return prompts
        positive = prompts.labels == 1
        boxes = np.where(positive.any(axis=1)[:, None], np.float32(np.nan), prompts.boxes)
        return replace(prompts, labels=np.where(positive, prompts.labels, np.int8(-1)), boxes=boxes)

    def _refined(
        self, image: FeatureMap, prompts: Prompts, low: torch.Tensor, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Step 3 and later: each row again with its mask and that mask's box, until its mask stays the same."""
        low, scores = low.clone(), scores.clone()
        rows = np.arange(len(prompts))
        for _ in range(3, self._settings.cascade + 1):
            which = torch.from_numpy(rows).to(low.device)
            before = low[which]
            asked = _reboxed(prompts.rows(rows), self._boxes(image, before))
            low[which], scores[which] = _best(self._model.decode(image, asked, before))
            changed = ((low[which] > 0) != (before > 0)).flatten(1).any(dim=1)
            rows = rows[changed.cpu().numpy()]
            if not rows.size:
                break
        return low, scores

    def _first(
        self, ids: list[int], image: FeatureMap, candidates: Candidates
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """The first step's answer: logits (N, h, w), scores (N,), box float32 (N, 4) of each mask."""
        if self._settings.first is First.FITTED:
            weights = np.stack([self._weights[i] for i in ids])
            mix = torch.from_numpy(weights).to(candidates.logits)
            low = torch.einsum("nk,nkhw->nhw", mix, candidates.logits)
            boxes = self._boxes(image, low)
            if np.isnan(boxes).any():
                # An empty mix has no box; the best candidate's stands in, as published.
                boxes = np.where(np.isnan(boxes), self._boxes(image, _best(candidates)[0]), boxes)
            return low, (mix * candidates.scores).sum(1), boxes
        if self._settings.first in (First.BEST, First.EVIDENCE):
            low, scores = _best(candidates)
            return low, scores, self._boxes(image, low)
        n, k = candidates.scores.shape
        areas = torch.zeros(n * k, dtype=torch.long, device=candidates.logits.device)
        for part in self._model.positive_parts(candidates.logits.flatten(0, 1), image):
            areas[part.rows] = (part.logits > 0).flatten(1).sum(1)
        areas = areas.view(n, k)
        if self._settings.first is First.LARGEST_MOD_256:
            areas = areas % 256
        low, scores = candidates.pick(areas.argmax(1))
        return low, scores, self._boxes(image, low)

    def _boxes(self, image: FeatureMap, low: torch.Tensor) -> np.ndarray:
        """Boxes of masks on the frame, float32 (N, 4); NaN where a mask is empty."""
        boxes = np.full((len(low), 4), np.nan, dtype=np.float32)
        for part in self._model.positive_parts(low, image):
            y, x = part.window
            boxes[part.rows] = boxes_of(part.logits > 0) + np.array([x.start, y.start] * 2, dtype=np.float32)
        return boxes


def _looks(
    answers: _Answers, row: int, evidence: Evidence, shown: np.ndarray, also: np.ndarray | None = None
) -> Looks | None:
    """One object's answer, and what is known beside it; None where it has none on the frame.

    Args:
        shown: float32 (C, h, w), `detail` of the part of the grid that the frame covers.
        also: bool (h, w), places that the object is known to have.
    """
    found, (h, w) = answers.chosen[row], shown.shape[1:]
    if found is None or not (answer := found[0][:h, :w].numpy()).max() > 0:
        return None
    first = answers.first[row][:, :h, :w].numpy()
    known = (maps[row, :h, :w] for maps in (evidence.likeness, evidence.first_likeness, evidence.belief))
    return Looks.of(answer, np.concatenate([first, np.stack(list(known))]), shown, also)


def boxes_of(masks: torch.Tensor) -> np.ndarray:
    """Bounding boxes of masks, bool (N, H, W) -> float32 (N, 4), xyxy inclusive; NaN where a mask is empty."""
    spans = []
    for axis in (1, 2):
        hit = masks.any(dim=axis)
        size = hit.shape[1]
        first = hit.int().argmax(1)
        last = size - 1 - hit.flip(1).int().argmax(1)
        spans += [first, last]
    x0, x1, y0, y1 = (span.float() for span in spans)
    boxes = torch.stack([x0, y0, x1, y1], dim=1)
    boxes[~masks.flatten(1).any(1)] = float("nan")
    return boxes.cpu().numpy()


def _best(candidates: Candidates) -> tuple[torch.Tensor, torch.Tensor]:
    return candidates.pick(candidates.scores.argmax(1))


def _reboxed(prompts: Prompts, boxes: np.ndarray) -> Prompts:
    """The same points with other boxes, float32 (N, 4); a row that would be left with nothing keeps its own box."""
    has_point = (prompts.labels == 1).any(axis=1)
    nothing = np.isnan(boxes).any(axis=1) & ~has_point
    return prompts.with_boxes(np.where(nothing[:, None], prompts.boxes, boxes))
