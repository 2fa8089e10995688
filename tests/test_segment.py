"""Choice and merge, with a decoder that answers by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.models.features import FeatureMap
from vos.models.sam import Part
from vos.results.plain import pack, unpack
from vos.segment import Segmenter, boxes_of
from vos.settings import DecoderSettings, First, FitSettings
from vos.types import Candidates, Evidence, Prompts

NAN = np.nan
SIZE = (20, 32)
IMAGE = FeatureMap(torch.zeros(1, 5, 8), SIZE, (80, 128), 16)


class HandModel:
    """Squares instead of a network: candidate k of row n is a square of side sides[n][k] at (2, 3), scores as given.

    A row that is asked with a box (9, 9, 9, 9) comes out empty.
    """

    device = torch.device("cpu")

    def __init__(self, sides: list[list[int]], scores: list[list[float]]) -> None:
        self._sides, self._scores = sides, scores
        self.asked: list[Prompts] = []

    def decode(
        self, image: FeatureMap, prompts: Prompts, mask_logits: torch.Tensor | None = None, windows: object = None
    ) -> Candidates:
        assert prompts.active.all()
        self.asked.append(prompts)
        logits = torch.full((len(prompts), 3, *SIZE), -5.0)
        for n in range(len(prompts)):
            if not (prompts.boxes[n] == 9).all():
                for k, side in enumerate(self._sides[n]):
                    logits[n, k, 3 : 3 + side, 2 : 2 + side] = 5.0 + n
        return Candidates(logits, torch.tensor(self._scores[: len(prompts)]))

    def to_frame(self, logits: torch.Tensor, image: FeatureMap) -> torch.Tensor:
        return logits

    def positive_parts(self, logits: torch.Tensor, image: FeatureMap) -> list[Part]:
        return [Part(slice(0, len(logits)), (slice(0, logits.shape[1]), slice(0, logits.shape[2])), logits)]


def _prompts(n: int = 1, point: bool = True) -> Prompts:
    labels = np.full((n, 1), 1 if point else -1, np.int8)
    return Prompts(np.full((n, 1, 2), 4, np.float32), labels, np.tile(np.float32([[1, 1, 10, 10]]), (n, 1)))


def _segmenter(model: HandModel, **options: object) -> Segmenter:
    return Segmenter(model, DecoderSettings.model_validate(options), FitSettings(steps=3))


@pytest.mark.parametrize(("first", "side"), [(First.LARGEST, 17), (First.LARGEST_MOD_256, 15)])
def test_largest_compares_areas_and_the_published_one_their_low_byte(first: First, side: int) -> None:
    # 17 x 17 = 289 = 33 modulo 256; 15 x 15 = 225.
    model = HandModel([[4, 15, 17]], [[0.9, 0.1, 0.2]])
    found = _segmenter(model, first=first, cascade=1).segment([1], IMAGE, _prompts())
    assert (found.logits[0] > 0).sum() == side**2


def test_the_cascade_asks_as_published() -> None:
    model = HandModel([[4, 6, 9]], [[0.9, 0.1, 0.2]])
    found = _segmenter(model).segment([1], IMAGE, _prompts())
    first, second, third = model.asked
    np.testing.assert_array_equal(first.boxes, [[1, 1, 10, 10]])
    assert not second.has_box.any()
    np.testing.assert_array_equal(third.boxes, [[2, 3, 5, 6]])
    assert found.scores[0] == pytest.approx(0.9)


def test_rows_do_not_share_their_fate() -> None:
    """A row whose mask is empty keeps its own box; the others are asked with theirs all the same."""
    model = HandModel([[4, 4, 4], [6, 6, 6]], [[0.9, 0.1, 0.2]] * 2)
    prompts = _prompts(2, point=False)
    prompts.boxes[0] = 9
    _segmenter(model).segment([1, 2], IMAGE, prompts)
    np.testing.assert_array_equal(model.asked[2].boxes, [[9, 9, 9, 9], [2, 3, 7, 8]])


def test_step_one_may_ask_with_positive_points_alone() -> None:
    """Row 0 has a point of each kind and a box, row 1 a box only, which is then all there is to ask with."""
    labels = np.array([[1, 0], [-1, -1]], np.int8)
    prompts = Prompts(np.full((2, 2, 2), 4, np.float32), labels, np.float32([[1, 1, 10, 10]] * 2))
    model = HandModel([[4, 6, 9]] * 2, [[0.9, 0.1, 0.2]] * 2)
    _segmenter(model, cascade=2, positives_first=True).segment([1, 2], IMAGE, prompts)
    first, second = model.asked
    np.testing.assert_array_equal(first.labels, [[1, -1], [-1, -1]])
    np.testing.assert_array_equal(first.boxes, [[NAN] * 4, [1, 1, 10, 10]])
    np.testing.assert_array_equal(second.labels, labels)
    np.testing.assert_array_equal(second.boxes, [[NAN] * 4, [1, 1, 10, 10]])


def test_best_hands_on_the_highest_score() -> None:
    model = HandModel([[4, 15, 17]], [[0.1, 0.9, 0.2]])
    found = _segmenter(model, first=First.BEST, cascade=1).segment([1], IMAGE, _prompts())
    assert (found.logits[0] > 0).sum() == 15**2
    assert found.scores[0] == pytest.approx(0.9)


class GrowingModel(HandModel):
    """Of row n, known by its point's x, a square one pixel wider than the mask it is given, until its side is n."""

    def decode(
        self, image: FeatureMap, prompts: Prompts, mask_logits: torch.Tensor | None = None, windows: object = None
    ) -> Candidates:
        limits = prompts.points[:, 0, 0].astype(int)
        before = np.zeros(len(prompts)) if mask_logits is None else (mask_logits > 0).flatten(1).sum(1).sqrt().numpy()
        self._sides = [[int(min(side + 1, limit))] * 3 for side, limit in zip(before, limits, strict=True)]
        self._scores = [[0.5, 0.4, 0.3]] * len(prompts)
        return super().decode(image, prompts)


