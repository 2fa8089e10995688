"""Many videos with one loaded model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Ended, Vos, encode
from tests.cli.resumed import LEFT, RIGHT
from tests.cli.test_resume import contents
from tests.drawn import clip
from tests.stand_in import stand_in_models
from vos.cli.batch import Given, is_batch, jobs_in
from vos.errors import SourceError
from vos.models import load

SIZE = (96, 144)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often models were loaded."""
    count: list[str] = []

    def fake(settings, fetch):
        count.append(settings.model)
        return stand_in_models()

    monkeypatch.setattr(load, "load_models", fake)
    return count


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """A folder of three clips with a mask beside each: two videos, and one of images."""
    folder = tmp_path / "shots"
    folder.mkdir()
    images, truth = clip([LEFT, RIGHT], 3, size=SIZE)
    for name in ("b.mp4", "a.mov"):
        encode(folder / name, images)
    (folder / "stills").mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / "stills" / f"{k}.png")
    for name in ("a", "b", "stills"):
        Image.fromarray(truth[0]).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def track(vos: Vos, loads: list[str], tmp_path: Path) -> Callable[..., Ended]:
    def run(source: object, *more: object) -> Ended:
        return vos("track", source, "--preset", "persam", "--save", "masks,json", "-o", tmp_path / "out", *more)

    return run


def finished(out: Path) -> dict[str, int]:
    """Frames by job, of those that came to their end."""
    records = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/track.json"))}
    return {name: record["summary"]["frames"] for name, record in records.items() if record["complete"]}


def test_a_folder_of_videos_with_masks_beside_them(
    track: Callable[..., Ended], loads: list[str], shots: Path, tmp_path: Path
) -> None:
    ended = track(shots)
    assert (ended.code, ended.err) == (0, "")
    assert loads == ["mobile_sam"]
    assert finished(tmp_path / "out") == {"a": 3, "b": 3, "stills": 3}
    lines = ended.out.splitlines()
    assert lines[0] == f"[1/3] {shots / 'a.mov'} -> {tmp_path / 'out' / 'a'}"
    assert lines[-1] == "3 jobs: 3 done, 0 failed"


def test_failures_are_listed_and_the_others_done(track: Callable[..., Ended], shots: Path, tmp_path: Path) -> None:
    (shots / "a.png").unlink()
    (shots / "broken.mp4").write_bytes(b"no video" * 100)
    Image.new("L", (144, 96), 255).save(shots / "broken.png")
    ended = track(shots)
    assert ended.code == 1
    assert finished(tmp_path / "out") == {"b": 3, "stills": 3}
    assert "Traceback" not in ended.err
    lines = ended.out.splitlines()
    assert lines[-3] == "4 jobs: 2 done, 2 failed"
    assert lines[-2] == (
        f"failed: {shots / 'a.mov'}: no mask for it; looked for {shots / 'a.png'}; or give --ref, --click or --box"
    )
    assert lines[-1].startswith(f"failed: {shots / 'broken.mp4'}: not a video, or damaged beyond reading: ")
    assert [line for line in ended.err.splitlines() if line.startswith("vos: error: ")] == [
        f"vos: error: {line.removeprefix('failed: ')}" for line in lines[-2:]
    ]


def test_a_table_that_names_what_is_not_there(track: Callable[..., Ended], tmp_path: Path) -> None:
    """Not the mask is what is missing."""
    (tmp_path / "jobs.csv").write_text("source\nmissing.mp4\n")
    ended = track(tmp_path / "jobs.csv")
    assert ended.code == 1
    assert ended.err.strip() == f"vos: error: {tmp_path / 'missing.mp4'}: no such file or folder"


def test_again_with_resume_does_what_is_left(track: Callable[..., Ended], shots: Path, tmp_path: Path) -> None:
    mask = (shots / "b.png").rename(tmp_path / "b.png")
    assert track(shots).code == 1
    before = (tmp_path / "out/a/track.json").stat().st_mtime_ns
    shutil.copy(mask, shots / "b.png")
    ended = track(shots, "--resume")
    assert ended.code == 0, ended.err
    assert ended.out.count("finished already; nothing to resume") == 2
    assert (tmp_path / "out/a/track.json").stat().st_mtime_ns == before
    assert finished(tmp_path / "out") == {"a": 3, "b": 3, "stills": 3}


