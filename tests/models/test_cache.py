"""Embeddings on disk: hits are what was put in, rounded to half; the folder stays under its limit."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from vos.errors import OutputError
from vos.models.cache import EmbeddingCache

IMAGE = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)


def _never() -> torch.Tensor:
    raise AssertionError("computed although it is in the cache")


def test_a_hit_is_the_miss(tmp_path: Path) -> None:
    value = torch.randn(4, 5, 6)
    cache = EmbeddingCache(tmp_path / "new", "a", 10**6)
    first = cache.get(IMAGE, lambda: value)
    assert torch.equal(first, value.half().float())
    assert torch.equal(EmbeddingCache(tmp_path / "new", "a", 10**6).get(IMAGE, _never), first)


def test_another_frame_shape_or_context_is_a_miss(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a", 10**6)
    cache.get(IMAGE, lambda: torch.zeros(1))
    other = IMAGE.copy()
    other[0, 0, 0] += 1
    for image, context in ((other, "a"), (IMAGE.reshape(9, 1, 3), "a"), (IMAGE, "b")):
        assert EmbeddingCache(tmp_path, context, 10**6).get(image, lambda: torch.ones(1)).item() == 1


def test_a_damaged_file_is_a_miss(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a", 10**6)
    cache.get(IMAGE, lambda: torch.ones(1, 1, 100))
    (path,) = tmp_path.glob("*.npy")
    whole, other = path.read_bytes(), BytesIO()
    np.save(other, np.zeros(3, np.float16))
    vast = whole.replace(b"(1, 1, 100)", b"(1, 1, 9999999999999)", 1)
    for data in (whole[:50], vast, b"PK\x03\x04" + whole, other.getvalue(), b""):
        path.write_bytes(data)
        assert cache.get(IMAGE, lambda: torch.full((1, 1, 1), 3.0)).item() == 3
        assert cache.get(IMAGE, _never).item() == 3


def test_what_cannot_be_computed_has_no_other_reason(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        EmbeddingCache(tmp_path, "a", 10**6).get(IMAGE, _never)
    assert caught.value.__context__ is None


def test_what_killed_processes_have_left_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "a.1.1.part", tmp_path / "a.2.2.part"
    for part in (old, new):
        part.write_bytes(bytes(100))
    os.utime(old, (0, 0))
    EmbeddingCache(tmp_path, "a", 10**6)
    assert not old.exists()
    assert new.exists()


def test_old_embeddings_go_first(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "a", 10_000)
    images = [np.full((2, 2, 3), k, dtype=np.uint8) for k in range(12)]
    for image in images:
        cache.get(image, lambda: torch.zeros(1, 1, 500))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert torch.equal(cache.get(images[-1], _never), torch.zeros(1, 1, 500))
    assert cache.get(images[0], lambda: torch.ones(1, 1, 500)).max() == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"embeddings cannot be cached there: .*; choose another folder"):
        EmbeddingCache(tmp_path / "file", "a", 10)
