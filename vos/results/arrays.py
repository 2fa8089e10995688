"""Masks as NumPy arrays in one file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from vos.results.files import PartFile, Reserve
from vos.results.sinks import Run, every_id
from vos.results.summary import Summary
from vos.types import FrameResult


class ArraySink:
    """A `.npz` with one array per frame and object, "1/00000": bool (H, W), its layer; and "ids", uint8 (N,).

    NumPy reads an array when it is asked for, so a long video need not fit into memory.
    """

    def __init__(self, path: Path, reserve: Reserve, run: Run) -> None:
        self.path = path
        self._run = run
        self._ids: set[int] = set(run.ids)
        self._file = PartFile(path, reserve)
        self._archive = ZipFile(self._file, "w", ZIP_DEFLATED)  # type: ignore[call-overload]

    def write(self, result: FrameResult) -> None:
        known = {item.id for item in result.objects}
        for object_id in every_id(self._run, result):
            layer = result.layer(object_id) if object_id in known else np.zeros(result.index_map.shape, dtype=bool)
            self._add(f"{object_id}/{result.frame.index:05d}", layer)
        self._ids |= known
        self._file.check()

    def close(self, summary: Summary) -> None:
        try:
            if summary.frames:
                self._add("ids", np.array(sorted(self._ids), dtype=np.uint8))
            self._archive.close()
            if summary.frames:
                self._file.publish()
            else:
                self._file.discard()
        except BaseException:
            with suppress(OSError, ValueError):
                self._archive.close()
            self._file.discard()
            raise

    def _add(self, name: str, array: np.ndarray) -> None:
        with self._archive.open(f"{name}.npy", "w") as member:
            np.lib.format.write_array(member, array, allow_pickle=False)
