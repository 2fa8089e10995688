"""Whose a place is taken for where two objects meet, and which evidence says so:

vos compose COMPOSED --davis DAVIS --only over
python docs/accuracy/owners.py COMPOSED [--preset best] [--cache-embeddings FOLDER]

Counted are the places of the decoder's grid where both the truth and the answer have an object: how many of them go to
another than the true one, in how many of those the last mask, carried here by motion, had it right still, and in how
many of those again the likeness to the references alone, the likeness with memory, and all that was believed, are for
the true one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from eval.davis import Sequence, open_dataset
from trackers.motion import Grid
from vos.installed import make_tracker
from vos.models.load import Models, load_models
from vos.passes import VideoPass
from vos.references import ReferencePlan, as_references
from vos.settings import Settings, load_settings
from vos.types import Evidence
from vos.video import open_source
from vos.weights import fetch

# What is told of a clip: numbers of places.
COLUMNS = ("places", "another's", "newly", "references right", "memory right", "belief right")


def counted(truth: np.ndarray, answer: np.ndarray, evidence: Evidence) -> np.ndarray:
    """The numbers of `COLUMNS` on one frame: index maps, uint8 (h, w), on the part of the grid that the frame covers,
    and evidence of objects 1 to N in this order."""
    met = (truth > 0) & (answer > 0)
    wrong = met & (truth != answer)
    y, x = np.nonzero(wrong)
    own, other = truth[wrong] - 1, answer[wrong] - 1
    maps = (evidence.carried, evidence.first_likeness, evidence.likeness, evidence.belief)
    carried, *looks = (values[own, y, x] > values[other, y, x] for values in maps)
    return np.array([met.sum(), len(y), carried.sum(), *((right & carried).sum() for right in looks)])


@torch.inference_mode()
def told(sequence: Sequence, settings: Settings, models: Models) -> np.ndarray:
    """The numbers of `COLUMNS` of a clip."""
    tracker = make_tracker(settings.tracker.parts)
    video, numbers = VideoPass(settings, models, tracker), np.zeros(len(COLUMNS), dtype=int)
    masks = [sequence.annotation(frame)[0].astype(np.uint8) for frame in sequence.frames]
    with open_source(sequence.images) as source:
        plan = ReferencePlan.build(as_references(masks[0]), frame_size=source.size, frame_count=len(masks))
        for frame, truth in zip(source, masks, strict=True):
            features = video.encode(frame)
            evidence = tracker.locate(frame, features).evidence if frame.index else None
            answer = video.step(frame, plan.at(frame.index), features).index_map
            if evidence is not None:
                h, w = Grid(features.image).covered
                small = [cv2.resize(one, (w, h), interpolation=cv2.INTER_NEAREST) for one in (truth, answer)]
                numbers += counted(small[0], small[1], evidence)
    return numbers


parser = argparse.ArgumentParser(description="Whose a place is taken for, and which evidence says so.")
parser.add_argument("composed", type=Path)
parser.add_argument("--preset", default="best")
parser.add_argument("--cache-embeddings")
given = parser.parse_args()

wanted = [] if given.cache_embeddings is None else [("cache_embeddings", given.cache_embeddings)]
used = load_settings(given.preset, wanted)
loaded = load_models(used, fetch)
dataset = open_dataset(given.composed)
print("| clip | of all | newly | references right | memory right | belief right |")
print("| --- | ---: | ---: | ---: | ---: | ---: |")
total = np.zeros(len(COLUMNS), dtype=int)
for name in (*dataset.names, ""):
    if name:
        clip = told(dataset.sequence(name), used, loaded)
        total += clip
    places, others, newly, *right = clip if name else total
    shares = [others / max(places, 1), newly / max(others, 1), *(one / max(newly, 1) for one in right)]
    print(f"| {name or 'all'} | {' | '.join(f'{share:.0%}' for share in shares)} |", flush=True)
