"""Settings and the models they ask for, loaded once for any number of videos."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos.cli.weights import download_progress
from vos.settings import Settings
from vos.weights import fetch

if TYPE_CHECKING:
    import torch

    from vos.pipeline import VideoTracker


class Session:
    """One choice of settings; importing torch and loading models wait until they are needed.

    Attributes:
        settings: what to run.
        preset: what it was made from, for the record.
    """

    def __init__(self, settings: Settings, preset: str) -> None:
        self.settings = settings
        self.preset = preset

    @cached_property
    def device(self) -> torch.device:
        """DeviceError if it is not there."""
        from vos.device import resolve_device

        return resolve_device(self.settings.device)

    @cached_property
    def tracker(self) -> VideoTracker:
        """The loaded models, downloaded before if need be; WeightsError."""
        from vos.models.load import load_models
        from vos.pipeline import VideoTracker

        return VideoTracker(self.settings, load_models(self.settings, _fetch_with_bar))

    @property
    def record(self) -> dict[str, Any]:
        """Every setting, as plain data; device and precision as they are here."""
        from vos.device import settings_record

        return {"preset": self.preset, **settings_record(self.settings, self.device)}

    def describe(self) -> str:
        """One line for people."""
        settings = self.settings
        return f"{self.preset}: {settings.model}, tracker {settings.tracker.name}, on {_device_name(self.device)}"


def _fetch_with_bar(name: str) -> Path:
    with download_progress(name) as progress:
        return fetch(name, progress=progress)


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    count = torch.get_num_threads()
    return f"{device} ({count} thread{'' if count == 1 else 's'})" if device.type == "cpu" else str(device)
