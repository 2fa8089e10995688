"""Mask files and arrays: what is understood, what is said, what is refused."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.references.drawing import HEIGHT, WIDTH, cells, compressed, rectangle
from vos.errors import ReferenceInputError
from vos.palette import davis_palette
from vos.references import (
    MaskReference,
    as_references,
    describe,
    read_mask,
    understand,
    understand_image,
)

MASK = rectangle(1)
TWO = MASK.copy()
TWO[70:110, 90:150] = 2


def colours(**areas: tuple[int, int, int]) -> np.ndarray:
    """uint8 (H, W, 3), black with up to three rectangles: the first starts highest, the third lowest."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for name, colour in areas.items():
        top = {"first": 10, "second": 40, "third": 80}[name]
        image[top : top + 30, 30:90] = colour
    return image


def refused(message: str, array: np.ndarray) -> None:
    with pytest.raises(ReferenceInputError) as error:
        understand(array)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "array",
    [
        MASK.astype(bool),
        MASK.astype(bool)[..., None],
        MASK,
        MASK[..., None],
        MASK[None],
        MASK[None].astype(bool),
        MASK * np.uint8(255),
        MASK.astype(np.int64),
        MASK.astype(np.uint16) * 65535,
        MASK.astype(np.uint16) * 255,
        MASK.astype(float),
        MASK.astype(np.float16) * np.float16(0.5),
        MASK.astype(np.float32) * 255,
        np.stack([MASK * np.uint8(255)] * 3, axis=2),
        np.dstack([MASK * np.uint8(255)] * 3 + [np.full_like(MASK, 255)]),
    ],
    ids=lambda a: f"{a.dtype}-{a.ndim}d-{a.max()}",
)
def test_every_kind_of_array_of_one_object(array: np.ndarray) -> None:
    np.testing.assert_array_equal(understand(array).index_map, MASK)


@settings(max_examples=30)
@given(st.integers(2, 254))
def test_a_single_value_is_an_id(value: int) -> None:
    found = understand(MASK * np.uint8(value))
    assert found.ids == (value,)
    assert found.notes == ()


def test_soft_floats_are_cut_at_one_half() -> None:
    found = understand(np.array([[0.0, 0.49, 0.5, 1.0]], np.float32))
    assert found.index_map.tolist() == [[0, 0, 1, 1]]
    assert found.notes == ("soft values were cut at 0.5",)


@pytest.mark.parametrize("save", ["P", "L", "I;16", "npy", "RGB", "1"])
def test_files_of_every_kind(tmp_path: Path, save: str) -> None:
    path = tmp_path / "mask.png"
    expected = TWO
    if save == "P":
        image = Image.fromarray(TWO, "P")
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
        image.save(path)
    elif save == "L":
        Image.fromarray(TWO).save(path)
    elif save == "I;16":
        Image.fromarray(TWO.astype(np.uint16)).save(path)
    elif save == "npy":
        path = tmp_path / "mask.npy"
        np.save(path, TWO)
    elif save == "RGB":
        Image.fromarray(davis_palette()[TWO]).save(path)
    else:
        Image.fromarray(MASK.astype(bool)).save(path)
        expected = MASK
    np.testing.assert_array_equal(read_mask(path).index_map, expected)


def test_a_soft_grey_image_stored_as_an_indexed_one_is_one_object() -> None:
    soft = Image.fromarray(rectangle()).resize((100, 75), Image.Resampling.BILINEAR)
    assert understand_image(soft.convert("P")).ids == (1,)


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(TWO).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png").index_map, TWO)


