"""Interrupted runs go on to the same bytes, however often and wherever they are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Ended, Vos, encode
from tests.cli.resumed import Runner, draw
from vos.results.files import PartFile
from vos.results.journal import FOLDER
from vos.results.plain import pack, unpack
from vos.types import Frame, FrameResult
from vos.video import open_source

EVERYTHING = "masks,overlay,json,alpha8,csv,coco"


@pytest.fixture
def track(vos: Vos, light: None, tmp_path: Path) -> Callable[..., Ended]:
    """`vos track` on a drawn clip of 18 frames, into a folder of tmp_path."""
    video, first, second = draw(tmp_path, 18)

    def run(out: str, *more: object, source: Path = video) -> Ended:
        given = ("--ref", f"{first}:1", "--ref", f"7:{second}:2", "--preset", "persam-f", "--set", "fit.steps=20")
        return vos("track", source, *given, "-o", tmp_path / out, "--save", EVERYTHING, "--keep-every", "4", *more)

    return run


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make tracking fail at a frame, once: the first time that it comes by, or a later one."""
    from vos.passes import VideoPass

    step = VideoPass.step

    def at(index: int, time: int = 1) -> None:
        times = count(1)

        def failing(self: VideoPass, frame: Frame, *args: object, **kwargs: object) -> FrameResult:
            if frame.index == index and next(times) == time:
                monkeypatch.setattr(VideoPass, "step", step)
                raise RuntimeError("a worker gave up")
            return step(self, frame, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(VideoPass, "step", failing)

    return at


@pytest.fixture
def fail(
    track: Callable[..., Ended], stopping: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """A run into `out` that fails at a frame: what it says on stderr."""

    def run(at: int, *more: object, time: int = 1) -> str:
        stopping(at, time)
        with pytest.raises(RuntimeError, match="a worker gave up"):
            track("out", *more)
        return capsys.readouterr().err

    return run


def contents(out: Path) -> dict[str, bytes]:
    """All files; of a video that it is there, since x264 does not repeat itself to the byte."""
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): b"" if p.suffix == ".mp4" else p.read_bytes() for p in files}


@pytest.mark.parametrize(
    ("preset", "tracker", "at"),
    [("persam-f", "matching", 3), ("persam-f", "matching", 4), ("persam-f", "klt", 9),
     ("persam-f", "matching+klt+flow", 14), ("best", "memory", 11)],
)  # fmt: skip
def test_a_failed_run_goes_on_to_the_same_bytes(
    track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path, at: int, preset: str, tracker: str
) -> None:
    how = ("--preset", preset, "--tracker", tracker)
    assert track("whole", *how).code == 0
    fail(at, *how)
    assert len(list((tmp_path / "out/masks").iterdir())) == at
    assert json.loads((tmp_path / "out/track.json").read_text())["error"] == "RuntimeError: a worker gave up"
    ended = track("out", *how, "--resume")
    assert ended.code == 0, ended.err
    kept = at // 4 * 4
    assert (f"resumed: of {kept} frames the results are kept" in ended.out) == (kept > 0)
    whole, out = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert list(out) == list(whole)
    assert [name for name in whole if whole[name] != out[name]] == []
    assert len([name for name in whole if name.startswith("masks/")]) == 18


@pytest.mark.parametrize(
    ("at", "time", "kept", "said"),
    [(3, 1, 0, "nothing is written"), (5, 2, 4, "frames 0 to 4 are"), (9, 1, 8, "frames 0 to 8 are")],
)
def test_both_ways_goes_on_to_the_same_bytes(
    track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path, at: int, time: int, kept: int, said: str
) -> None:
    """The second thing enters on frame 7: the way back is made again, unless all that is left comes after it."""
    whole = track("whole", "--both-ways")
    assert whole.code == 0
    assert "backwards from frame 7: 8 frames in " in whole.out
    assert said in fail(at, "--both-ways", time=time)
    ended = track("out", "--both-ways", "--resume")
    assert ended.code == 0, ended.err
    assert (f"resumed: of {kept} frames the results are kept" in ended.out) == (kept > 0)
    assert ("backwards from frame 7" in ended.out) == (kept <= 7)
    expected, out = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert list(out) == list(expected)
    assert [name for name in expected if expected[name] != out[name]] == []
    for index in range(18):
        assert set(np.unique(np.array(Image.open(tmp_path / f"out/masks/{index:05d}.png")))) == {0, 1, 2}


