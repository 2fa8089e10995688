"""Where the time of a run goes, by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch


class StageTimes:
    """Seconds spent in named stages, added up, those of several threads too; stages do not nest.

    Args:
        device: its current stream is waited for before and after a stage, so that queued GPU work counts where it was
            asked for. Threads with streams of their own do not wait for each other. None: nothing is waited for, and
            work counts where its results are needed.
    """

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        self._seconds: dict[str, float] = {}
        self._adding = Lock()

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far, in the order in which stages first ran."""
        return dict(self._seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a with-block."""
        self._wait()
        began = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            with self._adding:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def _wait(self) -> None:
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
