"""Segment Anything as one object: an image encoder, a batched mask decoder, and the map between frame and logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn

from vos.errors import SettingsError
from vos.models.cache import EmbeddingCache
from vos.models.checkpoint import load_exactly, read_checkpoint
from vos.models.decoder import BatchedDecoder
from vos.models.encoder import STRIDE, Encoding, ImageEncoder
from vos.models.features import PLACES, FeatureMap
from vos.models.precision import DTYPES
from vos.models.tiny_vit import TinyVitEncoder, from_official
from vos.resample import Enlargement, enlargement
from vos.soft import LowLogits
from vos.types import Candidates, Prompts
from vos.windows import Window, window_of

_TRAINED_SIZE = 1024
_CHANNELS = 256
# Input pixels per low-resolution logit.
_RATIO = STRIDE // PLACES
# Logits held at the frame's size at one time, in numbers: many objects on large frames go in several pieces.
_AT_ONCE = 64_000_000


class Part(NamedTuple):
    """Logits at the frame's size, of some rows and on a rectangle of the frame.

    Attributes:
        rows: which.
        window: the rectangle, rows and columns of pixels.
        logits: float (rows, h, w).
    """

    rows: slice
    window: Window
    logits: torch.Tensor


class Parts(NamedTuple):
    """SAM's three modules."""

    image_encoder: nn.Module
    prompt_encoder: nn.Module
    mask_decoder: nn.Module


def _mobile_sam() -> Parts:
    grid = _TRAINED_SIZE // STRIDE
    prompt_encoder = PromptEncoder(
        embed_dim=_CHANNELS,
        image_embedding_size=(grid, grid),
        input_image_size=(_TRAINED_SIZE, _TRAINED_SIZE),
        mask_in_chans=16,
    )
    mask_decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=_CHANNELS, mlp_dim=2048, num_heads=8),
        transformer_dim=_CHANNELS,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return Parts(TinyVitEncoder(_CHANNELS), prompt_encoder, mask_decoder)


def _official_sam(name: str) -> Parts:
    sam = sam_model_registry[name](checkpoint=None)
    return Parts(sam.image_encoder, sam.prompt_encoder, sam.mask_decoder)


_BUILDERS: dict[str, Callable[[], Parts]] = {
    "mobile_sam": _mobile_sam,
    "sam_vit_b": partial(_official_sam, "vit_b"),
    "sam_vit_l": partial(_official_sam, "vit_l"),
    "sam_vit_h": partial(_official_sam, "vit_h"),
}


