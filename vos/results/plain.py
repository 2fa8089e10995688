"""Plain data with arrays in it as one file: JSON and NumPy's own format in a zip archive. No code is ever in it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

_TREE = "tree"
_ARRAY = "$array"


def pack(tree: Mapping[str, Any]) -> bytes:
    """A tree of dicts with text keys, lists, tuples, numbers, text, None and NumPy arrays as the bytes of a file."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_without_arrays(tree, arrays))
    file = BytesIO()
    np.savez(file, **{_TREE: np.frombuffer(text.encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(path: Path) -> Any:
    """What `pack` was given, tuples as lists and NumPy scalars as they were.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _with_arrays(json.loads(arrays.pop(_TREE).tobytes()), arrays)
    except (
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        AttributeError,
        NotImplementedError,
        MemoryError,
    ) as error:
        raise ValueError(f"{path}: damaged or of another program") from error


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {key: _without_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, arrays) for item in value]
    return value


def _with_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]][()]
        return {key: _with_arrays(item, arrays) for key, item in value.items()}
    return [_with_arrays(item, arrays) for item in value] if isinstance(value, list) else value
