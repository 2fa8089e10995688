"""A mask that is followed, mended by clicks: what Segment Anything would change of it where they say it is wrong."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from vos.hypotheses import MASK_LIMIT, deep_points
from vos.models.features import PLACES, FeatureMap
from vos.models.sam import SegmentAnything
from vos.references import ClickBoxPrompt
from vos.types import Prompts

# Points deep inside the mask that are asked for beside the clicks.
_DEEP = 5
# What a change by as much as the whole mask counts against an answer, in predicted IoU.
_CHANGE = 0.2


def mended(model: SegmentAnything, image: FeatureMap, logits: torch.Tensor, clicks: ClickBoxPrompt) -> torch.Tensor:
    """An object's mask, changed where clicks say that it is wrong, and nowhere else.

    The model is asked with the mask, points deep inside it and the clicks. Of the places in which an answer differs
    from the mask those count that hang together with a click. Of the three answers that is taken with which most
    clicks agree, then the surest, less what it changes. Where that leaves a click unheard, the smallest thing that the
    model sees at it is added or taken away, unless that takes half of the mask or more.

    Args:
        model: the segmenter.
        image: the frame's embedding.
        logits: float (h, w), the decoder's resolution, padding included; somewhere above 0.
        clicks: points on the frame, positive and negative.

    Returns:
        float (h, w), on the device of `logits`.
    """
    size = image.stride / PLACES * np.array(image.frame_size[::-1]) / np.array(image.input_size[::-1])
    last = np.array(logits.shape[::-1]) - 1
    x, y = np.clip(((clicks.points + 0.5) / size).astype(np.int64), 0, last).T
    mask, wanted = (logits > 0).cpu().numpy(), clicks.labels == 1
    inside = deep_points(mask, np.ones(mask.shape), _DEEP) * size - 0.5
    points = np.concatenate([clicks.points, inside.astype(np.float32)])
    labels = np.concatenate([clicks.labels, np.ones(len(inside), np.int8)])
    found = model.decode(image, _one(points, labels), logits[None].clamp(-MASK_LIMIT, MASK_LIMIT).to(image.features))
    best, whole = (-1.0, -1.0), logits
    for answer, score in zip(found.logits[0].to(logits), found.scores[0].tolist(), strict=True):
        _, parts = cv2.connectedComponents(((answer > 0).cpu().numpy() != mask).astype(np.uint8), connectivity=8)
        changed = np.isin(parts, parts[y, x][parts[y, x] > 0])
        heard = (changed[y, x] != mask[y, x]) == wanted
        worth = (float(heard.sum()), score - _CHANGE * float(changed.sum() / mask.sum()))
        if worth > best:
            best, whole = worth, torch.where(torch.from_numpy(changed).to(logits.device), answer, logits)
    for click in np.flatnonzero((whole[y, x] > 0).cpu().numpy() != wanted).tolist():
        whole = _with_thing_at(model, image, whole, clicks, click, (int(y[click]), int(x[click])))
    return whole


def _with_thing_at(
    model: SegmentAnything,
    image: FeatureMap,
    logits: torch.Tensor,
    clicks: ClickBoxPrompt,
    click: int,
    place: tuple[int, int],
) -> torch.Tensor:
    """Logits, float (h, w), with or without the smallest thing that the model sees at a click's place, (y, x)."""
    candidates = model.decode(image, _one(clicks.points[click : click + 1], np.ones(1, np.int8))).logits[0].to(logits)
    things = [one for one in candidates if one[place] > 0]
    if not things:
        return logits
    thing = min(things, key=lambda one: int((one > 0).sum()))
    if clicks.labels[click] == 1:
        return torch.where(thing > 0, torch.maximum(logits, thing), logits)
    gone = (thing > 0) & (logits > 0)
    return torch.where(gone, -thing, logits) if 2 * gone.sum() < (logits > 0).sum() else logits


def _one(points: np.ndarray, labels: np.ndarray) -> Prompts:
    return Prompts(points[None], labels[None], np.full((1, 4), np.nan, np.float32))
