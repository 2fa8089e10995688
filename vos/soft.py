"""Soft masks: what the decoder thinks of every pixel, kept small and enlarged only when somebody asks.

Importing torch takes seconds and waits for that too.

Alphas are uint16 (H, W): 65535 times the probability, the logistic function of an object's own logit. Objects do not
compete here, so those of objects that overlap overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FULL = 65535


@dataclass(frozen=True, eq=False)
class LowLogits:
    """The logits of N objects on one frame, at the decoder's resolution.

    Attributes:
        ids: their objects.
        logits: float16 (N, h, w), padding included.
        ratio: pixels of the encoder's input per logit.
        input_size: the part of that input which the frame fills from the top left, (h_in, w_in), pixels.
        frame_size: (H, W), pixels.
    """

    ids: tuple[int, ...]
    logits: np.ndarray
    ratio: int
    input_size: tuple[int, int]
    frame_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or len(self.logits) != len(self.ids) or self.logits.dtype != np.float16:
            raise ValueError(f"logits must be float16 ({len(self.ids)}, h, w), got {self.logits.shape = }")

    def whole(self, object_id: int) -> np.ndarray | None:
        """An object's logits on the frame, float32 (H, W); None for an object without logits."""
        if object_id not in self.ids:
            return None
        import torch

        from vos.resample import enlargement

        low = torch.from_numpy(self.logits[self.ids.index(object_id)][None]).float()
        how = enlargement(self.logits.shape[1:], (self.ratio,), self.input_size, self.frame_size, low.device)
        return how.whole(low)[0].numpy()

    def alpha(self, object_id: int) -> np.ndarray | None:
        """uint16 (H, W); None for an object without logits."""
        logits = self.whole(object_id)
        if logits is None:
            return None
        import torch

        probability = torch.sigmoid(torch.from_numpy(logits))
        return (probability * FULL).round().numpy().astype(np.uint16)
