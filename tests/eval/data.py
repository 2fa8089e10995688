"""Small DAVIS-like data sets, drawn; integers only, so that every machine draws the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Maps = list[np.ndarray]

SIZE = (40, 60)


def write_png(path: Path, index_map: np.ndarray, *, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(index_map)
    if palette:
        image.putpalette([v for i in range(256) for v in (i, 255 - i, i)])
    image.save(path)


def write_dataset(
    root: Path,
    sequences: Mapping[str, Maps],
    *,
    year: int = 2017,
    folder: str = "Annotations",
    images: bool = False,
    palette: bool = True,
) -> Path:
    for name, maps in sequences.items():
        for t, index_map in enumerate(maps):
            write_png(root / folder / "480p" / name / f"{t:05d}.png", index_map, palette=palette)
            if images:
                path = root / "JPEGImages" / "480p" / name / f"{t:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((*index_map.shape, 3), 40 + 5 * (t % 40), np.uint8)).save(path)
    listing = root / "ImageSets" / str(year) / "val.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("\n".join(sequences) + "\n", encoding="utf-8")
    return root


def write_results(folder: Path, sequences: Mapping[str, Maps], frames: Callable[[int], bool] = lambda t: True) -> Path:
    for name, maps in sequences.items():
        for t, index_map in enumerate(maps):
            if frames(t):
                write_png(folder / name / f"{t:05d}.png", index_map)
    return folder


def rectangles(boxes: Sequence[tuple[int, int, int, int, int]], size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 (H, W): boxes (id, top, left, bottom, right), later ones on top."""
    index_map = np.zeros(size, np.uint8)
    for object_id, top, left, bottom, right in boxes:
        index_map[top:bottom, left:right] = object_id
    return index_map


def drawn_truth(frames: int = 9) -> dict[str, Maps]:
    """Sequences with an object that leaves, a gap in the ids, void pixels, an id that comes later, and a long one."""
    pair = [
        rectangles(
            [(1, 5 + t, 4 + 2 * t, 20 + t, 18 + 2 * t), *([(2, 22, 30, 36, 52)] if t % 4 else [(2, 20, 28, 36, 50)])]
        )
        for t in range(frames)
    ]
    leaves = [
        rectangles([(1, 8, 8, 30, 30), *([(2, 4, 40, 14, 55)] if t not in (3, 4, 5) else [])]) for t in range(frames)
    ]
    gap = [rectangles([(1, 2, 2, 18, 20 + t), (3, 20, 30 - t, 39, 60)]) for t in range(frames)]
    void = [rectangles([(1, 6, 6, 26, 24), (2, 10, 30, 34, 56), (255, 12, 20 + t % 3, 20, 34)]) for t in range(frames)]
    late = [rectangles([(1, 6, 6, 26, 24), *([(2, 10, 30, 34, 56)] if t > 2 else [])]) for t in range(frames)]
    long = [rectangles([(1, t % 7, t % 5, 8 + t % 7, 9 + t % 5)], (24, 28)) for t in range(300)]
    return {"pair": pair, "leaves": leaves, "gap": gap, "void": void, "late": late, "long": long}


def shifted(truth: Mapping[str, Maps]) -> dict[str, Maps]:
    """Results that are off by a growing number of columns, without void, and without ids the first frame lacks."""
    results = {}
    for name, maps in truth.items():
        known = list(range(1, int(np.where(maps[0] == 255, 0, maps[0]).max()) + 1))
        moved = [np.roll(m, 1 + t * 6 // len(maps), axis=1) for t, m in enumerate(maps)]
        results[name] = [np.where(np.isin(m, known), m, 0).astype(np.uint8) for m in moved]
    return results


def proposals(truth: Mapping[str, Maps]) -> dict[str, Maps]:
    """Results whose ids are other than the annotation's, with spare proposals and a frame without any."""
    results = {}
    for name, maps in shifted(truth).items():
        new_id = np.zeros(256, np.uint8)
        new_id[1:4] = (9, 4, 2)
        renamed = [new_id[m] for m in maps]
        for t, m in enumerate(renamed):
            m[: 3 + t % 4, -9:] = 11 + t % 3
            if t % 6 == 5:
                m[:] = 0
        results[name] = renamed
    return results
