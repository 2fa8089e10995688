"""The machine that a measurement belongs to, and what is in use of it."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_VERSIONS = ("persam-vos", "numpy", "opencv-python-headless", "torch", "torchvision", "timm", "segment-anything", "av")
_IDLE = (3, 4)  # of the times in /proc/stat: idle, and waiting for a disk
_COUNTED = 8  # of those times; the rest are parts of these


def machine() -> dict[str, Any]:
    """The machine and the versions that a measurement belongs to, ready for JSON."""
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": found,
        **_torch_facts(),
    }


def file_name(about: dict[str, Any]) -> str:
    """What a file is called that belongs to a `machine`: processor, cores, GPU, and the versions that decide speed."""
    parts = [about["processor"], f"{about['cores']} cores", *about.get("gpus", [])[:1]]
    parts += [f"{name} {about['versions'][name]}" for name in ("persam-vos", "torch") if name in about["versions"]]
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(parts).lower()).strip("-.")


def peak_memory() -> float | None:
    """Most resident memory of this process so far, or since `forget_peak`, MB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def forget_peak() -> bool:
    """Make `peak_memory` begin anew; whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident_memory() -> float | None:
    """Resident memory of this process now, MB; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Elsewhere:
    """What other programs use of the machine's cores from now on, without which no time means much."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._used, self._own = _used_seconds(), _own_seconds()

    def share(self) -> float | None:
        """Of all cores, 0 to 1; None where the system does not say."""
        used = _used_seconds()
        if self._used is None or used is None:
            return None
        others = used - self._used - (_own_seconds() - self._own)
        return min(1.0, max(0.0, others / (time.perf_counter() - self._began) / (os.cpu_count() or 1)))


def _used_seconds() -> float | None:
    """Core seconds that all programs have used since the machine started."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            times = [int(part) for part in file.readline().split()[1 : 1 + _COUNTED]]
    except OSError:
        return None
    return (sum(times) - sum(times[k] for k in _IDLE)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _processor() -> str:
    """The processor's model, where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.machine()


def _torch_facts() -> dict[str, Any]:
    """Threads and GPUs, if this process uses torch at all."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {"threads": torch.get_num_threads(), "gpus": gpus}
