"""SAM's prompt encoder and mask decoder for N objects in one batch, ragged prompts included.

The modules and their weights are segment-anything's. The forward pass is written out here because three things cannot
be had from the modules' own: points and boxes of different number per row, rows that do not influence each other
(attention skips what pads a row to the batch's width), and one image embedding for all rows. The tests hold it equal to
segment-anything's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vos.models.features import FeatureMap
from vos.types import Candidates, Prompts

_PAD, _NOT_A_POINT, _NEGATIVE, _POSITIVE, _TOP_LEFT, _BOTTOM_RIGHT = -2, -1, 0, 1, 2, 3


class BatchedDecoder:
    """Prompts for N objects on one embedded frame -> three candidate masks each.

    Args:
        prompt_encoder, mask_decoder: segment-anything's modules.
        input_size: side of the square that the encoder sees, pixels (1024).
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, input_size: int) -> None:
        self._prompts = prompt_encoder
        self._decoder = mask_decoder
        self._input_size = input_size
        # (1, h * w, C): the same for every frame.
        self._image_pe = prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)

    @property
    def mask_size(self) -> tuple[int, int]:
        """(h, w) of the low-resolution logits, padding included."""
        h, w = self._prompts.mask_input_size
        return int(h), int(w)

    @torch.inference_mode()
    def decode(self, image: FeatureMap, prompts: Prompts, mask_logits: torch.Tensor | None = None) -> Candidates:
        """Decode all rows at once.

        Args:
            image: the segmenter's embedding of the frame, features (256, 64, 64).
            prompts: N rows; every row must be active.
            mask_logits: float (N, 256, 256), the low-resolution logits of an earlier step, or None.

        Returns:
            Candidates with logits (N, 3, 256, 256) and scores (N, 3), both float32.
        """
        if not prompts.active.all():
            raise ValueError(f"every row must ask for something: {prompts.active = }")
        if mask_logits is not None and mask_logits.shape != (len(prompts), *self.mask_size):
            raise ValueError(f"mask_logits must be ({len(prompts)}, {self.mask_size}), got {mask_logits.shape = }")
        sparse, valid = self._embed_sparse(prompts, image)
        decoder = self._decoder
        n = len(prompts)
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([own.expand(n, -1, -1), sparse], dim=1)
        keep = None
        if not valid.all():
            keep = torch.cat([valid.new_ones(n, len(own)), valid], dim=1)[:, None, None]
        source = (image.features[None] + self._embed_dense(mask_logits)).expand(n, -1, -1, -1)
        hidden, source = self._attend(tokens, source, keep)
        upscaled = decoder.output_upscaling(source)
        # The first mask token serves single-mask output and is not asked for.
        kernels = torch.stack([mlp(hidden[:, 2 + k]) for k, mlp in enumerate(decoder.output_hypernetworks_mlps[1:])], 1)
        logits = (kernels @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        scores = decoder.iou_prediction_head(hidden[:, 0])[:, 1:]
        return Candidates(logits.float(), scores.float())

    def _embed_sparse(self, prompts: Prompts, image: FeatureMap) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (N, T, C) and which of them count, bool (N, T).

        A row is its points and then its box's two corners or, without a box, one "not a point", as in SAM.
        """
        n, width = prompts.labels.shape
        scale = np.array([image.input_size[1] / image.frame_size[1], image.input_size[0] / image.frame_size[0]])
        labels = np.full((n, width + 2), _PAD, dtype=np.int64)
        labels[:, :width] = np.where(prompts.labels < 0, _PAD, prompts.labels)
        labels[:, width] = np.where(prompts.has_box, _TOP_LEFT, _NOT_A_POINT)
        labels[:, width + 1] = np.where(prompts.has_box, _BOTTOM_RIGHT, _PAD)
        coords = np.concatenate([prompts.points, prompts.boxes.reshape(n, 2, 2)], axis=1) * scale
        coords = np.where((labels >= _NEGATIVE)[..., None], coords, 0.0)
        used = (labels != _PAD).any(axis=0)
        encoder = self._prompts
        device = image.features.device
        kind = torch.from_numpy(labels[:, used]).to(device)
        # SAM shifts coordinates to pixel centres after scaling them to its input.
        xy = torch.from_numpy(coords[:, used].astype(np.float32)).to(device) + 0.5
        where = encoder.pe_layer.forward_with_coords(xy, (self._input_size, self._input_size))
        table = torch.cat([encoder.not_a_point_embed.weight, *(e.weight for e in encoder.point_embeddings)])
        tokens = torch.where((kind >= _NEGATIVE)[..., None], where, 0.0) + table[kind.clamp(min=_NOT_A_POINT) + 1]
        return tokens.to(table.dtype), kind != _PAD

    def _embed_dense(self, mask_logits: torch.Tensor | None) -> torch.Tensor:
        if mask_logits is None:
            return self._prompts.no_mask_embed.weight[..., None, None]
        return self._prompts.mask_downscaling(mask_logits[:, None])

    def _attend(
        self, tokens: torch.Tensor, source: torch.Tensor, keep: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """SAM's two-way transformer: tokens (N, T, C), source (N, C, h, w); keep: bool (N, 1, 1, T) or None."""
        grid = source.shape[-2:]
        keys, pe, queries = source.flatten(2).transpose(1, 2), self._image_pe, tokens
        transformer = self._decoder.transformer
        for block in transformer.layers:
            if block.skip_first_layer_pe:
                queries = _attention(block.self_attn, queries, queries, queries, keep)
            else:
                q = queries + tokens
                queries = queries + _attention(block.self_attn, q, q, queries, keep)
            queries = block.norm1(queries)
            k = keys + pe
            queries = block.norm2(queries + _attention(block.cross_attn_token_to_image, queries + tokens, k, keys))
            queries = block.norm3(queries + block.mlp(queries))
            keys = block.norm4(keys + _attention(block.cross_attn_image_to_token, k, queries + tokens, queries, keep))
        final = _attention(transformer.final_attn_token_to_image, queries + tokens, keys + pe, keys)
        return transformer.norm_final_attn(queries + final), keys.transpose(1, 2).unflatten(2, grid)


def _attention(
    module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None = None
) -> torch.Tensor:
    """One of SAM's attention layers; keep masks keys, bool (N, 1, 1, keys)."""
    q, k, v = (
        project(x).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
        for project, x in ((module.q_proj, q), (module.k_proj, k), (module.v_proj, v))
    )
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
    return module.out_proj(out.transpose(1, 2).flatten(2))
