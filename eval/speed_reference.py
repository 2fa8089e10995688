"""`vos bench reference`: presets against the plain loop of `eval.plain_loop`, on the same frames in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from vos.device import resolve_device
from vos.errors import EvaluationError
from vos.models.sam import loaded_parts
from vos.settings import First, Settings
from vos.video import open_source
from vos.weights import fetch

from .bench_clip import BenchClip
from .plain_loop import PlainLoop
from .run import write_mask
from .speed import Bench, Speed

PERSAM, PERSAM_F = "persam", "persam-f"


@dataclass(frozen=True, eq=False)
class Contestant:
    """One of ours.

    Attributes:
        name: of its row: the preset and what differs from it.
        preset: name or file.
        settings: what it is.
    """

    name: str
    preset: str
    settings: Settings

    @property
    def recipe(self) -> str:
        """Which of the plain loops does the same."""
        return PERSAM_F if self.settings.decoder.first is First.FITTED else PERSAM


@dataclass(frozen=True, eq=False)
class _Plain:
    """One run of the plain loop: frames per second without the reference frame, and its masks."""

    rate: float
    masks: list[np.ndarray]


class ReferenceBench:
    """Rounds of everybody, one after the other, so that what the machine does meanwhile hits all alike.

    Args:
        folder: for what is written meanwhile.
        frames: to time ours on.
        plain_frames: to time the plain loop on, which takes seconds for each.
        rounds: how often; the medians count.
        on_step: called with a line of text before each part.
    """

    def __init__(
        self,
        folder: Path,
        *,
        frames: int,
        plain_frames: int,
        rounds: int,
        on_step: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._plain_frames = plain_frames
        self._rounds = rounds
        self._frames = frames
        self._on_step = on_step

    def rows(self, contestants: Sequence[Contestant], clips: Iterable[BenchClip]) -> list[dict[str, Any]]:
        """One row per clip and contestant, ready for JSON.

        Raises:
            EvaluationError: they do not agree on model and device, or a clip is too short.
        """
        if len({(one.settings.model, one.settings.device, one.settings.weights) for one in contestants}) != 1:
            raise EvaluationError("what is compared with one plain loop must have its model, weights and device")
        bench = Bench(self._folder, self._frames)
        found = []
        for clip in clips:
            bench.check(clip)
            plain: dict[str, list[_Plain]] = {}
            ours: dict[str, list[Speed]] = {one.name: [] for one in contestants}
            for turn in range(self._rounds):
                what = f"round {turn + 1} of {self._rounds}, {clip.name} {clip.size}, objects: {clip.objects}"
                for recipe in dict.fromkeys(one.recipe for one in contestants):
                    self._on_step(f"{what}: plain loop of {recipe}")
                    plain.setdefault(recipe, []).append(self._plain(contestants[0].settings, recipe, clip))
                for one in contestants:
                    self._on_step(f"{what}: {one.name}")
                    ours[one.name].append(bench.measure(one.settings, clip, masks=1 + self._plain_frames))
            found += [_row(one, clip, plain[one.recipe], ours[one.name]) for one in contestants]
        return found

    def fit_seconds(self, settings: Settings, clip: BenchClip, steps: int) -> float:
        """Seconds that the plain loop takes for so many steps of fitting the mix of one object."""
        self._on_step(f"fit of the plain loop, {steps} decoder calls")
        loop = _loop(settings, PERSAM_F)
        with open_source(clip.path) as source:
            image = source.first().image
        mask = clip.reference == np.unique(clip.reference)[1]
        loop.start(image, [mask])
        began = time.perf_counter()
        loop.fit(image, mask, steps)
        return time.perf_counter() - began

    def _plain(self, settings: Settings, recipe: str, clip: BenchClip) -> _Plain:
        loop = _loop(settings, recipe)
        ids = [i for i in np.unique(clip.reference).tolist() if i]
        masks, seconds = [clip.reference], list[float]()
        with open_source(clip.path) as source:
            frames = iter(source)
            loop.start(next(frames).image, [clip.reference == i for i in ids])
            while len(seconds) < self._plain_frames:
                began = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    raise EvaluationError(f"{clip.path}: it has no {1 + self._plain_frames} frames to time")
                index_map = loop.step(frame.image)
                write_mask(self._folder / "plain.png", index_map)
                seconds.append(time.perf_counter() - began)
                masks.append(np.array([0, *ids], np.uint8)[index_map])
        return _Plain(1 / mean(seconds), masks)


def ten_over_one(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Name (and size, of several) -> "objects" -> time of a frame over that with the fewest, for each on its own.

    The plain loops are there under the names of their recipes with " (plain)".
    """
    rows = list(rows)
    several = len({row["size"] for row in rows}) > 1
    rates: dict[str, dict[int, float]] = {}
    for row in rows:
        size = f", {row['size']}" if several else ""
        rates.setdefault(f"{row['name']}{size}", {})[row["objects"]] = row["rate"]
        rates.setdefault(f"{row['recipe']} (plain){size}", {})[row["objects"]] = row["plain_rate"]
    found = {}
    for name, by_count in rates.items():
        fewest = min(by_count)
        found[name] = {str(n): by_count[fewest] / rate for n, rate in by_count.items() if n != fewest}
    return {name: ratios for name, ratios in found.items() if ratios}


def agreement(ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray]) -> float:
    """Mean IoU of the objects' masks in two runs of index maps, uint8 (H, W); 1 where both are empty."""
    found = []
    for a, b in zip(ours, theirs, strict=True):
        for i in sorted({*np.unique(a).tolist(), *np.unique(b).tolist()} - {0}):
            found.append(float(((a == i) & (b == i)).sum() / ((a == i) | (b == i)).sum()))
    return mean(found) if found else 1.0


def _loop(settings: Settings, recipe: str) -> PlainLoop:
    parts = loaded_parts(settings.model, settings.weights or fetch(settings.model))
    return PlainLoop(parts, resolve_device(settings.device), fitted=recipe == PERSAM_F)


def _row(one: Contestant, clip: BenchClip, plain: list[_Plain], ours: list[Speed]) -> dict[str, Any]:
    rate, plain_rate = median(speed.rate for speed in ours), median(run.rate for run in plain)
    shares = [speed.elsewhere for speed in ours if speed.elsewhere is not None]
    return {
        "name": one.name,
        "preset": one.preset,
        "recipe": one.recipe,
        "settings": one.settings.model_dump(mode="json"),
        "clip": clip.name,
        "size": clip.size,
        "objects": clip.objects,
        "rate": rate,
        "plain_rate": plain_rate,
        "ratio": rate / plain_rate,
        # The reference frame is given, so it says nothing; and a plain loop whose mix is not fitted finds other masks.
        "agreement": agreement(ours[-1].masks[1:], plain[-1].masks[1:]) if one.recipe == PERSAM else None,
        "encoder_rate": median(speed.encoder_rate for speed in ours),
        "reference_s": median(speed.reference_s for speed in ours),
        "peak_mb": max((speed.peak_mb for speed in ours if speed.peak_mb is not None), default=None),
        "elsewhere": max(shares, default=None),
        "rounds": {"rate": [speed.rate for speed in ours], "plain_rate": [run.rate for run in plain]},
    }
