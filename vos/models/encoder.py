"""From a frame to its embedding: resizing, padding, and the network in the layout and precision asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything.modeling import ImageEncoderViT

from vos.errors import DeviceError
from vos.models.dense import through_onednn
from vos.models.precision import DTYPES, InFloat32, in_precision, round_products
from vos.models.recorded import Recorded
from vos.models.resize import resize
from vos.models.tiny_vit import TinyVitEncoder
from vos.models.vit import VitEncoder

STRIDE = 16
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded; the defaults compute what SAM does, sums in another order.

    Attributes:
        pad: fill the frame up to a square, as SAM does; off, only to whole grid cells.
        input_size: pixels of the frame's longer side in the encoder, a multiple of 16.
        channels_last: memory layout of convolutions, with the norms behind them folded in, and float32 through oneDNN
            (see `vos.models.dense`), that of the decoder too; off, all is added up in segment-anything's own order.
        precision: of matrix products and convolutions: float32, bfloat16 or float16.
        compile: torch.compile the network, which takes place on the first frame of each size.
        stages: keep what the network's earlier stages see beside the embedding, if it is one that tells (TinyViT).
    """

    pad: bool = True
    input_size: int = 1024
    channels_last: bool = True
    precision: str = "float32"
    compile: bool = False
    stages: bool = False


class ImageEncoder:
    """A frozen image encoder of SAM's shape.

    Args:
        network: image (1, 3, h, w), normalised, sides multiples of 16 -> (1, C, h / 16, w / 16); weights loaded. Its
            last part is its attribute `neck`.
        encoding: how to run it.
        device: where.

    Attributes:
        dtype: of matrix products and convolutions.
    """

    def __init__(self, network: Any, encoding: Encoding, device: torch.device) -> None:
        self._encoding = encoding
        self._device = device
        self.dtype = DTYPES[encoding.precision]
        if isinstance(network, ImageEncoderViT):
            network = VitEncoder(network, encoding.input_size // STRIDE)
        self._layout = torch.channels_last if encoding.channels_last else torch.contiguous_format
        self._casts = self.dtype is not torch.float32
        network = network.eval().requires_grad_(False)
        if isinstance(network, TinyVitEncoder):
            network.keep_stages = encoding.stages
            if encoding.channels_last:
                network.fold()
            if self._casts:
                network.round_to(self.dtype)
                self._casts = False
        elif self._casts:
            round_products(network, self.dtype)
            network.neck = InFloat32(network.neck)
        if encoding.channels_last:
            through_onednn(network)
        network = network.to(device).to(memory_format=self._layout)
        self._network: Any = torch.compile(network, dynamic=False) if encoding.compile else network
        self._mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(1, 3, 1, 1)
        recorded = device.type == "cuda" and not encoding.compile
        self._recorded = Recorded(self._forward, device) if recorded else None

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of a frame (H, W) in the encoder's input, pixels, padding left out."""
        return resized_size(frame_size, self._encoding.input_size)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """A frame, uint8 RGB (H, W, 3), as the network reads it: float32 (1, 3, h, w), resized, normalised, padded."""
        h, w = self.input_size((image.shape[0], image.shape[1]))
        x = self._resized(image, (h, w)).permute(2, 0, 1)[None]
        side = self._encoding.input_size
        bottom, right = (side - h, side - w) if self._encoding.pad else (-h % STRIDE, -w % STRIDE)
        x = (x - self._mean).div_(self._std)
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom))
        return x.contiguous(memory_format=self._layout)

    def _resized(self, image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        """A frame at (h, w), uint8 (h, w, 3), on the device, by the filter of SAM's ResizeLongestSide: Pillow's."""
        if self._device.type != "cuda":
            h, w = size
            resized = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
            return torch.tensor(resized).to(self._device)
        # From pinned memory the copy does not hold up this thread.
        return resize(torch.tensor(np.ascontiguousarray(image)).pin_memory().to(self._device, non_blocking=True), size)

    @torch.inference_mode()
    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """What `prepare` gave -> the embedding, float32 (C, h / 16, w / 16); further channels are stages', if kept.

        Raises:
            DeviceError: the network could not be compiled.
        """
        return (self._recorded or self._forward)(x)[0]

    def _forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        with in_precision(self._device, self.dtype if self._casts else torch.float32):
            return (self._run(x).float()[0].contiguous(),)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        if not self._encoding.compile:
            return self._network(x)
        from torch._dynamo.exc import TorchDynamoException  # slow to import

        try:
            return self._network(x)
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0][:160]
            raise DeviceError(
                f"the encoder cannot be compiled on {self._device}: {reason}; torch.compile needs a C++ compiler "
                "(on a GPU, Triton); install it or set compile=false"
            ) from error


def resized_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer side is `longest`, rounded half up as SAM does, at least one pixel."""
    scale = longest / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))
