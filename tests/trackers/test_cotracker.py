"""The CoTracker adapter: its windows and points with a model that is no network, and the real package where it is.

No test has CoTracker's weights: with the real package they are random. What is shown there is that the adapter gives
what the package's own online predictor gives, not that it tracks well.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import DISC, VOS, encode
from tests.drawn import clip
from tests.trackers.scenes import Scene, Thing, carry, draw, place
from tests.trackers.windows import LucasKanadeWindows, random_weights, small_network
from trackers import cotracker_online
from trackers.cotracker import CoTrackerSettings, CoTrackerTracker
from trackers.cotracker_online import CoTrackerOnline
from trackers.points import medoids
from vos.errors import SettingsError, WeightsError
from vos.installed import check_trackers, installed_trackers, is_resumable, make_tracker
from vos.tracking import latency, with_following
from vos.types import Frame, Prompts

needs_package = pytest.mark.skipif(
    find_spec("cotracker") is None,
    reason="the package cotracker is not installed (CC-BY-NC 4.0): pip install the extra persam-vos[cotracker]",
)
THING = Thing(7, lambda t: place(80 + 2.5 * t, 80 + t), seed=3)


def _run(tracker: CoTrackerTracker, scenes: list[Scene], reference: int = 0) -> Iterator[tuple[Scene, Prompts]]:
    """What the loop does; the final masks are the true ones."""
    for scene, later in with_following(scenes, latency(tracker)):
        t = scene.frame.index
        if t < reference:
            continue
        tracker.ahead([other.frame for other in later])
        if t > reference:
            tracker.locate(scene.frame, scene.features)
        else:
            for object_id, mask in scene.masks.items():
                tracker.add(object_id, scene.frame, scene.features, mask)
        yield scene, tracker.locate(scene.frame, scene.features)
        tracker.update(scene.result())


@pytest.mark.parametrize("ahead", [0, 3, 7, 15])
def test_points_are_followed_through_windows_and_frames_encoded_once(ahead: int) -> None:
    """Two full windows and a part of a third, whatever is seen ahead."""
    scenes = [draw([THING], t) for t in range(27)]
    model = LucasKanadeWindows()
    tracker = CoTrackerTracker(CoTrackerSettings(latency=ahead), model)
    start = None
    for scene, prompts in _run(tracker, scenes):
        t = scene.frame.index
        start = prompts if start is None else start
        seen = prompts.labels[0] == 1
        assert seen.sum() >= 4
        true = carry(start.points[0][seen], THING.path(0), THING.path(t))
        assert np.median(np.linalg.norm(prompts.points[0][seen] - true, axis=1)) < 1.5, t
    assert model.encoded == len(scenes)
    if ahead == 15:
        assert list(model.followed) == [16, 16, 11]


def test_windows_seen_whole_answer_as_an_endless_look_ahead_would() -> None:
    scenes = [draw([THING], t) for t in range(40)]
    kept = {}
    for shots in (scenes, scenes[:24]):
        tracker = CoTrackerTracker(CoTrackerSettings(), LucasKanadeWindows())
        kept[len(shots)] = [prompts.points for _, prompts in _run(tracker, shots)]
    for a, b in zip(kept[40][:24], kept[24], strict=True):
        np.testing.assert_array_equal(a, b)


def test_frames_that_are_left_out_make_no_gap() -> None:
    """`--every 3` numbers frames 0, 3, 6, ..."""
    kept = []
    for every in (1, 3):
        scenes = [draw([THING], t) for t in range(20)]
        scenes = [Scene(Frame(every * s.frame.index, s.frame.image), s.features, s.masks) for s in scenes]
        tracker = CoTrackerTracker(CoTrackerSettings(reseed_every=9), LucasKanadeWindows())
        kept.append([prompts.points for _, prompts in _run(tracker, scenes)])
    np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_clips_shorter_than_a_window(count: int) -> None:
    tracker = CoTrackerTracker(CoTrackerSettings(), LucasKanadeWindows())
    found = list(_run(tracker, [draw([THING], t) for t in range(count)]))
    assert [scene.frame.index for scene, _ in found] == list(range(count))
    assert all(prompts.active.all() for _, prompts in found)


def test_only_the_frames_of_a_window_and_those_ahead_are_kept() -> None:
    """Objects enter late and on different frames, and one is never seen again."""
    model = LucasKanadeWindows()
    tracker = CoTrackerTracker(CoTrackerSettings(), model)
    scenes = (draw([THING] if t < 40 else [], min(t, 30)) for t in range(90))
    scenes = [Scene(Frame(t, s.frame.image), s.features, s.masks) for t, s in enumerate(scenes)]
    held = []
    for scene, later in with_following(scenes, tracker.latency):
        tracker.ahead([other.frame for other in later])
        t = scene.frame.index
        if t in (20, 29):
            tracker.add(t, scene.frame, scene.features, scene.masks[7])
        if t >= 20:
            tracker.locate(scene.frame, scene.features)
            masks = {i: scene.masks.get(7, np.zeros(scene.frame.size, dtype=bool)) for i in (20, 29) if i <= t}
            tracker.update(scene.result(masks))
            shots = tracker._shots
            held.append(len(shots._frames) + len(shots._encoded))
            assert len(shots._numbers) == held[-1]
    assert max(held) <= 31
    assert model.encoded == 70


def test_points_outside_the_final_mask_are_dropped_and_those_inside_kept_when_others_are_chosen() -> None:
    scenes = [draw([Thing(7, lambda t: place(110, 90), seed=3)], t, pan=0) for t in range(14)]
    tracker = CoTrackerTracker(CoTrackerSettings(reseed_below=0.8), LucasKanadeWindows())
    frame, features, whole = scenes[0].frame, scenes[0].features, scenes[0].masks[7]
    tracker.add(7, frame, features, whole)
    start = tracker.locate(frame, features).points[0]
    tracker.update(scenes[0].result())
    part = whole.copy()
    part[:, 125:] = False
    inside = start[:, 0] < 124.5
    assert 0 < inside.sum() < 7
    for t in range(1, 14):
        scene = scenes[t]
        prompts = tracker.locate(scene.frame, scene.features)
        points, seen = prompts.points[0], prompts.labels[0] == 1
        np.testing.assert_allclose(points[inside], start[inside], atol=0.1)
        if 1 < t <= 8:
            np.testing.assert_array_equal(seen, inside)
        if t > 8:
            assert seen.all()
            assert (points[:, 0] < 125).all()
        tracker.update(scene.result({7: part}))


def test_all_points_are_chosen_anew_now_and_then() -> None:
    scenes = [draw([THING], t) for t in range(6)]
    tracker = CoTrackerTracker(CoTrackerSettings(reseed_every=3), LucasKanadeWindows())
    chosen = medoids(scenes[3].masks[7], 8)
    for scene, prompts in _run(tracker, scenes):
        t = scene.frame.index
        away = np.linalg.norm(prompts.points[0] - carry(chosen, THING.path(3), THING.path(t)), axis=1)
        assert (np.median(away) < 0.2) == (t > 3), t


def test_what_scores_low_is_not_seen() -> None:
    class Doubtful(LucasKanadeWindows):
        def follow(self, frames: Any, carried: Any) -> Any:
            points, scores, following = super().follow(frames, carried)
            scores[1:, ::2] *= 0.5
            return points, scores, following

    scenes = [draw([THING], t) for t in range(3)]
    found = list(_run(CoTrackerTracker(CoTrackerSettings(), Doubtful()), scenes))
    assert [(prompts.labels[0] == 1).tolist() for _, prompts in found[1:]] == [[False, True] * 4] * 2


def test_points_that_are_nowhere_are_not_seen() -> None:
    class Lost(LucasKanadeWindows):
        def follow(self, frames: Any, carried: Any) -> Any:
            points, scores, following = super().follow(frames, carried)
            points[1:, :3] = [[np.nan, 5], [1e30, 5], [-40, 5]]
            return points, np.ones_like(scores), following

    scenes = [draw([THING], t) for t in range(3)]
    for scene, prompts in _run(CoTrackerTracker(CoTrackerSettings(), Lost()), scenes):
        if scene.frame.index:
            assert (prompts.labels[0] == 1).tolist() == [False] * 3 + [True] * 5


def test_it_looks_ahead_and_says_under_which_licence() -> None:
    tracker = CoTrackerTracker(CoTrackerSettings(), LucasKanadeWindows())
    assert latency(tracker) == 15
    assert latency(CoTrackerTracker(CoTrackerSettings(latency=4), LucasKanadeWindows())) == 4
    assert not is_resumable(["cotracker"])
    (listed,) = (item for item in installed_trackers() if item.name == "cotracker")
    assert "CC-BY-NC" in listed.licence


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vos.installed.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs the package cotracker, .* pip install git\+https://github.com"):
        make_tracker({"cotracker": CoTrackerSettings()})
    (listed,) = (item for item in installed_trackers() if item.name == "cotracker")
    assert listed.problem is not None
    assert listed.summary
    check_trackers(["matching", "klt", "flow"])


@needs_package
def test_a_checkpoint_that_is_missing_damaged_or_of_another_model_is_one_line(tmp_path: Path) -> None:
    damaged, other = tmp_path / "damaged.pth", tmp_path / "other.pth"
    damaged.write_bytes(b"not a checkpoint")
    torch.save({"weight": torch.zeros(3)}, other)
    for weights, said in (
        (None, "needs weights; get scaled_online.pth .* tracker.cotracker.weights=PATH"),
        (tmp_path / "none.pth", "none.pth: no such checkpoint; get scaled_online.pth"),
        (tmp_path, "a folder"),
        (damaged, "damaged.pth: not a readable checkpoint"),
        (other, "other.pth: not a checkpoint of CoTracker3 online"),
    ):
        with pytest.raises(WeightsError, match=said) as raised:
            CoTrackerTracker(CoTrackerSettings(weights=weights))
        assert "\n" not in str(raised.value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkpoint with random weights; what it is loaded into is the package's own class, of a smaller size."""
    monkeypatch.setattr(cotracker_online, "_built", small_network)
    # As made, the last layer moves points by next to nothing.
    return random_weights(tmp_path / "random.pth", motion=0.003)


