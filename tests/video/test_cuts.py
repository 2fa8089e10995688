"""Cuts: found where shots meet, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vos.video import open_source
from vos.video.cuts import CutDetector


def cuts(frames: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector.is_cut(frame)]


def shot(seed: int, count: int, *, pan: int = 0, size: tuple[int, int] = (120, 160)) -> list[np.ndarray]:
    """A drawn place, seen by a camera that moves `pan` pixels a frame."""
    rng = np.random.default_rng(seed)
    height, width = size[0], size[1] + pan * count
    small = rng.integers(0, 255, (6, 4 + width // 30, 3), dtype=np.uint8)
    place = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return [place[:, i * pan : i * pan + size[1]] for i in range(count)]


def test_cuts_between_shots() -> None:
    frames = [*shot(1, 7), *shot(2, 2, pan=3), *shot(3, 9, pan=2), *shot(4, 1), *shot(5, 5)]
    assert cuts(frames) == [7, 9, 18, 19]


@pytest.mark.parametrize("pan", [1, 4, 8])
def test_motion_is_no_cut(pan: int) -> None:
    assert cuts(shot(1, 20, pan=pan)) == []


def test_light_is_no_cut() -> None:
    frames = shot(1, 10)
    dark = [(frame * 0.4).astype(np.uint8) for frame in frames]
    assert cuts([*frames, *dark, *frames]) == []
    fade = [(frames[0] * (i / 20)).astype(np.uint8) for i in range(20)]
    assert cuts([*fade, *frames]) == []


def test_a_flash_is_one_cut_at_most() -> None:
    frames = shot(1, 10)
    frames[5] = np.full_like(frames[5], 255)
    assert cuts(frames) in ([], [5])


def test_black_between_shots() -> None:
    black = [np.zeros((120, 160, 3), np.uint8)] * 5
    assert cuts([*shot(1, 5), *black, *shot(2, 5)]) == [5, 10]
    assert cuts(black) == []


def test_sources_mark_them() -> None:
    with open_source([*shot(1, 5), *shot(2, 5)]) as source:
        assert [frame.index for frame in source if frame.cut] == [5]


def test_on_real_footage(shared: Path) -> None:
    """Ten sequences of one shot each, whole and joined, with two frames in three left out as well."""
    folder = shared / "davis" / "JPEGImages" / "480p"
    names = sorted(path.name for path in folder.iterdir())
    for every in (1, 3):
        joined, expected = CutDetector(), []
        found, count = [], 0
        for name in names:
            expected.append(count)
            for path in sorted((folder / name).iterdir())[: 12 * every : every]:
                image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]
                if joined.is_cut(np.ascontiguousarray(image)):
                    found.append(count)
                count += 1
        assert found == expected[1:], every
