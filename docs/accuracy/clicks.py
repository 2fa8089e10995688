"""What one click on a mask that is followed mends, on its frame and after:

python docs/accuracy/clicks.py DAVIS [--preset best] [--cache-embeddings FOLDER]

At every sixth frame of each sequence up to the 36th, at most twice a sequence: where what is missing, or too much, is 4
pixels deep and 2 % of the object or more, a click in its deepest place; the IoU there, and the mean of 11 frames after.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from eval.davis import open_dataset
from eval.metrics import jaccard
from vos import Click, Reading, track
from vos.distance import to_nearest

FRAMES, AFTER, TIMES = range(6, 37, 6), 11, 2
DEPTH, SHARE = 4, 0.02

parser = argparse.ArgumentParser(description="What one click on a mask that is followed mends.")
parser.add_argument("davis", type=Path)
parser.add_argument("--preset", default="best")
parser.add_argument("--cache-embeddings")
given = parser.parse_args()
overrides = [] if given.cache_embeddings is None else [("cache_embeddings", given.cache_embeddings)]


def followed(source: Path, references: dict, last: int) -> list[np.ndarray]:
    """Masks, bool (H, W), of frames 0 to `last`."""
    results = track(str(source), references, preset=given.preset, overrides=overrides, reading=Reading(end=last))
    return [result.index_map > 0 for result in results]


def worst(truth: np.ndarray, mask: np.ndarray, frame: int) -> Click | None:
    """A click in the deepest place of what is missing or too much, where that is worth one."""
    found = []
    for positive, wrong in ((True, truth & ~mask), (False, mask & ~truth)):
        depth = to_nearest(~np.pad(wrong, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        found.append((depth[y, x], np.count_nonzero(wrong), Click(frame, float(x), float(y), positive=positive)))
    depth, area, click = max(found, key=lambda one: one[0])
    return click if depth >= DEPTH and area >= SHARE * truth.sum() else None


print(
    "| sequence | frame | click | without | with | the next 11, without | with |\n| --- | ---: | --- |" + " ---: |" * 4
)
rows = []
dataset = open_dataset(given.davis, year=2016)
for name in dataset.names:
    sequence = dataset.sequence(name)
    frames = list(islice(sequence.frames, FRAMES[-1] + AFTER + 1))
    truth = [sequence.annotation(frame)[0] > 0 for frame in frames]
    first = truth[0].astype(np.uint8)
    without = followed(sequence.images, {0: first}, len(frames) - 1)
    times = 0
    for k in FRAMES:
        click = worst(truth[k], without[k], k) if k + AFTER < len(frames) and times < TIMES else None
        if click is None:
            continue
        times += 1
        after = followed(sequence.images, {0: first, k: click}, k + AFTER)
        here = [jaccard(truth[k], masks[k]) for masks in (without, after)]
        later = [
            float(np.mean([jaccard(truth[i], masks[i]) for i in range(k + 1, k + AFTER + 1)]))
            for masks in (without, after)
        ]
        rows.append([*here, *later])
        numbers = " | ".join(f"{100 * value:.1f}" for value in rows[-1])
        print(f"| {name} | {k} | {'+' if click.positive else '-'} | {numbers} |", flush=True)
print(f"| **mean** | | {len(rows)} | " + " | ".join(f"{value:.1f}" for value in 100 * np.mean(rows, axis=0)) + " |")
