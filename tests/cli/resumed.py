"""`vos track` in processes that start in no time, can be killed at any moment, and may use a stand-in for the model."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.cli.conftest import encode
from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models

LEFT = Thing(14, hue=0, path=lambda t: (30 + 1.5 * t, 40), seed=1)
RIGHT = Thing(12, hue=110, path=lambda t: (120 - 1.5 * t, 56), shape="square", seed=2)


def draw(folder: Path, count: int) -> tuple[Path, Path, Path]:
    """A clip of two things that pass each other, 144x96; the first one's mask on frame 0, the second one's on 7."""
    images, truth = clip([LEFT, RIGHT], count, size=(96, 144))
    first, second = folder / "first.png", folder / "second.png"
    Image.fromarray((truth[0] == 1).astype(np.uint8) * 255).save(first)
    Image.fromarray((truth[min(7, count - 1)] == 2).astype(np.uint8) * 255).save(second)
    return encode(folder / "clip.mp4", images), first, second


def track(
    arguments: Sequence[str],
    log: Path,
    slow: float,
    slow_reading: float,
    peaks: Path | None,
    stand_in: bool,
    begun: Any,
) -> None:
    """The body of a process: `vos track ARGUMENTS`, with seconds added to every frame that is tracked, or read.

    `peaks` takes a line per frame, and one at the end: the most memory that the process had until then, bytes.
    `stand_in`: in one thread, with a stand-in for the model. `begun` counts the frames whose tracking has begun.
    """
    import cv2
    import torch

    from vos.cli.main import main
    from vos.models import load
    from vos.passes import VideoPass
    from vos.video.container import VideoSource

    if stand_in:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        load.load_models = lambda *_: stand_in_models()
    step, picture = VideoPass.step, VideoSource._picture

    def note_memory() -> None:
        if peaks is not None:
            with open(peaks, "a") as file:
                print(peak_memory(), file=file)

    def slower(*args: Any, **kwargs: Any) -> Any:
        begun.value += 1
        time.sleep(slow)
        note_memory()
        return step(*args, **kwargs)

    def slower_reading(*args: Any) -> Any:
        time.sleep(slow_reading)
        return picture(*args)

    VideoPass.step = slower  # type: ignore[method-assign]
    VideoSource._picture = slower_reading  # type: ignore[method-assign]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["vos", "track", *arguments]
    try:
        main()
    finally:
        note_memory()


def peak_memory() -> int:
    """Of this process until now, bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class Runner:
    """Runs `vos track` in processes that have torch loaded as they start; all of what they print goes to `log`.

    The rest is as `track` takes it.
    """

    log: Path
    slow: float = 0.0
    slow_reading: float = 0.0
    peaks: Path | None = None
    stand_in: bool = True

    def __post_init__(self) -> None:
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "cv2", "vos.pipeline", "vos.cli.main", "tests.cli.resumed"])

    def run(self, *arguments: object, kill: tuple[int, float] | None = None, patience: float = 120.0) -> int:
        """The exit code of a run; -9 if it was still at work and was killed.

        `kill` is when: so many seconds after the tracking of so many frames has begun.
        """
        # Without a lock, which a process that is killed might hold for ever.
        begun = self._context.RawValue("i", 0)
        how = (self.log, self.slow, self.slow_reading, self.peaks, self.stand_in, begun)
        process = self._context.Process(target=track, args=([str(a) for a in arguments], *how))
        process.start()
        if kill is not None:
            frames, seconds = kill
            while process.is_alive() and begun.value < frames:
                time.sleep(0.001)
            process.join(seconds)
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
        process.join(patience)
        assert process.exitcode is not None, "it hangs"
        return int(process.exitcode)

    def run_with_kills(self, *arguments: object, rng: random.Random, frames: int, kills: int = 100) -> int:
        """Run, kill at a random moment, resume, until it comes to its end; how often it was killed.

        Args:
            frames: of the clip. Before the first one begins, a kill comes while the run is getting ready.
        """
        for count in range(kills):
            resume = ["--resume"] if count else []
            begun = rng.randint(0, frames)
            moment = (begun, rng.uniform(0, 0.3 if begun else 2.0))
            code = self.run(*arguments, *resume, kill=moment)
            if code == 0:
                return count
            assert code == -signal.SIGKILL, self.log.read_text()
        assert self.run(*arguments, "--resume") == 0, self.log.read_text()
        return kills