def test_the_davis_palette_is_the_official_one() -> None:
    palette = davis_palette()
    assert palette[[0, 1, 2, 3, 7, 8, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [128, 128, 128],
        [64, 0, 0],
        [224, 224, 192],
    ]
    assert len(np.unique(palette, axis=0)) == 256


def test_davis_annotations_are_read_as_they_are(shared: Path) -> None:
    paths = sorted((shared / "davis" / "Annotations").rglob("00000.png"))
    assert paths
    for path in paths:
        indices = np.asarray(Image.open(path))
        expected = indices > 0 if set(np.unique(indices)) <= {0, 255} else np.where(indices == 255, 0, indices)
        np.testing.assert_array_equal(read_mask(path).index_map, expected)


def test_davis_colours_keep_their_index() -> None:
    found = understand(davis_palette()[np.where(TWO == 1, 9, TWO)])
    np.testing.assert_array_equal(found.index_map, np.where(TWO == 1, 9, TWO))
    assert found.notes == ("colours were read with the DAVIS palette",)


def test_the_void_colour_is_background() -> None:
    found = understand(davis_palette()[np.where(TWO == 1, 255, TWO)])
    assert found.ids == (2,)
    assert found.notes[1] == "255 beside other ids is void, as in DAVIS, and was taken as background"


@pytest.mark.parametrize("ids", [(128, 255), (85, 170, 255), (32, 255)])
def test_the_brightest_of_spread_grey_values_is_an_object(ids: tuple[int, ...]) -> None:
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    for k, value in enumerate(ids):
        grey[10 + 30 * k : 30 + 30 * k, 20:90] = value
    found = understand(grey)
    assert (found.ids, found.notes) == (ids, ())
    indexed = Image.fromarray(grey)
    indexed.putpalette(davis_palette().tobytes())
    assert understand_image(indexed).ids == ids[:-1]


def test_255_beside_small_grey_ids_is_void() -> None:
    found = understand(np.where(TWO == 2, 255, TWO * np.uint8(31)).astype(np.uint8))
    assert found.ids == (31,)
    assert found.notes == ("255 beside other ids is void, as in DAVIS, and was taken as background",)


def test_other_colours_are_numbered_as_they_appear() -> None:
    found = understand(colours(second=(255, 0, 0), first=(0, 0, 255), third=(1, 2, 3)))
    assert found.notes == ("colours were numbered as they appear: (0, 0, 255) is 1, (255, 0, 0) is 2, (1, 2, 3) is 3",)
    assert [found.index_map[y, 60] for y in (15, 50, 90)] == [1, 2, 3]


def test_many_colours_are_listed_in_short() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    for k in range(10):
        image[10:30, 10 * k : 10 * k + 8] = (255, 20 * k, 7)
    note = understand(image).notes[0]
    assert note.endswith("(255, 140, 7) is 8 and 2 more")


def test_one_pixel_colours_are_objects() -> None:
    image = colours(first=(255, 0, 0))
    image[100, 100] = (0, 255, 0)
    image[20, 50] = (0, 0, 255)
    assert understand(image).ids == (1, 2, 3)


@pytest.mark.parametrize("scale", [0.55, 0.8, 1.7])
def test_blended_borders_of_colours_go_to_their_neighbours(scale: float) -> None:
    # Blends of red and green pass through the third colour.
    image = colours(first=(255, 0, 0), second=(0, 255, 0), third=(128, 128, 0))
    size = int(WIDTH * scale), int(HEIGHT * scale)
    found = understand(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)))
    expected = understand(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST)))
    assert found.ids == (1, 2, 3)
    assert (found.index_map != expected.index_map).mean() < 0.02
    third = found.index_map == 3
    assert not third[: int(75 * scale)].any()


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_compressed_colours(tmp_path: Path, quality: int, kind: str) -> None:
    image = colours(first=(255, 0, 0), second=(0, 255, 0), third=(255, 255, 0))
    path = tmp_path / "mask"
    path.write_bytes(compressed(image, quality, kind).getvalue())
    found = read_mask(path)
    assert found.ids == (1, 2, 3)
    assert (found.index_map != understand(image).index_map).mean() < 0.02


