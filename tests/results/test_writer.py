"""The writer: every output, in every ending."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.results.soft import IDS, soft_results
from tests.results.test_overlay import result_of, square
from vos.errors import OutputError, SettingsError
from vos.results import ResultWriter, Run, Span, Summary, files, movie, sinks
from vos.results.files import PartFile
from vos.results.saved import SavedClip, SavedResults
from vos.results.stamps import StampWriter
from vos.results.track import TrackSink, _plain
from vos.types import Frame, FrameResult, State
from vos.video import Source, open_source

CLIP = SavedClip("clip", Fraction(24), (48, 64), 3)


@pytest.fixture
def source() -> Iterator[Source]:
    with open_source([np.full((48, 64, 3), 128, np.uint8)]) as opened:
        yield opened


def writer_for(out: Path, source: Source, references: Sequence[str] = (), **options: Any) -> ResultWriter:
    run = Run(source, settings={"preset": "persam"}, versions={"vos": "0.1"}, references=references)
    return ResultWriter(out, run, **options)


def results(count: int, size: tuple[int, int] = (48, 64)) -> Iterator[FrameResult]:
    for i in range(count):
        yield result_of(square(size, (1, 4, i % 20, 12), (2, 24, 30, 10)), index=i)


def write_all(out: Path, source: Source, count: int, **options: Any) -> Summary:
    with writer_for(out, source, **options) as writer:
        for result in results(count, source.size):
            writer.write(result)
    return writer.close()


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def video_times(path: Path) -> list[Fraction]:
    with open_source(path) as source:
        return [frame.time for frame in source if frame.time is not None]


def test_all_outputs(tmp_path: Path, source: Source) -> None:
    out = tmp_path / "new" / "out"
    summary = write_all(out, source, 5, references=["--ref 0:mask.png"])
    assert names(out) == [*(f"masks/{i:05d}.png" for i in range(5)), "overlay.mp4", "track.json"]
    assert summary.outputs == (out / "masks", out / "overlay.mp4", out / "track.json")
    assert (summary.frames, summary.complete, summary.error) == (5, True, None)
    for result in results(5):
        mask = Image.open(out / f"masks/{result.frame.index:05d}.png")
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), result.index_map)
    assert video_times(out / "overlay.mp4") == [Fraction(i, 24) for i in range(5)]
    track = json.loads((out / "track.json").read_text())
    assert (track["format"], track["version"], track["complete"], track["error"]) == ("vos-track", 1, True, None)
    assert track["source"] == {
        "name": "frames", "width": 64, "height": 48, "fps": 24.0, "rate": "24/1", "pixel_aspect": "1/1",
        "frame_count": 1, "frame_count_exact": True,
    }  # fmt: skip
    assert track["references"] == ["--ref 0:mask.png"]
    assert track["settings"] == {"preset": "persam"}
    assert [f["frame"] for f in track["frames"]] == list(range(5))
    first = {"id": 1, "state": "visible", "score": 0.5, "box": [0.0, 4.0, 11.0, 15.0], "area": 144, "given": False}
    assert track["frames"][0]["objects"][0] == first


@pytest.mark.parametrize("size", [(361, 639), (47, 64), (1, 1), (16, 2)])
def test_overlay_pads_odd_sizes_and_keeps_the_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), (30, 90, 200), np.uint8)
    with open_source([image]) as source, writer_for(tmp_path, source) as writer:
        writer.write(FrameResult(source.first(), np.zeros(size, np.uint8), ()))
    with open_source(tmp_path / "overlay.mp4") as overlay:
        frames = list(overlay)
    assert [f.size for f in frames] == [(size[0] + size[0] % 2, size[1] + size[1] % 2)]
    assert np.abs(frames[0].image.astype(int) - (30, 90, 200)).max() <= 6
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace, context.color_range) == ("h264", "yuv420p", 1, 1)
    assert Image.open(tmp_path / "masks/00000.png").size == size[::-1]


@pytest.mark.parametrize("unit", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 15360), Fraction(1001, 30000)])
def test_variable_frame_rate_is_kept_exactly(tmp_path: Path, source: Source, unit: Fraction) -> None:
    ticks = [0, 33, 66, 70, 500, 501, 533]
    source.time_base, source.rate = unit, Fraction(30000, 1001)
    with writer_for(tmp_path, source, save=["overlay"]) as writer:
        for result, tick in zip(results(len(ticks)), ticks, strict=True):
            frame = Frame(result.frame.index, result.frame.image, time=tick * unit)
            writer.write(FrameResult(frame, result.index_map, result.objects))
    assert video_times(tmp_path / "overlay.mp4") == [tick * unit for tick in ticks]


def test_an_awkward_clock_is_rounded(tmp_path: Path, source: Source) -> None:
    source.time_base, source.rate = Fraction(1, 999_999_937), Fraction(29.97)
    assert write_all(tmp_path, source, 6, save=["overlay"]).complete
    expected = [float(i / source.rate) for i in range(6)]
    assert [float(t) for t in video_times(tmp_path / "overlay.mp4")] == pytest.approx(expected, abs=1 / 90000)


def test_summary_has_the_lost_spans(tmp_path: Path, source: Source) -> None:
    absent = {2, 3, 4, 7}
    index_map = square((48, 64), (1, 4, 4, 12))
    with writer_for(tmp_path, source, save=["json"]) as writer:
        for i in range(9):
            states = {
                1: State.UNCERTAIN if i == 5 else State.VISIBLE,
                9: State.ABSENT if i in absent else State.VISIBLE,
            }
            writer.write(result_of(index_map, index=i, states=states))
    one, nine = writer.close().objects
    assert (one.id, one.absent, one.uncertain) == (1, (), (Span(5, 5),))
    assert (nine.id, nine.absent, nine.uncertain) == (9, (Span(2, 4), Span(7, 7)), ())
    track = json.loads((tmp_path / "track.json").read_text())
    assert track["summary"]["objects"][1] == {"id": 9, "absent": [[2, 4], [7, 7]], "uncertain": []}


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyboardInterrupt(), "interrupted"), (OutputError("clip.mp4: damaged"), "clip.mp4: damaged"),
     (ValueError("a\nb"), "ValueError: a b"), (GeneratorExit(), "stopped before the end")],
)  # fmt: skip
def test_an_early_end_leaves_everything_valid(tmp_path: Path, source: Source, error: BaseException, said: str) -> None:
    with pytest.raises(type(error)), writer_for(tmp_path, source) as writer:
        for result in results(7):
            writer.write(result)
        raise error
    assert len(names(tmp_path)) == 9
    assert len(video_times(tmp_path / "overlay.mp4")) == 7
    track = json.loads((tmp_path / "track.json").read_text())
    assert (len(track["frames"]), track["complete"], track["error"]) == (7, False, said)
    assert (writer.close().complete, writer.close().error) == (False, said)


def test_names_that_are_not_utf8_are_kept(tmp_path: Path, source: Source) -> None:
    source.name = "caf\udce9 日本.mp4"
    assert write_all(tmp_path, source, 2, references=["--ref 0:m\udcff.png"]).complete
    text = (tmp_path / "track.json").read_text(encoding="utf-8")
    assert "日本" in text
    assert json.loads(text)["source"]["name"] == source.name
    assert json.loads(text)["references"] == ["--ref 0:m\udcff.png"]


@pytest.mark.parametrize("victim", ["masks", "movie", "track"])
def test_a_run_that_fails_in_its_first_frame_leaves_nothing(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    kind = {"masks": sinks.MaskSink, "movie": movie.OverlaySink, "track": TrackSink}[victim]
    write = kind.write

    def broken(self: Any, result: FrameResult) -> None:
        write(self, result)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(kind, "write", broken)
    new, old = tmp_path / "new", tmp_path / "old"
    (old / "masks").mkdir(parents=True)
    for out in (new, old):
        with pytest.raises(OutputError, match="frame 0 cannot be written: Input/output error; nothing is kept"):
            write_all(out, source, 3)
    assert not new.exists()
    assert [p.name for p in old.rglob("*")] == ["masks"]


def test_save_picks_outputs(tmp_path: Path, source: Source) -> None:
    write_all(tmp_path, source, 1, save=["json"])
    assert names(tmp_path) == ["track.json"]
    with pytest.raises(SettingsError, match="unknown output 'mask'; there are masks, overlay, json, alpha"):
        writer_for(tmp_path, source, save=["mask"])


def test_results_are_not_overwritten_unasked(tmp_path: Path, source: Source) -> None:
    write_all(tmp_path, source, 3)
    with pytest.raises(OutputError) as caught:
        writer_for(tmp_path, source)
    assert str(caught.value) == (
        f"{tmp_path}: already holds results (masks/, overlay.mp4, track.json); "
        "pass --overwrite or choose another folder"
    )


def test_overwriting_starts_with_the_first_result_and_spares_foreign_files(tmp_path: Path, source: Source) -> None:
    write_all(tmp_path, source, 3)
    for foreign in ("masks/mine.png", "masks/1.png", "notes.txt"):
        (tmp_path / foreign).write_text("mine")
    (tmp_path / "masks/00009.png.part").write_text("left by a run that was killed")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path) if not name.endswith(".part")}
    with pytest.raises(KeyError), writer_for(tmp_path, source, overwrite=True):
        raise KeyError
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    write_all(tmp_path, source, 1, overwrite=True, save=["masks"])
    assert names(tmp_path) == ["masks/00000.png", "masks/1.png", "masks/mine.png", "notes.txt"]


def test_folders_that_cannot_take_results(tmp_path: Path, source: Source) -> None:
    (file := tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        writer_for(file, source)
    assert str(caught.value) == f"{file}: this is a file; results need a folder"
    with pytest.raises(OutputError) as caught:
        writer_for(file / "out", source)
    assert str(caught.value) == f"{file / 'out'}: the folder cannot be created: Not a directory"
    source.origin = tmp_path / "out" / "masks"
    with pytest.raises(OutputError, match="lies where results would be written; choose another folder"):
        writer_for(tmp_path / "out", source, overwrite=True)


def test_a_folder_without_room_is_refused(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vos.results.writer.Reserve", full)
    out = tmp_path / "out"
    with pytest.raises(OutputError) as caught:
        writer_for(out, source)
    assert str(caught.value) == f"{out}: cannot be written: No space left on device; choose another folder"
    assert not out.exists()


def test_without_an_encoder_the_overlay_is_refused(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movie.av, "codecs_available", set())
    with pytest.raises(
        OutputError, match=r"overlay.mp4: this PyAV was built without libx264; install PyAV's own wheel"
    ):
        writer_for(tmp_path, source)
    write_all(tmp_path, source, 1, save=["masks"])


@pytest.mark.parametrize("victim", ["00004.png", "overlay.mp4", "track.json"])
def test_a_full_disk_leaves_everything_before_it_valid(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    """The disk takes nothing from the fifth frame on, until the reserve is given up."""
    write, release = PartFile.write, files.Reserve.release
    room = threading.Event()

    class FullDisk:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            if not room.is_set():
                raise OSError(28, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    def limited(self: PartFile, data: bytes) -> int:
        late = victim == "00004.png" or (b'"frame": 4' in data if victim == "track.json" else self.tell() > 0)
        if self._path.name == victim and late and not isinstance(self._file, FullDisk):
            self._file = FullDisk(self._file)  # type: ignore[assignment]
        return write(self, data)

    def free(self: files.Reserve) -> bool:
        room.set()
        return release(self)

    monkeypatch.setattr(PartFile, "write", limited)
    monkeypatch.setattr(files.Reserve, "release", free)
    with pytest.raises(OutputError, match="No space left on device") as caught, writer_for(tmp_path, source) as writer:
        for result in results(400):
            writer.write(result)
    kept = writer.close().frames
    assert str(caught.value) == (
        f"{tmp_path}: frame {kept} cannot be written: No space left on device; "
        f"all {kept} frames before it are written and valid"
    )
    assert kept == 4 if victim != "overlay.mp4" else 0 < kept < 400
    track = json.loads((tmp_path / "track.json").read_text())
    assert not track["complete"]
    assert "No space left on device" in track["error"]
    assert len(track["frames"]) >= kept
    assert len(video_times(tmp_path / "overlay.mp4")) >= kept
    for i in range(kept):
        Image.open(tmp_path / f"masks/{i:05d}.png").load()
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_a_real_limit_of_the_system(tmp_path: Path) -> None:
    """Beyond a file size limit the system itself refuses to write; the video cannot be finished, the rest is valid."""
    pytest.importorskip("resource")
    script = """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from tests.results.test_writer import OutputError, open_source, writer_for
        from vos.types import Frame, FrameResult
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        rng = np.random.default_rng(0)
        with open_source([np.zeros((120, 160, 3), np.uint8)]) as source:
            writer = writer_for(Path(sys.argv[1]), source)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            try:
                with writer:
                    for i in range(2000):
                        image = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
                        writer.write(FrameResult(Frame(i, image), np.zeros((120, 160), np.uint8), ()))
            except OutputError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert run.stderr == ""
    assert "File too large" in run.stdout
    assert "overlay.mp4 cannot be finished and is removed" in run.stdout
    track = json.loads((tmp_path / "track.json").read_text())
    assert track["summary"]["frames"] == len(track["frames"]) > 0
    assert not track["complete"]
    assert "overlay.mp4" not in names(tmp_path)


