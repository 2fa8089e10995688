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


def mended_mask(
    model: SegmentAnything, image: FeatureMap, logits: torch.Tensor, clicks: ClickBoxPrompt
) -> torch.Tensor:
    """An object's mask, changed where clicks say that it is wrong, and nowhere else.

    The model is asked with the mask, points deep inside it and the clicks. Of what an answer adds that counts which
    hangs together with a positive click, of what it takes away that which hangs together with a negative one. Of the
    three answers that is taken with which most clicks agree, then the surest, less what it changes. Where that leaves
    a click unheard, the smallest thing that the model sees at it is added or taken away, unless it holds another click
    that says otherwise or, to be taken away, half of the mask or more.

    Args:
        model: the segmenter.
        image: the frame's embedding.
        logits: float (h, w), the decoder's resolution, padding included. Where they are nowhere above 0 on the frame,
            there is nothing to mend.
        clicks: points on the frame, positive and negative.

    Returns:
        float (h, w), on the device of `logits`.
    """
    size = image.stride / PLACES * np.array(image.frame_size[::-1]) / np.array(image.input_size[::-1])
    h, w = image.covered_of((logits.shape[0], logits.shape[1]))
    x, y = np.clip(((clicks.points + 0.5) / size).astype(np.int64), 0, (w - 1, h - 1)).T
    mask, wanted = np.zeros(logits.shape, bool), clicks.labels == 1
    mask[:h, :w] = (logits[:h, :w] > 0).cpu().numpy()
    if not mask.any():
        return logits
    inside = deep_points(mask, np.ones(mask.shape), _DEEP) * size - 0.5
    points = np.concatenate([clicks.points, inside.astype(np.float32)])
    labels = np.concatenate([clicks.labels, np.ones(len(inside), np.int8)])
    found = model.decode(image, _one(points, labels), logits[None].clamp(-MASK_LIMIT, MASK_LIMIT).to(image.features))
    best, whole = (-1.0, -1.0), logits
    for answer, score in zip(found.logits[0].to(logits), found.scores[0].tolist(), strict=True):
        has = (answer > 0).cpu().numpy()
        changed = _parts_at(has & ~mask, y[wanted], x[wanted]) | _parts_at(mask & ~has, y[~wanted], x[~wanted])
        offered = torch.where(torch.from_numpy(changed).to(logits.device), answer, logits)
        heard = int((_holds(model, image, offered, clicks) == wanted).sum())
        worth = (float(heard), score - _CHANGE * float(changed.sum() / mask.sum()))
        if worth > best:
            best, whole = worth, offered
    for click in range(len(wanted)):
        if _holds(model, image, whole, clicks)[click] != wanted[click]:
            whole = _with_thing_at(model, image, whole, clicks, click)
    return whole


def claimed(layer: np.ndarray, own: np.ndarray, clicks: ClickBoxPrompt) -> np.ndarray:
    """What clicks make an object's own, bool (H, W): what it has won and, where a positive click is on what another
    object has won, all that it claims there.

    Args:
        layer: bool (H, W), what it claims.
        own: bool (H, W), what it has won.
    """
    wanted = clicks.labels == 1
    rows, columns = clicks.pixels(own.shape)
    return own | _parts_at(layer & ~own, rows[wanted], columns[wanted])


def _with_thing_at(
    model: SegmentAnything, image: FeatureMap, logits: torch.Tensor, clicks: ClickBoxPrompt, click: int
) -> torch.Tensor:
    """Logits, float (h, w), with or without the smallest thing that the model sees at a click; as they are if that
    would be too much, or another click says otherwise."""
    wanted = clicks.labels == clicks.labels[click]
    answers = model.decode(image, _one(clicks.points[click : click + 1], np.ones(1, np.int8))).logits[0].to(logits)
    held = [_holds(model, image, answer, clicks) for answer in answers]
    things = [answer for answer, has in zip(answers, held, strict=True) if has[click] and not (has & ~wanted).any()]
    if not things:
        return logits
    thing = min(things, key=lambda one: int((one > 0).sum()))
    if clicks.labels[click] == 1:
        return torch.where(thing > 0, torch.maximum(logits, thing), logits)
    gone = (thing > 0) & (logits > 0)
    return torch.where(gone, -thing, logits) if 2 * gone.sum() < (logits > 0).sum() else logits


def _parts_at(mask: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Those parts of a mask, bool (h, w), that hang together with one of some places."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.isin(parts, parts[y, x][mask[y, x]])


def _holds(model: SegmentAnything, image: FeatureMap, logits: torch.Tensor, clicks: ClickBoxPrompt) -> np.ndarray:
    """Which clicks are on a mask, logits (h, w), as it is on the frame: bool (P,)."""
    return clicks.held_by((model.to_frame(logits[None], image)[0] > 0).cpu().numpy())


def _one(points: np.ndarray, labels: np.ndarray) -> Prompts:
    return Prompts(points[None], labels[None], np.full((1, 4), np.nan, np.float32))