def test_each_row_is_refined_until_its_own_mask_stays() -> None:
    prompts = Prompts(np.float32([[[3, 0]], [[16, 0]], [[5, 0]]]), np.ones((3, 1), np.int8), np.full((3, 4), NAN, "f4"))
    for cascade, steps, sides in ((3, 3, (3, 3, 3)), (8, 8, (3, 8, 5)), (14, 14, (3, 14, 5))):
        model = GrowingModel([], [])
        found = _segmenter(model, cascade=cascade).segment([1, 2, 3], IMAGE, prompts)
        assert len(model.asked) == steps
        assert [int((logits > 0).sum()) for logits in found.logits] == [side**2 for side in sides]
        np.testing.assert_allclose(found.scores, 0.5)
    # The first row is 3 wide from step 3 on, the third 5 from step 5 on; the step after is the one that finds out.
    assert [len(asked) for asked in model.asked] == [3] * 4 + [2] * 2 + [1] * 8
    np.testing.assert_array_equal(model.asked[5].boxes, [[2, 3, 6, 7]] * 2)
    alone = GrowingModel([], [])
    _segmenter(alone, cascade=14).segment([3], IMAGE, prompts.rows(np.array([2])))
    assert len(alone.asked) == 6


def test_an_object_that_nothing_asks_for_is_empty() -> None:
    model = HandModel([[4, 4, 4]], [[0.9, 0.1, 0.2]])
    prompts = _prompts(2)
    prompts.labels[1], prompts.boxes[1] = -1, NAN
    found = _segmenter(model).segment([1, 2], IMAGE, prompts)
    assert (found.logits[0] > 0).any()
    assert not (found.logits[1] > 0).any()
    assert found.scores[1] == 0


def test_fitted_weights_mix_the_scales() -> None:
    model = HandModel([[4, 8, 16]], [[0.2, 0.9, 0.3]])
    segmenter = Segmenter(model, DecoderSettings(first=First.FITTED, cascade=1), FitSettings())
    target = np.zeros(SIZE, bool)
    target[3:11, 2:10] = True
    segmenter.learn([7], IMAGE, _prompts(), [target])
    weights = segmenter.state()["scale_weights"]["7"]
    assert weights.sum() == pytest.approx(1)
    found = segmenter.segment([7], IMAGE, _prompts())
    assert found.scores[0] == pytest.approx(float(weights @ [0.2, 0.9, 0.3]), abs=1e-5)


def test_the_larger_logit_wins_every_pixel() -> None:
    logits = torch.full((3, *SIZE), -1.0)
    logits[0, :10], logits[2, 5:] = 2.0, 3.0
    winner = _segmenter(HandModel([], [])).merge(IMAGE, logits)
    assert (winner[:5] == 0).all()
    assert (winner[5:] == 2).all()
    logits[:] = -1
    assert (_segmenter(HandModel([], [])).merge(IMAGE, logits) == -1).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_boxes_are_the_extremes_of_masks(seed: int, n: int, h: int, w: int) -> None:
    masks = np.random.default_rng(seed).random((n, h, w)) > 0.8
    boxes = boxes_of(torch.from_numpy(masks))
    for mask, box in zip(masks, boxes, strict=True):
        ys, xs = np.nonzero(mask)
        if xs.size:
            assert box.tolist() == [xs.min(), ys.min(), xs.max(), ys.max()]
        else:
            assert np.isnan(box).all()


