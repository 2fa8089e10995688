"""Several pictures in one image file, and what beside images lies in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.video.clips import number_of, numbered
from vos.errors import SourceError
from vos.video import Reading, open_source


@pytest.mark.parametrize("name", ["stack.tif", "moving.png", "moving.webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_several_pictures_in_one_file(tmp_path: Path, name: str, mode: str) -> None:
    first, *others = (Image.fromarray(image).convert(mode) for image in numbered(6))
    more = {} if name.endswith(".tif") else {"duration": 40, "lossless": True}
    first.save(tmp_path / name, save_all=True, append_images=others, **more)
    with open_source(tmp_path / name) as source:
        assert (source.frame_count, source.frame_count_exact, source.origin) == (6, True, tmp_path / name)
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(6))
    assert [frame.index for frame in frames] == list(range(6))
    with open_source(tmp_path / name, reading=Reading(start=1, end=5, every=2)) as source:
        assert [number_of(frame.image) for frame in source] == [1, 3, 5]


def test_a_stack_of_sixteen_bits(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 10), 257 * 40 * k, np.uint16)) for k in range(4)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with open_source(tmp_path / "stack.tif") as source:
        assert [int(frame.image.max()) for frame in source] == [0, 40, 80, 120]


@pytest.mark.parametrize(("bits", "largest"), [(8, 200), (10, 1000), (12, 1024), (14, 9000), (16, 16_384)])
@pytest.mark.parametrize("kind", ["folder", "stack"])
def test_sixteen_bits_that_hold_fewer_are_as_bright_as_they_are_meant(
    tmp_path: Path, kind: str, bits: int, largest: int
) -> None:
    pictures = [np.full((6, 8), largest * (k + 1) // 20, np.uint16) for k in range(20)]
    pages = [Image.fromarray(picture) for picture in pictures]
    path = tmp_path / ("stack.tif" if kind == "stack" else "folder")
    if kind == "stack":
        pages[0].save(path, save_all=True, append_images=pages[1:])
    else:
        path.mkdir()
        for k, page in enumerate(pages):
            page.save(path / f"{k:05d}.{'png' if k % 2 else 'tif'}")
        (path / "00007.png").write_bytes(b"damaged")
    with open_source(path) as source:
        white = 2**bits - 1
        for frame in source:
            assert abs(int(frame.image[0, 0, 0]) - 255 * int(pictures[frame.index][0, 0]) / white) <= 0.5
            assert ("of 16 bits" in source.describe()) == (bits < 16)
            assert bits == 16 or f"{bits} of 16 bits" in source.describe()
            if kind == "folder" and frame.index == 6:
                break


def test_previews_are_no_frames(tmp_path: Path) -> None:
    picture = Image.fromarray(numbered(6)[5])
    small = picture.resize((24, 16))
    picture.save(tmp_path / "photo.tif", save_all=True, append_images=[small])
    picture.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[small])
    for name in ("photo.tif", "photo.jpg"):
        with open_source(tmp_path / name) as source:
            assert [number_of(frame.image) for frame in source] == [5], name


def test_a_damaged_stack_says_where(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(image) for image in numbered(6))
    first.save(tmp_path / "moving.webp", save_all=True, append_images=others, lossless=True)
    data = (tmp_path / "moving.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(data[: len(data) * 2 // 3])
    with (
        pytest.raises(SourceError, match=r"cut\.webp.*cannot be read as an image"),
        open_source(tmp_path / "cut.webp") as s,
    ):
        list(s)


def test_only_files_are_frames_of_a_folder(tmp_path: Path) -> None:
    for k, image in enumerate(numbered(2)):
        Image.fromarray(image).save(tmp_path / f"{k}.png")
    (tmp_path / "2.png").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "3.png")
    with open_source(tmp_path) as source:
        assert [number_of(frame.image) for frame in source] == [0, 1]
    (tmp_path / "4.png").symlink_to(tmp_path / "gone.png")
    with open_source(tmp_path) as source, pytest.raises(SourceError, match=r"4\.png: cannot be read"):
        list(source)


def test_a_picture_beside_an_animation_is_no_frame(tmp_path: Path) -> None:
    alone, *frames = (Image.fromarray(image) for image in numbered(4))
    alone.save(tmp_path / "moving.png", save_all=True, append_images=frames, default_image=True)
    with open_source(tmp_path / "moving.png") as source:
        assert source.frame_count == 3
        assert [(frame.index, number_of(frame.image)) for frame in source] == [(0, 1), (1, 2), (2, 3)]


def test_pages_that_a_stack_has_lost_are_missed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    first, *others = (Image.fromarray(image) for image in numbered(8))
    first.save(tmp_path / "whole.tif", save_all=True, append_images=others)
    data = (tmp_path / "whole.tif").read_bytes()
    for share in (0.3, 0.5, 0.7, 0.9):
        path = tmp_path / f"{share}.tif"
        path.write_bytes(data[: int(share * len(data))])
        seen = []
        with open_source(path) as source, pytest.raises(SourceError, match=r"damaged after picture|cannot be read"):
            seen.extend(number_of(frame.image) for frame in source)
        assert seen == list(range(int(8 * share)))
    assert not recwarn.list


@pytest.mark.parametrize(("odd", "found"), [((3,), 3), ((5,), 5), ((1, 2, 3, 4, 5), None)])
def test_pages_of_other_sizes(tmp_path: Path, odd: tuple[int, ...], found: int | None) -> None:
    """One among many is an error; a picture in several resolutions is one frame, and that is said."""
    first, *others = (
        Image.fromarray(image if k not in odd else image[: 30 - k]) for k, image in enumerate(numbered(6))
    )
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    with open_source(tmp_path / "stack.tif") as source:
        if found is None:
            assert "the first of 6 pages, which differ in size" in source.describe()
            assert len(list(source)) == 1
        else:
            with pytest.raises(SourceError, match=f"frame {found} .* all frames must have one size"):
                list(source)


def test_reduced_copies_are_no_pages(tmp_path: Path) -> None:
    first, second = (Image.fromarray(image) for image in numbered(2))
    copy = second.resize((10, 10))
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "stack.tif", save_all=True, append_images=[second, copy])
    with open_source(tmp_path / "stack.tif") as source:
        assert [number_of(frame.image) for frame in source] == [0, 1]


@pytest.mark.parametrize("kind", ["png", "tif", "stack"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("bits", "largest"), [(12, 4000), (16, 65_000)])
def test_colours_of_sixteen_bits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, channels: int, bits: int, largest: int
) -> None:
    ramp = np.linspace(0, largest, 8 * 10 * 3).reshape(8, 10, 3).astype(np.uint16)
    stored = np.dstack([ramp[:, :, ::-1], np.full((8, 10, channels - 3), 65535, np.uint16)])
    if kind == "stack":
        cv2.imwritemulti(str(tmp_path / "stack.tif"), [stored[::-1], stored])
    else:
        cv2.imwrite(str(tmp_path / f"image.{kind}"), stored)
    with open_source(next(tmp_path.iterdir())) as source:
        last = list(source)[-1].image
        assert ("12 of 16 bits" in source.describe()) == (bits == 12)
    np.testing.assert_allclose(last, 255 / (2**bits - 1) * ramp, atol=0.5)
    assert capfd.readouterr().err == ""


def test_numbers_without_a_defined_range_are_refused(tmp_path: Path) -> None:
    for name, numbers in {
        "large": np.array([[0, 70_000]], np.int32),
        "signed": np.array([[-5, 300]], np.int32),
    }.items():
        Image.fromarray(numbers).save(tmp_path / f"{name}.tif")
        with pytest.raises(SourceError, match=r"whole numbers from -?\d+ to \d+ have no defined range; save it as 8"):
            open_source(tmp_path / f"{name}.tif")


def test_where_zero_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 13_107, 65_535]], np.uint16))
    image.save(tmp_path / "white.tif", tiffinfo={262: 0})
    with open_source(tmp_path / "white.tif") as source:
        assert source.first().image[0, :, 0].tolist() == [255, 204, 0]


def test_colours_of_sixteen_bits_in_a_file_of_any_name(tmp_path: Path) -> None:
    numbers = np.linspace(0, 65_535, 300).reshape(10, 10, 3).astype(np.uint16)
    for name in ("gr\u00fc\u00dfe", os.fsdecode(b"gr\xfc\xdfe"), "\u9f20"):
        for suffix in (".png", ".tif"):
            path = tmp_path / f"{name}{suffix}"
            try:
                path.write_bytes(cv2.imencode(suffix, numbers[:, :, ::-1])[1].tobytes())
            except OSError:
                continue  # a system that has no such names
            with open_source(path) as source:
                np.testing.assert_allclose(source.first().image, numbers / 257, atol=0.5)


def test_a_long_stack_of_sixteen_bits_a_colour(tmp_path: Path) -> None:
    pages = [np.full((4, 5, 3), 100 * k, np.uint16) for k in range(100)]
    cv2.imwritemulti(str(tmp_path / "stack.tif"), pages)
    with open_source(tmp_path / "stack.tif", reading=Reading(start=1, every=3)) as source:
        assert "14 of 16 bits" in source.describe()
        for frame in source:
            assert abs(int(frame.image[0, 0, 0]) - 100 * frame.index * 255 / 16_383) <= 0.5
