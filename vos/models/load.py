"""The models a run needs, built from its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vos.device import SideStreams, check_surroundings, resolve_device, resolve_precision
from vos.models.cache import EmbeddingCache
from vos.models.dinov2 import DinoV2
from vos.models.encoder import Encoding
from vos.models.features import Features
from vos.models.sam import SegmentAnything
from vos.settings import Settings
from vos.types import Frame
from vos.weights.store import sha256_of


@dataclass(frozen=True)
class Models:
    """A segmenter and, where the location prior comes from elsewhere, another encoder."""

    segmenter: SegmentAnything
    prior: DinoV2 | None

    @cached_property
    def beside(self) -> SideStreams:
        """Where frames are encoded, those of all videos."""
        return SideStreams(self.segmenter.device)

    def encode(self, frame: Frame) -> Features:
        """Everything computed of the frame's pixels; needs nothing from other frames."""
        image = self.segmenter.encode(frame.image)
        return Features(image, image if self.prior is None else self.prior.encode(frame.image))

    def set_up(self, size: tuple[int, int]) -> None:
        """Run the networks of `encode` once on a frame of a size, (H, W), whatever a cache has."""
        self.segmenter.set_up(size)
        if self.prior is not None:
            self.prior.encode(np.zeros((*size, 3), dtype=np.uint8))


def load_models(settings: Settings, fetch: Callable[[str], Path]) -> Models:
    """Build the models and load their weights.

    Args:
        settings: names, device, and checkpoints given by path.
        fetch: checkpoint name -> local file, downloading it if need be; called only where no path is given.

    Raises:
        DeviceError, WeightsError.
    """
    check_surroundings()
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are loaded
        return _loaded(settings, fetch)


def _loaded(settings: Settings, fetch: Callable[[str], Path]) -> Models:
    device = resolve_device(settings.device)
    checkpoint = settings.weights or fetch(settings.model)
    encoding = Encoding(
        pad=settings.pad,
        input_size=settings.input_size,
        channels_last=settings.channels_last,
        precision=resolve_precision(settings.precision, device),
        compile=settings.compile,
        stages=settings.stages,
    )
    segmenter = SegmentAnything.load(
        settings.model,
        checkpoint,
        device,
        encoding=encoding,
        half_embeddings=settings.half_embeddings,
        cache=_cache(settings, checkpoint, f"{encoding} {device.type}"),
    )
    if settings.features == "sam":
        return Models(segmenter, None)
    prior = settings.features_weights or fetch(settings.features)
    return Models(segmenter, DinoV2.load(settings.features, prior, device, encoding))


def _cache(settings: Settings, checkpoint: Path, how: str) -> EmbeddingCache | None:
    if settings.cache_embeddings is None:
        return None
    if not checkpoint.is_file():
        return None  # loading the model says what is wrong
    return EmbeddingCache(
        settings.cache_embeddings,
        f"{settings.model} {sha256_of(checkpoint)} {how}",
        int(settings.cache_limit_gb * 1e9),
    )
