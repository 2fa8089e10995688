"""Frames of an overlay, in rows of two: make demo, and then

python docs/accuracy/failures.py out/demo/overlay.mp4 docs/accuracy/failures.jpg 0 25 40 55
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from vos.video import open_source

SIZE = 640, 360

parser = argparse.ArgumentParser(description="Frames of an overlay, in rows of two.")
parser.add_argument("overlay", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("frames", type=int, nargs="+")
given = parser.parse_args()

with open_source(given.overlay) as source:
    images = {frame.index: frame.image for frame in source if frame.index in given.frames}
sheet = Image.new("RGB", (2 * SIZE[0], -(-len(given.frames) // 2) * SIZE[1]))
for place, index in enumerate(given.frames):
    sheet.paste(Image.fromarray(images[index]).resize(SIZE), (place % 2 * SIZE[0], place // 2 * SIZE[1]))
sheet.save(given.out, quality=80)
