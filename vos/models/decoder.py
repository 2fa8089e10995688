"""SAM's prompt encoder and mask decoder for N objects in one batch, ragged prompts included.

The modules and their weights are segment-anything's. The forward pass is written out here because their own cannot take
points and boxes of different number per row, keep rows from influencing each other (attention skips what pads a row to
the batch's width), or share between objects and steps what depends on the image alone. The tests hold it equal to
segment-anything's.

A dozen tokens face thousands of cells, so products are taken in the order in which the image side stays narrow (see
`attention`), and the image is never copied per object: the first block reads it through projections that are made once
a frame (where calls are recorded, on a GPU, once a call).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vos.models import attention
from vos.models.attention import SharedMap
from vos.models.dense import through_onednn
from vos.models.features import PLACES, FeatureMap
from vos.models.recorded import Recorded
from vos.types import Candidates, Prompts
from vos.windows import Window

_PAD, _NOT_A_POINT, _NEGATIVE, _POSITIVE, _TOP_LEFT, _BOTTOM_RIGHT = -2, -1, 0, 1, 2, 3
# On a CPU, cells of all rows that are decoded together, and of one row how many are upscaled at a time: what they need
# in between stays in its cache and in memory that was used before, which is several times as fast.
_CELLS_AT_ONCE = 8192
_UPSCALED_AT_ONCE, _UPSCALED_IN_STEPS = 512, 64
# Elsewhere, shapes of which the work is recorded: rows and tokens come in several numbers.
_RECORDED = 24
# Logits where they are not asked for: surely not the object.
_OUTSIDE = -20.0
# Masks per row.
_ASKED = 3


class _Image(NamedTuple):
    """What the decoder makes of one frame's embedding, whatever it is asked.

    Attributes:
        features: the embedding that it was made of.
        positions: float (1, P, C), P = h * w cells.
        first: the embedding as the first block reads it.
    """

    features: torch.Tensor
    positions: torch.Tensor
    first: SharedMap


class BatchedDecoder:
    """Prompts for N objects on one embedded frame -> three candidate masks each.

    Args:
        prompt_encoder, mask_decoder: segment-anything's modules.
        input_size: side of the square whose top left part the encoder sees, pixels (1024).
        stride: pixels of it per cell of the embedding (16).
        dtype: to compute in; positions are encoded in float32 whatever it is.
        onednn: have float32 go through oneDNN on a CPU (see `vos.models.dense`); the modules are changed in place.
    """

    def __init__(
        self,
        prompt_encoder: Any,
        mask_decoder: Any,
        input_size: int,
        stride: int,
        dtype: torch.dtype = torch.float32,
        *,
        onednn: bool = False,
    ) -> None:
        # (C, side, side): positions on the whole square, whatever part of it a frame takes.
        self._square_pe = prompt_encoder.pe_layer((input_size // stride,) * 2).to(dtype)
        for module in (mask_decoder, *(part for name, part in prompt_encoder.named_children() if name != "pe_layer")):
            module.to(dtype)
        self._prompts = prompt_encoder
        self._decoder = mask_decoder
        self._input_size = input_size
        self._dtype = dtype
        self._image: _Image | None = None
        self._upscale = _Upscaling(mask_decoder.output_upscaling)
        if onednn:
            for module in (prompt_encoder, mask_decoder, self._upscale):
                through_onednn(module)
        device = self._square_pe.device
        self._by_rows = device.type == "cpu"
        self._recorded = Recorded(self._decoded, device, _RECORDED) if device.type == "cuda" else None

    @torch.inference_mode()
    def decode(
        self,
        image: FeatureMap,
        prompts: Prompts,
        mask_logits: torch.Tensor | None = None,
        windows: Sequence[Window] | None = None,
    ) -> Candidates:
        """Decode all rows.

        Args:
            image: the segmenter's embedding of the frame, features (256, h, w), the top left part of the square.
            prompts: N rows; every row must be active.
            mask_logits: float (N, 4 h, 4 w), the low-resolution logits of an earlier step, or None.
            windows: N rows and columns of cells outside of which logits are not asked for and are -20; None asks for
                all of them.

        Returns:
            Candidates with logits (N, 3, 4 h, 4 w) and scores (N, 3), both float32.
        """
        if not prompts.active.all():
            raise ValueError(f"every row must ask for something: {prompts.active = }")
        n = len(prompts)
        if mask_logits is not None and mask_logits.shape != (n, *image.places):
            raise ValueError(f"mask_logits must be {(n, *image.places)}, got {mask_logits.shape = }")
        kind, xy = self._points(prompts, image)
        if windows is None:
            windows = [(slice(0, image.grid_size[0]), slice(0, image.grid_size[1]))] * n
        decode = self._row_by_row if self._by_rows else self._together
        return decode(image, kind, xy, mask_logits, windows)

    def _row_by_row(
        self,
        image: FeatureMap,
        kind: np.ndarray,
        xy: np.ndarray,
        mask_logits: torch.Tensor | None,
        windows: Sequence[Window],
    ) -> Candidates:
        """For a CPU: few rows at a time, and windows of them alone."""
        tokens = self._tokens(torch.from_numpy(kind), torch.from_numpy(xy))
        valid = None if (kind != _PAD).all() else torch.from_numpy(kind != _PAD)
        shared, grid = self._shared(image), image.grid_size
        step = max(1, _CELLS_AT_ONCE // (grid[0] * grid[1]))
        logits = torch.full((len(kind), _ASKED, *image.places), _OUTSIDE, device=tokens.device)
        scores = []
        for start in range(0, len(kind), step):
            some = slice(start, start + step)
            given = (None if one is None else one[some] for one in (valid, mask_logits))
            hidden, cells = self._attend(shared, tokens[some], *given)
            score, kernels = self._heads(hidden)
            scores.append(score)
            for row, own in enumerate(cells, start):
                self._fill(logits[row], own.unflatten(0, grid), kernels[row - start], windows[row])
        return Candidates(logits, torch.cat(scores).float())

    def _together(
        self,
        image: FeatureMap,
        kind: np.ndarray,
        xy: np.ndarray,
        mask_logits: torch.Tensor | None,
        windows: Sequence[Window],
    ) -> Candidates:
        """For a GPU: all rows at once, and a few of no meaning beside them, so that shapes are few."""
        n = len(kind)
        more = _rounded(n) - n, kind.shape[1] % 2
        kind = np.pad(kind, ((0, more[0]), (0, more[1])), constant_values=_PAD)
        xy = np.pad(xy, ((0, more[0]), (0, more[1]), (0, 0)))
        bounds = np.zeros((len(kind), 4), dtype=np.int64)
        bounds[:n] = [(y.start, y.stop, x.start, x.stop) for y, x in windows]
        masks = () if mask_logits is None else (F.pad(mask_logits, (0, 0, 0, 0, 0, more[0])),)
        given = (torch.from_numpy(one) for one in (kind, xy, bounds))
        logits, scores = (self._recorded or self._decoded)(image.features, *given, *masks)
        return Candidates(logits[:n], scores[:n])

    def _decoded(
        self,
        features: torch.Tensor,
        kind: torch.Tensor,
        xy: torch.Tensor,
        bounds: torch.Tensor,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (n, 3, 4 h, 4 w) and scores (n, 3) of n rows, float32.

        Args:
            features: the embedding, float32 (C, h, w).
            kind: int64 (n, T), what every point is.
            xy: float32 (n, T, 2), where it is, pixels of the input.
            bounds: int64 (n, 4), the windows: first row of cells, the one after the last, and the same of columns.
            masks: as for `decode`.
        """
        kind, xy, bounds = (one.to(features.device) for one in (kind, xy, bounds))
        h, w = features.shape[1], features.shape[2]
        hidden, cells = self._attend(self._image_of(features), self._tokens(kind, xy), kind != _PAD, masks)
        scores, kernels = self._heads(hidden)
        logits = _unshuffled(self._upscale(cells) @ kernels[:, None], (h, w)).float()
        top, bottom, left, right = (PLACES * bounds).T[..., None]
        y, x = (torch.arange(PLACES * side, device=kind.device) for side in (h, w))
        rows, columns = (top <= y) & (y < bottom), (left <= x) & (x < right)
        inside = (rows[:, :, None] & columns[:, None])[:, None]
        return torch.where(inside, logits, _OUTSIDE), scores.float()

    def _heads(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the tokens of `_attend` scores (n, 3), and what upscaled cells are multiplied with, (n, c, 3)."""
        scores = self._decoder.iou_prediction_head(hidden[:, 0])[:, 1:]
        # The first mask token serves single-mask output and is not asked for.
        mlps = self._decoder.output_hypernetworks_mlps[1:]
        return scores, torch.stack([mlp(hidden[:, 1 + k]) for k, mlp in enumerate(mlps)], 1).transpose(1, 2)

    def _fill(self, logits: torch.Tensor, cells: torch.Tensor, kernels: torch.Tensor, window: Window) -> None:
        """A window of logits (3, 4 h, 4 w), in place, from one row's cells (h, w, C) and kernels (c, 3)."""
        part = cells[window]
        count = part.shape[0] * part.shape[1]
        # The backend keeps compiled code for every shape that it has met, so there are few.
        padded = F.pad(part.flatten(0, 1), (0, 0, 0, -count % _UPSCALED_IN_STEPS))
        steps = padded.split(_UPSCALED_AT_ONCE)
        small = torch.cat([self._upscale(step) @ kernels for step in steps])[:count]
        _within(logits, window)[:] = _unshuffled(small[None], (part.shape[0], part.shape[1]))[0]

    def _points(self, prompts: Prompts, image: FeatureMap) -> tuple[np.ndarray, np.ndarray]:
        """What the tokens of N rows stand for: kinds, int64 (N, T), and pixels of the input, float32 (N, T, 2), xy.

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
        # SAM shifts coordinates to pixel centres after scaling them to its input.
        return labels[:, used], coords[:, used].astype(np.float32) + np.float32(0.5)

    def _tokens(self, kind: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
        """The decoder's own tokens and those of points (n, T), as from `_points`: (n, 5 + T, C)."""
        encoder, decoder = self._prompts, self._decoder
        where = encoder.pe_layer.forward_with_coords(xy, (self._input_size, self._input_size))
        table = torch.cat([encoder.not_a_point_embed.weight, *(e.weight for e in encoder.point_embeddings)])
        points = torch.where((kind >= _NEGATIVE)[..., None], where, 0.0) + table[kind.clamp(min=_NOT_A_POINT) + 1]
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        return torch.cat([own.expand(len(kind), -1, -1), points.to(table.dtype)], dim=1)

    def _embed_dense(self, mask_logits: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """What a mask adds to the embedding, as a product of two: float (n or 1, P or 1, k) and (k, C), k small."""
        if mask_logits is None:
            no_mask = self._prompts.no_mask_embed.weight
            return no_mask.new_ones(1, 1, 1), no_mask
        *small, last = self._prompts.mask_downscaling
        x = mask_logits[:, None].to(self._dtype)
        for layer in small:
            x = layer(x)
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        return x.flatten(2).transpose(1, 2), torch.cat([last.weight.flatten(1).T, last.bias[None]])

    def _shared(self, image: FeatureMap) -> _Image:
        """What depends on the frame alone; that of the last frame is kept."""
        kept = self._image
        if kept is None or kept.features is not image.features:
            kept = self._image = self._image_of(image.features, kept)
        return kept

    def _image_of(self, features: torch.Tensor, before: _Image | None = None) -> _Image:
        h, w = features.shape[1], features.shape[2]
        cells = features.flatten(1).T[None].to(self._dtype).contiguous()
        if before is not None and before.features.shape == features.shape:
            positions = before.positions
        else:
            positions = self._square_pe[None, :, :h, :w].flatten(2).transpose(1, 2).contiguous()
        block = self._decoder.transformer.layers[0]
        first = SharedMap(cells, positions, block.cross_attn_token_to_image, block.cross_attn_image_to_token)
        return _Image(features, positions, first)

    def _attend(
        self,
        image: _Image,
        tokens: torch.Tensor,
        valid: torch.Tensor | None,
        mask_logits: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """SAM's two-way transformer on the embedding plus what a mask adds to it.

        Args:
            image: the frame.
            tokens: (n, 5 + T, C).
            valid: bool (n, T), which of the points' tokens count; None if all do.
            mask_logits: as for `decode`.

        Returns:
            The IoU token and the three mask tokens, (n, 4, C), and the cells (n, P, C).
        """
        added, basis = self._embed_dense(mask_logits)
        keep = None
        if valid is not None:
            keep = torch.cat([valid.new_ones(len(valid), tokens.shape[1] - valid.shape[1]), valid], 1)[:, None, None]
        first, second = self._decoder.transformer.layers
        queries = first.norm1(attention.among(first.self_attn, tokens, tokens, keep))
        queries = first.norm2(queries + image.first.read(queries + tokens, added, basis))
        queries = first.norm3(queries + first.mlp(queries))
        cells = first.norm4(image.first.write(queries + tokens, queries, keep, added, basis))

        q = queries + tokens
        queries = second.norm1(queries + attention.among(second.self_attn, q, queries, keep))
        at = cells + image.positions
        queries = second.norm2(queries + attention.read(second.cross_attn_token_to_image, queries + tokens, at, cells))
        queries = second.norm3(queries + second.mlp(queries))
        module = second.cross_attn_image_to_token
        cells = second.norm4(attention.write(module, cells, at, queries + tokens, queries, keep))

        transformer = self._decoder.transformer
        queries, tokens = (torch.cat([of[:, :1], of[:, 2:5]], dim=1) for of in (queries, tokens))
        final = attention.read(transformer.final_attn_token_to_image, queries + tokens, cells + image.positions, cells)
        return transformer.norm_final_attn(queries + final), cells


class _Upscaling(nn.Module):
    """SAM's two transposed convolutions as products, cells (..., C) -> (..., 16, c).

    Their steps are as wide as their kernels, so that every cell becomes 2 x 2 and then 4 x 4 without its neighbours,
    in the order of `_unshuffled`.
    """

    def __init__(self, layers: Any) -> None:
        super().__init__()
        conv1, self.norm, self.act1, conv2, self.act2 = layers
        self.first, self.second = _as_linear(conv1), _as_linear(conv2)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        x, norm = self.first(cells).unflatten(-1, (4, -1)), self.norm
        x = self.act1(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        return self.act2(self.second(x).unflatten(-1, (4, -1))).flatten(-3, -2)


def _as_linear(conv: Any) -> nn.Linear:
    """A transposed convolution of 2 x 2 in steps of 2, c -> c', as a layer c -> 4 c'."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    layer.requires_grad_(False).load_state_dict({"weight": weight, "bias": conv.bias.repeat(4)})
    return layer


def _rounded(n: int) -> int:
    """A number of rows, or the next of which there are few, at most a quarter more."""
    step = 1 << max(0, n.bit_length() - 3)
    return -(-n // step) * step


def _within(logits: torch.Tensor, window: Window) -> torch.Tensor:
    """The part of logits (k, 4 h, 4 w) in a window of cells."""
    y, x = (slice(PLACES * part.start, PLACES * part.stop) for part in window)
    return logits[:, y, x]


def _unshuffled(x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(n, h * w, 16, k), sub-cells ordered by (y / 2, x / 2, y % 2, x % 2) -> maps (n, k, 4 h, 4 w)."""
    n, _, _, k = x.shape
    h, w = grid
    x = x.view(n, h, w, 2, 2, 2, 2, k).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return x.reshape(n, k, PLACES * h, PLACES * w)
