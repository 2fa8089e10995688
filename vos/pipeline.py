"""The loop: frames in, results out, one at a time.

    source -> Frame -> encode -> Features -> Tracker.locate -> Prompts (N) -> Segmenter (one batch per cascade step)
           -> merge -> FrameResult -> Tracker.update

Reading, encoding, and the rest run side by side: the first two need nothing from the past.
What is kept between frames is O(objects); nothing is O(frames). A tracker that looks ahead has as many frames held for
it as it asks for; most ask for none. With `keyframe_every`, all of this is done on keyframes, and masks are carried to
the frames between them (`vos.keyframes`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vos.ahead import encoded, encoders
from vos.device import SideStream, memory_errors
from vos.errors import ReferenceInputError, SettingsError
from vos.keyframes import Carrier, Keyframes
from vos.models.features import Features
from vos.models.load import Models, load_models
from vos.objects import ObjectTable, measure
from vos.personalize import ScaleFit
from vos.references import ClickBoxPrompt, FrameReferences, ReferencePlan, as_references
from vos.segment import Segmenter
from vos.settings import DEFAULT_PRESET, Settings, load_settings
from vos.timing import StageTimes
from vos.tracking import (
    PreparesAhead,
    Tracker,
    check_trackers,
    latency,
    make_tracker,
    restore_tracker,
    tell_ahead,
    tracker_state,
    with_following,
)
from vos.types import Frame, FrameResult, ObjectResult, Prompts
from vos.video import Source, open_source, prefetch
from vos.video.prefetch import source_of
from vos.weights import fetch

# Decoded frames waiting for the encoder; one in work and one ready are enough to hide decoding.
_PREFETCH = 4
# Encoded frames waiting for the decoder; with those in work, that is what encoding ahead holds.
_ENCODED = 1


def track(
    source: Any,
    references: Any,
    *,
    preset: str | Path = DEFAULT_PRESET,
    overrides: Mapping[str, Any] | Iterable[str | tuple[str, Any]] = (),
) -> Iterator[FrameResult]:
    """Track objects through a video: one result per frame, as soon as it is known.

    Args:
        source: a video file, a folder or glob of images, a list of image files, or any iterable of uint8 RGB arrays
            (H, W, 3) or Pillow images.
        references: what to track: a mask file or index map (frame 0), a `MaskReference`, `Click` or `BoxPrompt`, a list
            of these, or a dict {frame: any of these}.
        preset: a name from `vos presets`, or the path of a YAML file.
        overrides: single settings to change, {"decoder.cascade": 2} or ["decoder.cascade=2"].

    Yields:
        A FrameResult for every frame from 0, those before the first reference included (with no objects).

    Raises:
        VosError: bad input. What does not depend on later frames is checked before the first result.
    """
    settings = load_settings(preset, overrides)
    check_trackers(settings.tracker.parts)
    wanted = as_references(references)
    with open_source(source) as opened:
        count = opened.frame_count if opened.frame_count_exact else None
        plan = ReferencePlan.build(wanted, frame_size=opened.size, frame_count=count)
        yield from VideoTracker(settings, load_models(settings, fetch)).run(opened, plan)


class VideoTracker:
    """A loaded model that tracks any number of videos, one after the other.

    Args:
        settings: what to run.
        models: as built by `load_models(settings, ...)`.
    """

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models

    def run(
        self, frames: Iterable[Frame], plan: ReferencePlan, video: VideoPass | None = None
    ) -> Generator[FrameResult, None, None]:
        """Track the plan's references through frames of one size, in order from 0.

        A result comes as soon as its frame and the pass's `latency` frames after it are read. Reading and encoding run
        ahead in threads of their own, and so does what the tracker can do ahead where a GPU encodes; elsewhere that
        would take the encoder's cores. On a CPU torch computes with half of its threads until the run ends.

        Args:
            video: a pass to go on with, whose next frame is the first of `frames`; a fresh one by default.
        """
        video = video or self.begin()
        device, source = self._models.segmenter.device, source_of(frames)
        with encoders(device, self._settings.compile, frames) as count:
            wanted = _wanted(frames, video, plan, video.keyframes)
            ahead = encoded(wanted, lambda one: one.features(video), count)
            if video.prepares and device.type != "cpu":
                ahead = _prepared(ahead, video, source)
            with closing(ahead if count > 1 else prefetch(ahead, _ENCODED, source)) as ready:
                for one, features in ready:
                    yield video.step(one.frame, plan.at(one.frame.index), features, one.upcoming)

    def begin(self) -> VideoPass:
        """A fresh state for one video, for callers with a loop of their own."""
        return VideoPass(self._settings, self._models, make_tracker(self._settings.tracker.parts))


class _Wanted(NamedTuple):
    """A frame, those that follow it as far as the pass looks ahead, and whether its features will be needed."""

    frame: Frame
    upcoming: tuple[Frame, ...]
    needed: bool

    def features(self, video: VideoPass) -> Features | None:
        return video.encode(self.frame) if self.needed else None


_Encoded = Generator[tuple[_Wanted, "Features | None"], None, None]


def _wanted(
    frames: Iterable[Frame], video: VideoPass, plan: ReferencePlan, keyframes: Keyframes
) -> Generator[_Wanted, None, None]:
    """What to encode, in order; `keyframes` is asked ahead of the pass, and is its own copy."""
    with closing(prefetch(frames, _PREFETCH)) as read:
        for frame, upcoming in with_following(read, video.latency):
            needed = frame.index >= plan.first_frame and keyframes.due(frame, plan.at(frame.index))
            yield _Wanted(frame, upcoming, needed)


def _prepared(ahead: _Encoded, video: VideoPass, source: Source | None) -> _Encoded:
    """The same, each frame prepared for the tracker."""
    before = None
    with closing(prefetch(ahead, _ENCODED, source)) as ready:
        for one, features in ready:
            if features is not None:
                if before is not None:
                    video.prepare(before, one.frame, features)
                before = one.frame
            yield one, features


class _Followed(NamedTuple):
    """The objects that were followed on a frame.

    Attributes:
        index_map: uint8 (H, W).
        logits: float (h, w) each, by id.
        scores: by id.
        uncorrected: index map and logits for the tracker; None if they are the same.
    """

    index_map: np.ndarray
    logits: dict[int, torch.Tensor]
    scores: dict[int, float]
    uncorrected: tuple[np.ndarray, dict[int, torch.Tensor]] | None


class VideoPass:
    """One video's run: what is known of its objects, and the step from frame to result.

    Attributes:
        times: seconds per stage: encode, locate, segment, merge, learn, carry.

    Raises:
        SettingsError: keyframes for a tracker that looks ahead.
    """

    def __init__(self, settings: Settings, models: Models, tracker: Tracker) -> None:
        if settings.keyframe_every > 1 and latency(tracker):
            raise SettingsError(
                f"tracker '{settings.tracker.name}' looks ahead at every frame; set keyframe_every=1, or choose another"
            )
        self._settings = settings
        self._models = models
        self._tracker = tracker
        fit = ScaleFit(steps=settings.fit.steps, learning_rate=settings.fit.learning_rate)
        self._segmenter = Segmenter(models.segmenter, settings.decoder, fit)
        self._objects = ObjectTable()
        self._keyframes = Keyframes(settings.keyframe_every)
        self._carrier = Carrier()
        self._beside = SideStream(models.segmenter.device)
        self.times = StageTimes(models.segmenter.device)

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
            "tracker": tracker_state(self._tracker),
            "since_keyframe": self._keyframes.since,
            "carrier": self._carrier.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` as if its frames had been seen by this pass, which must be fresh."""
        for object_id in state["ids"]:
            self._objects.add(object_id)
        self._segmenter.restore(state["segmenter"])
        restore_tracker(self._tracker, state["tracker"])
        self._keyframes.since = state["since_keyframe"]
        self._carrier.restore(state["carrier"])

    @torch.inference_mode()
    def encode(self, frame: Frame) -> Features:
        """All that `step` needs of a frame's pixels, finished on return. It needs nothing from other frames: another
        thread may run it ahead, and on a GPU it does not wait for what `step` has queued.

        Raises:
            DeviceError: out of memory.
        """
        with memory_errors(frame, self._models.segmenter.device), self._beside.work(), self.times.stage("encode"):
            return self._detailed(frame, self._models.encode(frame))

    def _detailed(self, frame: Frame, features: Features) -> Features:
        """With what the segmenter needs of the frame's pixels."""
        detail = self._segmenter.detail(frame.image, features.image) if features.detail is None else features.detail
        return replace(features, detail=detail)

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything."""
        return isinstance(self._tracker, PreparesAhead)

    def prepare(self, before: Frame, frame: Frame, features: Features) -> None:
        """Part of `step` that another thread may run ahead (see `vos.tracking.PreparesAhead`).

        Args:
            before: the frame whose features `step` is given before these.
            frame: the frame to come.
            features: what `encode` gave for it.

        Raises:
            DeviceError: out of memory.
        """
        if isinstance(self._tracker, PreparesAhead):
            with memory_errors(frame, self._models.segmenter.device):
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
            frame: the next frame, in order from 0.
            given: the references on it.
            features: what `encode` gave for it, where that has been done already; unused between keyframes.
            upcoming: the `latency` frames after it, fewer where the clip ends.

        Raises:
            DeviceError: out of memory.
            ReferenceInputError: clicks or a box on this frame that SAM makes nothing of.
        """
        with memory_errors(frame, self._models.segmenter.device):
            return self._step(frame, given, features, upcoming)

    def _step(
        self, frame: Frame, given: FrameReferences, features: Features | None, upcoming: Sequence[Frame]
    ) -> FrameResult:
        new_ids = list(given.ids)
        if not new_ids and not len(self._objects):
            return FrameResult(frame, np.zeros(frame.size, dtype=np.uint8), ())
        if not self._keyframes.due(frame, given):
            return self._carried(frame)
        if features is None:
            features = self.encode(frame)
        features = self._detailed(frame, features)
        self._beside.take_over(features.image.features, features.prior.features)
        tell_ahead(self._tracker, upcoming)
        found = self._follow(frame, features, new_ids)
        masks = self._reference_masks(features, given, found.logits)
        for object_id in masks:
            found.scores[object_id] = 1.0
            if object_id not in self._objects:
                self._objects.add(object_id)
        objects = self._measured(_painted(found.index_map, masks), found.scores, masks)
        result = self._result(frame, features, found.index_map, objects, found.logits)
        told = result
        if found.uncorrected is not None:
            index_map, logits = found.uncorrected
            told = self._result(frame, features, _painted(index_map, masks), objects, logits)
        with self.times.stage("learn"):
            self._learn(frame, features, masks)
            self._tracker.update(told)
        if self._keyframes.every > 1:
            self._carrier.start(frame, result.index_map, found.scores)
        return result

    def _result(
        self,
        frame: Frame,
        features: Features,
        index_map: np.ndarray,
        objects: tuple[ObjectResult, ...],
        logits: Mapping[int, torch.Tensor],
    ) -> FrameResult:
        soft = None
        if logits:
            soft = self._models.segmenter.low_logits(list(logits), torch.stack(list(logits.values())), features.image)
        return FrameResult(frame, index_map, objects, soft)

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

    def _follow(self, frame: Frame, features: Features, given: list[int]) -> _Followed:
        """The known objects that have no reference on this frame."""
        rows = self._objects.rows_without(given)
        if not rows.size:
            return _Followed(np.zeros(frame.size, dtype=np.uint8), {}, {}, None)
        ids = [self._objects.ids[row] for row in rows]
        with self.times.stage("locate"):
            prompts = self._tracker.locate(frame, features).rows(rows)
        with self.times.stage("segment"):
            found = self._segmenter.segment(ids, features.image, prompts, features.detail)

        def merged(logits: torch.Tensor) -> tuple[np.ndarray, dict[int, torch.Tensor]]:
            with self.times.stage("merge"):
                winner = self._segmenter.merge(features.image, logits)
                painted = self._objects.paint(np.where(winner >= 0, rows[winner], -1))
            return painted, dict(zip(ids, logits, strict=True))

        uncorrected = None if found.uncorrected is found.logits else merged(found.uncorrected)
        return _Followed(*merged(found.logits), dict(zip(ids, found.scores.tolist(), strict=True)), uncorrected)

    def _reference_masks(
        self, features: Features, given: FrameReferences, logits: dict[int, torch.Tensor]
    ) -> dict[int, np.ndarray]:
        """The masks of this frame's references, bool (H, W) each: as given, or made by SAM from clicks and boxes.

        The `logits` of those made by SAM, float (256, 256) each, are added by id.
        """
        masks = dict(given.masks)
        if given.prompts:
            prompts = _batched(list(given.prompts.values()))
            found = self._segmenter.from_prompts(features.image, prompts)
            logits.update(zip(given.prompts, found, strict=True))
            winner = self._segmenter.merge(features.image, found)
            for mask in given.masks.values():
                winner[mask] = -1
            for row, object_id in enumerate(given.prompts):
                masks[object_id] = winner == row
                if not masks[object_id].any():
                    raise ReferenceInputError(
                        f"the clicks or box for object {object_id} on frame {given.frame} point at nothing that the "
                        "model can outline; click nearer to its middle, add a box, or give a mask"
                    )
        return {i: masks[i] for i in given.ids}

    def _learn(self, frame: Frame, features: Features, masks: dict[int, np.ndarray]) -> None:
        for object_id, mask in masks.items():
            self._tracker.add(object_id, frame, features, mask)
        if masks:
            rows = np.array([self._objects.row(i) for i in masks])
            prompts = _or_own_box(self._tracker.locate(frame, features).rows(rows), list(masks.values()))
            self._segmenter.learn(list(masks), features.image, prompts, list(masks.values()), features.detail)


def _painted(index_map: np.ndarray, masks: Mapping[int, np.ndarray]) -> np.ndarray:
    """An index map with given masks, bool (H, W), put into it."""
    for object_id, mask in masks.items():
        index_map[mask] = object_id
    return index_map


def _or_own_box(prompts: Prompts, masks: Sequence[np.ndarray]) -> Prompts:
    """Prompts on the reference frame; where the tracker has none for an object, the box of its mask, bool (H, W)."""
    boxes = prompts.boxes.copy()
    for row in np.flatnonzero(~prompts.active).tolist():
        ys, xs = np.nonzero(masks[row])
        boxes[row] = xs.min(), ys.min(), xs.max(), ys.max()
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
