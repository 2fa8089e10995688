"""How fast `vos` tracks: each stage by itself, the encoder alone, and the whole with everything side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vos.ahead import encoded, share
from vos.errors import EvaluationError
from vos.models.features import Features
from vos.models.load import Models, load_models
from vos.passes import VideoPass
from vos.pipeline import VideoTracker
from vos.results import ResultWriter, Run
from vos.settings import Settings
from vos.timing import StageTimes
from vos.tracking import with_following
from vos.types import Frame
from vos.video import Source, open_source
from vos.weights import fetch

from .bench_clip import BenchClip
from .compare import STEP_STAGES
from .machine import Elsewhere, forget_peak, peak_memory, resident_memory
from .run import write_mask

STAGES = ("read", "prepare", "encode", "locate", "segment", "merge", "learn", "other", "write")
# Frames before and after those that are timed: queues fill and empty in them, so that between them every frame that is
# finished is paid for by one that is begun.
EDGE = 6
# A stage needs no more frames than that, however many the whole is timed on.
_STAGE_FRAMES = 24


@dataclass(frozen=True)
class Speed:
    """What was measured of one case.

    Attributes:
        frames: timed, those at the clip's ends left out.
        rate: frames per second of the whole, reading and writing masks included.
        encoder_rate: frames per second of the encoder alone, pictures in memory.
        ms: stage -> milliseconds per frame, one stage after the other, reference frame left out. `prepare` is resizing
            and normalising, `learn` taking in results, `other` the rest of a step, such as carrying masks between
            keyframes.
        reference_s: taking in the reference frame, features given (PerSAM-F's fit is here), seconds.
        warm_up_s: the first two frames through the loaded models, seconds; compiling is here.
        peak_mb: most resident memory of the process in the whole run, MB; None if unknown.
        growth_mb: resident memory after the last timed frame less that after the first quarter of them, MB.
        gpu_peak_mb: most memory that torch held on the GPU, MB; None without one.
        encoder_gpu_peak_mb: the same with the encoder alone at work.
        elsewhere: share of the cores that other programs used meanwhile, 0 to 1; None if unknown.
        masks: index maps of the first frames, uint8 (H, W), as many as were asked for.
    """

    frames: int
    rate: float
    encoder_rate: float
    ms: Mapping[str, float]
    reference_s: float
    warm_up_s: float
    peak_mb: float | None
    growth_mb: float | None
    gpu_peak_mb: float | None
    encoder_gpu_peak_mb: float | None
    elsewhere: float | None
    masks: list[np.ndarray] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        numbers = asdict(self)
        del numbers["masks"]
        return numbers


class Bench:
    """Measures settings; models that one case shares with the one before are loaded once.

    Args:
        folder: for what is written meanwhile.
        frames: how many to time.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        self._folder = folder
        self._frames = frames
        self._loaded: tuple[str, Models] | None = None

    def measure(self, settings: Settings, clip: BenchClip, masks: int = 0) -> Speed:
        """Warm up, then time.

        Args:
            masks: how many of the first frames' index maps to give back.

        Raises:
            EvaluationError: the clip is too short.
            VosError: whatever stands against running.
        """
        self.check(clip)
        models = self._models(settings)
        tracker = VideoTracker(settings, models)
        began = time.perf_counter()
        _warm_up(tracker, clip, EDGE if models.segmenter.device.type == "cuda" else 2)
        warm_up = time.perf_counter() - began
        elsewhere = Elsewhere()
        ms, reference = self._stages(tracker, models, clip)
        device = models.segmenter.device
        _forget_gpu_peak(device)
        encoder_rate = _encoder_rate(settings, models, clip, min(self._frames, _STAGE_FRAMES))
        encoder_gpu = _gpu_peak(device)
        forget_peak()
        _forget_gpu_peak(device)
        rate, growth, first_masks = self._whole(tracker, clip, masks)
        return Speed(
            frames=self._frames,
            rate=rate,
            encoder_rate=encoder_rate,
            ms=ms,
            reference_s=reference,
            warm_up_s=warm_up,
            peak_mb=peak_memory(),
            growth_mb=growth,
            gpu_peak_mb=_gpu_peak(device),
            encoder_gpu_peak_mb=encoder_gpu,
            elsewhere=elsewhere.share(),
            masks=first_masks,
        )

    def check(self, clip: BenchClip, latency: int = 0, found: int | None = None) -> None:
        """EvaluationError for a clip that is known to be too short.

        Args:
            latency: frames that the tracker looks ahead.
            found: how many frames there were; None before it is read.
        """
        needed, count = EDGE + self._frames + 1 + EDGE + latency, clip.frames if found is None else found
        if count is not None and count < needed:
            raise EvaluationError(
                f"{clip.path}: timing {self._frames} frames takes a clip of {needed}, this one has {count}; "
                "give fewer --frames"
            )

    def _models(self, settings: Settings) -> Models:
        key = settings.model_dump_json(exclude={"decoder", "fit", "objects", "tracker"})
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # frees the models before others are loaded
            self._loaded = key, load_models(settings, fetch)
        return self._loaded[1]

    def _stages(self, tracker: VideoTracker, models: Models, clip: BenchClip) -> tuple[dict[str, float], float]:
        """Milliseconds per frame by stage, and seconds for the reference frame: one stage after the other."""
        count = min(self._frames, _STAGE_FRAMES)
        video = tracker.begin(timed=True)
        times = StageTimes(models.segmenter.device)
        plan, keyframes, before = clip.plan, video.keyframes, {}
        with open_source(clip.path) as source:
            frames = _timed(source, times, count + 1 + video.latency)
            for frame, upcoming in islice(with_following(frames, video.latency), count + 1):
                given, features = plan.at(frame.index), None
                if keyframes.due(frame, given):
                    with times.stage("prepare"):
                        models.segmenter.encoder.prepare(frame.image)
                    features = video.encode(frame)
                with times.stage("step"):
                    result = video.step(frame, given, features, upcoming)
                with times.stage("write"):
                    write_mask(self._folder / "mask.png", result.index_map)
                if frame.index == 0:
                    before = {**times.seconds, **video.times.seconds}
        seconds = {**times.seconds, **video.times.seconds}
        spent = {stage: seconds[stage] - before.get(stage, 0.0) for stage in seconds}
        spent["encode"] -= spent["prepare"]
        spent["other"] = spent.pop("step") - sum(spent[stage] for stage in STEP_STAGES)
        return {stage: 1000 * spent[stage] / count for stage in STAGES}, before["step"]

    def _whole(
        self, tracker: VideoTracker, clip: BenchClip, masks: int
    ) -> tuple[float, float | None, list[np.ndarray]]:
        """Frames per second, growth of memory in MB, and the first masks, of a run as `vos track` makes it."""
        video = tracker.begin()
        first, last = EDGE, EDGE + self._frames
        stamps: list[float] = []
        kept: list[np.ndarray] = []
        resident: list[float | None] = []
        plan = clip.plan
        with (
            open_source(clip.path) as source,
            ResultWriter(self._folder / "out", Run(source, plan.ids), save=("masks",), overwrite=True) as writer,
        ):
            frames = islice(iter(source), last + 1 + EDGE + video.latency)
            with closing(tracker.run(frames, plan, video)) as results:
                for result in results:
                    writer.write(result)
                    stamps.append(time.perf_counter())
                    if result.frame.index < masks:
                        kept.append(result.index_map)
                    if result.frame.index in (first + self._frames // 4, last):
                        resident.append(resident_memory())
        self.check(clip, video.latency, len(stamps))
        quarter, end = resident
        growth = None if quarter is None or end is None else end - quarter
        return self._frames / (stamps[last] - stamps[first]), growth, kept


def _forget_gpu_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _gpu_peak(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None


def _timed(source: Source, times: StageTimes, count: int) -> Iterator[Frame]:
    frames = iter(source)
    for _ in range(count):
        with times.stage("read"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _warm_up(tracker: VideoTracker, clip: BenchClip, count: int) -> None:
    """So many frames: on a GPU, work is recorded when a shape has come several times."""
    video: VideoPass = tracker.begin()
    plan = clip.plan
    with open_source(clip.path) as source:
        for frame, upcoming in islice(with_following(source, video.latency), count):
            video.step(frame, plan.at(frame.index), upcoming=upcoming)


def _encoder_rate(settings: Settings, models: Models, clip: BenchClip, count: int) -> float:
    """As a run encodes, with all the cores and nothing beside it."""
    device = models.segmenter.device

    def encode(frame: Frame) -> Features:
        with models.beside.work():
            return models.encode(frame)

    with open_source(clip.path) as source:
        frames = list(islice(source, count))
    with share(device, settings, frames) as how:
        began = time.perf_counter()
        for _ in encoded((frame for frame in frames), encode, how):
            pass
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return len(frames) / (time.perf_counter() - began)