def test_an_unexpected_failure_reaches_the_caller_and_nothing_hangs(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(sinks.MaskSink, "write", broken)
    writer = writer_for(tmp_path, source)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        for result in results(50):
            writer.write(result)
    summary = writer.close()
    assert (summary.frames, summary.complete, summary.error) == (0, False, "ZeroDivisionError: a bug")


def test_a_disk_that_takes_no_more_changes_is_told_and_nothing_hangs(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that the system remounts read-only, or that is pulled out."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    writer = writer_for(tmp_path, source, save=["masks"])
    given = results(40)
    writer.write(next(given))
    while not (tmp_path / "masks/00000.png").exists():
        time.sleep(0.01)
    with monkeypatch.context() as patched:
        patched.setattr(files, "open", refuse, raising=False)
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(OutputError, match=r"frame 1 cannot be written: Read-only file system; all 1 frames before"):
            for result in given:
                writer.write(result)
        assert writer.close().frames == 1


def test_a_failure_at_the_end_that_nobody_thought_of_reaches_the_caller(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    writer = writer_for(tmp_path, source, save=["masks"])
    writer.write(next(results(1)))
    monkeypatch.setattr(files.Reserve, "release", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        writer.close()


def test_a_failure_seen_only_at_the_end_is_raised_by_close(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PartFile) -> None:
        raise PermissionError(13, "Permission denied")

    writer = writer_for(tmp_path, source, save=["json"])
    writer.write(next(results(1)))
    monkeypatch.setattr(PartFile, "publish", refuse)
    with pytest.raises(OutputError, match=r"track.json cannot be finished and is removed: Permission denied"):
        writer.close()
    assert names(tmp_path) == []
    assert writer.close().complete is False


@pytest.mark.parametrize("frames", [1, 12], ids=["while it is finished", "while there is no room in the queue"])
def test_a_signal_while_outputs_are_finished_waits_for_them(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    write = sinks.MaskSink.write

    def slow(self: sinks.MaskSink, result: FrameResult) -> None:
        time.sleep(0.1)
        write(self, result)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sinks.MaskSink, "write", slow)
    before = signal.signal(signal.SIGALRM, stop)
    writer = writer_for(tmp_path, source)
    try:
        for result in results(frames):
            writer.write(result)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            writer.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert names(tmp_path) == [*(f"masks/{i:05d}.png" for i in range(frames)), "overlay.mp4", "track.json"]
    assert writer.close().complete
    assert len(video_times(tmp_path / "overlay.mp4")) == frames


@pytest.mark.parametrize(
    ("unit", "rate", "used"),
    [
        (Fraction(1, 90_000), Fraction(30_000, 1001), Fraction(1, 90_000)),
        (Fraction(1, 1000), Fraction(24_000, 1001), Fraction(1, 24_000)),
        (Fraction(1, 1_000_000), Fraction(24), Fraction(1, 3_000_000)),
        (Fraction(1, 90_000), Fraction(299_900, 10_021), Fraction(1, 90_000)),  # exact: 1/269910000
        (Fraction(1, 90_000), Fraction(1, 600), Fraction(1, 1000)),
        (None, Fraction(25), Fraction(1, 25)),
    ],
)
def test_units_of_time_leave_room_for_pauses(unit: Fraction | None, rate: Fraction, used: Fraction) -> None:
    clock = StampWriter(SavedClip("clip", rate, (48, 64), 3, time_base=unit))
    assert clock.unit == used
    frame = Frame(0, np.zeros((2, 2, 3), np.uint8), time=Fraction(0))
    assert clock.stamp(frame) == 0
    assert clock.stamp(replace(frame, time=Fraction(600))) < 2**31


def test_a_pause_in_a_clip_of_odd_rate_is_written(tmp_path: Path) -> None:
    clip = SavedClip("clip", Fraction(299_900, 10_021), (48, 64), 40, time_base=Fraction(1, 90_000))
    times = [Fraction(round(3003 * i + 900_000 * (i > 20)), 90_000) for i in range(40)]
    with ResultWriter(tmp_path, Run(clip, ids=(1, 2)), save=["overlay", "prores"]) as writer:
        for result, time_of in zip(results(40), times, strict=True):
            writer.write(replace(result, frame=replace(result.frame, time=time_of)))
    assert video_times(tmp_path / "overlay.mp4") == video_times(tmp_path / "prores/1.mov") == times


def test_pixels_that_are_no_squares_stay_so(tmp_path: Path) -> None:
    clip = SavedClip("clip", Fraction(25), (48, 64), 2, pixel_aspect=Fraction(64, 45))
    with ResultWriter(tmp_path, Run(clip, ids=(1, 2)), save=["masks", "overlay", "prores", "json"]) as writer:
        for result in results(2):
            writer.write(result)
    for name in ("overlay.mp4", "prores/1.mov"):
        with open_source(tmp_path / name) as written:
            written.first()
            assert written.pixel_aspect == Fraction(64, 45)
    assert SavedResults(tmp_path).clip.pixel_aspect == Fraction(64, 45)


def test_frames_that_h264_does_not_take_are_refused_before_the_work(tmp_path: Path) -> None:
    clip = SavedClip("clip", Fraction(25), (4, 16_386), 2)
    with pytest.raises(OutputError, match=r"the frames are 16386x4; leave it out, as in --save masks,json"):
        ResultWriter(tmp_path / "out", Run(clip))
    assert not (tmp_path / "out").exists()


def test_a_slow_disk_holds_the_caller_back(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    def slow(*_: object) -> None:
        nonlocal written
        time.sleep(0.01)
        written += 1

    monkeypatch.setattr(sinks.MaskSink, "write", slow)
    with writer_for(tmp_path, source, save=["masks"]) as writer:
        for handed, result in enumerate(results(20), 1):
            writer.write(result)
            # Four wait and one is being written.
            assert handed - written <= 6
    assert written == 20


class Colour(Enum):
    RED = "red"


def test_anything_has_a_json_form() -> None:
    odd = {
        1: float("nan"), "inf": np.float32("-inf"), "path": Path("a"), "rate": Fraction(1, 3), "enum": Colour.RED,
        "array": np.arange(2), "tuple": (True, None), "set": {3},
    }  # fmt: skip
    assert _plain(odd) == {
        "1": None, "inf": None, "path": "a", "rate": "1/3", "enum": "red",
        "array": [0, 1], "tuple": [True, None], "set": [3],
    }  # fmt: skip


def test_spans_are_of_frames_that_were_tracked(tmp_path: Path, source: Source) -> None:
    with writer_for(tmp_path, source, save=["json"]) as writer:
        for i in range(8):
            states = {1: State.ABSENT if 2 <= i <= 5 else State.VISIBLE}
            writer.write(result_of(square((48, 64), (1, 4, 4, 12)), index=5 * i, states=states))
    (one,) = writer.close().objects
    assert one.absent == (Span(10, 25),)


def test_an_object_that_is_painted_over_another_takes_from_its_soft_mask(tmp_path: Path) -> None:
    """Also where both soft masks are opaque, so that these do not tell which of the two was in front."""
    with ResultWriter(tmp_path, Run(CLIP, ids=IDS), save=["masks", "json", "alpha"]) as writer:
        for result in soft_results(3):
            writer.write(result)
    before = list(SavedResults(tmp_path).results())
    overlap = before[2].layer(1) & before[2].layer(7)
    path = tmp_path / "masks/00002.png"
    with Image.open(path) as image:
        mask, palette = np.array(image), image.getpalette()
    taken = overlap & (mask == 7)
    assert overlap.sum() > 50
    assert taken.any()
    mask[taken] = 1
    image = Image.fromarray(mask)
    image.putpalette(palette or [])
    image.save(path)
    after = list(SavedResults(tmp_path).results())
    assert after[2].layer(1)[taken].all()
    assert not after[2].alpha(7)[taken].any()
    np.testing.assert_array_equal(after[1].alpha(7), before[1].alpha(7))
    np.testing.assert_array_equal(after[1].alpha(1), before[1].alpha(1))


def test_nothing_is_written_after_the_end(tmp_path: Path, source: Source) -> None:
    (first, second) = results(2)
    writer = writer_for(tmp_path, source, save=["masks"])
    writer.write(first)
    assert writer.close().complete
    for _ in range(6):
        with pytest.raises(ValueError, match="the results are closed"):
            writer.write(second)
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["00000.png"]


def test_results_come_in_order_each_once_and_of_the_clips_size(tmp_path: Path) -> None:
    with ResultWriter(tmp_path / "out", Run(CLIP, ids=IDS), save="masks") as writer:
        first, second = results(2)
        writer.write(second)
        for other in (first, second):
            with pytest.raises(ValueError, match=r"in order, each once: frame \d came after frame 1"):
                writer.write(other)
        small = Frame(2, np.zeros((2, 3, 3), np.uint8))
        with pytest.raises(ValueError, match="frame 2 is 3x2, and the clip is"):
            writer.write(FrameResult(small, np.zeros((2, 3), np.uint8), ()))
    assert [path.name for path in sorted((tmp_path / "out" / "masks").iterdir())] == ["00001.png"]
