"""What the default promises of several objects, on clips with exact truth: ids are kept, what is away is not shown, and
what comes back is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from eval.compose import clips_of
from eval.continuity import Continuity, ContinuityCounter
from eval.davis import open_dataset
from tests.drawn import Thing, clip
from vos.models.load import Models, load_models
from vos.pipeline import VideoTracker
from vos.references import ReferencePlan, as_references
from vos.settings import DEFAULT_PRESET, load_settings
from vos.types import Frame
from vos.video.cuts import CutDetector

pytestmark = pytest.mark.slow

Shots = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def models(checkpoint: Path) -> Models:
    return load_models(load_settings(DEFAULT_PRESET), lambda name: checkpoint)


@pytest.fixture
def tracked(models: Models) -> Callable[[Shots], tuple[Continuity, list[float]]]:
    """Tracks a clip from its first truth: what was lost, met, swapped or made up, and the objects' IoUs where there."""

    def go(shots: Shots) -> tuple[Continuity, list[float]]:
        truths, cuts = [truth for _, truth in shots], CutDetector()
        frames = [Frame(t, image, cut=cuts.is_cut(image)) for t, (image, _) in enumerate(shots)]
        plan = ReferencePlan.build(as_references(truths[0]), frame_size=frames[0].size, frame_count=len(frames))
        results = list(VideoTracker(load_settings(DEFAULT_PRESET), models).run(frames, plan))
        counter, ious = ContinuityCounter(int(truths[0].max())), []
        for truth, result in zip(truths[1:], results[1:], strict=True):
            counter.update(truth, result.index_map)
            ious += [_iou(truth == i, result.index_map == i) for i in plan.ids if (truth == i).any()]
        return counter.total, ious

    return go


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _drawn(things: Iterable[Thing], frames: int, hidden: int = 0) -> Shots:
    """A drawn clip; the last `hidden` things are no objects."""
    things = list(things)
    images, truths = clip(things, frames)
    kept = len(things) - hidden
    return [(image, np.where(truth <= kept, truth, 0)) for image, truth in zip(images, truths, strict=True)]


def test_look_alikes_that_pass_close_by_keep_their_ids(
    tracked: Callable[[Shots], tuple[Continuity, list[float]]],
) -> None:
    twins = [
        Thing(24, hue=0, path=lambda t: (50 + 18 * t, 85), seed=1),
        Thing(24, hue=0, path=lambda t: (270 - 18 * t, 145), seed=2),
    ]
    found, ious = tracked(_drawn(twins, 13))
    assert found == Continuity()
    assert min(ious) > 0.8


@pytest.mark.parametrize("height", [70, 120, 170])
def test_what_passes_behind_a_wall_is_not_shown_and_is_found_again(
    tracked: Callable[[Shots], tuple[Continuity, list[float]]], height: int
) -> None:
    disc = Thing(22, hue=0, path=lambda t: (40 + 16 * t, height), seed=1)
    wall = Thing(40, hue=110, path=lambda t: (160, height), shape="square", seed=3)
    found, _ = tracked(_drawn([disc, wall], 15, hidden=1))
    assert (found.returns, found.met) == (1, 1)
    assert found.ghosts == 0


@pytest.mark.parametrize(
    ("name", "frames", "least"),
    [
        ("beside-drift-straight-horsejump-high", 50, 0.7),
        ("over-camel-dance-twirl", 14, 0.8),
        ("over-blackswan-bmx-trees", 24, 0.7),
        ("behind-camel", 46, 0.8),
        ("behind-soapbox", 34, 0.7),
        ("away-blackswan-bmx-trees", 32, 0.8),
    ],
)
def test_composed_of_real_sequences(
    tracked: Callable[[Shots], tuple[Continuity, list[float]]], shared: Path, name: str, frames: int, least: float
) -> None:
    (found,) = clips_of(open_dataset(shared / "davis", year=2016), [name], frames)
    total, ious = tracked(list(found.shots()))
    assert total.swaps == 0
    assert total.ghosts == 0
    assert total.met == total.returns == (not name.startswith(("over", "beside")))
    assert total.recovered == total.losses, "what is there is found again"
    assert np.mean(ious) > least


def test_two_people_who_cover_each_other_keep_their_ids(
    tracked: Callable[[Shots], tuple[Continuity, list[float]]], shared: Path
) -> None:
    pair = open_dataset(shared / "davis", year=2016, sequences=["paragliding-launch", "bmx-trees"])
    (found,) = clips_of(pair, ["over-paragliding"], 45)
    total, _ = tracked(list(found.shots()))
    assert (total.swaps, total.lost) == (0, 0)