@needs_package
def test_windows_are_those_of_the_packages_online_predictor(small: Path) -> None:
    from cotracker.predictor import CoTrackerOnlinePredictor

    images = [draw([THING], t).frame.image for t in range(37)]
    points = np.array([[70, 60], [130, 110]], dtype=np.float32)
    official = CoTrackerOnlinePredictor(checkpoint=None)
    official.model = cotracker_online._built().eval()
    official.model.load_state_dict(torch.load(small))
    official.interp_shape, official.support_grid_size = official.model.model_resolution, 2
    video = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)[None].float()
    queries = torch.from_numpy(np.concatenate([np.zeros((2, 1), np.float32), points], axis=1))[None]
    official(video[:, :1], is_first_step=True, queries=queries, add_support_grid=True)

    ours = CoTrackerOnline(small, support=2)
    frames = [ours.encode(image, torch.device("cpu")) for image in images]
    carried = ours.begin(points, (200, 260))
    moved = 0.0
    for start in (0, 8, 16, 24):
        tracks, seen = official(video[:, start : start + 16], add_support_grid=True)
        xy, scores, carried = ours.follow(frames[start : start + 16], carried)
        assert xy.shape == (min(16, 37 - start), 2, 2)
        np.testing.assert_allclose(xy, tracks[0, start:].numpy(), atol=0.01)
        np.testing.assert_array_equal(scores > 0.6, seen[0, start:].numpy())
        moved = max(moved, np.abs(xy - points).max())
    assert moved > 1, "nothing moved: this test shows little"


