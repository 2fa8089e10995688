"""What a reference teaches about the decoder's mistakes, on drawn wheels: rings whose inside the decoder fills."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.corrections import Correction, Looks, Samples, detail

H, W = 60, 80
RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (120, 120, 120)
CPU = torch.device("cpu")


def _wheel(x: int, y: int, inside: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image uint8 (H, W, 3), the ring's mask bool (H, W), and what the decoder says of it: logits float32 (H, W)."""
    image = np.full((H, W, 3), GREY, np.uint8)
    image += np.random.default_rng(x).integers(0, 9, image.shape, dtype=np.uint8)
    cv2.circle(image, (x, y), 12, (20, 20, 20), -1)
    cv2.circle(image, (x, y), 7, inside, -1)
    disc, hole = (cv2.circle(np.zeros((H, W), np.uint8), (x, y), r, 1, -1) > 0 for r in (12, 7))
    return image, disc & ~hole, np.where(disc, 4, -5).astype(np.float32)


def _looks(image: np.ndarray, answer: np.ndarray, also: np.ndarray | None = None) -> Looks:
    return Looks.of(answer, np.clip(answer, -8, 8)[None], detail(image, (H, W)), also)


def _samples(x: int, y: int, inside: tuple[int, int, int]) -> Samples:
    image, ring, answer = _wheel(x, y, inside)
    return Samples.of(_looks(image, answer, ring), ring.astype(np.float32))


def _corrected(correction: Correction, image: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """bool (H, W)."""
    looks, mask = _looks(image, answer), answer > 0
    mask[looks.window][looks.near] = correction(looks) > 0
    return mask


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@given(st.integers(13, W - 13), st.integers(13, H - 13))
@settings(max_examples=20, deadline=None)
def test_a_hole_that_the_decoder_fills_is_cut_out_wherever_the_object_goes(x: int, y: int) -> None:
    correction = Correction.fit(_samples(30, 30, RED), CPU)
    image, ring, answer = _wheel(x, y, RED)
    assert _iou(answer > 0, ring) < 0.75
    assert _iou(_corrected(correction, image, answer), ring) > 0.9


def test_what_looks_otherwise_than_the_hole_is_left_alone() -> None:
    correction = Correction.fit(_samples(30, 30, RED), CPU)
    image, _, answer = _wheel(44, 28, BLUE)
    assert _iou(_corrected(correction, image, answer), answer > 0) > 0.95


def test_a_second_reference_teaches_what_the_first_did_not_show() -> None:
    first, second = _samples(30, 30, RED), _samples(40, 25, BLUE)
    correction = Correction.fit(first.joined(second), CPU)
    for inside in (RED, BLUE):
        image, ring, answer = _wheel(50, 32, inside)
        assert _iou(_corrected(correction, image, answer), ring) > 0.9


def test_far_from_all_that_was_learnt_nothing_is_added() -> None:
    samples = _samples(30, 30, RED)
    image, _, answer = _wheel(30, 30, RED)
    looks = _looks(image, answer)
    strange = Looks(looks.window, looks.near, looks.logits, looks.numbers + 100)
    np.testing.assert_allclose(Correction.fit(samples, CPU)(strange), looks.logits, atol=1e-4)


def test_where_the_decoder_is_right_nothing_changes() -> None:
    image, ring, _ = _wheel(30, 30, RED)
    right = np.where(ring, 7, -7).astype(np.float32)
    correction = Correction.fit(Samples.of(_looks(image, right), ring.astype(np.float32)), CPU)
    image, ring, _ = _wheel(45, 25, RED)
    np.testing.assert_array_equal(_corrected(correction, image, np.where(ring, 7, -7).astype(np.float32)), ring)


def test_samples_stand_for_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong places are picked more often, and weigh less: weighted means are those over all places near the answer."""
    image, ring, answer = _wheel(30, 30, RED)
    looks, truth = _looks(image, answer, ring), ring.astype(np.float32)
    missing = truth[looks.window][looks.near] - 1 / (1 + np.exp(-looks.logits))
    everything = Samples.of(looks, truth)
    assert len(everything.missing) == len(missing)
    np.testing.assert_array_equal(np.sort(everything.missing), np.sort(missing.astype(np.float32)))
    monkeypatch.setattr("vos.corrections._SAMPLES", 600)
    samples = Samples.of(looks, truth)
    assert len(samples.missing) == 600 < len(missing)
    weights = samples.weights / samples.weights.sum()
    assert weights @ samples.missing == pytest.approx(missing.mean(), abs=0.03)
    np.testing.assert_allclose(weights @ samples.numbers, looks.numbers.mean(axis=0), atol=0.5)
    assert (samples.missing < -0.5).mean() > 2 * (missing < -0.5).mean()


def test_any_number_of_references_takes_the_room_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vos.corrections._SAMPLES", 600)
    joined = _samples(30, 30, RED)
    colours = np.linspace(30, 220, 6).astype(int)
    for count, colour in enumerate(colours, 2):
        joined = joined.joined(_samples(30, 30, (20, int(colour), 20)))
        assert joined.references == count
        assert len(joined.missing) <= 600
    greens = joined.numbers[:, 4 + 1]  # lightness
    assert len(np.unique(np.digitize(greens, np.linspace(greens.min(), greens.max(), 8)))) > 4, "all have their share"


def test_a_correction_is_the_same_again_and_from_its_state() -> None:
    samples = _samples(30, 30, RED)
    image, _, answer = _wheel(50, 20, RED)
    first, second = (Correction.fit(samples, CPU) for _ in range(2))
    for other in (second, Correction.restored(first.state(), CPU)):
        np.testing.assert_array_equal(first(_looks(image, answer)), other(_looks(image, answer)))


def test_logits_are_the_decoders_own_where_nothing_is_missing() -> None:
    """However large: objects compete by them."""
    image, ring, _ = _wheel(30, 30, RED)
    right = np.where(ring, 15, -15).astype(np.float32)
    correction = Correction.fit(Samples.of(_looks(image, right), ring.astype(np.float32)), CPU)
    looks = _looks(image, right)
    np.testing.assert_array_equal(correction(looks), looks.logits)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_frames_and_answers_of_any_size_are_legal(h: int, w: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(h).integers(0, 255, (h, w, 3), dtype=np.uint8)
    shown = detail(image, (rows, columns))
    assert shown.shape == (14, rows, columns) and shown.dtype == np.float32
    answer = np.full((rows, columns), -5, np.float32)
    answer[rows // 2, columns // 2] = 5
    looks = Looks.of(answer, answer[None], shown)
    assert looks.numbers.shape == (looks.near.sum(), 4 + 1 + 14)
    found = Correction.fit(Samples.of(looks, (answer > 0).astype(np.float32)), CPU)(looks)
    assert np.isfinite(found).all() and (np.abs(found) <= 8.001).all()


def test_what_is_said_of_a_place_does_not_depend_on_where_the_frame_ends() -> None:
    """Cut 40 places around the answer, the picture and the maps give the same numbers, but for blurs over its edge."""
    image, _, answer = _wheel(40, 30, RED)
    wide_image = cv2.copyMakeBorder(image, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    wide_answer = np.pad(answer, 40, constant_values=-5)
    shown = detail(wide_image, wide_answer.shape)
    wide = Looks.of(wide_answer, wide_answer[None], shown)
    cut = Looks.of(answer, answer[None], np.ascontiguousarray(shown[:, 40:-40, 40:-40]))
    np.testing.assert_allclose(cut.numbers, wide.numbers, atol=0.2)
