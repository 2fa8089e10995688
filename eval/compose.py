"""Clips with several objects and exact truth, composed of real sequences with one object each.

Four kinds, each asking for something that most real clips do not:

- *beside*: two sequences next to each other, each at half its size. Two objects, never to be swapped.
- *over*: the object of one cut out and laid over the other. Objects cover each other as they go.
- *behind*: one sequence with a patterned bar that sweeps across and hides the object altogether for a while.
- *away*: one sequence, a stretch of another in which the object is not, and the first again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shutil import rmtree

import cv2
import numpy as np
from PIL import Image

from vos.errors import EvaluationError

from .davis import UNREADABLE, Dataset, Sequence
from .report import write_text

Shot = tuple[np.ndarray, np.ndarray]  # uint8 RGB (H, W, 3), index map uint8 (H, W)

# Frames before the bar comes in, and from there until it has left; how much wider it is than the object ever is.
_BAR_FROM, _BAR_CROSSING, _BAR_WIDER = 5, 40, 1.25
# Where the other shot begins, and its frames.
_AWAY_FROM, _AWAY = 15, 12
# Frames from which on a clip shows what its kind asks for.
NEEDED = {"behind": _BAR_FROM + _BAR_CROSSING + 1, "away": _AWAY_FROM + _AWAY + 1}


@dataclass(frozen=True)
class Clip:
    """A composed clip.

    Attributes:
        name: kind and sequences.
        shots: makes its frames, one after the other.
    """

    name: str
    shots: Callable[[], Iterator[Shot]]


def clips_of(dataset: Dataset, only: Iterable[str] = (), frames: int | None = None) -> list[Clip]:
    """All clips of a data set: of every sequence with the next one, the last with the first.

    Args:
        dataset: at least two sequences with their images, scored by the rules of one object (2016).
        only: texts, one of which is in a clip's name; none takes all clips.
        frames: the most that a clip has.

    Raises:
        EvaluationError: there are not two sequences, more than one object, or no such clip.
    """
    if len(dataset.names) < 2 or dataset.year != 2016:
        raise EvaluationError(
            f"{dataset.root}: clips are composed of two or more sequences with one object each, got "
            f"{len(dataset.names)} by the rules of {dataset.year}; give more --sequences"
        )
    sequences, wanted = [dataset.sequence(name) for name in dataset.names], tuple(only)
    made = []
    for a, b in zip(sequences, [*sequences[1:], sequences[0]], strict=True):
        made += [_beside(a, b), _over(a, b), _behind(a), _away(a, b)]
    names = [clip.name for clip in made]
    found = [_cut(clip, frames) for clip in made if not wanted or any(text in clip.name for text in wanted)]
    if not found:
        raise EvaluationError(f"no clip has {' or '.join(map(repr, wanted))} in its name; there are {', '.join(names)}")
    return found


def compose(clips: Iterable[Clip], root: Path, resolution: str = "480p") -> Iterator[int]:
    """Write clips as a data set by the rules of DAVIS 2017, and give the number of frames of each as it is done.

    Raises:
        EvaluationError: `root` is there already, or a sequence has no images.
    """
    if root.exists():
        raise EvaluationError(f"{root} is there already; choose another folder, or delete it")
    names = []
    try:
        for clip in clips:
            yield _write(clip, root, resolution)
            names.append(clip.name)
        write_text(root / "ImageSets" / "2017" / "val.txt", "".join(f"{name}\n" for name in names))
    except BaseException:
        # Half a data set would pass for a whole one.
        rmtree(root, ignore_errors=True)
        raise


def _write(clip: Clip, root: Path, resolution: str) -> int:
    images, annotations = (root / kind / resolution / clip.name for kind in ("JPEGImages", "Annotations"))
    for folder in (images, annotations):
        folder.mkdir(parents=True)
    count = 0
    for count, (image, truth) in enumerate(clip.shots(), start=1):
        Image.fromarray(image).save(images / f"{count - 1:05d}.jpg", quality=95)
        Image.fromarray(truth).save(annotations / f"{count - 1:05d}.png")
    return count


def _cut(clip: Clip, frames: int | None) -> Clip:
    return Clip(clip.name, lambda: islice(clip.shots(), frames))


def _shots(sequence: Sequence) -> Iterator[Shot]:
    for frame in sequence.frames:
        path = sequence.image(frame)
        if path is None:
            raise EvaluationError(f"sequence {sequence.name}, frame {frame}: it has no image in {sequence.images}")
        try:
            with Image.open(path) as opened:
                image = np.asarray(opened.convert("RGB"))
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise EvaluationError(f"sequence {sequence.name}, frame {frame}: cannot read {path}: {reason}") from error
        sequence.check_image((image.shape[0], image.shape[1]), frame)
        yield image, (sequence.annotation(frame)[0] > 0).astype(np.uint8)


def _beside(a: Sequence, b: Sequence) -> Clip:
    h, w = a.size

    def shots() -> Iterator[Shot]:
        for left, right in zip(_shots(a), _shots(b), strict=False):
            halves = [_resized(shot, (h // 2, w // 2)) for shot in (left, right)]
            yield np.hstack([halves[0][0], halves[1][0]]), np.hstack([halves[0][1], 2 * halves[1][1]])

    return Clip(f"beside-{a.name}-{b.name}", shots)


def _over(a: Sequence, b: Sequence) -> Clip:
    def shots() -> Iterator[Shot]:
        for (image, truth), other in zip(_shots(a), _shots(b), strict=False):
            above, mask = _resized(other, a.size)
            own = mask > 0
            yield np.where(own[..., None], above, image), np.where(own, np.uint8(2), truth)

    return Clip(f"over-{a.name}-{b.name}", shots)


def _behind(a: Sequence) -> Clip:
    h, w = a.size
    truths = (a.annotation(frame)[0] for frame in a.frames)
    widest = max(int(np.ptp(np.flatnonzero(truth.any(axis=0)))) + 1 for truth in truths if truth.any())
    width = int(_BAR_WIDER * widest)
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 216, (max(2, h // 24), max(2, width // 24), 3), dtype=np.uint8)
    bar = cv2.resize(coarse, (width, h), interpolation=cv2.INTER_CUBIC)

    def shots() -> Iterator[Shot]:
        for t, (image, truth) in enumerate(_shots(a)):
            left = round((t - _BAR_FROM) / _BAR_CROSSING * (w + width)) - width
            x0, x1 = max(0, left), min(w, left + width)
            image, truth = image.copy(), truth.copy()
            if x0 < x1:
                image[:, x0:x1], truth[:, x0:x1] = bar[:, x0 - left : x1 - left], 0
            yield image, truth

    return Clip(f"behind-{a.name}", shots)


def _away(a: Sequence, b: Sequence) -> Clip:
    def shots() -> Iterator[Shot]:
        own = _shots(a)
        yield from islice(own, _AWAY_FROM)
        for other in islice(_shots(b), _AWAY):
            image, truth = _resized(other, a.size)
            yield image, np.zeros_like(truth)
        yield from own

    return Clip(f"away-{a.name}-{b.name}", shots)


def _resized(shot: Shot, size: tuple[int, int]) -> Shot:
    image, truth = shot
    h, w = size
    return (
        cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA),
        cv2.resize(truth, (w, h), interpolation=cv2.INTER_NEAREST),
    )
