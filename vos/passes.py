"""One video's pass: what is known of its objects, and the step from a frame to its result.

Features -> Tracker.locate -> Prompts (N) -> Segmenter (N rows per cascade step) -> merge -> FrameResult
         -> Tracker.update
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from vos.clicks import claimed
from vos.device import frame_errors
from vos.errors import ReferenceInputError, SettingsError, TrackerError
from vos.keyframes import Carrier, Keyframes
from vos.models.features import Features
from vos.models.load import Models
from vos.objects import ObjectTable, measure, painted
from vos.references import ClickBoxPrompt, FrameReferences
from vos.segment import Segmenter
from vos.settings import Settings
from vos.timing import StageTimes
from vos.tracking import (
    PreparesAhead,
    Tracker,
    checked,
    latency,
    prepares,
    resumable,
    tell_ahead,
)
from vos.types import Frame, FrameResult, ObjectResult, Prompts, read_only
from vos.windows import box_of


class _Layer(NamedTuple):
    """Objects that have competed for a frame: its index map, uint8 (H, W), and their logits, float (h, w), by id."""

    index_map: np.ndarray
    logits: Mapping[int, torch.Tensor]


class _Followed(NamedTuple):
    """The objects that were followed on a frame.

    Attributes:
        shown: as the user sees them.
        told: as the tracker goes on from them; the same where nothing was corrected.
        scores: by id.
        mended: those whose masks clicks have changed, with what they claim, bool (H, W).
    """

    shown: _Layer
    told: _Layer
    scores: Mapping[int, float]
    mended: Mapping[int, np.ndarray]


class VideoPass:
    """One video's run: what is known of its objects, and the step from frame to result.

    Args:
        settings, models, tracker: what to run.
        timed: wait for a GPU at every stage, so that `times` are those of the stages.

    Attributes:
        times: seconds per stage: encode, locate, segment, merge, learn, carry.

    Raises:
        SettingsError: keyframes for a tracker that looks ahead.
    """

    def __init__(self, settings: Settings, models: Models, tracker: Tracker, *, timed: bool = False) -> None:
        if settings.keyframe_every > 1 and latency(tracker):
            raise SettingsError(
                f"tracker '{settings.tracker.name}' looks ahead at every frame; set keyframe_every=1, or choose another"
            )
        self._settings = settings
        self._models = models
        self._beside = models.beside
        self._tracker = tracker
        self._segmenter = Segmenter(models.segmenter, settings.decoder, settings.fit)
        self._objects = ObjectTable()
        self._keyframes = Keyframes(settings.keyframe_every)
        self._carrier = Carrier()
        self.times = StageTimes(models.segmenter.device if timed else None)

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects known so far, in the order in which they entered."""
        return self._objects.ids

    @property
    def latency(self) -> int:
        """How many later frames `step` is to be shown; 0 with most trackers."""
        return latency(self._tracker)

    @property
    def keyframes(self) -> Keyframes:
        """A copy of what decides which of the coming frames `step` needs the features of."""
        return self._keyframes.copy()

    def state(self) -> dict[str, Any]:
        """All that was learnt so far, as plain data (see `vos.tracking.Resumable`): what the next frame depends on.

        Raises:
            SettingsError: the tracker cannot tell its state.
        """
        return {
            "ids": list(self._objects.ids),
            "segmenter": self._segmenter.state(),
            "tracker": resumable(self._tracker).state(),
            "since_keyframe": self._keyframes.since,
            "carrier": self._carrier.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` as if its frames had been seen by this pass, which must be fresh."""
        for object_id in state["ids"]:
            self._objects.add(object_id)
        self._segmenter.restore(state["segmenter"])
        resumable(self._tracker).restore(state["tracker"])
        self._keyframes.since = state["since_keyframe"]
        self._carrier.restore(state["carrier"])

    @torch.inference_mode()
    def encode(self, frame: Frame) -> Features:
        """All that `step` needs of a frame's pixels, finished on return. It needs nothing from other frames: another
        thread may run it ahead, and on a GPU it does not wait for what `step` has queued.

        Raises:
            DeviceError, SourceError: see `vos.device.frame_errors`.
        """
        with (
            frame_errors(frame, self._models.segmenter.device),
            self._beside.work(),
            self.times.stage("encode"),
        ):
            features = self._models.encode(frame)
            return replace(features, detail=self._segmenter.detail(frame.image, features.image))

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything."""
        return prepares(self._tracker)

    def prepare(self, before: Frame, frame: Frame, features: Features) -> None:
        """Part of `step` that another thread may run ahead (see `vos.tracking.PreparesAhead`).

        Args:
            before: the frame whose features `step` is given before these.
            frame: the frame to come.
            features: what `encode` gave for it.

        Raises:
            DeviceError, SourceError: see `vos.device.frame_errors`.
        """
        if isinstance(self._tracker, PreparesAhead):
            with frame_errors(frame, self._models.segmenter.device):
                self._tracker.prepare(before, frame, features)

    @torch.inference_mode()
    def step(
        self,
        frame: Frame,
        given: FrameReferences,
        features: Features | None = None,
        upcoming: Sequence[Frame] = (),
    ) -> FrameResult:
        """One frame: track what is known, take in what is given, and answer.

        Args:
            frame: the next frame.
            given: the references on it.
            features: what `encode` gave for it, where that has been done already; unused between keyframes.
            upcoming: the `latency` frames after it, fewer where the clip ends.

        Raises:
            DeviceError, SourceError: see `vos.device.frame_errors`.
            ReferenceInputError: clicks or a box on this frame that SAM makes nothing of.
        """
        with frame_errors(frame, self._models.segmenter.device):
            return self._step(frame, given, features, upcoming)

    def _step(
        self, frame: Frame, given: FrameReferences, features: Features | None, upcoming: Sequence[Frame]
    ) -> FrameResult:
        if not given.ids and not len(self._objects):
            return FrameResult(frame, np.zeros(frame.size, dtype=np.uint8), ())
        if not self._keyframes.due(frame, given):
            return self._carried(frame)
        if features is None:
            features = self.encode(frame)
        if features.detail is None and self._segmenter.corrects:
            # Features that another pass has made may lack what this one needs.
            with self.times.stage("encode"):
                features = replace(features, detail=self._segmenter.detail(frame.image, features.image))
        self._beside.take_over(features.image.features, features.prior.features)
        tell_ahead(self._tracker, upcoming)
        found = self._follow(frame, features, given)
        masks, logits = self._reference_masks(features, given, found)
        for object_id in masks:
            if object_id not in self._objects:
                self._objects.add(object_id)
        scores = {**found.scores, **dict.fromkeys(masks, 1.0)}
        result = self._result(frame, features, found.shown, scores, masks, logits)
        told = result
        if found.told is not found.shown:
            told = self._result(frame, features, found.told, scores, masks, logits)
        with self.times.stage("learn"):
            self._learn(frame, features, masks, given.masks.keys())
            with self._its_own(frame):
                self._tracker.update(told)
        if self._keyframes.every > 1:
            self._carrier.start(frame, result.index_map, scores)
        return result

    def _result(
        self,
        frame: Frame,
        features: Features,
        layer: _Layer,
        scores: Mapping[int, float],
        masks: Mapping[int, np.ndarray],
        logits: Mapping[int, torch.Tensor],
    ) -> FrameResult:
        """What was followed, and over it the masks of references, bool (H, W) each, with the logits that they have."""
        index_map = layer.index_map.copy()
        for object_id, mask in masks.items():
            index_map[mask] = object_id
        soft, known = None, {**layer.logits, **logits}
        if known:
            rows = list(known.values())
            # Those of clicks are where the model is, those of evidence are not.
            together = torch.stack([one.to(rows[0].device) for one in rows])
            soft = self._models.segmenter.low_logits(list(known), together, features.image)
        return FrameResult(frame, index_map, self._measured(index_map, scores, masks), soft)

    def _competing(self, features: Features, logits: Mapping[int, torch.Tensor]) -> np.ndarray:
        """The index map, uint8 (H, W), of objects by their logits, float (h, w) each."""
        with self.times.stage("merge"):
            winner = self._segmenter.merge(features.image, torch.stack(list(logits.values())))
            return painted(winner, logits)

    def _carried(self, frame: Frame) -> FrameResult:
        """A frame between keyframes: the last one's masks where they are now, with its scores."""
        with self.times.stage("carry"):
            index_map = self._carrier.carry(frame)
        return FrameResult(frame, index_map, self._measured(index_map, self._carrier.scores, ()))

    def _measured(
        self, index_map: np.ndarray, scores: Mapping[int, float], given: Collection[int]
    ) -> tuple[ObjectResult, ...]:
        threshold = self._settings.objects.uncertain_below
        return tuple(measure(index_map, i, scores[i], threshold, i in given) for i in self._objects.ids)

    def _follow(self, frame: Frame, features: Features, given: FrameReferences) -> _Followed:
        """The known objects that have no reference on this frame, or clicks alone, by which their masks are mended."""
        clicks = {i: p for i, p in given.prompts.items() if p.mends and i in self._objects}
        others = set(given.ids) - clicks.keys()
        rows = self._objects.rows_without(others)
        if not rows.size:
            none = _Layer(np.zeros(frame.size, dtype=np.uint8), {})
            return _Followed(none, none, {}, {})
        ids = [self._objects.ids[row] for row in rows]
        with self.times.stage("locate"):
            located = self._located(frame, features)
            prompts = located.rows(rows) if others else located  # rows are copies
        with self.times.stage("segment"):
            found = self._segmenter.segment(ids, features.image, prompts, features.detail)
            there = [i for i in clicks if self._claims(features, found.logits[ids.index(i)])]
            for i in there:
                found = self._segmenter.mend(ids.index(i), found, features.image, clicks[i])

        def layer(logits: torch.Tensor) -> _Layer:
            own = dict(zip(ids, logits, strict=True))
            return _Layer(self._competing(features, own), own)

        shown = layer(found.logits)
        told = shown if found.uncorrected is found.logits else layer(found.uncorrected)
        enlarged = {i: self._segmenter.enlarged(features.image, shown.logits[i]) for i in there}
        scores = dict(zip(ids, found.scores.tolist(), strict=True))
        return _Followed(shown, told, scores, claimed(enlarged, shown.index_map, clicks))

    def _claims(self, features: Features, logits: torch.Tensor) -> bool:
        """Whether an object's logits, (h, w), claim any pixel of the frame."""
        return bool((self._segmenter.enlarged(features.image, logits) > 0).any())

    def _located(self, frame: Frame, features: Features) -> Prompts:
        """One row for each known object; TrackerError where the tracker gives something else."""
        with self._its_own(frame):
            found = self._tracker.locate(frame, features)
        return checked(found, len(self._objects), self._settings.tracker.name)

    @contextmanager
    def _its_own(self, frame: Frame) -> Iterator[None]:
        """Around what a tracker does: a ValueError, as of prompts that are none or of writing to what is read-only, is
        told as its own."""
        try:
            yield
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise TrackerError(f"tracker '{self._settings.tracker.name}' on frame {frame.index}: {error}") from error

    def _reference_masks(
        self, features: Features, given: FrameReferences, followed: _Followed
    ) -> tuple[dict[int, np.ndarray], dict[int, torch.Tensor]]:
        """The masks of this frame's references, bool (H, W) each: as given, mended, or made of clicks and boxes.

        With them the logits, float (h, w), of those that have some.
        """
        masks, logits = dict(given.masks), {}
        # What is to be mended may be absent, or on the way backwards not be known yet.
        prompts = {
            i: prompt
            for i, prompt in given.prompts.items()
            if i not in followed.mended and prompt.points_at_something and (i in self._objects or not prompt.mends)
        }
        if prompts:
            found = self._segmenter.from_prompts(features.image, _batched(list(prompts.values())))
            logits = dict(zip(prompts, found, strict=True))
            winner = self._competing(features, logits)
            for mask in given.masks.values():
                winner[mask] = 0
            for object_id, own in logits.items():
                masks[object_id] = winner == object_id
                if not masks[object_id].any():
                    what = f"the clicks or box for object {object_id} on frame {given.frame} point at"
                    if self._claims(features, own):
                        raise ReferenceInputError(
                            f"{what} what other references there have all of; give one reference for it"
                        )
                    raise ReferenceInputError(
                        f"{what} nothing that the model can outline; click nearer to its middle, add a box, or give a "
                        "mask"
                    )
        begun = tuple(masks.values())
        for object_id, own in followed.mended.items():
            left = own.copy()
            for mask in begun:
                left &= ~mask
            clicks = given.prompts[object_id]
            # A mask that is still wrong wherever somebody clicked is no reference.
            if left.any() and (clicks.held_by(left) == (clicks.labels == 1)).any():
                masks[object_id], logits[object_id] = left, followed.shown.logits[object_id]
        return {i: read_only(masks[i]) for i in given.ids if i in masks}, logits

    def _learn(self, frame: Frame, features: Features, masks: dict[int, np.ndarray], true: Collection[int]) -> None:
        """Take in the masks of references, bool (H, W); what SAM has made of clicks is no truth to correct it by."""
        with self._its_own(frame):
            for object_id, mask in masks.items():
                self._tracker.add(object_id, frame, features, mask)
        if not masks:
            return
        located = self._located(frame, features)
        prompts = _or_own_box(located.rows(np.array([self._objects.row(i) for i in masks])), list(masks.values()))
        self._segmenter.learn(list(masks), features.image, prompts, list(masks.values()))
        ids = [i for i in masks if i in true]
        if ids and features.detail is not None:
            own = located.rows(np.array([self._objects.row(i) for i in ids]))
            self._segmenter.learn_corrections(ids, features.image, own, [masks[i] for i in ids], features.detail)


def _or_own_box(prompts: Prompts, masks: Sequence[np.ndarray]) -> Prompts:
    """Prompts on the reference frame; where the tracker has none for an object, the box of its mask, bool (H, W)."""
    boxes = prompts.boxes.copy()
    for row in np.flatnonzero(~prompts.active).tolist():
        boxes[row] = box_of(masks[row])
    return prompts.with_boxes(boxes)


def _batched(given: Sequence[ClickBoxPrompt]) -> Prompts:
    """Clicks and boxes of N objects as one batch, ragged clicks padded."""
    width = max(len(prompt.points) for prompt in given)
    points = np.zeros((len(given), width, 2), dtype=np.float32)
    labels = np.full((len(given), width), -1, dtype=np.int8)
    boxes = np.full((len(given), 4), np.nan, dtype=np.float32)
    for row, prompt in enumerate(given):
        points[row, : len(prompt.points)] = prompt.points
        labels[row, : len(prompt.labels)] = prompt.labels
        if prompt.box is not None:
            boxes[row] = prompt.box
    return Prompts(points, labels, boxes)
