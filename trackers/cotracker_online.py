"""CoTracker3's online model, one window of frames at a time, as its authors' package has it.

The package (github.com/facebookresearch/co-tracker) is not part of this program and neither are its weights: both are
CC-BY-NC 4.0, for non-commercial use only. Nothing here is imported from it before a model is made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vos.errors import SettingsError, WeightsError
from vos.models.checkpoint import read_checkpoint

LICENCE = "CC-BY-NC-4.0: non-commercial use only"
HOW_TO_GET = "pip install git+https://github.com/facebookresearch/co-tracker"
_WEIGHTS = "scaled_online.pth of the Hugging Face repository facebook/cotracker3"
# As in the package's online predictor: frames per window, rounds of refinement.
_WINDOW, _ROUNDS = 16, 6


@dataclass(frozen=True, eq=False)
class _Carried:
    """What goes from one window to the next, for N points of which the first `asked` are wanted.

    Attributes:
        asked: how many.
        scale: float32 (2,), model pixels per pixel of the frame, xy.
        queries: float32 (1, N, 3): frame 0 of the first window, x, y in model pixels.
        looks: per pyramid level, what the points look like: (1, 1, N, 128) and (1, 49, N, 128). None before a window.
        tracks: xy (1, 16, N, 2), visibility and confidence logits (1, 16, N) of the window before. None before one.
    """

    asked: int
    scale: np.ndarray
    queries: torch.Tensor
    looks: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None
    tracks: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None


class _Encoded(nn.Module):
    """Stands where the model's image encoder was, and gives features computed before: every frame is encoded once."""

    def __init__(self) -> None:
        super().__init__()
        self.features: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (T, 128, h, w) for a window of which the last frames, beyond T, repeat the last one."""
        assert self.features is not None
        missing = len(images) - len(self.features)
        return torch.cat([self.features, self.features[-1:].expand(missing, -1, -1, -1)])


class CoTrackerOnline:
    """Follows points through overlapping windows of 16 frames, half a window at a time.

    The package's class keeps what goes from window to window in itself, for one set of points, and its predictions for
    all frames of the video. Here that is passed in and out, so that one model serves any number of objects, each with
    points of its own that began on a frame of its own; and only the last window's predictions, which are all that the
    next one reads, are kept.

    Args:
        weights: the official checkpoint.
        support: side of the regular grid of further points that are followed along and thrown away.

    Raises:
        SettingsError: the package is not installed, or is another one.
        WeightsError: the checkpoint is missing, damaged, or another model's.
    """

    window = _WINDOW

    def __init__(self, weights: Path | None, support: int) -> None:
        model = _built()
        if weights is None:
            raise WeightsError(f"CoTracker needs weights; get {_WEIGHTS} and give tracker.cotracker.weights=PATH")
        if not weights.exists():
            raise WeightsError(f"{weights}: no such checkpoint; get {_WEIGHTS}")
        try:
            model.load_state_dict(read_checkpoint(weights))
        except RuntimeError as error:
            raise WeightsError(f"{weights}: not a checkpoint of CoTracker3 online; give {_WEIGHTS}") from error
        _tell_licence()
        self._model = model.eval().requires_grad_(False)
        self._encoder, self._encoded = self._model.fnet, _Encoded()
        self._model.fnet = self._encoded
        self._size: tuple[int, int] = self._model.model_resolution
        self._support = support
        self._device = torch.device("cpu")

    @torch.inference_mode()
    def encode(self, image: np.ndarray, device: torch.device) -> torch.Tensor:
        """Features of a frame, uint8 RGB (H, W, 3): float32 (1, 128, 96, 128) on the device."""
        if device != self._device:
            self._model.to(device)
            self._encoder.to(device)
            self._device = device
        pixels = torch.tensor(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
        pixels = F.interpolate(pixels, self._size, mode="bilinear", align_corners=True)
        return self._encoder(2 * (pixels / 255) - 1)

    def begin(self, points: np.ndarray, size: tuple[int, int]) -> _Carried:
        """Points, float32 (P, 2), on the first frame, (H, W), of the first window."""
        (h, w), (rows, columns) = size, self._size
        scale = np.array([(columns - 1) / max(w - 1, 1), (rows - 1) / max(h - 1, 1)], dtype=np.float32)
        asked = np.concatenate([points * scale, self._grid()]).astype(np.float32)
        queries = torch.from_numpy(np.concatenate([np.zeros_like(asked[:, :1]), asked], axis=1))[None]
        return _Carried(len(points), scale, queries)

    @torch.inference_mode()
    def follow(self, frames: Sequence[torch.Tensor], carried: _Carried) -> tuple[np.ndarray, np.ndarray, _Carried]:
        """One window.

        Args:
            frames: features of its T frames, 1 to 16, and more than half a window of them after the first window.
            carried: from `begin`, or from the window that began half a window earlier and had all its frames.

        Returns:
            xy, float32 (T, P, 2), in pixels of the frame; scores (T, P), visibility times confidence, 0 to 1; and what
            the next window needs.
        """
        model, step = self._model, self.window // 2
        model.init_video_online_processing()
        before = 0
        if carried.looks is not None and carried.tracks is not None:
            # The window before is frames 0 to 15: what came earlier is never read again.
            model.online_ind = before = step
            # The model adds to these in place.
            model.online_track_feat, model.online_track_support = ([t.clone() for t in part] for part in carried.looks)
            model.online_coords_predicted, model.online_vis_predicted, model.online_conf_predicted = carried.tracks
        self._encoded.features = torch.cat(list(frames))
        blank = torch.zeros((1, len(frames), 3, *self._size), device=self._device)
        queries = carried.queries.to(self._device)
        xy, visible, confident, _ = model(video=blank, queries=queries, iters=_ROUNDS, is_online=True)
        tracks = (model.online_coords_predicted, model.online_vis_predicted, model.online_conf_predicted)
        last = tuple(part[:, -self.window :].clone() for part in tracks)
        looks = (model.online_track_feat, model.online_track_support)
        self._encoded.features = None
        model.init_video_online_processing()
        points = xy[0, before:, : carried.asked].float().cpu().numpy() / carried.scale
        scores = (visible * confident)[0, before:, : carried.asked].float().cpu().numpy()
        return points, scores, _Carried(carried.asked, carried.scale, carried.queries, looks, last)

    def _grid(self) -> np.ndarray:
        """The supporting points, float32 (support^2, 2), in model pixels."""
        from cotracker.models.core.model_utils import get_points_on_a_grid

        if not self._support:
            return np.zeros((0, 2), dtype=np.float32)
        return get_points_on_a_grid(self._support, self._size)[0].numpy()


def _built() -> Any:
    """The package's model with random weights. Importing it and building it seed and draw: the caller's are kept."""
    with torch.random.fork_rng(devices=[]):
        try:
            from cotracker.models.build_cotracker import build_cotracker

            return build_cotracker(offline=False, window_len=_WINDOW)
        except (ImportError, TypeError) as error:
            raise SettingsError(
                f"the package cotracker is not CoTracker3's or cannot be loaded ({' '.join(str(error).split())}); "
                f"get it with: {HOW_TO_GET}"
            ) from error


@cache
def _tell_licence() -> None:
    """Once, and only when the model is used."""
    logging.getLogger("vos").warning("CoTracker's code and weights are CC-BY-NC 4.0: for non-commercial use only")
