"""`vos track` with a stand-in for the model, in processes that start in no time and can be killed at any moment."""

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


def track(arguments: Sequence[str], log: Path, slow: float) -> None:
    """The body of a process: `vos track ARGUMENTS`, with `slow` seconds added to every frame."""
    import cv2
    import torch

    from vos.cli.main import main
    from vos.models import load
    from vos.pipeline import VideoPass

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    load.load_models = lambda *_: stand_in_models()
    step = VideoPass.step

    def slower(*args: Any, **kwargs: Any) -> Any:
        time.sleep(slow)
        return step(*args, **kwargs)

    VideoPass.step = slower  # type: ignore[method-assign]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["vos", "track", *arguments]
    main()


@dataclass
class Runner:
    """Runs `vos track` in processes that have torch loaded as they start; all of what they print goes to `log`."""

    log: Path
    slow: float = 0.0

    def __post_init__(self) -> None:
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "cv2", "vos.pipeline", "vos.cli.main", "tests.cli.resumed"])

    def run(self, *arguments: object, kill_after: float | None = None) -> int:
        """The exit code of a run; -9 if it was still at work after some seconds and was killed."""
        process = self._context.Process(target=track, args=([str(a) for a in arguments], self.log, self.slow))
        process.start()
        process.join(kill_after)
        if process.is_alive() and kill_after is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join(120)
        assert process.exitcode is not None, "it hangs"
        return int(process.exitcode)

    def run_with_kills(self, *arguments: object, rng: random.Random, usual: float, kills: int = 100) -> int:
        """Run, kill at a random moment, resume, until it comes to its end; how often it was killed.

        A run that nobody kills takes about `usual` seconds, of which a third is getting ready.
        """
        for count in range(kills):
            resume = ["--resume"] if count else []
            code = self.run(*arguments, *resume, kill_after=usual * rng.uniform(0.2, 1.2))
            if code == 0:
                return count
            assert code == -signal.SIGKILL, self.log.read_text()
        assert self.run(*arguments, "--resume") == 0, self.log.read_text()
        return kills
