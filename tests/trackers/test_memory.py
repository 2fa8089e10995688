"""The tracker of evidence: its classifier against the plain regression, motion against known shifts, its memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.trackers.scenes import result, texture
from trackers.appearance import Cells, Sums, likeness, ridge, solve
from trackers.belief import belief, rivals
from trackers.memory import MemoryTracker
from trackers.memory_settings import MemorySettings
from trackers.motion import Flow, Grid, Motion
from vos.evidence import recall
from vos.models.features import FeatureMap, Features
from vos.results.plain import pack, unpack
from vos.types import Evidence, Frame, FrameResult

SIZE, GRID, STRIDE = (96, 160), (12, 20), 8


def _map(features: torch.Tensor, stages: torch.Tensor | None = None) -> FeatureMap:
    return FeatureMap(features, SIZE, SIZE, STRIDE, stages=stages)


def _cells(seed: int = 0) -> Cells:
    noise = torch.Generator().manual_seed(seed)
    return Cells(_map(torch.randn(6, *GRID, generator=noise), torch.randn(3, *GRID, generator=noise)))


@given(arrays(np.float32, GRID, elements=st.floats(0, 1, width=32)), st.floats(0, 5))
def test_the_sums_are_those_of_the_plain_weighted_regression(share: np.ndarray, near: float) -> None:
    cells = _cells()
    x, y = cells.x.double().numpy(), 2.0 * share.ravel() - 1
    own = share > 0.5
    away = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) if own.any() else np.inf
    apart = np.broadcast_to(1 + near * np.exp(-np.asarray(away, np.float64) / 4), GRID)
    inside, outside = np.where(own, share, 0).ravel(), np.where(own, 0, (1 - share) * apart).ravel()
    weight = sum(side / max(side.sum(), 1e-3) for side in (inside, outside))
    gram, target = (x * weight[:, None]).T @ x, x.T @ (weight * y)
    found = Sums.of(cells, torch.from_numpy(share), near)
    # Cells whose weight is within 2 % of the usual one are counted with that.
    np.testing.assert_allclose(found.gram.numpy(), gram, atol=0.02 * np.abs(gram).max() + 1e-4)
    np.testing.assert_allclose(found.target.numpy(), target, atol=1e-4)
    weights = solve(found, 0.1).double().numpy()
    left = found.gram.double().numpy() @ weights + 0.1 * weights - found.target.double().numpy()
    np.testing.assert_allclose(left, 0, atol=1e-3)


def test_sums_are_as_precise_as_the_features() -> None:
    share = torch.zeros(GRID)
    share[2:6, 3:9] = 1
    noise = torch.Generator().manual_seed(3)
    exact = _map(torch.randn(24, *GRID, generator=noise))
    rounded = replace(exact, computed_in=torch.bfloat16)
    a, b = (Sums.of(Cells(image), share, 3.0) for image in (exact, rounded))
    assert not torch.equal(a.gram, b.gram)
    assert b.gram.dtype == torch.float32
    torch.testing.assert_close(b.gram, a.gram, atol=0.01 * float(a.gram.abs().max()), rtol=0)
    assert torch.equal(a.target, b.target)


def test_a_planted_object_is_told_from_the_rest_and_later_frames_too() -> None:
    noise = torch.Generator().manual_seed(1)
    own = torch.zeros(GRID, dtype=torch.bool)
    own[3:7, 4:9] = True
    first, later = (0.3 * torch.randn(32, *GRID, generator=noise) for _ in range(2))
    first[0, own] += 3
    later[0, own.roll(5, 1)] += 3
    weights = solve(Sums.of(Cells(_map(first)), own.float(), 3.0), 0.01)
    like = likeness(Cells(_map(later)), weights[None])[0]
    assert like[own.roll(5, 1)].min() > like[~own.roll(5, 1)].max()


def test_mixing_sums_is_averaging_them() -> None:
    a, b = (Sums.of(_cells(seed), torch.eye(*GRID), 1.0) for seed in (0, 1))
    torch.testing.assert_close(a.mixed(b, 0.25).gram, 0.75 * a.gram + 0.25 * b.gram)
    torch.testing.assert_close(a.mixed(b, 0.25).target, 0.75 * a.target + 0.25 * b.target)


@given(arrays(np.bool_, st.tuples(st.integers(1, 90), st.integers(1, 90))))
def test_shares_of_places_add_up_to_the_mask(mask: np.ndarray) -> None:
    image = FeatureMap(torch.zeros(2, 4, 4), mask.shape, (61, 64), 16)
    grid = Grid(image)
    shares = grid.shares(mask)
    rows, columns = grid.covered
    assert not shares[rows:].any()
    assert not shares[:, columns:].any()
    assert shares.min() >= 0
    assert shares.max() <= 1 + 1e-5
    assert bool(shares.any()) == bool(mask.any())
    if min(mask.shape) >= max(rows, columns):
        np.testing.assert_allclose(shares.sum() / (rows * columns), mask.mean(), atol=1e-4)


@pytest.mark.parametrize("move", [(0, 0), (6, 0), (-4, 8), (12, -6)])
def test_motion_carries_logits_by_a_known_shift(move: tuple[int, int]) -> None:
    dx, dy = move
    wide = texture((SIZE[0] + 40, SIZE[1] + 40), 3)
    before, now = (
        np.ascontiguousarray(wide[20 - y : 20 - y + SIZE[0], 20 - x : 20 - x + SIZE[1]]) for x, y in ((0, 0), move)
    )
    grid = Grid(_map(torch.zeros(2, *GRID)))
    motion = Motion(grid, grid.grey(before), grid.grey(now), Flow())
    logits = np.full(grid.size, -6, np.float32)
    logits[16:32, 24:48] = 6
    carried = motion.carry(logits, -6) > 0
    expected = np.zeros(grid.size, bool)
    expected[16 + dy // 2 : 32 + dy // 2, 24 + dx // 2 : 48 + dx // 2] = True
    assert (carried & expected).sum() / (carried | expected).sum() > 0.9
    assert motion.trust[expected[: motion.trust.shape[0], : motion.trust.shape[1]]].mean() > 0.8


def test_what_comes_up_before_a_still_background_is_not_the_same() -> None:
    before = texture(SIZE, 3)
    now = before.copy()
    now[32:64, 48:88] = 255 - now[32:64, 48:88]
    grid = Grid(_map(torch.zeros(2, *GRID)))
    motion = Motion(grid, grid.grey(before), grid.grey(now), Flow())
    new = np.zeros(motion.same.shape, bool)
    new[16:32, 24:44] = True
    far = cv2.dilate(new.astype(np.uint8), np.ones((17, 17), np.uint8)) == 0
    assert motion.same[far].mean() > 0.95
    assert motion.same[new].mean() < 0.5
    kept = motion.keep(np.full(grid.size, 0.8, np.float32))
    rows, columns = motion.same.shape
    np.testing.assert_allclose(kept[:rows, :columns], 0.8 * motion.same, atol=1e-6)
    assert not kept[rows:].any() and not kept[:, columns:].any()


# --- the tracker ---

PLACE = (slice(32, 64), slice(48, 88))


def _scene(
    index: int, shift: int | None = 0, cut: bool = False, kind: int = 0, twin: int | None = None
) -> tuple[Frame, Features, np.ndarray]:
    """An object of features and texture of its own at `PLACE`, moved to the right by so many pixels, or not there; and
    another that looks the same."""
    noise = torch.Generator().manual_seed(5)
    grid = 0.3 * torch.randn(32, *GRID, generator=noise)
    image = texture(SIZE, 11).copy()
    mask, other = (np.zeros(SIZE, dtype=bool) for _ in ("own", "twin"))
    for place, by in ((mask, shift), (other, twin)):
        if by is not None:
            place[PLACE[0], PLACE[1].start + by : PLACE[1].stop + by] = True
            grid[kind, torch.from_numpy(place[::STRIDE, ::STRIDE])] += 3
            image[place] = texture((32, 40), 12).reshape(-1, 3)
    features = _map(grid)
    return Frame(index, image, cut=cut), Features(features, features), mask


def _started(**options: object) -> MemoryTracker:
    tracker = MemoryTracker(MemorySettings.model_validate(options))
    frame, features, mask = _scene(0)
    tracker.add(1, frame, features, mask)
    tracker.update(_answer(frame, mask))
    return tracker


def _answer(frame: Frame, mask: np.ndarray, score: float = 0.9, given: bool = False) -> FrameResult:
    answer = result(frame, {1: mask})
    (found,) = answer.objects
    known = type(found)(1, found.state, score if found.area else 0.0, found.box, found.area, given)
    return FrameResult(frame, answer.index_map, (known,))


def _evidence(tracker: MemoryTracker, frame: Frame, features: Features) -> Evidence:
    evidence = tracker.locate(frame, features).evidence
    assert evidence is not None
    return evidence


def _places(mask: np.ndarray) -> np.ndarray:
    return mask[::2, ::2]


def test_belief_is_where_the_object_is_now() -> None:
    tracker = _started()
    for t in range(1, 6):
        frame, features, mask = _scene(t, 4 * t)
        evidence = _evidence(tracker, frame, features)
        found, true = evidence.belief[0] > 0, _places(mask)
        assert (found & true).sum() / (found | true).sum() > 0.7
        tracker.update(_answer(frame, mask))


def test_after_a_cut_motion_says_nothing_and_appearance_finds_it_anywhere() -> None:
    tracker = _started(cut_recall=0.5)
    frame, features, mask = _scene(1)
    tracker.locate(frame, features)
    tracker.update(_answer(frame, mask))
    (known,) = tracker._objects.values()
    frame, features, mask = _scene(2, 64, cut=True)
    evidence = _evidence(tracker, frame, features)
    assert (evidence.carried < 0).all()
    assert evidence.least == pytest.approx([0.2]), "what is found after a cut must look more like it than usual"
    (seen,) = evidence.views
    assert seen is not None
    assert known.recall is not None
    assert evidence.least_recall == pytest.approx([0.5 * known.recall]), "and show what was seen of it last"
    cells = torch.from_numpy(mask[::STRIDE, ::STRIDE])
    here, elsewhere = recall(torch.from_numpy(seen), torch.stack([cells, ~cells])).tolist()
    assert here > 0.8 * known.recall
    assert elsewhere < 0.7 * here
    found, true = evidence.belief[0] > 0, _places(mask)
    assert (found & true).sum() / (found | true).sum() > 0.7


def test_a_lost_object_has_no_box_is_held_to_stricter_likeness_and_comes_back() -> None:
    tracker = _started(least=0.1, return_margin=0.3)
    frame, features, mask = _scene(1, None)
    evidence = _evidence(tracker, frame, features)
    assert evidence.least == pytest.approx([0.1])
    assert evidence.views == (None,)
    tracker.update(_answer(frame, mask))
    frame, features, mask = _scene(2, 56)
    prompts = tracker.locate(frame, features)
    assert not prompts.has_box.any()
    evidence = prompts.evidence
    assert evidence is not None
    assert evidence.least == pytest.approx([0.4])
    assert evidence.views == (None,)
    assert not (evidence.carried > 0).any()
    assert (evidence.belief[0] > 0)[_places(mask)].mean() > 0.7
    tracker.update(_answer(frame, mask))
    assert tracker.locate(*_scene(3, 56)[:2]).has_box.all()


def test_what_was_seen_beside_an_object_is_not_what_comes_back() -> None:
    """A twin stands far off while the object vanishes, and still stands there when it comes back elsewhere."""
    tracker, twin = _started(), -48
    for t, shift in enumerate([0, None, 56], start=1):
        frame, features, mask = _scene(t, shift, twin=twin)
        evidence = _evidence(tracker, frame, features)
        other = _places(np.roll(_scene(0)[2], twin, axis=1))
        # What touches the object may be its own.
        other[:, 16:] = False
        assert (evidence.likeness[0][other] > 0.3).mean() > 0.7, "it looks like the object"
        if t == 3:
            assert (evidence.belief[0] > 0)[other].mean() < 0.35
            assert evidence.recognised[0][other].mean() < float(evidence.least[0])
            assert (evidence.belief[0] > 0)[_places(mask)].mean() > 0.7
            assert evidence.recognised[0][_places(mask)].mean() > float(evidence.least[0])
        tracker.update(_answer(frame, mask))


def test_what_has_long_been_seen_beside_an_object_is_another_though_all_of_the_object_is_there() -> None:
    """A twin that stands far off from the start looks less like the object from frame to frame."""
    tracker, twin, recognised = MemoryTracker(MemorySettings()), -48, []
    other = _places(np.roll(_scene(0)[2], twin, axis=1))
    for t in range(5):
        frame, features, mask = _scene(t, twin=twin)
        if t == 0:
            tracker.add(1, frame, features, mask)
        evidence = _evidence(tracker, frame, features)
        recognised.append(evidence.likeness[0] - evidence.recognised[0])
        assert not recognised[-1][_places(mask)].any(), "the object is not"
        tracker.update(_answer(frame, mask))
    assert not recognised[0].any()
    assert [less[other].mean() for less in recognised[1:]] == pytest.approx(
        [0.3 * (1 - 0.7**t) for t in range(1, 5)], rel=0.05
    )


def test_another_object_keeps_its_place_and_where_it_leaves_may_be_what_is_this_ones() -> None:
    tracker, (_, features, mask) = _started(), _scene(1)
    grid = Grid(features.image)
    (known,) = tracker._objects.values()
    beside = np.zeros(grid.size, bool)
    beside[: SIZE[0] // 2, : SIZE[1] // 2] = _places(np.roll(mask, 40, axis=1))
    around = cv2.dilate(beside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    like = np.full(grid.size, 0.5, np.float32)
    alone, barely, surely = (
        belief(tracker._settings, known, like, 0 * like, known.logits, np.float32(sure) * beside, None, grid)
        for sure in (0, 1e-6, 1)
    )
    own, elsewhere = known.logits > 0, ~around
    # What is against new places beside a whole object, 1 and 2 log-odds, is not against what another may leave.
    np.testing.assert_allclose((barely - alone)[around & ~own], 3, atol=1e-4)
    np.testing.assert_allclose((surely - alone)[beside & ~own], -3, atol=1e-4)
    for left in (barely, surely):
        np.testing.assert_array_equal(left[elsewhere | own], alone[elsewhere | own])


def test_rivals_are_where_another_object_is_carried() -> None:
    carried = np.full((3, 20, 30), -6, np.float32)
    carried[0, 5:8, 5:8], carried[1, 5:8, 6:20] = 6, 2
    others = rivals(carried)
    np.testing.assert_array_equal(others[0], np.where(carried[1] > 0, 0.5, 0))
    np.testing.assert_array_equal(others[1], np.where(carried[0] > 0, 1, 0))
    np.testing.assert_array_equal(others[2], np.maximum(others[0], others[1]))
    assert not rivals(carried[:1]).any(), "one object has no rival"


def test_the_less_of_it_was_left_the_more_it_takes_to_be_it() -> None:
    tracker, needed = _started(least=0.1, return_margin=0.3), []
    frame, features, mask = _scene(1)
    xs = np.flatnonzero(mask.any(axis=0))
    for share in (1.0, 0.3, 0.1):
        tracker.locate(frame, features)
        part = mask.copy()
        part[:, int(xs.min() + share * (xs.max() + 1 - xs.min())) :] = False
        tracker.update(_answer(frame, part))
        frame, features, mask = _scene(frame.index + 1)
        needed.append(float(_evidence(tracker, frame, features).least[0]))
    assert needed[0] == pytest.approx(0.1)
    assert 0.1 < needed[1] < needed[2] < 0.4


def test_what_a_cut_has_taken_must_be_recognised_until_it_is_found() -> None:
    tracker = _started()
    nothing = np.zeros(SIZE, dtype=bool)
    for t, (cut, mask) in enumerate(
        [(False, True), (True, False), (False, False), (False, True), (False, True)], start=1
    ):
        frame, features, own = _scene(t, cut=cut)
        (seen,) = _evidence(tracker, frame, features).views
        assert (seen is not None) == (t in (2, 3, 4))
        tracker.update(_answer(frame, own if mask else nothing))


def test_a_cut_before_anything_is_usual_asks_for_no_recall() -> None:
    tracker = MemoryTracker(MemorySettings())
    frame, features, mask = _scene(0)
    tracker.add(1, frame, features, mask)
    answer = _answer(frame, mask)
    tracker.update(replace(answer, objects=(replace(answer.objects[0], given=True),)))
    frame, features, _ = _scene(1, 64, cut=True)
    assert _evidence(tracker, frame, features).views == (None,)


def test_what_comes_up_beside_an_object_that_is_all_there_is_another() -> None:
    beliefs = []
    for outside in (0, 2):
        tracker = _started(outside=outside)
        frame, features, mask = _scene(1)
        # The same looks right beside it, where nothing has moved.
        twin = features.image.features.clone()
        twin[
            0, PLACE[0].start // STRIDE : PLACE[0].stop // STRIDE, PLACE[1].stop // STRIDE : PLACE[1].stop // STRIDE + 3
        ] += 3
        image = _map(twin)
        evidence = _evidence(tracker, frame, Features(image, image))
        beside = _places(np.roll(mask, PLACE[1].stop - PLACE[1].start, axis=1))
        beliefs.append((evidence.belief[0][_places(mask)], evidence.belief[0][beside]))
    (inside, before), (still, after) = beliefs
    np.testing.assert_array_equal(inside, still)
    assert (after < before - 1.5).all()


def _now(tracker: MemoryTracker) -> np.ndarray:
    (known,) = tracker._objects.values()
    return known.now.numpy()


@pytest.mark.parametrize("score", [0.69, 0.71])
def test_memory_learns_from_sure_masks_only(score: float) -> None:
    tracker = _started(min_score=0.7, learn_every=1)
    before = _now(tracker)
    frame, features, mask = _scene(1, 4)
    tracker.locate(frame, features)
    tracker.update(_answer(frame, mask, score))
    assert np.array_equal(before, _now(tracker)) is (score < 0.7)


def test_memory_learns_from_one_of_so_many_frames() -> None:
    tracker, learnt = _started(learn_every=3), []
    for t in range(1, 8):
        before = _now(tracker)
        frame, features, mask = _scene(t, 4)
        tracker.locate(frame, features)
        tracker.update(_answer(frame, mask, 0.5 if t == 2 else 0.9))
        if not np.array_equal(before, _now(tracker)):
            learnt.append(t)
    assert learnt == [4, 7], "a frame that may not be learnt does not count"


def test_memory_does_not_learn_a_mask_that_stands_out_less_than_usual() -> None:
    tracker = _started(learn_every=1)
    for t in (1, 2):
        frame, features, mask = _scene(t)
        tracker.locate(frame, features)
        tracker.update(_answer(frame, mask))
    before = _now(tracker)
    frame, features, mask = _scene(3)
    tracker.locate(frame, features)
    # A mask that slid off to the background, of which the decoder is sure.
    tracker.update(_answer(frame, np.roll(mask, 64, axis=1)))
    np.testing.assert_array_equal(before, _now(tracker))


def test_memory_learns_a_new_look_where_motion_carries_the_mask() -> None:
    tracker = _started(learn_every=1)
    for t in (1, 2):
        frame, features, mask = _scene(t)
        tracker.locate(frame, features)
        tracker.update(_answer(frame, mask))
    frame, features, mask = _scene(3, 4, kind=1)
    assert _evidence(tracker, frame, features).first_likeness[0][_places(mask)].mean() < 0.1
    before = _now(tracker)
    tracker.update(_answer(frame, mask))
    assert not np.array_equal(before, _now(tracker))
    frame, features, mask = _scene(4, 8, kind=1)
    evidence = _evidence(tracker, frame, features)
    assert evidence.likeness[0][_places(mask)].mean() > evidence.first_likeness[0][_places(mask)].mean() + 0.1


def test_references_are_averaged() -> None:
    tracker = _started()
    frame, features, mask = _scene(1, kind=1)
    tracker.add(1, frame, features, mask)
    (known,) = tracker._objects.values()
    assert known.references == 2
    parts = [
        Sums.of(Cells(scene[1].image), torch.from_numpy(scene[2][::STRIDE, ::STRIDE]).float(), 3.0)
        for scene in (_scene(0), _scene(1, kind=1))
    ]
    torch.testing.assert_close(known.reference.target, (parts[0].target + parts[1].target) / 2)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_its_state_survives_being_written(
    tmp_path: Path, cut: bool, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = _started()
    frame, features, mask = _scene(1, 4)
    tracker.locate(frame, features)
    tracker.update(_answer(frame, mask & (not lost)))
    other = MemoryTracker(MemorySettings())
    (tmp_path / "state").write_bytes(pack(tracker.state()))
    with monkeypatch.context() as patch:
        # A run computes with fewer threads than there are before it begins, and would round otherwise.
        patch.setattr("trackers.memory.solve", None)
        other.restore(unpack(tmp_path / "state"))
    frame, features, _ = _scene(2, 8, cut=cut)
    a, b = (_evidence(one, frame, features) for one in (tracker, other))
    for name in Evidence.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_an_object_smaller_than_a_cell_is_learnt() -> None:
    frame, features, _ = _scene(0)
    tiny = np.zeros(SIZE, dtype=bool)
    tiny[40:43, 60:63] = True
    tracker = MemoryTracker(MemorySettings())
    tracker.add(1, frame, features, tiny)
    (known,) = tracker._objects.values()
    assert known.area >= 1
    assert torch.isfinite(known.first).all()
    assert known.first.abs().max() > 1e-3


def test_what_tells_objects_apart_is_solved_again_when_one_has_learnt(tmp_path: Path) -> None:
    tracker, (frame, features, mask) = _started(), _scene(1)
    tracker.add(2, frame, features, np.roll(mask, 40, axis=1))
    tracker.locate(frame, features)
    first = tracker._told_apart()
    assert first.shape[0] == 2
    assert tracker._told_apart() is first
    tracker.add(2, frame, features, np.roll(mask, 60, axis=1))
    assert not torch.equal(tracker._told_apart(), first)
    kept = MemoryTracker(tracker._settings)
    (tmp_path / "state").write_bytes(pack(tracker.state()))
    kept.restore(unpack(tmp_path / "state"))
    assert torch.equal(kept._told_apart(), tracker._told_apart())


def test_objects_compete_for_what_looks_more_like_the_other() -> None:
    beliefs = []
    for weight in (0.0, 4.0):
        tracker, (frame, features, mask) = _started(apart=weight), _scene(1)
        tracker.add(2, frame, features, np.roll(mask, 40, axis=1))
        beliefs.append(_evidence(tracker, frame, features).belief)
    lone = [_evidence(_started(apart=weight), *_scene(1)[:2]).belief for weight in (0.0, 4.0)]
    np.testing.assert_array_equal(*lone)
    # What speaks against one object at a place may be all that spoke against the other there.
    assert (beliefs[1] < beliefs[0]).any()
    assert not ((beliefs[1] > beliefs[0]).all(0)).any()


def test_what_an_answer_has_beyond_belief_is_not_carried_with_it() -> None:
    tracker, (frame, features, mask) = _started(), _scene(0)
    other = np.roll(mask, 80, axis=1)
    tracker.add(2, frame, features, other)
    tracker.update(result(frame, {1: mask, 2: other}))
    frame, features, mask = _scene(1)
    believed = _evidence(tracker, frame, features).belief
    sure = (believed[0] > 1) & (believed[1] < -1) & (Grid(features.image).shares(mask) > 0.9)
    assert sure.sum() > 10
    tracker.update(result(frame, {1: np.zeros_like(mask), 2: other | mask}))
    first, second = (known.logits for known in tracker._objects.values())
    assert (first[sure] == 2).all()
    assert (second[sure] == -2).all()
    assert second.max() == 6, "what is its own stays"


@given(st.integers(1, 8), st.integers(1, 16))
def test_cells_that_show_the_frame_in_part_know_what_is_in_them(low: int, wide: int) -> None:
    """The last row of cells is less than half full: all that is on it is an object along the lower edge."""
    size = 16 * 5 + low, 16 * 7 + wide
    image = FeatureMap(torch.randn(5, 6, 8), size, size, 16)
    assert image.covered_size == (6, 8)
    mask = np.zeros(size, bool)
    mask[16 * 5 :, 32:64] = True
    grid = Grid(image)
    shares = grid.averaged(grid.shares(mask), image.covered_size)
    whole = np.zeros((6, 8), np.float32)
    whole[5, 2:4] = 1
    np.testing.assert_allclose(grid.averaged(grid.shares(np.ones(size, bool)), image.covered_size), 1, atol=1e-5)
    if low > 2:  # or no place has it
        np.testing.assert_allclose(shares, whole, atol=0.5)
    tracker = MemoryTracker(MemorySettings())
    tracker.add(1, Frame(0, np.zeros((*size, 3), np.uint8)), Features(image, image), mask)
    (known,) = tracker._objects.values()
    assert known.view.shape[0] >= 1
    assert known.reference.own_mean.any()


def test_a_new_reference_means_the_same_whoever_else_is_followed() -> None:
    companies = []
    for others in ((), (2,)):
        tracker = MemoryTracker(MemorySettings())
        for t in range(4):
            frame, features, mask = _scene(t, twin=-48)
            for object_id in (1, *others) if t == 0 else ():
                tracker.add(object_id, frame, features, np.roll(mask, 24 * (object_id - 1), axis=1))
            if t == 3 and others:
                tracker.locate(frame, features)
            if t == 3:
                tracker.add(1, frame, features, mask)
            elif t:
                tracker.locate(frame, features)
            tracker.update(_answer(frame, mask, given=t in (0, 3)))
        company = tracker._objects[1].company
        assert company is not None
        companies.append(company)
    np.testing.assert_array_equal(*companies)


@pytest.mark.parametrize("lowest", [0.1, 0.0, -0.004, -0.2])
def test_sums_that_rounding_left_without_a_solution_have_one(lowest: float) -> None:
    axes = torch.linalg.qr(torch.randn(9, 9, generator=torch.Generator().manual_seed(0))).Q
    eigenvalues = torch.tensor([lowest, *(0.5 + 0.1 * i for i in range(8))])
    gram, target = (axes * eigenvalues) @ axes.T, torch.ones(9, 1)
    found = ridge(gram, target, 0.003)
    shifted = gram + (0.003 - (lowest if lowest < -0.003 else 0)) * torch.eye(9)
    torch.testing.assert_close(shifted @ found, target, atol=1e-2, rtol=1e-2)