def test_a_state_of_another_version_is_refused(
    track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path
) -> None:
    fail(9)
    state = unpack(tmp_path / "out/.resume/state.npz")
    state["state"]["tracker"] = {}
    (tmp_path / "out/.resume/state.npz").write_bytes(pack(state))
    ended = track("out", "--resume")
    assert ended.code == 2
    assert "is damaged, or of another version; track again with --overwrite" in ended.err


def test_the_way_back_is_not_made_again_after_it(track: Callable[..., Ended], fail: Callable[..., str]) -> None:
    """Numbers of frames count, not how many there are: 4 are kept, 4 to 7, and the second thing enters on 7."""
    fail(9, "--both-ways", "--start", "4")
    ended = track("out", "--both-ways", "--start", "4", "--resume")
    assert ended.code == 0, ended.err
    assert "resumed: of 4 frames the results are kept" in ended.out
    assert "backwards" not in ended.out


def test_another_way_is_another_run(track: Callable[..., Ended], fail: Callable[..., str]) -> None:
    fail(9, "--both-ways")
    assert "it had --both-ways = True, this is False" in track("out", "--resume").error
    assert track("out", "--resume", "--both-ways").code == 0
    assert "it had both_ways = True, this is False" in track("out", "--resume").error


def test_the_message_says_up_to_which_frame(fail: Callable[..., str]) -> None:
    assert "frames 0 to 8 are written and valid; the same command with --resume goes on" in fail(9)


def test_a_disk_that_was_full(track: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert track("whole").code == 0
    write = PartFile.write

    def full(self: PartFile, data: bytes) -> int:
        if self._path.name == "00009.png":
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(PartFile, "write", full)
    assert track("out").error == (
        f"vos: error: {tmp_path / 'out'}: frame 9 cannot be written: No space left on device; "
        "all 9 frames before it are written and valid; the same command with --resume goes on"
    )
    monkeypatch.setattr(PartFile, "write", write)
    assert track("out", "--resume").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["00000.png", "1/00000.png", "2/00000.png"])
def test_a_disk_that_is_still_full_takes_nothing_away(
    track: Callable[..., Ended],
    fail: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    assert track("whole").code == 0
    fail(9)
    before, write = contents(tmp_path / "out"), PartFile.write

    def full(self: PartFile, data: bytes) -> int:
        if str(self._path).endswith(name):
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(PartFile, "write", full)
    assert track("out", "--resume").error == (
        f"vos: error: {tmp_path / 'out'}: frame 0 cannot be written: No space left on device; "
        "the interrupted run is kept as it was; the same command with --resume goes on"
    )
    assert contents(tmp_path / "out") == before
    monkeypatch.setattr(PartFile, "write", write)
    assert track("out", "--resume").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_there_is_to_resume(track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path) -> None:
    assert track("new", "--resume").code == 0
    again = track("new", "--resume")
    assert (again.code, again.out.strip()) == (0, f"{tmp_path / 'new'}: finished already; nothing to resume")
    assert not (tmp_path / "new" / FOLDER).exists()
    for more in (("--set", "decoder.cascade=2"), ("--click", "100,50:9"), ("--start-number", "7")):
        error = track("new", "--resume", *more).error
        assert "holds the finished results of another run: it had" in error
        assert error.endswith("give the same again, or track again with --overwrite")
    assert "finished already" in track("new", "--resume", "--overwrite").out
    ended = track("new", "--resume", "--overwrite", "--set", "decoder.cascade=2")
    assert (ended.code, "finished already" in ended.out) == (0, False)
    assert track("new", "--overwrite").code == 0
    moved = tmp_path / "moved" / "clip.mp4"
    moved.parent.mkdir()
    shutil.copy(tmp_path / "clip.mp4", moved)
    assert "finished already" in track("new", "--resume", source=moved).out
    assert "already holds results" in track("new", "--resume", "--save", "masks,json,npz").error
    (tmp_path / "new/coco.json").unlink()
    assert "already holds results" in track("new", "--resume").error
    fail(9)
    assert "pass --resume to go on with the interrupted run, --overwrite or choose another folder" in track("out").error
    before = contents(tmp_path / "out")
    refused = {
        ("--set", "decoder.cascade=2"): "it had settings.decoder.cascade = 3, this is 2",
        ("--click", "100,50:9"): "references",
        ("--save", "masks"): "it had --save = masks, overlay, json, alpha8, csv, coco, this is masks",
    }
    for more, reason in refused.items():
        error = track("out", "--resume", *more).error
        assert "cannot be resumed: " in error
        assert reason in error
        assert "give the same again, or track again with --overwrite" in error
    assert contents(tmp_path / "out") == before
    assert track("out", "--resume", "--overwrite", "--set", "decoder.cascade=2").code == 0
    assert "finished already" in track("out", "--resume", "--set", "decoder.cascade=2").out


def test_finished_results_of_another_mask_or_clip(track: Callable[..., Ended], tmp_path: Path) -> None:
    """Files that were changed and have the names that they had."""
    assert track("new").code == 0
    assert "finished already" in track("new", "--resume").out
    mask = next(tmp_path.glob("*.png"))
    kept = mask.read_bytes()
    changed = np.array(Image.open(mask))
    changed[int(np.nonzero(changed)[0].mean()) :] = 0
    Image.fromarray(changed).save(mask)
    assert "finished results of another run: another mask" in track("new", "--resume").error
    mask.write_bytes(kept)
    assert "finished already" in track("new", "--resume").out
    video = tmp_path / "clip.mp4"
    with open_source(video) as source:
        frames = [frame.image for frame in source]
    encode(video, [frame[:, ::-1] for frame in frames])
    assert "finished results of another run: another clip" in track("new", "--resume").error
    encode(video, frames[:-2])
    shorter = track("new", "--resume").error
    assert "finished results of another run: it had source.frame_count = 18, this is 16" in shorter


def test_what_a_run_without_a_track_file_was_of(track: Callable[..., Ended], tmp_path: Path) -> None:
    assert track("new", "--save", "masks").code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".run.json", "masks"]
    again = ("--save", "masks", "--resume")
    assert "finished already" in track("new", *again).out
    assert (
        "holds the finished results of another run: it had references" in track("new", *again, "--click", "9,9:4").error
    )
    ended = track("new", *again, "--click", "9,9:4", "--overwrite")
    assert (ended.code, "finished already" in ended.out) == (0, False)
    (tmp_path / "new/.run.json").unlink()
    assert "holds results, and nothing says of what; track again with --overwrite" in track("new", *again).error
    assert track("new", "--overwrite").code == 0
    assert not (tmp_path / "new/.run.json").exists(), "the track file says it"


