"""One soft object or many ids: the decision that a histogram cannot make."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from tests.references.drawing import HEIGHT, WIDTH, cells, compressed, rectangle, shape
from vos.errors import ReferenceInputError
from vos.references import understand, understand_image

SHAPES = ("disc", "rectangle", "star")


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("sigma", [0.5, 1, 2, 3, 5, 8, 12, 20, 35, 50])
def test_a_blurred_mask_is_one_object_cut_at_half_of_its_maximum(kind: str, sigma: float) -> None:
    soft = np.round(ndimage.gaussian_filter(shape(kind, 361, 639).astype(float), sigma)).astype(np.uint8)
    found = understand(soft)
    assert found.ids == (1,)
    np.testing.assert_array_equal(found.index_map > 0, soft >= soft.max() / 2)
    assert found.notes == (
        "in-between grey values were read as the soft edges of one object "
        f"and cut at half of the maximum ({soft.max()})",
    )


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("scale", [0.4, 0.77, 1.3, 2, 3.1])
@pytest.mark.parametrize("filter_", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_a_resized_mask_is_one_object(kind: str, scale: float, filter_: Image.Resampling) -> None:
    size = int(WIDTH * scale), int(HEIGHT * scale)
    soft = np.asarray(Image.fromarray(shape(kind)).resize(size, filter_))
    hard = np.asarray(Image.fromarray(shape(kind)).resize(size, Image.Resampling.NEAREST)) > 0
    found = understand(soft)
    assert found.ids == (1,)
    assert iou(found.index_map > 0, hard) > 0.95


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_compressed_mask_is_one_object(kind: str, quality: int, layers: int) -> None:
    hard = shape(kind)
    image = hard if layers == 1 else np.stack([hard] * 3, axis=2)
    found = understand_image(Image.open(compressed(image, quality)))
    assert found.ids == (1,)
    assert iou(found.index_map > 0, hard > 0) > 0.95


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
def test_compression_noise_is_seen_through_after_the_file_was_saved_anew(quality: int) -> None:
    hard = shape("disc", 240, 320)
    noisy = np.asarray(Image.open(compressed(hard, quality)))
    assert len(np.unique(noisy)) > 20
    assert understand(noisy).ids == (1,)


@settings(max_examples=40, deadline=None)
@given(st.floats(2, 40), st.floats(45, 75), st.floats(45, 75))
def test_an_antialiased_disc_is_one_object(radius: float, x: float, y: float) -> None:
    big = Image.new("L", (128 * 8, 128 * 8))
    ImageDraw.Draw(big).ellipse([(x - radius) * 8, (y - radius) * 8, (x + radius) * 8, (y + radius) * 8], fill=255)
    soft = np.asarray(big.resize((128, 128), Image.Resampling.BOX))
    found = understand(soft)
    assert found.ids == (1,)
    np.testing.assert_array_equal(found.index_map > 0, soft >= soft.max() / 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, n - 1) for n in (WIDTH, HEIGHT, WIDTH, HEIGHT)]), min_size=1, max_size=4))
def test_hair_thin_antialiased_strokes_are_one_object(lines: list[tuple[int, int, int, int]]) -> None:
    # Ends are in the picture: of a stroke along its border and beyond, the half that is left may be anything.
    soft = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x0, y0, x1, y1 in lines:
        cv2.line(soft, (x0, y0), (x1, y1), 255, 1, cv2.LINE_AA)
    if not soft.any() or len(np.unique(soft)) < 6:
        return
    assert understand(soft).ids == (1,)


def test_a_soft_mask_in_16_bits_is_one_object() -> None:
    soft = ndimage.gaussian_filter(shape("star").astype(np.float32), 4)
    for values in ((soft * 257).astype(np.uint16), soft.astype(np.uint8).astype(np.uint16) * 257):
        found = understand(values)
        assert found.ids == (1,)
        np.testing.assert_array_equal(found.index_map > 0, values >= values.max() / 2)


def test_a_soft_mask_enlarged_pixel_by_pixel_is_one_object() -> None:
    small = np.asarray(Image.fromarray(shape("star", 240, 320)).resize((160, 120), Image.Resampling.BICUBIC))
    for factor in (2, 3):
        assert understand(np.kron(small, np.ones((factor, factor), np.uint8))).ids == (1,)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 255), st.sampled_from([0.0, 1.5, 3.0]), st.booleans(), st.integers(0, 2**20))
@example(255, 3.0, False, 0)  # 255 without 254
def test_cells_stay_ids(count: int, gap: float, in_order: bool, seed: int) -> None:
    labels = cells(count, gap=gap, in_order=in_order, seed=seed)
    found = understand(labels.astype(np.uint8))
    present = set(np.unique(labels)) - {0}
    if present == {255}:
        present = {1}
    if len(present) > 1 and max(present - {255}) < 32:
        present.discard(255)  # void beside small ids alone
    assert set(found.ids) == present
    if len(present) > 1:
        np.testing.assert_array_equal(found.index_map, np.where(np.isin(labels, list(present)), labels, 0))


@pytest.mark.parametrize("in_order", [True, False])
def test_a_16_bit_map_of_many_touching_cells_stays_ids(in_order: bool) -> None:
    labels = cells(250, height=400, width=600, in_order=in_order).astype(np.uint16)
    np.testing.assert_array_equal(understand(labels).index_map, labels)


@pytest.mark.parametrize("side", [3, 4, 7, 16])
def test_tiles_numbered_in_order_stay_ids(side: int) -> None:
    rows, columns = 12, 16
    tiles = np.kron(np.arange(1, rows * columns + 1).reshape(rows, columns), np.ones((side, side), int))
    np.testing.assert_array_equal(understand(tiles.astype(np.uint8)).index_map, tiles)


@pytest.mark.parametrize("stripes", [2, 5, 9, 20, 60])
def test_stripes_numbered_in_order_stay_ids(stripes: int) -> None:
    image = np.tile(np.repeat(np.arange(stripes), 6), (40, 1)).astype(np.uint8)
    np.testing.assert_array_equal(understand(image).index_map, image)


def test_nested_objects_stay_ids() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    onion = np.maximum(0, 3 - np.hypot(y - 60, x - 80) // 12).astype(np.uint8)
    np.testing.assert_array_equal(understand(onion).index_map, onion)


@pytest.mark.parametrize("side", [1, 2, 3, 8])
@pytest.mark.parametrize("values", [(50, 100, 150, 200, 250), (10, 200), (100, 200), (1, 2), (254, 255)])
def test_small_objects_of_spread_values_stay_ids(side: int, values: tuple[int, ...]) -> None:
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    for k, value in enumerate(values):
        image[10 + 17 * k : 10 + 17 * k + side, 20 + 25 * k : 20 + 25 * k + side] = value
    np.testing.assert_array_equal(understand(image).index_map, image)


@pytest.mark.parametrize("side", [1, 2, 5, 30])
def test_void_around_and_beside_small_objects_is_background(side: int) -> None:
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[38 : 42 + side, 38 : 42 + side] = 255
    image[40 : 40 + side, 40 : 40 + side] = 1
    image[90:92, 90:92] = 2
    found = understand(image)
    assert found.ids == (1, 2)
    np.testing.assert_array_equal(found.index_map, np.where(image == 255, 0, image))
    assert found.notes == ("255 beside other ids is void, as in DAVIS, and was taken as background",)


def test_flat_objects_with_soft_borders_keep_their_ids() -> None:
    image = np.zeros((240, 320), np.uint8)
    image[40:120, 60:150] = 100
    image[100:200, 140:280] = 200
    found = understand(np.round(ndimage.gaussian_filter(image.astype(float), 1.2)).astype(np.uint8))
    assert found.ids == (100, 200)
    assert (found.index_map == image).mean() > 0.98
    assert found.notes == ("in-between grey values at the borders were given to the nearest object or background",)


def test_a_grey_photograph_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300)).astype(float)
    photo = ndimage.gaussian_filter(noise, 1.5)
    photo = np.clip((photo - photo.mean()) * 4 + 128, 0, 255).astype(np.uint8)
    with pytest.raises(ReferenceInputError, match=r"^not a mask: grey values without flat areas, like a photograph$"):
        understand(photo)


def test_ids_in_a_jpeg_are_refused() -> None:
    image = rectangle(90)
    image[70:110, 90:150] = 180
    with pytest.raises(
        ReferenceInputError, match=r"^\d+ grey values from a lossy format, which blurs ids: save the mask as PNG$"
    ):
        understand_image(Image.open(compressed(image, 80)))