class SegmentAnything:
    """A frozen SAM: `encode` a frame once, then `decode` prompts for any number of objects on it.

    Args:
        parts: its modules, weights loaded.
        device: where to run.
        encoding: how frames are encoded.
        half_embeddings: round embeddings to half precision, as a cached embedding would be.
        cache: where embeddings are kept between runs.
    """

    def __init__(
        self,
        parts: Parts,
        device: torch.device,
        *,
        encoding: Encoding | None = None,
        half_embeddings: bool = False,
        cache: EmbeddingCache | None = None,
    ) -> None:
        encoding = encoding or Encoding()
        self.device = device
        self._half = half_embeddings
        self._cache = cache
        self.encoder = ImageEncoder(parts.image_encoder, encoding, device)
        for part in (parts.prompt_encoder, parts.mask_decoder):
            part.eval().requires_grad_(False).to(device)
        self._decoder = BatchedDecoder(
            parts.prompt_encoder,
            parts.mask_decoder,
            encoding.input_size,
            STRIDE,
            DTYPES[encoding.precision],
            onednn=encoding.channels_last,
        )

    @classmethod
    def load(cls, name: str, checkpoint: Path, device: torch.device, **options: Any) -> SegmentAnything:
        """Build a model and load its official checkpoint; `options` are the constructor's.

        Raises:
            SettingsError: an unknown name.
            WeightsError: a checkpoint that cannot be read or is of another model.
        """
        return cls(loaded_parts(name, checkpoint), device, **options)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> FeatureMap:
        """Embed a frame, uint8 RGB (H, W, 3): its longer side resized to the input size, and padded if that is set.

        Returns:
            Features float32 (256, h, w), and the encoder's earlier stages where they are kept.
        """
        if self._cache is None:
            embedding = self._embed(image)
            embedding = embedding.half().float() if self._half else embedding
        else:
            embedding = self._cache.get(image, lambda: self._embed(image)).to(self.device)
        return self.feature_map(embedding, (image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def set_up(self, size: tuple[int, int]) -> None:
        """Run the encoder once on a frame of a size, (H, W): compiles and records what the first one costs."""
        self._embed(np.zeros((*size, 3), dtype=np.uint8))

    def feature_map(self, embedding: torch.Tensor, frame_size: tuple[int, int]) -> FeatureMap:
        """An embedding, float32 (256, h, w), of a frame (H, W), placed on it; further channels are kept stages."""
        input_size = self.encoder.input_size(frame_size)
        steps = (PLACES, STRIDE)
        stages = embedding[_CHANNELS:] if len(embedding) > _CHANNELS else None
        return FeatureMap(
            embedding[:_CHANNELS], frame_size, input_size, STRIDE, steps, stages, computed_in=self.encoder.dtype
        )

    def _embed(self, image: np.ndarray) -> torch.Tensor:
        return self.encoder.embed(self.encoder.prepare(image))

    def decode(
        self,
        image: FeatureMap,
        prompts: Prompts,
        mask_logits: torch.Tensor | None = None,
        windows: Sequence[Window] | None = None,
    ) -> Candidates:
        """Three candidate masks per row of prompts; see `BatchedDecoder.decode`."""
        return self._decoder.decode(image, prompts, mask_logits, windows)

    def to_frame(self, logits: torch.Tensor, image: FeatureMap) -> torch.Tensor:
        """Low-resolution logits, float (N, h, w), to the frame, float (N, H, W): SAM's `postprocess_masks`."""
        return self._enlargement(image, logits.device).whole(logits)

    def positive_parts(self, logits: torch.Tensor, image: FeatureMap) -> Iterator[Part]:
        """The parts of `to_frame` outside of which nothing is above 0, in the order of rows.

        On a CPU every row has its own, and an empty row none; elsewhere rows go together, whole.
        """
        how = self._enlargement(image, logits.device)
        if self._by_rows(logits):
            above = (logits > 0).cpu().numpy()
            for row in np.flatnonzero(above.any(axis=(1, 2))).tolist():
                window, own = how.reach(window_of(above[row])), slice(row, row + 1)
                if window[0].stop and window[1].stop:  # or it is above 0 in the padding alone
                    yield Part(own, window, how.part(logits[own], window))
            return
        h, w = image.frame_size
        step = max(1, _AT_ONCE // (h * w))
        for start in range(0, len(logits), step):
            some = slice(start, min(start + step, len(logits)))
            yield Part(some, (slice(0, h), slice(0, w)), how.whole(logits[some]))

    def low_logits(self, ids: Sequence[int], logits: torch.Tensor, image: FeatureMap) -> LowLogits:
        """Low-resolution logits, float (N, h, w), in the form in which they leave the device."""
        half = logits.clamp(-1e4, 1e4).half().cpu().numpy()
        return LowLogits(tuple(ids), half, _RATIO, image.input_size, image.frame_size)

    @staticmethod
    def _by_rows(logits: torch.Tensor) -> bool:
        return logits.device.type == "cpu"

    def _enlargement(self, image: FeatureMap, device: torch.device) -> Enlargement:
        return enlargement(image.places, (_RATIO,), image.input_size, image.frame_size, device)


def loaded_parts(name: str, checkpoint: Path) -> Parts:
    """A model's modules with the weights of its official checkpoint; raises as `SegmentAnything.load`."""
    if name not in _BUILDERS:
        raise SettingsError(f"unknown model '{name}'; known: {', '.join(_BUILDERS)}")
    parts = _BUILDERS[name]()
    load_parts(parts, read_checkpoint(checkpoint), f"{checkpoint}", name)
    return parts


def load_parts(parts: Parts, state: Mapping[str, torch.Tensor], source: str, name: str) -> None:
    """Load an official SAM or MobileSAM state dict into `parts`; WeightsError unless every tensor fits."""
    for field, part in zip(Parts._fields, parts, strict=True):
        prefix = f"{field}."
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if isinstance(part, TinyVitEncoder):
            own = from_official(own)
        load_exactly(part, own, source, name)
