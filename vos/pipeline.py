"""The loop: frames in, results out, one at a time.

    source -> Frame -> encode -> Features -> Tracker.locate -> Prompts (N) -> Segmenter (N rows per cascade step)
           -> merge -> FrameResult -> Tracker.update

Reading, encoding, and the rest run side by side: the first two need nothing from the past.
What is kept between frames is O(objects); nothing is O(frames). A tracker that looks ahead has as many frames held for
it as it asks for; most ask for none. With `keyframe_every`, all of this is done on keyframes, and masks are carried to
the frames between them (`vos.keyframes`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from vos.ahead import Share, computing, encoded, share
from vos.backwards import Backwards, reopening
from vos.device import check_surroundings, settings_record
from vos.errors import ReferenceInputError, SettingsError
from vos.installed import check_trackers, make_tracker
from vos.keyframes import Keyframes
from vos.models.features import Features
from vos.models.load import Models, load_models
from vos.passes import VideoPass
from vos.reduced import run_reduced
from vos.references import ReferencePlan, as_references, plan_for
from vos.settings import DEFAULT_PRESET, Changes, Settings, load_settings
from vos.tracking import with_following
from vos.types import Frame, FrameResult
from vos.video import Given, Reading, Source, open_source, prefetch
from vos.video.prefetch import source_of
from vos.video.pyav import silence
from vos.video.reading import EVERYTHING
from vos.weights import fetch

# Decoded frames waiting for the encoder; one in work and one ready are enough to hide decoding.
_PREFETCH = 4
# Encoded frames waiting for the decoder; with those in work, that is what encoding ahead holds.
_ENCODED = 1


def track(
    source: Given | Source,
    references: Any,
    *,
    preset: str | Path = DEFAULT_PRESET,
    overrides: Changes = (),
    both_ways: bool = False,
    reading: Reading = EVERYTHING,
) -> Generator[FrameResult, None, None]:
    """Track objects through a video: one result per frame, as soon as it is known.

    `VideoTracker.track` does the same with a model that is loaded already.

    Args:
        source, references, both_ways, reading: as for `VideoTracker.track`.
        preset, overrides: as for `VideoTracker.load`.

    Yields:
        What `VideoTracker.track` does.

    Raises:
        VosError: whatever these two raise. What is wrong with source and references is found before a model is loaded.
    """
    settings = _checked(preset, overrides)
    yield from _tracked(
        lambda: VideoTracker(settings, load_models(settings, fetch)), source, references, both_ways, reading
    )


def _checked(preset: str | Path, overrides: Changes) -> Settings:
    settings = load_settings(preset, overrides)
    check_trackers(settings.tracker.parts)
    return settings


def _tracked(
    load: Callable[[], VideoTracker], source: Given | Source, references: Any, both_ways: bool, reading: Reading
) -> Generator[FrameResult, None, None]:
    """As `VideoTracker.track`, by the tracker that `load` gives once all that can be checked without it is."""
    if not isinstance(reading, Reading):
        raise SettingsError(f"reading must be a vos.Reading, got {type(reading).__name__}")
    wanted = references if isinstance(references, ReferencePlan) else as_references(references)
    if isinstance(wanted, ReferencePlan) and both_ways and not wanted.both_ways:
        raise SettingsError("the plan goes one way; give both_ways to plan_for")
    if isinstance(source, Source) and reading != EVERYTHING:
        raise SettingsError(f"{source.name} is open already; give reading to open_source")
    with nullcontext(source) if isinstance(source, Source) else open_source(source, reading=reading) as opened:
        plan = wanted if isinstance(wanted, ReferencePlan) else plan_for(opened, wanted, both_ways=both_ways)
        again = reopening(opened) if plan.both_ways else None
        tracker = load()

        def run(frames: Iterable[Frame], plan: ReferencePlan) -> Generator[FrameResult, None, None]:
            return run_reduced(tracker.run, frames, plan, opened.reading.max_size)

        if again is None:
            yield from _all_reached(run(opened, plan), plan)
            return
        with Backwards(plan, again, opened.reading) as before:
            for _ in before.find(run):
                pass
            for result in _all_reached(run(opened, plan), plan):
                yield before.join(result)


def _all_reached(run: Generator[FrameResult, None, None], plan: ReferencePlan) -> Iterator[FrameResult]:
    """The results, and after the last of them the error that references lie beyond it, if they do."""
    count = 0
    with closing(run) as results:
        for result in results:
            count = result.frame.index + 1
            yield result
    if plan.beyond(count):
        raise plan.never_reached(count)


class VideoTracker:
    """A loaded model that tracks any number of videos, one after the other.

    Args:
        settings: what to run.
        models: as built by `load_models(settings, ...)`.
    """

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models

    @classmethod
    def load(cls, preset: str | Path = DEFAULT_PRESET, overrides: Changes = ()) -> VideoTracker:
        """Load what a preset asks for; weights are downloaded where they are not there yet.

        Args:
            preset: a name from `vos presets`, or the path of a YAML file.
            overrides: single settings to change, {"decoder.cascade": 2} or ["decoder.cascade=2"].

        Raises:
            VosError: unknown settings, a device, weights or packages that are not there.
        """
        settings = _checked(preset, overrides)
        return cls(settings, load_models(settings, fetch))

    @property
    def record(self) -> dict[str, Any]:
        """Every setting, as plain data; device and precision as they are here."""
        return settings_record(self._settings, self._models.segmenter.device)

    def track(
        self,
        source: Given | Source,
        references: Any,
        *,
        both_ways: bool = False,
        reading: Reading = EVERYTHING,
    ) -> Generator[FrameResult, None, None]:
        """Track objects through a video: one result per frame, as soon as it is known.

        Args:
            source: a video file, a folder or glob of images, a list of image files, or any iterable of uint8 RGB
                arrays (H, W, 3) or Pillow images; or what `open_source` has made of one, which is left open.
            references: what to track: a mask file or index map, a `MaskReference`, `Click` or `BoxPrompt`, a list of
                these, or a dict {frame: any of these}. What is for frame 0, or for none, is for the first frame that is
                read. Or a `ReferencePlan`, which says itself whether it goes both ways.
            both_ways: track every object also backwards, from its first mask or box or, where it has none, from the
                click given first (see `vos.references.ReferencePlan`), before the first result comes. That takes a
                source that can be read again, no iterator, and room for files of 100 KB per object and frame.
            reading: which frames to read, and how large the tracker sees them: `vos.Reading(start=300, max_size=1280)`.

        Yields:
            A FrameResult for every frame that is read, those before the first reference included (with no objects,
            unless it goes both ways).

        Raises:
            VosError: bad input. What does not depend on later frames is checked before the first result; that a source
                of unknown length ended before a reference is told after the last.
        """
        yield from _tracked(lambda: self, source, references, both_ways, reading)

    def run(
        self, frames: Iterable[Frame], plan: ReferencePlan, video: VideoPass | None = None
    ) -> Generator[FrameResult, None, None]:
        """Track the plan's references through frames of one size, forwards, in the order in which they come.

        This is the loop alone, for callers who read frames themselves; `track` does all that a plan and a reading ask.

        A result comes as soon as its frame and the pass's `latency` frames after it are read. Reading and encoding run
        ahead in threads of their own, and so does what the tracker can do ahead where a GPU encodes; elsewhere that
        would take the encoder's cores. The run computes with fewer threads than torch has: on a CPU that encodes two
        frames at a time with half of them, beside a GPU with 4 at most; the caller has all of them between results.

        Args:
            frames: the frames, uint8 (H, W, 3) RGB, all of the plan's size; a `Source` or what comes of one.
            plan: what to track, by the frames' numbers. What lies beyond the last frame is left out.
            video: a pass to go on with, whose next frame is the first of `frames`; a fresh one by default.

        Yields:
            A FrameResult for every frame.

        Raises:
            SourceError: `frames` cannot be read on, or one is too large for the tracker.
            DeviceError: out of memory, or torch is told to compute in another way by the caller.
            TrackerError: the tracker does not do what trackers promise.
            ReferenceInputError: clicks or a box that SAM makes nothing of; the plan is for frames of another size.
        """
        check_surroundings()
        silence()  # what the models have imported may have changed that
        video = video or self.begin()
        device, source = self._models.segmenter.device, source_of(frames)
        with share(device, self._settings, frames) as how:
            wanted = _wanted(frames, video, plan, video.keyframes)
            ahead = encoded(wanted, lambda one: one.features(video), how, source)
            # Metal takes work from one thread: two of them abort the process (PyTorch's issue 197805).
            ready = ahead if how.at_a_time > 1 or device.type == "mps" else prefetch(ahead, _ENCODED, source)
            if video.prepares and device.type == "cuda":
                ready = prefetch(_prepared(ready, video, how), _ENCODED, source)
            with closing(ready):
                for one, features in ready:
                    with computing(how):
                        result = video.step(one.frame, plan.at(one.frame.index), features, one.upcoming)
                    yield result

    def begin(self, *, timed: bool = False) -> VideoPass:
        """A fresh state for one video, for callers with a loop of their own; `timed` as in `VideoPass`."""
        return VideoPass(self._settings, self._models, make_tracker(self._settings.tracker.parts), timed=timed)


class _Wanted(NamedTuple):
    """A frame, those that follow it as far as the pass looks ahead, and whether its features will be needed."""

    frame: Frame
    upcoming: tuple[Frame, ...]
    needed: bool

    def features(self, video: VideoPass) -> Features | None:
        return video.encode(self.frame) if self.needed else None


_Encoded = Generator[tuple[_Wanted, "Features | None"], None, None]


def _wanted(
    frames: Iterable[Frame], video: VideoPass, plan: ReferencePlan, keyframes: Keyframes
) -> Generator[_Wanted, None, None]:
    """What to encode, in order; `keyframes` is asked ahead of the pass, and is its own copy."""
    entries, known = frozenset(plan.frames), bool(video.ids)
    with closing(prefetch(frames, _PREFETCH)) as read:
        for frame, upcoming in with_following(read, video.latency):
            if frame.size != plan.frame_size:
                found, expected = (f"{w}x{h}" for h, w in (frame.size, plan.frame_size))
                raise ReferenceInputError(f"frame {frame.index} is {found}, and the references are for {expected}")
            known = known or frame.index in entries
            yield _Wanted(frame, upcoming, known and keyframes.due(frame, plan.at(frame.index)))


def _prepared(ahead: _Encoded, video: VideoPass, how: Share) -> _Encoded:
    """The same, each frame prepared for the tracker."""
    before = None
    with closing(ahead):
        for one, features in ahead:
            if features is not None:
                if before is not None:
                    with computing(how):
                        video.prepare(before, one.frame, features)
                before = one.frame
            yield one, features
