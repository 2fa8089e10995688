"""Hypotheses and the choice among candidates, on drawn maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trackers.belief import of_others, regions, rivalled
from vos.evidence import choose, completed, contrast, recall
from vos.hypotheses import Hypotheses, hypotheses, prompts_of, remainders
from vos.models.features import FeatureMap
from vos.types import Candidates, Evidence, Prompts

# A frame of 120 x 160 pixels on 24 x 32 places of 5 pixels, 6 x 8 cells.
PLACES, FRAME = (24, 32), (120, 160)
IMAGE = FeatureMap(torch.zeros(4, 6, 8), FRAME, FRAME, 20)


def _logits(top: int, left: int, bottom: int, right: int, sure: float = 5.0) -> np.ndarray:
    logits = np.full(PLACES, -sure, np.float32)
    logits[top:bottom, left:right] = sure
    return logits


BOX = (4, 6, 14, 16)
HERE, ELSEWHERE, NOWHERE = _logits(*BOX), _logits(12, 20, 22, 30), np.full(PLACES, -5, np.float32)


def _evidence(
    beliefs: list[np.ndarray],
    carried: list[np.ndarray] | None = None,
    least: float = 0.0,
    area: float = 100.0,
    views: tuple[np.ndarray | None, ...] | None = None,
    least_recall: float = 0.0,
) -> Evidence:
    belief = np.stack(beliefs)
    n, likeness = len(belief), np.tanh(belief)
    last = belief if carried is None else np.stack(carried)
    return Evidence(
        belief,
        regions(belief, last),
        last,
        likeness,
        likeness,
        likeness,
        np.full(n, least, np.float32),
        np.full(n, area, np.float32),
        (None,) * n if views is None else views,
        np.full(n, least_recall, np.float32),
    )


def _hypotheses(evidence: Evidence) -> Hypotheses:
    return hypotheses(evidence, prompts_of(evidence, IMAGE), IMAGE)


def _candidates(*rows: list[np.ndarray], score: float = 0.9) -> Candidates:
    logits = torch.from_numpy(np.stack([np.stack(row) for row in rows]))
    return Candidates(logits, torch.full(logits.shape[:2], score))


def test_there_are_two_hypotheses_where_motion_says_another_place_with_box_and_points_inside() -> None:
    asked = _hypotheses(_evidence([HERE, ELSEWHERE], [ELSEWHERE, ELSEWHERE]))
    assert asked.owners.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(asked.masks, np.stack([HERE, 1.5 * ELSEWHERE, ELSEWHERE]))
    # Places 6 to 15 are pixels 30 to 79, and the box is 3 larger.
    np.testing.assert_allclose(asked.prompts.boxes[0], [29.5 - 3, 19.5 - 3, 79.5 + 3, 69.5 + 3])
    for row, region in enumerate([HERE, ELSEWHERE, ELSEWHERE]):
        points = asked.prompts.points[row][asked.prompts.labels[row] == 1]
        assert len(points)
        assert all(region[int((y + 0.5) // 5), int((x + 0.5) // 5)] > 0 for x, y in points)


def test_a_tracker_may_point_more_often_than_ours_does() -> None:
    evidence = _evidence([HERE], [ELSEWHERE])
    five = np.stack([np.linspace(35, 75, 5), np.linspace(25, 65, 5)], axis=1).astype(np.float32)
    more = Prompts(five[None], np.ones((1, 5), np.int8), prompts_of(evidence, IMAGE).boxes, evidence)
    asked = hypotheses(evidence, more, IMAGE)
    np.testing.assert_array_equal(asked.prompts.points[0], five)
    assert (asked.prompts.labels[1] == 1).sum() <= 3


def test_what_is_asked_for_is_looked_for_around_its_box() -> None:
    asked = _hypotheses(_evidence([HERE, ELSEWHERE]))
    for region, (y, x) in zip([HERE, ELSEWHERE], asked.windows, strict=True):
        rows, columns = np.nonzero(region > 0)
        assert 4 * y.start <= rows.min() and rows.max() < 4 * y.stop
        assert 4 * x.start <= columns.min() and columns.max() < 4 * x.stop
        assert y.start >= 0 and y.stop <= IMAGE.grid_size[0]
        assert x.start >= 0 and x.stop <= IMAGE.grid_size[1]


def test_what_is_empty_is_not_asked_for() -> None:
    asked = _hypotheses(_evidence([NOWHERE, HERE], [NOWHERE, NOWHERE]))
    assert asked.owners.tolist() == [1]
    assert not len(_hypotheses(_evidence([NOWHERE])).owners)
    assert prompts_of(_evidence([NOWHERE, HERE]), IMAGE).active.tolist() == [False, True]


def test_specks_are_no_part_of_the_region() -> None:
    belief = HERE.copy()
    belief[20, 30] = 5
    (box,) = prompts_of(_evidence([belief], [HERE]), IMAGE).boxes
    assert box[2] < 100


def test_a_lone_place_is_not_lost() -> None:
    """Where nothing is likely, prompts say where the object was, so that a reference smaller than a place has some."""
    prompts = prompts_of(_evidence([NOWHERE], [_logits(5, 5, 6, 6)]), IMAGE)
    assert prompts.active.all()


@given(arrays(np.float32, (3, *PLACES), elements=st.floats(-9, 9, width=32)))
def test_no_place_is_believed_to_be_two_objects(belief: np.ndarray) -> None:
    after = rivalled(belief)
    assert ((after > 0).sum(axis=0) <= 1).all()
    assert (after <= belief).all()
    alone = (np.sort(belief, axis=0)[-2] <= 0)[None] & (belief == belief.max(axis=0))
    np.testing.assert_array_equal(after[alone], belief[alone])


def test_a_lone_object_has_no_rival() -> None:
    np.testing.assert_array_equal(rivalled(HERE[None]), HERE[None])


@given(arrays(np.float32, (4, 3, 5), elements=st.sampled_from([-2, -1, 0, 1, 2])))
def test_of_others_is_the_most_without_oneself(maps: np.ndarray) -> None:
    for own, others in enumerate(of_others(maps)):
        np.testing.assert_array_equal(others, np.delete(maps, own, axis=0).max(axis=0))


def test_another_object_in_the_box_is_pointed_out() -> None:
    # A corner of an object's box is another's.
    own, other = _logits(4, 6, 20, 26), _logits(2, 16, 12, 28)
    own[other > 0] = -5
    asked = _hypotheses(_evidence([own, other]))
    assert asked.owners.tolist() == [0, 1]
    against = asked.prompts.points[0][asked.prompts.labels[0] == 0]
    assert len(against) == 1
    # Places 16 to 25 by 4 to 11 of the box are not its own: their middle, to a place and a half.
    np.testing.assert_allclose(against[0], [20.5 * 5, 7.5 * 5], atol=8)
    assert (asked.prompts.labels[0] == 1).any()
    assert not (asked.prompts.labels[1] == 0).any(), "nothing reaches into the other's box"


@pytest.mark.parametrize(
    "other", [_logits(12, 20, 22, 30), _logits(4, 15, 14, 24), _logits(4, 13, 7, 16)], ids=["apart", "thin", "small"]
)
def test_another_object_beside_the_box_is_not_pointed_out(other: np.ndarray) -> None:
    own = np.where(other > 0, -5, HERE).astype(np.float32)
    own[13, 15] = 5
    asked = _hypotheses(_evidence([own, other]))
    assert not (asked.prompts.labels == 0).any()
    assert asked.prompts.points.shape[1] == 3, "and costs nothing"


def test_what_motion_does_not_bring_is_not_pointed_out_as_anothers() -> None:
    own, other = _logits(4, 6, 20, 26), _logits(2, 16, 12, 28)
    own[other > 0] = -5
    for carried in ([own, NOWHERE], [np.maximum(own, other), other]):
        assert not (_hypotheses(_evidence([own, other], carried)).prompts.labels[0] == 0).any()


def test_the_candidate_that_agrees_is_chosen() -> None:
    shifted, whole = np.roll(HERE, 3, axis=1), np.full(PLACES, 5, np.float32)
    for order in ([0, 1, 2], [2, 0, 1]):
        row = [[HERE, shifted, whole][k] for k in order]
        (chosen,) = choose(_evidence([HERE]), _candidates(row), np.array([0]))
        assert chosen is not None
        np.testing.assert_array_equal(chosen[0].numpy(), HERE)
        assert chosen[1] > 0.95, "all of the belief, and nothing else"


def test_the_surer_of_equals_is_chosen() -> None:
    candidates = Candidates(_candidates([HERE, 1.01 * HERE]).logits, torch.tensor([[0.6, 0.9]]))
    (chosen,) = choose(_evidence([HERE]), candidates, np.array([0]))
    assert chosen is not None
    np.testing.assert_array_equal(chosen[0].numpy(), 1.01 * HERE)


def test_the_score_is_the_soft_iou_with_the_belief() -> None:
    # Doubt inside, and none outside, where the answer's own is not counted.
    belief, answer = (
        np.where(_logits(*box) > 0, sure, np.float32(-12))
        for box, sure in (((4, 6, 14, 16), np.float32(1)), ((6, 8, 16, 18), np.float32(2)))
    )
    (chosen,) = choose(_evidence([belief]), _candidates([answer]), np.array([0]))
    a, b = (1 / (1 + np.exp(-maps)) for maps in (belief, answer))
    assert chosen is not None
    assert chosen[1] == pytest.approx(np.minimum(a, b).sum() / np.maximum(a, b).sum(), abs=1e-3)


def test_what_does_not_look_like_the_object_is_no_answer() -> None:
    evidence = _evidence([HERE, HERE], least=0.2)
    chosen = choose(evidence, _candidates([ELSEWHERE, NOWHERE], [HERE, NOWHERE]), np.array([0, 1]))
    assert chosen[0] is None
    assert chosen[1] is not None


def test_what_does_not_show_enough_of_its_view_is_no_answer() -> None:
    # Of three parts two are in the box, whatever else is there; the third is nowhere.
    seen = np.full((3, *IMAGE.grid_size), -0.2, np.float32)
    seen[0, 1, 2], seen[1, 2, 3], seen[2] = 0.9, 0.6, 0.3
    seen[:, 5, 7] = 1
    for least, found in ((0.59, True), (0.61, False)):
        evidence = _evidence([HERE, HERE], views=(seen, None), least_recall=least)
        chosen = choose(evidence, _candidates([HERE], [HERE]), np.array([0, 1]))
        assert (chosen[0] is not None) is found
        assert chosen[1] is not None, "one that has not to be recognised"


@given(
    arrays(np.float32, (4, 3, 5), elements=st.floats(-1, 1, width=32)),
    arrays(np.bool_, (2, 3, 5)),
)
def test_recall_is_the_mean_of_each_parts_best(alike: np.ndarray, masks: np.ndarray) -> None:
    found = recall(torch.from_numpy(alike), torch.from_numpy(masks))
    for mask, value in zip(masks, found.tolist(), strict=True):
        expected = np.mean([part[mask].max() for part in alike]) if mask.any() else -1
        assert value == pytest.approx(expected, abs=1e-5)
    larger = recall(torch.from_numpy(alike), torch.from_numpy(masks.any(axis=0)[None]))
    assert (larger >= found - 1e-6).all()


def test_an_object_without_candidates_has_no_answer() -> None:
    assert choose(_evidence([HERE, NOWHERE]), _candidates([HERE]), np.array([0]))[1] is None


def test_parts_on_both_sides_of_an_occluder_are_joined() -> None:
    left, right = _logits(4, 6, 14, 10), _logits(4, 12, 14, 16)
    both = np.maximum(left, right)
    (chosen,) = choose(_evidence([both]), _candidates([left, right, NOWHERE]), np.array([0]))
    assert chosen is not None
    np.testing.assert_array_equal(chosen[0].numpy() > 0, both > 0)


def test_objects_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    beliefs = [HERE, ELSEWHERE, _logits(1, 1, 9, 30)]
    rows = [[belief + rng.normal(0, 4, PLACES).astype(np.float32) for _ in range(3)] for belief in beliefs]
    together = choose(_evidence(beliefs), _candidates(*rows), np.arange(3))
    for k in range(3):
        (alone,) = choose(_evidence([beliefs[k]]), _candidates(rows[k]), np.array([0]))
        assert alone is not None
        assert together[k] is not None
        torch.testing.assert_close(together[k][0], alone[0], rtol=0, atol=0)  # type: ignore[index]


def test_contrast_is_inside_less_half_the_ring() -> None:
    likeness = torch.from_numpy(np.where(HERE > 0, 0.8, -0.4).astype(np.float32))
    mask = torch.from_numpy(HERE > 0)
    everything = torch.ones_like(mask)
    found = contrast(likeness, torch.stack([mask, everything]), area=100.0)
    assert float(found[0]) == pytest.approx(0.8 + 0.2)
    assert float(found[1]) == pytest.approx(float(likeness.mean())), "there is nothing beside all"


def test_what_the_answer_lacks_is_asked_for_by_itself_and_joined() -> None:
    left, right = _logits(4, 4, 14, 12), _logits(4, 18, 14, 24)
    both = np.maximum(left, right)
    evidence = _evidence([both, both])
    chosen = [(torch.from_numpy(left), 0.9), (torch.from_numpy(both), 0.8)]
    rest = remainders(evidence, chosen, IMAGE)
    assert rest.owners.tolist() == [0], "the second has it all"
    points = rest.prompts.points[0][rest.prompts.labels[0] == 1]
    assert all(right[int((y + 0.5) // 5), int((x + 0.5) // 5)] > 0 for x, y in points)
    assert ((rest.masks[0] > 0) == (right > 0)).all()
    whole = completed(evidence, chosen, _candidates([right, ELSEWHERE, NOWHERE], score=0.7), rest.owners)
    assert whole[0] is not None
    np.testing.assert_array_equal(whole[0][0].numpy(), both)
    assert whole[0][1] > 0.95
    assert whole[1] is chosen[1]
    unsure = completed(evidence, chosen, _candidates([right, ELSEWHERE, NOWHERE], score=0.5), rest.owners)
    np.testing.assert_array_equal(unsure[0][0].numpy(), left)  # type: ignore[index]


def test_a_rim_a_speck_and_the_absent_have_no_remainder() -> None:
    speck = HERE.copy()
    speck[20:22, 25:27] = 5
    smaller = _logits(BOX[0] + 2, BOX[1] + 2, BOX[2] - 2, BOX[3] - 2)
    found = [(torch.from_numpy(smaller), 0.9), (torch.from_numpy(HERE), 0.9), None]
    assert not len(remainders(_evidence([HERE, speck, HERE]), found, IMAGE).owners)