@needs_package
def test_following_a_window_again_changes_nothing_and_what_is_kept_does_not_grow(small: Path) -> None:
    model = CoTrackerOnline(small, support=0)
    frame = model.encode(draw([THING], 0).frame.image, torch.device("cpu"))
    carried = model.begin(np.array([[70, 60]], dtype=np.float32), (200, 260))
    sizes = []
    for _ in range(3):
        first, again = (model.follow([frame] * 16, carried) for _ in range(2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        carried = again[2]
        sizes.append([part.shape for part in carried.tracks])
    assert sizes == [sizes[0]] * 3


@needs_package
def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    cotracker_online._built()
    assert torch.equal(torch.rand(3), expected)


@needs_package
def test_the_tracker_runs_with_the_real_classes_and_tells_the_licence_once(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cotracker_online._tell_licence.cache_clear()
    things = [THING, Thing(9, lambda t: place(180, 120), seed=5)]
    with caplog.at_level(logging.WARNING, logger="vos"):
        settings = CoTrackerSettings(weights=small, min_score=0, points=3, support=2)
        both, alone = (CoTrackerTracker(settings) for _ in range(2))
    assert [record.message for record in caplog.records] == [
        "CoTracker's code and weights are CC-BY-NC 4.0: for non-commercial use only"
    ]
    scenes = [draw(things, t) for t in range(11)]
    first = [Scene(scene.frame, scene.features, {7: scene.masks[7]}) for scene in scenes]
    for (scene, two), (_, one) in zip(_run(both, scenes), _run(alone, first), strict=True):
        assert len(two) == 2
        np.testing.assert_array_equal(two.points[:1], one.points)
        np.testing.assert_array_equal(two.labels[:1], one.labels)
        seen = two.points[two.labels == 1]
        assert ((seen >= -0.5) & (seen < np.array(scene.frame.size[::-1]) - 0.5)).all()


@needs_package
@pytest.mark.slow
def test_at_full_size_from_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": cotracker_online._built().state_dict()}, tmp_path / "random.pth")
    tracker = make_tracker({"cotracker": CoTrackerSettings(weights=tmp_path / "random.pth", min_score=0)})
    found = list(_run(tracker, [draw([THING], t) for t in range(18)]))
    assert [scene.frame.index for scene, _ in found] == list(range(18))
    assert all(prompts.points.shape == (1, 8, 2) for _, prompts in found)


@needs_package
@pytest.mark.slow
def test_the_command_line_says_the_licence_once(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(cotracker_online._built().state_dict(), tmp_path / "random.pth")
    images, truth = clip([DISC], 2, size=(120, 160))
    encode(tmp_path / "clip.mp4", images)
    Image.fromarray(truth[0] * 255).save(tmp_path / "mask.png")
    chosen = ["--preset", "persam", "--tracker", "matching+cotracker", "--set", "tracker.cotracker.weights=random.pth"]
    command = [VOS, "track", "clip.mp4", "--ref", "mask.png", "--device", "cpu", *chosen]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "CoTracker's code and weights are CC-BY-NC 4.0: for non-commercial use only\n"
    assert len(list((tmp_path / "clip-vos" / "masks").glob("*.png"))) == 2
