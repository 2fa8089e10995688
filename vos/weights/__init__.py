"""Checkpoints: which there are, where they come from, and the verified copies on this machine."""

from vos.weights.registry import Checkpoint, get_checkpoint, known
from vos.weights.sources import PipSource, Progress, Source, UrlSource
from vos.weights.store import Verification, cache_dir, cached_path, fetch, verify

__all__ = [
    "Checkpoint",
    "PipSource",
    "Progress",
    "Source",
    "UrlSource",
    "Verification",
    "cache_dir",
    "cached_path",
    "fetch",
    "get_checkpoint",
    "known",
    "verify",
]