def test_evidence_is_one_call_and_what_agrees_with_it_wins() -> None:
    model = HandModel([[4, 8, 12], [4, 8, 12]], [[0.9, 0.8, 0.95], [0.9, 0.8, 0.95]])
    belief, carried = np.full((2, 1, *SIZE), -6, np.float32)
    belief[0, 3:11, 2:10] = 6
    carried[0, 3:11, 6:14] = 6
    evidence = Evidence(
        belief,
        belief > 0,
        carried,
        np.sign(belief),
        np.sign(belief),
        np.sign(belief),
        np.zeros(1, np.float32),
        np.full(1, 64, np.float32),
        (None,),
        np.zeros(1, np.float32),
    )
    prompts = Prompts(
        np.zeros((1, 1, 2), np.float32), np.full((1, 1), -1, np.int8), np.full((1, 4), NAN, np.float32), evidence
    )
    found = _segmenter(model, first=First.EVIDENCE).segment([1], IMAGE, prompts)
    assert len(model.asked) == 1
    assert len(model.asked[0]) == 2, "both hypotheses go in one batch"
    np.testing.assert_array_equal(found.logits[0] > 0, belief[0] > 0)
    agreement = found.scores[0]
    assert 0.7 < agreement < 1, "the same region, and less sure of it"


def test_what_the_decoder_lacks_of_a_reference_is_added_to_later_answers(tmp_path: Path) -> None:
    """The model always answers with a filled square; the reference has a red hole in it."""
    square, hole = np.zeros((2, *SIZE), bool)
    square[3:15, 2:14], hole[6:12, 5:11] = True, True
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    pixels[square], pixels[hole] = 200, (220, 30, 30)
    belief = np.where(square, 6, -6).astype(np.float32)[None]
    zero, area = np.zeros(1, np.float32), np.full(1, 144, np.float32)
    like = np.sign(belief)
    evidence = Evidence(belief, belief > 0, belief, like, like, like, zero, area, (None,), zero)
    prompts = Prompts(
        np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.int8), np.full((1, 4), NAN, np.float32), evidence
    )
    model = HandModel([[12, 12, 12]], [[0.9, 0.9, 0.9]])
    segmenter, restored, other = (_segmenter(model, first=First.EVIDENCE, correct=True) for _ in range(3))
    shown = segmenter.detail(pixels, IMAGE)
    assert shown is not None and shown.shape[1:] == SIZE
    segmenter.learn_corrections([3], IMAGE, prompts, [square & ~hole], shown)
    (tmp_path / "state.npz").write_bytes(pack(segmenter.state()))
    restored.restore(unpack(tmp_path / "state.npz"))
    found = segmenter.segment([3], IMAGE, prompts, shown)
    np.testing.assert_array_equal(found.uncorrected[0] > 0, square)
    corrected = (found.logits[0] > 0).numpy()
    assert (corrected & hole).sum() <= 4
    assert (corrected & ~hole).sum() >= 0.95 * (square & ~hole).sum()
    again = restored.segment([3], IMAGE, prompts, shown)
    torch.testing.assert_close(again.logits, found.logits, rtol=0, atol=0)
    assert segmenter.segment([4], IMAGE, prompts, shown).uncorrected.equal(found.uncorrected), "another object"
    _segmenter(model, first=First.EVIDENCE).learn_corrections([3], IMAGE, prompts, [square], shown)
    untouched = other.segment([3], IMAGE, prompts, shown)
    assert untouched.logits is untouched.uncorrected
    assert _segmenter(model, first=First.EVIDENCE).detail(pixels, IMAGE) is None
    assert _segmenter(model, first=First.BEST, correct=True).detail(pixels, IMAGE) is None


def test_without_evidence_the_best_candidate_is_refined() -> None:
    sides, scores = [[4, 8, 12]], [[0.9, 0.8, 0.95]]
    answers = [
        _segmenter(HandModel(sides, scores), first=first).segment([1], IMAGE, _prompts())
        for first in (First.EVIDENCE, First.BEST)
    ]
    assert torch.equal(answers[0].logits, answers[1].logits)


def test_evidence_that_speaks_for_nothing_asks_for_nothing() -> None:
    model = HandModel([], [])
    nothing = np.full((1, *SIZE), -6, np.float32)
    zero = np.zeros(1, np.float32)
    evidence = Evidence(nothing, nothing > 0, nothing, nothing, nothing, nothing, zero, zero, (None,), zero)
    prompts = Prompts(
        np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.int8), np.full((1, 4), NAN, np.float32), evidence
    )
    found = _segmenter(model, first=First.EVIDENCE).segment([1], IMAGE, prompts)
    assert not model.asked
    assert not (found.logits > 0).any()
    assert found.scores.tolist() == [0]
