"""Embeddings kept on disk, so that repeated experiments on the same frames do not encode them again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, get_ident
from zipfile import BadZipFile

import numpy as np
import torch

from vos.errors import OutputError
from vos.paths import put

_SUFFIX, _UNFINISHED = ".npy", ".part"
# Nobody takes this long to write one.
_ABANDONED_SECONDS = 3600


class EmbeddingCache:
    """Half-precision arrays in a folder, the least recently used ones removed past a size.

    A key names the model, its weights, how it computes, and the frame's pixels: a hit is the same embedding rounded to
    half precision. Damaged files are misses. Several processes and threads may share a folder.

    Args:
        folder: made if missing.
        context: everything but the frame that the embedding depends on.
        limit_bytes: size of the folder past which old files go.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, context: str, limit_bytes: int) -> None:
        self._folder = folder
        self._context = context
        self._limit = limit_bytes
        self._counting = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._size = sum(path.stat().st_size for path in folder.glob(f"*{_SUFFIX}"))
            _tidy(folder)
        except OSError as error:
            raise self._refusal(error) from error

    def get(self, image: np.ndarray, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The embedding of a frame, uint8 (H, W, 3): from disk, else computed and kept.

        Args:
            image: the frame.
            compute: its embedding, float (C, h, w), on any device; called where it is not on disk.

        Returns:
            float32 (C, h, w), rounded to half precision; on the CPU if it was on disk, else where it was computed.

        Raises:
            OutputError: it cannot be kept.
        """
        digest = hashlib.blake2b(f"{self._context} {image.shape}".encode(), digest_size=20)
        digest.update(np.ascontiguousarray(image).data)
        path = self._folder / f"{digest.hexdigest()}{_SUFFIX}"
        found = _read(path)
        if found is not None:
            return torch.from_numpy(found).float()
        half = compute().half()
        self._put(path, half.cpu().numpy())
        return half.float()

    def _put(self, path: Path, array: np.ndarray) -> None:
        part = path.with_name(f"{path.stem}.{os.getpid()}.{get_ident()}{_UNFINISHED}")
        try:
            with open(part, "wb") as file:
                np.save(file, array)
            size = part.stat().st_size
            put(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self._refusal(error) from error
        with self._counting:
            self._size += size
            if self._size > self._limit:
                self._make_room()

    def _make_room(self) -> None:
        """Remove the least recently used files until a tenth of the limit is free."""
        files = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except OSError:
                continue  # another process removed it
        self._size = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda entry: entry[0]):
            if self._size <= 0.9 * self._limit:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
                self._size -= size

    def _refusal(self, error: OSError) -> OutputError:
        reason = error.strerror or error
        return OutputError(f"{self._folder}: embeddings cannot be cached there: {reason}; choose another folder")


def _read(path: Path) -> np.ndarray | None:
    """An embedding, float16 (C, h, w), whose time of use becomes now; None where there is none, or a damaged one."""
    try:
        found = np.load(path)
        if getattr(found, "ndim", 0) != 3 or found.dtype != np.float16:
            return None
        os.utime(path)
    except (OSError, ValueError, EOFError, BadZipFile, MemoryError):
        # Out of memory is what a damaged header asks for: an embedding that was ever kept has room.
        return None
    return np.asarray(found)


def _tidy(folder: Path) -> None:
    """Remove what processes that were killed have left unfinished."""
    for part in folder.glob(f"*{_UNFINISHED}"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                part.unlink()