def test_one_click_for_all_and_masks_in_a_folder(track: Callable[..., Ended], shots: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in shots.glob("*.png"):
        path.rename(masks / path.name)
    assert track(f"{shots}/*.m*", "--ref", masks).code == 0
    assert finished(tmp_path / "out") == {"a": 3, "b": 3}
    assert track(shots, "--click", "30,40", "--overwrite").code == 0
    assert finished(tmp_path / "out") == {"a": 3, "b": 3, "stills": 3}


def test_a_table_of_jobs(track: Callable[..., Ended], loads: list[str], shots: Path, tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(
        "source, ref, click, box, out\n"
        "shots/b.mp4, shots/b.png,,, first\n"
        'shots/b.mp4,,"30,40.0000001:4; -120,60:4","0:100.123456,44,130,70:9",\n'
        "\n"
        "shots/stills,,,,\n"
        "shots/none.mp4,shots/b.png,,,\n",
        encoding="utf-8-sig",
    )
    ended = track(table)
    assert ended.code == 1
    assert loads == ["mobile_sam"]
    assert finished(tmp_path / "out") == {"b-2": 3, "first": 3, "stills": 3}
    record = json.loads((tmp_path / "out/b-2/track.json").read_text())
    assert [o["id"] for o in record["frames"][0]["objects"]] == [4, 9]
    assert record["references"] == [
        "--click 0:30,40.0000001:4",
        "--click -0:120,60:4",
        "--box 0:100.123456,44,130,70:9",
    ]
    assert "4 jobs: 3 done, 1 failed" in ended.out
    assert f"failed: {tmp_path / 'shots/none.mp4'}: " in ended.out


def test_all_jobs_have_the_same_classes(
    track: Callable[..., Ended], vos: Vos, loads: list[str], shots: Path, tmp_path: Path
) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(
        "source,ref,label\n"
        "shots/b.mp4,shots/b.png,cat:1\n"
        "shots/a.mov,shots/a.png,dog:1; cat:2\n"
        "shots/stills,shots/stills.png,\n"
    )
    save = ("--save", "masks,coco,yolo,json", "--label", "mouse")
    ended = track(table, *save)
    assert ended.code == 0, ended.err
    used = {}
    for name in ("a", "b", "stills"):
        coco = json.loads((tmp_path / "out" / name / "coco.json").read_text())
        assert [(c["id"], c["name"]) for c in coco["categories"]] == [(1, "mouse"), (2, "cat"), (3, "dog")]
        used[name] = {a["track_id"]: a["category_id"] for a in coco["annotations"]}
    assert used == {"a": {1: 3, 2: 2}, "b": {1: 2, 2: 1}, "stills": {1: 1, 2: 1}}
    assert "labels: 1 dog, 2 cat" in ended.out
    header, *rows = table.read_text().splitlines(keepends=True)
    table.write_text(f"{header}shots/more,shots/stills.png,rat\n{''.join(rows[:2])}")
    shutil.copytree(shots / "stills", shots / "more")
    before = contents(tmp_path / "out")
    again = track(table, *save, "--resume")
    classes = (
        "its data sets have the classes that they had; vos dataset makes one of several clips, with classes of all"
    )
    assert again.out.count(f"finished already; nothing to resume\n{classes}\n") == 2, again.out
    assert finished(tmp_path / "out") == {"a": 3, "b": 3, "stills": 3, "more": 3}
    there = contents(tmp_path / "out")
    assert {name: there[name] for name in before} == before
    assert "classes: mouse, cat, dog, rat\n" in vos("dataset", tmp_path / "out", "-o", tmp_path / "set").out
    assert track(table, "--label", "mouse:x").error.startswith("vos: error: label 'mouse:x' is not of the form NAME")
    table.write_text("source,label\nb.mp4,rat:x\n")
    assert track(table).error.startswith(f"vos: error: {tmp_path / 'b.mp4'}: label 'rat:x' is not of the form NAME")


def test_rows_of_a_table_may_name_parts_of_clips(track: Callable[..., Ended], shots: Path, tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(
        "source,ref,start,end,out\n"
        "shots/b.mp4,shots/b.png,1,,late\n"
        "shots/b.mp4,shots/b.png,0s,0.05s,early\n"
        "shots/b.mp4,shots/b.png,,,as-asked\n"
        "shots/b.mp4,shots/b.png,2,1,never\n"
    )
    ended = track(table, "--end", "2")
    assert ended.code == 1
    assert finished(tmp_path / "out") == {"late": 2, "early": 2, "as-asked": 3}
    assert sorted(path.name for path in (tmp_path / "out/late/masks").iterdir()) == ["00001.png", "00002.png"]
    assert "never: there is nothing from frame 2 to frame 1; the end must not lie before the start" in ended.err
    table.write_text("source,start\nb.mp4,soon\n")
    assert track(table).error.startswith(f"vos: error: {tmp_path / 'b.mp4'}: 'soon' is neither a frame nor a time")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the first line must name the columns, 'source' among them"),
        (
            "video,ref\na.mp4,b.png\n",
            "unknown column 'video'; there are source, ref, click, box, label, start, end, out",
        ),
        ("ref,click\nb.png,\n", "the first line must name the columns, 'source' among them"),
        ("Source;Ref\na.mp4;b.png\n", "its cells are divided by semicolons; divide them by commas"),
        ("source,click\na.mp4,30,40\n", "line 2 has more cells than there are columns; put quotes around a comma"),
        ("source,click\n,1\n", "line 2: 'source' is one path, found none"),
        ("source\na.mp4;b.mp4\n", "line 2: 'source' is one path, found 2"),
        ("source,end\na.mp4,3;5\n", "line 2: 'end' is one frame or time, found 2"),
        ("source,ref\n\n,\n", "there is no job in it"),
        ("source\n\x00\n", "not UTF-8; in Excel, save it as 'CSV UTF-8'"),
        ("source,out\na.mp4,x\nb.mp4,./y/../X\n", "a.mp4 and "),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, reason: str) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(text)
    if "\x00" in text:
        table.write_bytes(b"source\n\xff\xfe\x00\x01\n")
    with pytest.raises(SourceError) as caught:
        jobs_in(str(table), Given(), None)
    assert str(caught.value).startswith(f"{table}: ")
    assert reason in str(caught.value)


def test_a_row_with_a_name_that_cannot_be_leaves_the_others(tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(f"source,ref\na.mp4,{'x' * 300}.png\nb.mp4,~nosuch/b.png\n~nosuch/c.mp4,c.png\n")
    assert [Path(job.source).name for job in jobs_in(str(table), Given(), None)] == ["a.mp4", "b.mp4", "c.mp4"]


def test_what_is_a_batch(shots: Path, tmp_path: Path) -> None:
    for many in (shots, f"{shots}/*.mp4", tmp_path / "missing.csv"):
        assert is_batch(str(many))
    for one in (shots / "b.mp4", shots / "stills", f"{shots}/*.png", tmp_path / "missing", f"{shots}/["):
        assert not is_batch(str(one)), one


def test_images_beside_folders_of_their_names_are_masks(shots: Path) -> None:
    for video in ("a.mov", "b.mp4"):
        (shots / video).unlink()
    assert not is_batch(str(shots)), "a.png and b.png are frames"
    for mask in ("a.png", "b.png"):
        (shots / mask).unlink()
    shutil.copytree(shots / "stills", shots / "more")
    shutil.copy(shots / "stills.png", shots / "more.png")
    assert is_batch(str(shots))
    assert [Path(job.source).name for job in jobs_in(str(shots), Given(), None)] == ["more", "stills"]


def test_a_folder_of_masks_among_the_videos_is_none_of_them(shots: Path) -> None:
    (shots / "masks").mkdir()
    for mask in shots.glob("*.png"):
        mask.rename(shots / "masks" / mask.name)
    jobs = jobs_in(str(shots), Given(ref=(f"{shots}/../shots/masks",)), None)
    assert [Path(job.source).name for job in jobs] == ["a.mov", "b.mp4", "stills"]


def test_results_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("x.mp4", "x.mov", "y.mp4"):
        (tmp_path / name).touch()
    jobs = jobs_in(str(tmp_path), Given(click=("1,1",)), Path("o"))
    assert [job.out for job in jobs] == [Path("o/x.mov"), Path("o/x.mp4"), Path("o/y")]
    for name in ("Z.mp4", "z.mov", "aux.mp4", "com1.x.mp4", "w .mp4", "w..mp4"):
        (tmp_path / name).touch()
    jobs = jobs_in(str(tmp_path / "[Zzacw]*.m*"), Given(click=("1,1",)), Path("o"))
    assert sorted(job.out.name for job in jobs) == ["Z.mp4", "aux_", "com1.x_", "w", "w-2", "z.mov"]
    table = tmp_path / "jobs.csv"
    table.write_text("source,click\n" + 'y.mp4,"1,1"\n' * 3)
    assert [job.out for job in jobs_in(str(table), Given(), None)] == [
        Path(f"jobs-vos/{n}") for n in ("y", "y-2", "y-3")
    ]
