"""What keeps an object company: what has been seen beside it for some frames is another, whatever it looks like."""

from __future__ import annotations

import numpy as np

from vos.windows import grown

# Share of the remaining doubt that goes with every frame in which a thing is seen beside the object.
_RISE = 0.3
# Factor on what the mask takes in, or touches within `_TOUCHING` places.
_KEPT, _TOUCHING = 0.9, 1


def company(before: np.ndarray | None, logits: np.ndarray, surely: float) -> np.ndarray:
    """After a frame.

    Args:
        before: float32 (h, w) in [0, 1], what was known before it, where that is on it (see `Motion.keep`); None for
            nothing.
        logits: float32 (h, w), the object's own on it; an object that is nowhere says nothing.
        surely: how sure it is that this is the object, in [0, 1].

    Returns:
        float32 (h, w) in [0, 1]: for how much of a while every place's thing has been seen beside the object.
    """
    known = np.zeros_like(logits) if before is None else before
    inside = logits > 0
    if not inside.any():
        return known
    touched = grown(inside, _TOUCHING)
    return np.where(touched, np.float32(_KEPT) * known, known + np.float32(_RISE * surely) * (1 - known))
