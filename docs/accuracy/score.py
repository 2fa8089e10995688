"""What the score of a mask says of its IoU with the truth:

python docs/accuracy/score.py DAVIS [--preset best] [--cache-embeddings FOLDER] [--skip SEQUENCE ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from eval.davis import open_dataset
from eval.metrics import jaccard
from vos import track

# An IoU below this is a failure; scores below these are tried as a warning of one.
BAD, WARNINGS = 0.5, (0.5, 0.55, 0.6, 0.65, 0.7)

parser = argparse.ArgumentParser(description="What the score of a mask says of its IoU with the truth.")
parser.add_argument("davis", type=Path)
parser.add_argument("--preset", default="best")
parser.add_argument("--cache-embeddings")
parser.add_argument("--skip", nargs="*", default=[])
given = parser.parse_args()

overrides = [] if given.cache_embeddings is None else [("cache_embeddings", given.cache_embeddings)]
dataset = open_dataset(given.davis, year=2016)
found = []
for name in dataset.names:
    if name in given.skip:
        continue
    sequence = dataset.sequence(name)
    first = sequence.annotation(sequence.frames[0])[0].astype(np.uint8)
    results = track(str(sequence.images), first, preset=given.preset, overrides=overrides)
    for frame, result in zip(sequence.frames, results, strict=True):
        (item,) = result.objects
        if item.area and not item.given:
            truth = sequence.annotation(frame)[0] > 0
            found.append((item.score, jaccard(truth, result.index_map > 0)))
    print(f"{name}: done", flush=True)

score, iou = np.array(found).T
print(f"{len(iou)} masks, {np.count_nonzero(iou < BAD)} of IoU < {BAD}")
print("\n| score | masks | mean IoU |\n| --- | ---: | ---: |")
for low in np.arange(0, 10) / 10:
    inside = (score >= low) & (score < low + 0.1 + 1e-6 * (low == 0.9))
    if inside.any():
        print(f"| {low:.1f} to {low + 0.1:.1f} | {np.count_nonzero(inside)} | {iou[inside].mean():.2f} |")
print(f"\n| score below | masks | of IoU < {BAD}: found | of those masks: IoU < {BAD} | < 0.7 |")
print("| ---: | ---: | ---: | ---: | ---: |")
for limit in WARNINGS:
    warned = score < limit
    if warned.any():
        shares = warned[iou < BAD].mean(), (iou[warned] < BAD).mean(), (iou[warned] < 0.7).mean()
        print(f"| {limit} | {np.count_nonzero(warned)} | {' | '.join(f'{share:.0%}' for share in shares)} |")
