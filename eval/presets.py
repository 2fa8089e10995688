"""Presets as entries of a comparison: models that are loaded once for all presets that agree on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch

from vos.models.features import Features
from vos.models.load import Models, load_models
from vos.pipeline import VideoTracker
from vos.references import FrameReferences
from vos.settings import Settings
from vos.timing import StageTimes
from vos.types import Frame, FrameResult
from vos.weights import fetch

# What a preset does with an embedding; everything else decides what the embedding is.
_AFTER_ENCODING = {"decoder", "fit", "objects", "tracker"}


class SharedModels:
    """The models of all presets with the same `key`, loaded when the first pass begins."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sizes: set[tuple[int, int]] = set()

    @staticmethod
    def key(settings: Settings) -> str:
        """Presets with the same one have the same models and embeddings."""
        return json.dumps(settings.model_dump(mode="json", exclude=_AFTER_ENCODING), sort_keys=True)

    @cached_property
    def _models(self) -> Models:
        return load_models(self._settings, fetch)

    def encode(self, frame: Frame) -> Features:
        """The frame's features, once they are there."""
        models = self._models
        with StageTimes(models.segmenter.device).stage("encode"):
            return models.encode(frame)

    def passes(self, settings: Settings) -> Callable[[tuple[int, int]], PresetPass]:
        """Makes fresh passes of a preset with these models, over frames of a size, (H, W)."""

        def begin(size: tuple[int, int]) -> PresetPass:
            if size not in self._sizes:
                # The first frame of a size also sets a network up, which is no frame's cost.
                self._models.set_up(size)
                self._sizes.add(size)
            return PresetPass(VideoTracker(settings, self._models))

        return begin


class PresetPass:
    """A `VideoPass` that owes nothing to the other presets.

    Features keep what is derived from them for the next one who asks; each preset has to derive it for itself here, as
    if it ran alone.
    """

    def __init__(self, tracker: VideoTracker) -> None:
        self._pass = tracker.begin(timed=True)
        self._keyframes = self._pass.keyframes

    @property
    def times(self) -> StageTimes:
        return self._pass.times

    @property
    def latency(self) -> int:
        return self._pass.latency

    def needs(self, frame: Frame, given: FrameReferences) -> bool:
        """Whether it is a keyframe."""
        return self._keyframes.due(frame, given)

    @torch.inference_mode()
    def step(
        self, frame: Frame, given: FrameReferences, features: Features | None, upcoming: tuple[Frame, ...] = ()
    ) -> FrameResult:
        if features is None:
            return self._pass.step(frame, given, None, upcoming)
        image = replace(features.image)
        prior = image if features.prior is features.image else replace(features.prior)
        return self._pass.step(frame, given, Features(image, prior), upcoming)
