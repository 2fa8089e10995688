"""Other ways through the sequences of DAVIS 2016, so that one set of sequences is a test of more:

python docs/accuracy/ways.py DAVIS OUT
vos compare --davis OUT/second --year 2016 -o RESULTS --presets best

Each way is a DAVIS folder of its own under OUT: the sequences in reverse, every second or third frame of them, or a
part of them. Its frames are links to those of DAVIS.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from eval.davis import open_dataset

# A way picks from a sequence's frames, in their order.
WAYS: dict[str, Callable[[list[str]], list[str]]] = {
    "reversed": lambda frames: frames[::-1],
    "second": lambda frames: frames[::2],
    "second-reversed": lambda frames: frames[::-2],
    "third": lambda frames: frames[::3],
    "third-reversed": lambda frames: frames[::-3],
    "later": lambda frames: frames[len(frames) // 3 :],
    "earlier-reversed": lambda frames: frames[2 * len(frames) // 3 :: -1],
}

parser = argparse.ArgumentParser(description="Other ways through the sequences of DAVIS 2016.")
parser.add_argument("davis", type=Path)
parser.add_argument("out", type=Path)
given = parser.parse_args()

names = open_dataset(given.davis, year=2016).names
for way, picked in WAYS.items():
    root = given.out / way
    for folder in (Path("JPEGImages", "480p"), Path("Annotations", "480p")):
        for name in names:
            there, here = given.davis / folder / name, root / folder / name
            here.mkdir(parents=True)
            for index, frame in enumerate(picked(sorted(path.name for path in there.iterdir()))):
                (here / f"{index:05d}{Path(frame).suffix}").symlink_to((there / frame).resolve())
    lists = root / "ImageSets" / "2016"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
print(f"{', '.join(WAYS)}: in {given.out}")
