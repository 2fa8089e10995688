"""Video in: files, folders, pipes, cameras and arrays become one stream of `vos.types.Frame`."""

from __future__ import annotations

from vos.video.container import count_packets
from vos.video.open import Given, open_source
from vos.video.prefetch import prefetch
from vos.video.reading import READERS, Reading, parse_moment, parse_rate
from vos.video.source import Source

__all__ = [
    "READERS",
    "Given",
    "Reading",
    "Source",
    "count_packets",
    "open_source",
    "parse_moment",
    "parse_rate",
    "prefetch",
]