def test_what_was_converted_of_a_part_is_not_left(
    vos: Vos, track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path
) -> None:
    fail(9)
    assert vos("export", tmp_path / "out", "--to", "npz,polygons").code == 0
    assert track("out", "--resume").code == 0
    assert not (tmp_path / "out/masks.npz").exists()
    assert not (tmp_path / "out/polygons.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_a_clip_whose_name_is_not_text(vos: Vos, light: None, stopping: Callable[..., None], tmp_path: Path) -> None:
    video, first, _ = draw(tmp_path, 5)
    video = video.rename(tmp_path / os.fsdecode(b"one\xe9.mp4"))
    given = ("track", video, "--ref", first, "--preset", "persam", "--save", EVERYTHING, "--keep-every", "2", "-q")
    stopping(3)
    with pytest.raises(RuntimeError, match="a worker gave up"):
        vos(*given, "-o", tmp_path / "out")
    ended = vos(*given, "-o", tmp_path / "out", "--resume")
    assert ended.code == 0, ended.err
    record = json.loads((tmp_path / "out/track.json").read_text())
    assert (record["source"]["name"], record["complete"]) == (video.name, True)


def test_another_clip_under_the_same_name_is_noticed(
    track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path
) -> None:
    fail(9)
    other = tmp_path / "other"
    other.mkdir()
    video, *_ = draw(other, 12)
    shutil.copy(video, tmp_path / "clip.mp4")
    error = track("out", "--resume").error
    assert "cannot be resumed: frame" in error
    assert "is another; track again with --overwrite" in error


@pytest.mark.parametrize(
    ("name", "how"),
    [("job.json", "cut"), ("state.npz", "flipped"), ("state.npz", "pickled"), ("00000000.npz", "gone"),
     ("00000004.npz", "cut"), ("00000004.npz", "pickled")],
)  # fmt: skip
def test_damage_is_said_and_loses_nothing(
    track: Callable[..., Ended], fail: Callable[..., str], tmp_path: Path, name: str, how: str
) -> None:
    fail(9)
    path = tmp_path / "out" / FOLDER / name
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        data[data.index(b'"next"') + 1] ^= 0x55
        path.write_bytes(data)
    elif how == "gone":
        path.unlink()
    else:
        np.save(path.with_suffix(".npy"), np.array([{"code": os.system}], dtype=object), allow_pickle=True)
        path.with_suffix(".npy").replace(path)
    masks = contents(tmp_path / "out" / "masks")
    error = track("out", "--resume").error
    assert "damaged" in error or "cannot be resumed" in error
    assert "--overwrite" in error
    assert contents(tmp_path / "out" / "masks") == masks


def test_plain_data_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = {
        "a": [1, 2.5, None, "ü", True, (3, 4)], "b": {"x": np.arange(6, dtype=np.int8).reshape(2, 3)},
        "scalar": np.float32(0.1), "empty": np.zeros((0, 2), np.float32), "nan": np.array([np.nan, np.inf]),
    }  # fmt: skip
    (tmp_path / "f.npz").write_bytes(pack(tree))
    read = unpack(tmp_path / "f.npz")
    assert read["a"] == [1, 2.5, None, "ü", True, [3, 4]]
    assert isinstance(read["scalar"], np.float32)
    for name in ("scalar", "empty", "nan"):
        assert np.asarray(read[name]).dtype == np.asarray(tree[name]).dtype
        assert np.array_equal(read[name], tree[name], equal_nan=True)
    assert np.array_equal(read["b"]["x"], tree["b"]["x"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "tracker"), [("persam-f", "matching"), ("persam-f", "matching+klt+flow"), ("best", "memory")]
)
def test_killed_at_random_moments_again_and_again(tmp_path: Path, preset: str, tracker: str) -> None:
    """VOS_KILL_ROUNDS sets how many runs are killed until they end; each is killed many times."""
    video, first, second = draw(tmp_path, 40)
    given = (video, "--ref", f"{first}:1", "--ref", f"7:{second}:2", "--preset", preset, "--tracker", tracker)
    given = (*given, "--set", "fit.steps=20", "--device", "cpu", "--keep-every", "3", "--save", EVERYTHING)
    runner = Runner(tmp_path / "log.txt", slow=0.03)
    assert runner.run(*given, "-o", tmp_path / "whole") == 0, runner.log.read_text()
    whole = contents(tmp_path / "whole")
    rng, kills, rounds = random.Random(7), 0, int(os.environ.get("VOS_KILL_ROUNDS", "4"))
    for round_ in range(rounds):
        out = tmp_path / f"out{round_}"
        kills += runner.run_with_kills(*given, "-o", out, rng=rng, frames=40)
        found = contents(out)
        assert list(found) == list(whole)
        assert [name for name in whole if whole[name] != found[name]] == []
        shutil.rmtree(out)
    print(f"{rounds} runs, killed {kills} times")
    assert kills >= rounds
    assert "Traceback" not in runner.log.read_text()


def test_results_beside_the_frames(vos: Vos, light: None, stopping: Callable[..., None], tmp_path: Path) -> None:
    """The folder of images takes the results too: tracked, resumed, converted, tracked again."""
    video, first, _ = draw(tmp_path, 5)
    frames = tmp_path / "frames"
    frames.mkdir()
    with open_source(video) as source:
        for frame in source:
            Image.fromarray(frame.image).save(frames / f"{frame.index}.png")
    before = contents(frames)
    given = ("track", frames, "--ref", first, "--preset", "persam", "-o", frames, "--keep-every", "2", "-q")
    stopping(3)
    with pytest.raises(RuntimeError, match="a worker gave up"):
        vos(*given)
    for more in (("--resume",), ("--overwrite",), ("--resume",)):
        ended = vos(*given, *more)
        assert ended.code == 0, ended.err
        assert len(list((frames / "masks").iterdir())) == 5
    assert vos("export", frames, "--to", "overlay,csv", "--overwrite", "-q").code == 0
    assert before.items() <= contents(frames).items()


def test_what_was_never_finished_is_not_finished(
    vos: Vos, light: None, stopping: Callable[..., None], tmp_path: Path
) -> None:
    """A run that keeps nothing to go on with."""
    video, first, _ = draw(tmp_path, 5)
    given = ("track", video, "--ref", first, "--preset", "persam", "-o", tmp_path / "out", "-q")
    stopping(3)
    with pytest.raises(RuntimeError, match="a worker gave up"):
        vos(*given, "--save", "masks,json")
    shutil.rmtree(tmp_path / "out" / FOLDER)
    ended = vos(*given, "--save", "masks", "--resume")
    assert ended.code == 2
    assert "already holds results" in ended.err
