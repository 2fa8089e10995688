"""Where an encoder call spends its time, as published, with `persam` and with `best`: operators by their own time.

python docs/performance/encoder_profile.py [PICTURE]
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from vos.models.load import load_models
from vos.settings import load_settings
from vos.types import Frame
from vos.weights import fetch

WAYS = {
    "as published": ("best", ["input_size=1024", "pad=true", "precision=float32", "channels_last=false"]),
    "persam": ("persam", []),
    "best": ("best", []),
}
SHOWN = 8


def operators(preset: str, overrides: list[str], image: np.ndarray) -> tuple[float, list[tuple[str, int, float]]]:
    """Milliseconds in all, and the operators that take most: name, calls, milliseconds."""
    models = load_models(load_settings(preset, overrides), fetch)
    for _ in range(2):
        models.encode(Frame(0, image))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        models.encode(Frame(0, image))
    found = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in found) / 1000
    return whole, [(event.key, event.count, event.self_cpu_time_total / 1000) for event in found[:SHOWN]]


if __name__ == "__main__":
    noise = np.random.default_rng(0).integers(0, 256, (480, 854, 3), dtype=np.uint8)
    picture = np.asarray(Image.open(sys.argv[1]).convert("RGB")) if sys.argv[1:] else noise
    torch.set_num_threads(1)
    for name, (preset, overrides) in WAYS.items():
        whole, rows = operators(preset, overrides, picture)
        print(
            f"\n{name}: {whole:.0f} ms on one core\n\n| operator | calls | ms | share |\n| --- | ---: | ---: | ---: |"
        )
        for operator, calls, ms in rows:
            print(f"| `{operator}` | {calls} | {ms:.0f} | {100 * ms / whole:.0f} % |")
