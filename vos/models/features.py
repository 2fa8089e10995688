"""What an image encoder gives back: a feature map that knows where it lies on the frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from vos.resample import enlargement

# Places of the decoder's logits to a cell of the segmenter's embedding, along each axis.
PLACES = 4


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A frame's features on a regular grid.

    Attributes:
        features: float (C, h, w).
        frame_size: (H, W) of the original frame, pixels.
        input_size: (h_in, w_in), the size to which the frame was resized before encoding, pixels. The resized frame
            lies at the top left of the encoder's input; what is right of it or below it is padding.
        stride: input pixels per grid cell, so that the frame covers h_in / stride rows and w_in / stride columns.
        steps: sizes of the intermediate grids through which a map is interpolated on its way to the frame, as factors
            of (h, w). SAM goes through 4 x and 16 x (its `postprocess_masks` on a prior already enlarged 4 times).
        stages: float32 (D, h, w), what the encoder's earlier stages see of each cell, every stage's channels centred
            and of unit length; None where that is not kept.
        computed_in: the precision in which the encoder computed; sums over the features need not be more precise.
    """

    features: torch.Tensor
    frame_size: tuple[int, int]
    input_size: tuple[int, int]
    stride: int
    steps: tuple[int, ...] = ()
    stages: torch.Tensor | None = None
    computed_in: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.features.ndim != 3:
            raise ValueError(f"features must be (C, h, w), got {self.features.shape = }")
        h, w = self.grid_size
        if self.input_size[0] > h * self.stride or self.input_size[1] > w * self.stride:
            raise ValueError(f"a {h} x {w} grid at stride {self.stride} does not cover the input {self.input_size}")

    @property
    def grid_size(self) -> tuple[int, int]:
        """(h, w), padding included."""
        return self.features.shape[1], self.features.shape[2]

    @property
    def covered_size(self) -> tuple[int, int]:
        """(h, w) of the part of the grid, from the top left, that shows the frame, in its last cells maybe in part; the
        rest is padding."""
        h, w = self.input_size
        return -(-h // self.stride), -(-w // self.stride)

    @property
    def places(self) -> tuple[int, int]:
        """(h, w) of the decoder's logits, padding included."""
        h, w = self.grid_size
        return PLACES * h, PLACES * w

    @property
    def covered_places(self) -> tuple[int, int]:
        """(h, w) of the part of them, from the top left, that shows the frame.

        Rounded: who stretches the frame over it is up to half a place off at its far edges.
        """
        sides = zip(self.places, self.input_size, strict=True)
        rows, columns = (max(1, min(n, round(PLACES * size / self.stride))) for n, size in sides)
        return rows, columns

    @property
    def place(self) -> np.ndarray:
        """Pixels of the frame per place of the decoder's logits, float64 (2,), xy."""
        return self.stride / PLACES * np.array(self.frame_size[::-1]) / np.array(self.input_size[::-1])

    @cached_property
    def unit(self) -> torch.Tensor:
        """Features L2-normalised over channels, (C, h, w)."""
        return F.normalize(self.features, dim=0)

    def __repr__(self) -> str:
        return f"FeatureMap({tuple(self.features.shape)}, frame={self.frame_size}, input={self.input_size})"

    def to_frame(self, maps: torch.Tensor) -> torch.Tensor:
        """Interpolate maps on the grid, float (N, h, w), bilinearly to the frame, float (N, H, W)."""
        if maps.shape[1:] != self.features.shape[1:]:
            raise ValueError(f"maps must be (N, {self.grid_size[0]}, {self.grid_size[1]}), got {maps.shape = }")
        h, w = self.grid_size
        steps = self.steps
        if (h * self.stride, w * self.stride) != self.input_size and steps[-1:] != (self.stride,):
            steps = (*steps, self.stride)
        covered = self.input_size if steps else self.grid_size
        return enlargement(self.grid_size, steps, covered, self.frame_size, maps.device).whole(maps)

    def coverage(self, mask: np.ndarray) -> torch.Tensor:
        """Share of every grid cell that a mask covers.

        Args:
            mask: bool (H, W) on the frame.

        Returns:
            float32 (h, w) in [0, 1], on the features' device; 0 in the padding.
        """
        if mask.shape != self.frame_size:
            raise ValueError(f"mask must be {self.frame_size}, got {mask.shape = }")
        h, w = self.grid_size
        full = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
        # PyTorch gives every row of a single column the first one's value, so that is resized lying down.
        lies, size = self.input_size[1] == 1, self.input_size
        full = F.interpolate(
            full.mT if lies else full,
            size[::-1] if lies else size,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        full = full.mT if lies else full
        full = F.pad(full, (0, w * self.stride - self.input_size[1], 0, h * self.stride - self.input_size[0]))
        return F.avg_pool2d(full, self.stride)[0, 0].clamp(0, 1).to(self.features.device)


@dataclass(frozen=True, eq=False)
class Features:
    """All that was computed of one frame's pixels, once.

    Attributes:
        image: the segmenter's own embedding, which its mask decoder reads.
        prior: the map in which objects are looked for; the same object as `image` unless another encoder was chosen.
        detail: what corrections need of the pixels, float32 (C, h, w) (see `vos.corrections.detail`); None where
            nothing is corrected.
    """

    image: FeatureMap
    prior: FeatureMap
    detail: np.ndarray | None = None


def unit_cells(x: torch.Tensor) -> torch.Tensor:
    """Features (B, C, h, w) with every cell's channels centred and of unit length, float32."""
    x = x.float()
    return F.normalize(x - x.mean(dim=1, keepdim=True), dim=1)
