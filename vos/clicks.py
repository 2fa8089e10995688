"""A mask that is followed, mended by clicks: what Segment Anything would change of it where they say it is wrong."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch

from vos.hypotheses import MASK_LIMIT, deep_points
from vos.models.features import FeatureMap
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
    size = image.place
    h, w = image.covered_places
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
    held = _holds(model, image, whole, clicks)
    for click in range(len(wanted)):
        if held[click] != wanted[click]:
            before, whole = whole, _with_thing_at(model, image, whole, clicks, click)
            held = held if whole is before else _holds(model, image, whole, clicks)
    return whole


def claimed(
    logits: Mapping[int, np.ndarray], index_map: np.ndarray, clicks: Mapping[int, ClickBoxPrompt]
) -> dict[int, np.ndarray]:
    """What clicks make the own of the objects that they mend, bool (H, W) each, no pixel of two of them: what an object
    has won and, where a positive click is on what another has won, all that it claims there. What several claim so goes
    to the largest logit.

    Args:
        logits: float (H, W) of every such object.
        index_map: uint8 (H, W), who has won what.
        clicks: of every such object.
    """
    owner, most = index_map.copy(), np.zeros(index_map.shape, np.float32)
    for object_id, own in logits.items():
        wanted = clicks[object_id].labels == 1
        rows, columns = (side[wanted] for side in clicks[object_id].pixels(index_map.shape))
        taken = _parts_at((own > 0) & (index_map != object_id), rows, columns) & (own > most)
        owner[taken], most[taken] = object_id, own[taken]
    return {object_id: owner == object_id for object_id in logits}


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