def test_transparency_is_background() -> None:
    image = colours(first=(255, 0, 0), second=(0, 255, 0))
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[40:70] = 127
    assert understand(np.dstack([image, alpha])).ids == (1,)
    refused("all background: every pixel is transparent", np.dstack([image, alpha * 0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cut_out_photograph_is_one_object(channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, channels)).astype(np.uint8)
    rgb = np.broadcast_to(noise, (HEIGHT, WIDTH, 3))
    found = understand(np.dstack([rgb, rectangle(200)]))
    np.testing.assert_array_equal(found.index_map, MASK)
    assert found.notes == ("what is not transparent was read as one object",)


def test_black_on_transparent_is_one_object() -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_array_equal(understand(np.dstack([black, rectangle()])).index_map, MASK)


def test_a_grey_image_with_alpha_is_read() -> None:
    image = Image.merge("LA", [Image.fromarray(rectangle()), Image.new("L", (WIDTH, HEIGHT), 255)])
    np.testing.assert_array_equal(understand_image(image).index_map, MASK)


def test_what_is_refused() -> None:
    zero = np.zeros((HEIGHT, WIDTH), np.uint8)
    nothing = "all background: there is no object in it (every pixel is 0)"
    for empty in (zero, zero.astype(bool), zero.astype(np.int32), np.dstack([zero] * 3)):
        refused(nothing, empty)
    refused("all background: soft values count from 0.5, the largest is 0.4", np.where(MASK, 0.4, 0))
    refused(
        "is an array of shape (2, 120, 161), but a mask is (height, width): for several objects, merge the layers into "
        "one array of ids (0 background, 1 for the first object, 2 for the second, …)",
        np.stack([MASK, MASK]).astype(bool),
    )
    refused("is an array of shape (5,), but a mask is (height, width), neither of them 0", np.ones(5))
    refused("is an array of shape (0, 5), but a mask is (height, width), neither of them 0", np.ones((0, 5)))
    refused("is an array of complex128, but a mask is of bool, integers or floats", MASK.astype(complex))
    refused("holds the negative id -3: ids must be 1 to 255, background 0", np.where(MASK, -3, 0))
    refused("holds values that are not finite (NaN or infinity): replace them by 0", np.where(MASK, np.nan, 0))
    refused(
        "holds floats from -2.5 to 3: give values from 0 to 1, whole ids, or cut them to bool first",
        np.where(MASK, 3, -2.5),
    )
    refused("holds the id 300, but ids must be 1 to 255: renumber the 1 object", MASK.astype(np.uint16) * 300)
    refused("holds the id 600, but ids must be 1 to 255: renumber the 2 objects", TWO.astype(np.uint16) * 300)
    refused(
        "holds 300 objects, but at most 255 can be tracked: keep at most 255 of them, with ids 1 to 255",
        cells(300, height=400, width=600, in_order=False),
    )


def test_too_many_colours_are_refused() -> None:
    codes = np.kron(np.arange(1, 301).reshape(15, 20), np.ones((6, 6), int))
    image = np.dstack([codes % 7 * 30, codes // 7 % 7 * 30, codes // 49 * 30]).astype(np.uint8)
    refused("holds 300 colours, but at most 255 objects can be tracked: keep at most 255 of them", image)


def test_a_photograph_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    refused(
        f"not a mask: {len(np.unique(noise.reshape(-1, 3), axis=0))} colours without flat areas, like a photograph",
        noise,
    )


def test_real_frames_are_refused(shared: Path) -> None:
    for path in sorted((shared / "davis" / "JPEGImages").rglob("00000.jpg"))[:3]:
        with pytest.raises(ReferenceInputError, match=r"colours without flat areas, like a photograph$"):
            read_mask(path)
        with pytest.raises(ReferenceInputError, match=r"grey values without flat areas, like a photograph$"):
            understand(np.asarray(Image.open(path).convert("L")))


def damaged(tmp_path: Path, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ReferenceInputError) as error:
        read_mask(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"mask {path}: ")
    return text.removeprefix(f"mask {path}: ")


def png(tmp_path: Path, array: np.ndarray = TWO) -> bytes:
    Image.fromarray(array).save(tmp_path / "good.png")
    return (tmp_path / "good.png").read_bytes()


def test_unreadable_files(tmp_path: Path) -> None:
    assert damaged(tmp_path, "a.png", b"") == "is empty (0 bytes)"
    not_an_image = "is not an image: give a PNG (or another image file), or a .npy array"
    assert damaged(tmp_path, "a.png", b"hello, world") == not_an_image
    noise = np.random.default_rng(0).integers(0, 9, (200, 200)).astype(np.uint8)
    good = png(tmp_path, noise)
    assert damaged(tmp_path, "a.png", good[: len(good) // 2]).startswith("is damaged or truncated: ")
    assert damaged(tmp_path, "a.npy", b"\x93NUMPY rubbish").startswith("is not a .npy array that can be read: ")
    assert damaged(tmp_path, "a.npz", b"PK\x03\x04....") == (
        "is an archive; save the one mask with numpy.save as .npy, or as PNG"
    )
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert damaged(tmp_path, "c.npy", (tmp_path / "b.npy").read_bytes()).startswith(
        "is not a .npy array that can be read"
    )
    np.save(tmp_path / "b.npy", TWO)
    assert damaged(tmp_path, "c.npy", (tmp_path / "b.npy").read_bytes()[:-9]).startswith("is not a .npy array")
    assert damaged(tmp_path, "d.png", png(tmp_path, TWO * 0)) == (
        "all background: there is no object in it (every pixel is 0)"
    )


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ReferenceInputError, match=r"none\.png: cannot be read: there is no such file$"):
        read_mask(tmp_path / "none.png")
    with pytest.raises(ReferenceInputError, match=r": cannot be read: Is a directory$"):
        read_mask(tmp_path)


@pytest.mark.parametrize(("side", "what"), [(12_000, "12000x12000 has"), (30_000, "it has")])
def test_decompression_bombs_are_refused(tmp_path: Path, side: int, what: str) -> None:
    good = bytearray(png(tmp_path))
    good[16:24] = side.to_bytes(4, "big") * 2
    good[29:33] = zlib.crc32(bytes(good[12:29])).to_bytes(4, "big")
    assert damaged(tmp_path, "bomb.png", bytes(good)) == f"is too large: {what} more than 134 million pixels"


def test_huge_arrays_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(30_000, 20_000)).flush()
    with pytest.raises(
        ReferenceInputError, match=r"is too large: an array of shape \(30000, 20000\) has more than 134"
    ):
        read_mask(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_ends_in_anything_but_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "npy"]))
    path = folder / f"mask.{kind.lower()}"
    np.save(path, TWO) if kind == "npy" else Image.fromarray(TWO).save(path, kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        assert read_mask(path).ids
    except ReferenceInputError as error:
        assert re.fullmatch(r"mask .*mask\.\w+: [^\n]+", str(error))


@pytest.mark.parametrize(
    ("areas", "text"),
    [
        ({1: 9800}, "1 object: 1 (9.8 % of the frame)"),
        ({1: 9800, 2: 1100}, "2 objects: 1 (9.8 % of the frame), 2 (1.1 %)"),
        ({3: 1}, "1 object: 3 (1 px)"),
        ({3: 49, 9: 50}, "2 objects: 3 (49 px), 9 (0.1 % of the frame)"),
        ({255: 100_000}, "1 object: 255 (100.0 % of the frame)"),
        ({}, "0 objects"),
    ],
)
def test_describe(areas: dict[int, int], text: str) -> None:
    flat = np.concatenate([np.full(area, k, np.uint8) for k, area in areas.items()] or [np.zeros(0, np.uint8)])
    index_map = np.concatenate([flat, np.zeros(100_000 - len(flat), np.uint8)]).reshape(250, 400)
    assert describe(index_map) == text


def test_as_references_takes_arrays_paths_and_mixtures(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(TWO).save(path)
    made = MaskReference(0, MASK)
    found = as_references({0: [str(path), made], 7: made, 9: Image.fromarray(TWO, "P"), 11: path})
    assert [(r.frame, r.ids) for r in found] == [(0, (1, 2)), (0, (1,)), (7, (1,)), (9, (1, 2)), (11, (1, 2))]
    assert [r.source for r in found] == [str(path), "mask", "mask", "mask image", str(path)]
    assert as_references(MASK)[0].source == "mask array"


def test_tensors_that_are_no_arrays_are_refused() -> None:
    for tensor in (torch.ones(4, 4, requires_grad=True), torch.ones(4, 4, device="meta")):
        with pytest.raises(ReferenceInputError, match=r"^mask array: a (Tensor|Parameter) that is not an array: "):
            as_references(tensor)


def test_as_references_refuses_what_it_cannot_place() -> None:
    with pytest.raises(ReferenceInputError, match=r"^a reference must be a path, an array, .*, got int$"):
        as_references(5)
    with pytest.raises(ReferenceInputError, match=r"^mask: made for frame 3, but given for frame 4$"):
        as_references({4: MaskReference(3, MASK)})
    with pytest.raises(ReferenceInputError, match=r"^mask array: all background"):
        as_references(MASK * 0)
    with pytest.raises(ReferenceInputError, match=r"^mask array: FRAME must be 0 or more, got -1$"):
        as_references({-1: MASK})
    with pytest.raises(ReferenceInputError, match=r"^mask array: FRAME must be a whole number, got 'a'$"):
        as_references({"a": MASK})


@pytest.mark.parametrize("how", ["two colours", "gif", "davis", "transparent"])
def test_a_palette_that_a_program_has_ordered_anew(tmp_path: Path, how: str) -> None:
    """Index 0 is then of an object, or all colours are ids' own, and not those of their indices."""
    path = tmp_path / ("mask.gif" if how == "gif" else "mask.png")
    one = (TWO > 0).astype(np.uint8)
    if how in ("two colours", "gif"):
        picture = Image.fromarray(np.repeat(one[..., None] * 255, 3, axis=2))
        picture = picture.quantize(2) if how == "two colours" else picture
        picture.save(path)
        expected = one
    elif how == "davis":
        picture = Image.fromarray(np.array([2, 0, 1], np.uint8)[TWO])
        picture.putpalette(davis_palette()[[1, 2, 0]].tobytes())
        picture.save(path)
        expected = TWO
    else:
        picture = Image.fromarray(1 - one)
        picture.putpalette([255, 0, 0, 30, 60, 90])
        picture.save(path, transparency=1)
        expected = one
    found = read_mask(path).index_map
    np.testing.assert_array_equal(
        found > 0 if how == "transparent" else found, expected > 0 if how == "transparent" else expected
    )


def test_a_palette_without_black_means_its_indices(tmp_path: Path) -> None:
    picture = Image.fromarray(TWO)
    picture.putpalette([255, 255, 255, 10, 200, 10, 200, 10, 10])
    picture.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.png").index_map, TWO)
