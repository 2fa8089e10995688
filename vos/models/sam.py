"""Segment Anything as one object: an image encoder, a batched mask decoder, and the map between frame and logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn

from vos.errors import SettingsError, WeightsError
from vos.models.cache import EmbeddingCache
from vos.models.decoder import BatchedDecoder
from vos.models.features import FeatureMap
from vos.models.tiny_vit import TinyVitEncoder, from_official
from vos.types import Candidates, Prompts

_INPUT_SIZE = 1024
_STRIDE = 16
_CHANNELS = 256
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)


class Parts(NamedTuple):
    """SAM's three modules."""

    image_encoder: nn.Module
    prompt_encoder: nn.Module
    mask_decoder: nn.Module


def _mobile_sam() -> Parts:
    grid = _INPUT_SIZE // _STRIDE
    prompt_encoder = PromptEncoder(
        embed_dim=_CHANNELS,
        image_embedding_size=(grid, grid),
        input_image_size=(_INPUT_SIZE, _INPUT_SIZE),
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


def known_models() -> tuple[str, ...]:
    """Names that `SegmentAnything.load` takes."""
    return tuple(_BUILDERS)


class SegmentAnything:
    """A frozen SAM: `encode` a frame once, then `decode` prompts for any number of objects on it.

    Args:
        name: one of `known_models()`.
        parts: its modules, weights loaded.
        device: where to run.
        half_embeddings: round embeddings to half precision, as a cached embedding would be.
        channels_last: memory layout of the encoder's convolutions; off, they add up in segment-anything's own order.
        cache: where embeddings are kept between runs.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        device: torch.device,
        *,
        half_embeddings: bool = False,
        channels_last: bool = True,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self.name = name
        self.device = device
        self._half = half_embeddings
        self._cache = cache
        for part in parts:
            part.eval().requires_grad_(False).to(device)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._encoder = parts.image_encoder.to(memory_format=self._layout)
        self._decoder = BatchedDecoder(parts.prompt_encoder, parts.mask_decoder, _INPUT_SIZE)
        self._mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(1, 3, 1, 1)

    @classmethod
    def load(cls, name: str, checkpoint: Path, device: torch.device, **options: Any) -> SegmentAnything:
        """Build a model and load its official checkpoint; `options` are the constructor's.

        Raises:
            SettingsError: an unknown name.
            WeightsError: a checkpoint that cannot be read or is of another model.
        """
        if name not in _BUILDERS:
            raise SettingsError(f"unknown model '{name}'; known: {', '.join(_BUILDERS)}")
        parts = _BUILDERS[name]()
        load_parts(parts, read_checkpoint(checkpoint), f"{checkpoint}", name)
        return cls(name, parts, device, **options)

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> FeatureMap:
        """Embed a frame, uint8 RGB (H, W, 3): longest side resized to 1024, padded to a square -> (256, 64, 64)."""
        frame_size = (image.shape[0], image.shape[1])
        input_size = resized_size(frame_size, _INPUT_SIZE)
        if self._cache is None:
            embedding = self._embed(image, input_size)
            embedding = embedding.half().float() if self._half else embedding
        else:
            embedding = self._cache.get(image, lambda: self._embed(image, input_size)).to(self.device)
        return FeatureMap(embedding, frame_size, input_size, _STRIDE, steps=(4,))

    def _embed(self, image: np.ndarray, input_size: tuple[int, int]) -> torch.Tensor:
        """float32 (256, 64, 64)."""
        h, w = input_size
        # Pillow's bilinear filter, rounding to 8 bits included, is what SAM's ResizeLongestSide applies.
        resized = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
        x = torch.tensor(resized).to(self.device).permute(2, 0, 1)[None]
        x = F.pad((x - self._mean) / self._std, (0, _INPUT_SIZE - w, 0, _INPUT_SIZE - h))
        return self._encoder(x.contiguous(memory_format=self._layout)).float()[0].contiguous()

    @property
    def mask_size(self) -> tuple[int, int]:
        """(h, w) of low-resolution logits, padding included."""
        return self._decoder.mask_size

    def decode(self, image: FeatureMap, prompts: Prompts, mask_logits: torch.Tensor | None = None) -> Candidates:
        """Three candidate masks per row of prompts; see `BatchedDecoder.decode`."""
        return self._decoder.decode(image, prompts, mask_logits)

    def to_frame(self, logits: torch.Tensor, image: FeatureMap) -> torch.Tensor:
        """Low-resolution logits, float (N, 256, 256), to the frame, float (N, H, W): SAM's `postprocess_masks`."""
        ratio = _INPUT_SIZE // logits.shape[-1]
        h, w = image.input_size
        # Only what reaches the frame: one more row and column than it covers, for the interpolation at its border.
        part = logits[:, None, : -(-h // ratio) + 1, : -(-w // ratio) + 1]
        size = (part.shape[-2] * ratio, part.shape[-1] * ratio)
        full = F.interpolate(part, size, mode="bilinear", align_corners=False)[..., :h, :w]
        return F.interpolate(full, image.frame_size, mode="bilinear", align_corners=False)[:, 0]


def resized_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer side is `longest`, rounded half up as SAM does, at least one pixel."""
    scale = longest / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from disk, tensors only (no code is run).

    Raises:
        WeightsError: missing, a folder, damaged, or not a state dict.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: a folder, not a checkpoint file; give the file itself")
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such checkpoint; give an existing file to --weights or leave it out to download"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything, with texts for programmers
        denied = isinstance(error, OSError) and error.strerror
        reason = denied or "not of PyTorch's format, or damaged"
        raise WeightsError(
            f"{path}: not a readable checkpoint ({reason}); download it again or give another file"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{path}: not a state dict of tensors but {type(state).__name__}; give the model's official checkpoint"
        )
    return dict(state)


def load_parts(parts: Parts, state: Mapping[str, torch.Tensor], source: str, name: str) -> None:
    """Load an official SAM or MobileSAM state dict into `parts`; WeightsError unless every tensor fits."""
    for field, part in zip(Parts._fields, parts, strict=True):
        prefix = f"{field}."
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if isinstance(part, TinyVitEncoder):
            own = from_official(own)
        load_exactly(part, own, source, name)


def load_exactly(module: nn.Module, state: Mapping[str, torch.Tensor], source: str, name: str) -> None:
    """`load_state_dict` that takes all or nothing; WeightsError with the first difference."""
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    shapes = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    for keys, what in ((missing, "lacks"), (extra, "has an unexpected"), (shapes, "has another shape of")):
        if keys:
            raise WeightsError(
                f"{source}: not a checkpoint of {name} (it {what} '{keys[0]}', {len(keys)} such); "
                "give the right --model or --weights"
            )
    module.load_state_dict(state)
