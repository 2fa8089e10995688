"""`vos export`: the same files as tracking writes, without tracking again."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Ended, Vos, encode
from tests.cli.resumed import LEFT, draw
from tests.drawn import clip
from tests.stand_in import stand_in_models
from vos.models import load
from vos.video import open_source

SEQUENCES = "alpha,alpha8,cutouts,pictures,yolo"
FILES = "coco,youtube,npz,polygons,csv"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in `clip.mp4`, tracked into `out` with every output."""
    folder = tmp_path_factory.mktemp("tracked")
    video, first, second = draw(folder, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "load_models", lambda *_: stand_in_models())
        patch.setattr(
            "sys.argv",
            ["vos", "track", str(video), "--ref", f"{first}:1", "--ref", f"7:{second}:2", "--preset", "persam", "-q",
             "-o", str(folder / "out"), "--save", f"masks,overlay,json,prores,{SEQUENCES},{FILES}"],
        )  # fmt: skip
        from vos.cli.main import main

        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    return folder


@pytest.fixture
def out(tracked: Path, tmp_path: Path) -> Path:
    """A copy of the results that holds masks, track.json and alpha alone."""
    for name in ("masks", "alpha"):
        shutil.copytree(tracked / "out" / name, tmp_path / "out" / name)
    shutil.copy(tracked / "out" / "track.json", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def export(vos: Vos, out: Path) -> Callable[..., Ended]:
    return lambda *more: vos("export", out, *more)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_converted_later_is_what_tracking_writes(
    export: Callable[..., Ended], out: Path, tracked: Path
) -> None:
    ended = export("--to", f"{FILES},cutouts,alpha8,pictures,yolo")
    assert ended.code == 0, ended.err
    names = ["coco.json", "youtube.json", "masks.npz", "polygons.json", "measurements.csv"]
    names += ["cutouts", "alpha8", "pictures", "yolo"]
    assert ended.out.strip() == f"10 frames -> {', '.join(str(out / name) for name in names)}"
    wanted, found = contents(tracked / "out"), contents(out)
    for name in ("masks.npz", "overlay.mp4"):
        wanted.pop(name)
    with np.load(out / "masks.npz") as ours, np.load(tracked / "out" / "masks.npz") as theirs:
        assert ours.files == theirs.files
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)
    found.pop("masks.npz")
    assert set(found) == {name for name in wanted if not name.startswith("prores/")}
    assert [name for name in found if found[name] != wanted[name]] == []


def test_movies(export: Callable[..., Ended], out: Path, tracked: Path, tmp_path: Path) -> None:
    assert export("--to", "overlay,prores", "-o", tmp_path / "movies").code == 0
    for name in ("overlay.mp4", "prores/1.mov", "prores/2.mov"):
        frames = []
        for folder in (tmp_path / "movies", tracked / "out"):
            with av.open(str(folder / name)) as container:
                frames.append([(f.time, f.to_ndarray(format="rgba").astype(int)) for f in container.decode(video=0)])
        assert len(frames[0]) == 10
        for (time, ours), (theirs_time, theirs) in zip(*frames, strict=True):
            assert time == theirs_time
            assert np.abs(ours - theirs).mean() < 2
    assert not (out / "overlay.mp4").exists()


def test_soft_masks_that_were_not_saved(export: Callable[..., Ended], out: Path) -> None:
    shutil.rmtree(out / "alpha")
    for kind in ("prores", "cutouts", "alpha8"):
        assert export("--to", kind).error == (
            f"vos: error: {out}: {kind} shows soft edges, and soft masks were not saved; track again with "
            "--save masks,json,alpha"
        )
    assert export("--to", "coco,csv").code == 0
    coco = json.loads((out / "coco.json").read_text())
    record = json.loads((out / "track.json").read_text())
    areas = {(f["frame"], o["id"]): o["area"] for f in record["frames"] for o in f["objects"] if o["area"]}
    assert {(a["image_id"], a["category_id"]): a["area"] for a in coco["annotations"]} == areas


def test_soft_masks_are_not_written_over_as_they_are_read(
    export: Callable[..., Ended], out: Path, tmp_path: Path
) -> None:
    before = contents(out / "alpha")
    for more in ((), ("-o", tmp_path / "else" / ".." / "out")):
        error = export("--to", "cutouts,alpha", "--overwrite", "--start-number", "1001", *more).error
        assert error == f"vos: error: {out / 'alpha'}: soft edges are read from there; choose another folder with -o"
    assert contents(out / "alpha") == before
    assert export("--to", "alpha", "--start-number", "1001", "-o", tmp_path / "vfx").code == 0
    assert list(contents(tmp_path / "vfx/alpha").values()) == list(before.values())
    (out / "alpha/2/00008.png").unlink()
    assert "alpha/2/00008.png: there is no such file" in export("--to", "cutouts").error


def test_labels(vos: Vos, light: None, tmp_path: Path) -> None:
    video, first, _ = draw(tmp_path, 3)
    job = ("track", video, "--ref", f"{first}:1", "--preset", "persam", "-o", tmp_path / "out", "--save")
    ended = vos(*job, "masks,json,csv,coco", "--label", "mouse", "--label", "cat:2")
    assert ended.code == 0, ended.err
    assert "labels: 1 mouse\nlabels of objects that are not here: 2 (cat); there is 1\n" in ended.out
    as_tracked = contents(tmp_path / "out")
    again = (*job, "masks,json,csv,coco", "--resume")
    assert "finished already" in vos(*again, "--label", "mouse", "--label", "cat:2").out
    assert "finished already" in vos(*again, "--label", "mouse").out, "nothing of it is another class"
    assert vos(*again, "--label", "rat").error.endswith(
        "holds finished results in which object 1 is mouse, and this is rat; `vos export --label` changes labels "
        "without tracking, or track again with --overwrite"
    )

    export = ("export", tmp_path / "out", "--to", "csv,coco", "--overwrite")
    assert vos(*export).out.startswith("labels: 1 mouse\n")
    assert contents(tmp_path / "out") == as_tracked
    assert vos("export", tmp_path / "out", "--to", "coco", "--label", "rat:1", "--overwrite").error.endswith(
        "out: csv there would keep other labels; add to --to, or choose another folder with -o"
    )
    assert contents(tmp_path / "out") == as_tracked
    assert vos(*export, "--label", "rat:1").out.startswith("labels: 1 rat\n3 frames")
    assert '"name": "rat"' in (tmp_path / "out/coco.json").read_text()
    assert "finished already" in vos(*again, "--label", "rat:1").out, "it is called so from now on"
    assert vos(*export).out.startswith("labels: 1 rat\n")
    track = tmp_path / "out/track.json"
    track.write_text(json.dumps(json.loads(track.read_text()), indent=1))
    assert vos(*export, "--label", "cat").code == 0, "of a track file that somebody has formatted too"
    assert vos(*export, "--label", "rat:1").code == 0
    assert vos(*export, "--label", "mouse", "-o", tmp_path / "copy").code == 0
    assert vos(*export).out.startswith("labels: 1 rat\n"), "another folder has labels of its own"
    assert "label 'rat:0': ID must be 1 to 255" in vos(*export, "--label", "rat:0").error


def test_what_data_sets_do_not_say_is_said(vos: Vos, light: None, tmp_path: Path) -> None:
    video, first, second = draw(tmp_path, 9)
    given = (
        "--ref",
        f"{first}:1",
        "--ref",
        f"7:{second}:2",
        "--preset",
        "persam",
        "-o",
        tmp_path / "out",
        "--overwrite",
    )
    late = "coco.json and yolo/: no object 2 before frame 7, whatever the pictures show; --both-ways tracks it there"
    assert late in vos("track", video, *given, "--save", "masks,coco,yolo").out.splitlines()
    for save, more in (("masks,csv", ()), ("masks,coco", ("--both-ways",))):
        assert "whatever the pictures show" not in vos("track", video, *given, "--save", save, *more).out
    images = tmp_path / "images"
    images.mkdir()
    with open_source(video) as source:
        for frame in source:
            Image.fromarray(frame.image).save(images / f"shot-{frame.index}.png")
    numbered = "pictures/ is numbered by frames; coco.json and youtube.json name the images of the source"
    assert numbered in vos("track", images, *given, "--save", "masks,json,coco,pictures").out
    track = tmp_path / "out/track.json"
    track.write_text(track.read_text().replace('"complete": true', '"complete": false'))
    said = vos("export", tmp_path / "out", "--to", "csv").out
    assert said.splitlines()[-1] == f"{tmp_path / 'out'}: the run ended early; these are the frames until then"


def test_soft_masks_are_not_numbered_otherwise_where_they_are_read(vos: Vos, light: None, tmp_path: Path) -> None:
    video, first, _ = draw(tmp_path, 3)
    out = tmp_path / "out"
    job = ("track", video, "--ref", f"{first}:1", "--preset", "persam", "-o", out, "--save", "masks,json,alpha8")
    assert vos(*job).code == 0
    assert vos("export", out, "--to", "alpha", "--start-number", "1001").error.endswith(
        "alpha is numbered there as the run was, for what is converted from it; choose another folder with -o"
    )
    assert vos("export", out, "--to", "alpha", "--start-number", "1001", "-o", tmp_path / "other").code == 0
    assert (tmp_path / "other/alpha/1/1001.png").is_file()
    assert vos("export", out, "--to", "alpha,cutouts").code == 0


def test_what_came_through_a_pipe_is_found_in_the_file(
    vos: Vos, light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = draw(tmp_path, 8)[1]
    video = encode(tmp_path / "clip.mkv", clip([LEFT], 8, size=(96, 144))[0])
    with open(video, "rb") as piped:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
        job = ("track", "-", "--ref", f"{first}:1", "--preset", "persam", "-o", tmp_path / "out")
        ended = vos(*job, "--save", "masks,json", "--start", "2", "--every", "3")
    assert ended.code == 0, ended.err
    assert "give --source" in vos("export", tmp_path / "out", "--to", "pictures").error
    assert vos("export", tmp_path / "out", "--to", "pictures", "--source", video).code == 0
    assert sorted(path.name for path in (tmp_path / "out/pictures").iterdir()) == ["00002.jpg", "00005.jpg"]


def test_numbers_of_images(vos: Vos, export: Callable[..., Ended], out: Path, tmp_path: Path) -> None:
    assert export("--to", "cutouts", "--start-number", "1001", "-o", tmp_path / "vfx").code == 0
    assert sorted(p.name for p in (tmp_path / "vfx/cutouts/2").iterdir()) == [f"{1001 + k}.png" for k in range(10)]
    assert "--start-number x: expected a whole number" in export("--to", "csv", "--start-number", "x").error


def test_a_source_that_was_moved(export: Callable[..., Ended], out: Path, tracked: Path, tmp_path: Path) -> None:
    record = json.loads((out / "track.json").read_text())
    assert record["source"]["given"] == str(tracked / "clip.mp4")
    record["source"]["given"] = str(tmp_path / "gone.mp4")
    (out / "track.json").write_text(json.dumps(record))
    assert "gone.mp4: no such file" in export("--to", "overlay").error
    assert export("--to", "overlay", "--source", tracked / "clip.mp4").code == 0
    short, *_ = draw(tmp_path, 4)
    assert "its frame 4 is not in the source" in export("--to", "overlay", "--source", short, "--overwrite").error
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    small = export("--to", "overlay", "--source", tmp_path / "small.png", "--overwrite").error
    assert "its masks are 144x96, but the source is 20x20" in small


def test_results_are_not_overwritten_unasked(export: Callable[..., Ended], out: Path) -> None:
    assert export("--to", "csv").code == 0
    assert "already holds results (measurements.csv); pass --overwrite" in export("--to", "csv,coco").error
    assert not (out / "coco.json").exists()
    before = contents(out / "masks")
    assert export("--to", "csv,coco", "--overwrite").code == 0
    assert contents(out / "masks") == before


def test_masks_corrected_by_hand(export: Callable[..., Ended], out: Path) -> None:
    mask = Image.open(out / "masks/00003.png")
    array = np.array(mask)
    array[:] = 0
    array[10:20, 30:50] = 1
    fixed = Image.fromarray(array)
    fixed.putpalette(mask.getpalette() or [])
    fixed.save(out / "masks/00003.png")
    assert export("--to", "csv").code == 0
    row = (out / "measurements.csv").read_text().splitlines()[4].split(",")
    assert (row[0], row[3], row[8], row[11:15]) == ("3", "1", "200", ["30", "10", "49", "19"])
    array[0, 0] = 77
    Image.fromarray(array).save(out / "masks/00003.png")
    error = export("--to", "csv", "--overwrite").error
    assert "00003.png: holds object 77, but the run has only 1, 2; use these ids" in error


def corrected(out: Path, frame: int, change: Callable[[np.ndarray], object]) -> tuple[np.ndarray, np.ndarray]:
    """A mask before and after it is changed in place."""
    path = out / f"masks/{frame:05d}.png"
    with Image.open(path) as mask:
        before, palette = np.array(mask), mask.getpalette()
    after = before.copy()
    change(after)
    image = Image.fromarray(after)
    image.putpalette(palette or [])
    image.save(path)
    return before, after


def alpha8(out: Path, object_id: int, frame: int) -> np.ndarray:
    return np.array(Image.open(out / f"alpha8/{object_id}/{frame:05d}.png"))


def test_soft_masks_follow_what_is_corrected(export: Callable[..., Ended], out: Path, tracked: Path) -> None:
    def erase(mask: np.ndarray) -> None:
        x = np.nonzero(mask == 1)[1]
        mask[(mask == 1) & (np.arange(mask.shape[1]) < x.mean())] = 0

    def paint(mask: np.ndarray) -> None:
        mask[2:12, 100:140] = 2

    swap = np.array([0, 2, 1], np.uint8)
    corrected(out, 9, lambda mask: np.copyto(mask, swap[mask]))
    erased_from, erased = corrected(out, 4, erase)
    _, early = corrected(out, 2, paint)  # before the second object enters
    assert (early == 2).any()
    assert export("--to", "csv,coco,npz,alpha8").code == 0
    gone = (erased_from == 1) & (erased == 0)
    left, was = alpha8(out, 1, 4), np.array(Image.open(tracked / "out/alpha8/1/00004.png"))
    assert gone.sum() > 100
    assert not left[gone].any()
    around, kept = (cv2.dilate(m.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0 for m in (gone, erased == 1))
    assert was[around & ~gone & ~kept].any()
    assert not left[around & ~kept].any(), "no edge is left of it"
    assert (left[erased == 1] == was[erased == 1]).all()
    assert (alpha8(out, 2, 2) == np.where(early == 2, 255, 0)).all()
    row = next(
        line
        for line in (out / "measurements.csv").read_text().splitlines()
        if line.startswith("2,2,") and ",2,,vis" in line
    )
    assert ",visible,1.0000,1," in row, row
    for object_id, other in ((1, 2), (2, 1)):
        found, theirs = alpha8(out, object_id, 9), np.array(Image.open(tracked / f"out/masks/{9:05d}.png")) == other
        assert (found[theirs] == 255).all()
        assert (found >= 128).sum() == theirs.sum(), "nothing is left where it was"
    lines = [line.split(",") for line in (out / "measurements.csv").read_text().splitlines()[1:]]
    areas = {(int(line[0]), int(line[3])): int(line[8]) for line in lines}
    coco = json.loads((out / "coco.json").read_text())
    assert {
        (a["image_id"], a["category_id"]): a["area"] for a in coco["annotations"] if a["image_id"] in (2, 4, 9)
    } == {key: area for key, area in areas.items() if key[0] in (2, 4, 9)}
    for index in (0, 1, 3, 5, 6, 7, 8):
        assert (out / f"alpha8/1/{index:05d}.png").read_bytes() == (
            tracked / f"out/alpha8/1/{index:05d}.png"
        ).read_bytes()


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA"])
def test_a_mask_is_read_by_its_colours(export: Callable[..., Ended], out: Path, mode: str) -> None:
    """Paint programs reorder palettes, or leave none."""
    path = out / "masks/00008.png"
    assert export("--to", "csv").code == 0
    before = (out / "measurements.csv").read_bytes()
    with Image.open(path) as mask:
        shown, values, palette = mask.convert("RGBA"), np.array(mask), np.array(mask.getpalette()).reshape(-1, 3)
    if mode == "P":
        other = Image.fromarray(np.array([2, 0, 1], np.uint8)[values])
        other.putpalette(palette[[1, 2, 0]].astype(np.uint8).tobytes())
        other.save(path)
        assert np.array(Image.open(path).convert("RGBA")).tolist() == np.array(shown).tolist()
    else:
        pixels = np.array(shown)
        pixels[..., 3] = np.where(values == 0, 0, 255)
        pixels[values == 0, :3] = 200 if mode == "RGBA" else 0  # what is transparent is background
        Image.fromarray(pixels).convert(mode).save(path)
    assert export("--to", "csv", "--overwrite").code == 0
    assert (out / "measurements.csv").read_bytes() == before
    Image.new("RGB", (144, 96), (1, 2, 3)).save(path)
    assert "has colours that are no object's; save it as an indexed" in export("--to", "csv", "--overwrite").error
    blended = Image.fromarray(np.array([2, 0, 1], np.uint8)[values])
    blended.putpalette([128, 0, 0, 90, 10, 10, 0, 0, 0])
    blended.save(path)
    assert "has colours that are no object's; save it as an indexed" in export("--to", "csv", "--overwrite").error
    blended.putpalette([7, 7, 7, 90, 10, 10, 250, 250, 0])
    Image.fromarray(values).save(path)
    own = Image.open(path).convert("P")
    own.putpalette([7, 7, 7, 90, 10, 10, 250, 250, 0])
    own.save(path)
    assert export("--to", "csv", "--overwrite").code == 0
    assert (out / "measurements.csv").read_bytes() == before, "a palette of somebody's own"


def test_numbers_of_images_are_those_of_the_run(vos: Vos, light: None, tmp_path: Path) -> None:
    video, first, _ = draw(tmp_path, 4)
    ended = vos(
        "track", video, "--ref", first, "--start-number", "1001", "--save", "masks,json,alpha", "-o", tmp_path / "out"
    )
    assert ended.code == 0, ended.err
    assert vos("export", tmp_path / "out", "--to", "cutouts,alpha8").code == 0
    for kind in ("alpha", "cutouts", "alpha8"):
        assert sorted(p.name for p in (tmp_path / f"out/{kind}/1").iterdir()) == [f"{n}.png" for n in range(1001, 1005)]
    assert (
        vos("export", tmp_path / "out", "--to", "alpha8", "--start-number", "0007", "-o", tmp_path / "other").code == 0
    )
    assert (tmp_path / "other/alpha8/1/0010.png").exists()


def test_images_with_a_rate_keep_their_times(vos: Vos, light: None, tmp_path: Path) -> None:
    _, first, _ = draw(tmp_path, 6)
    images, _ = clip([LEFT], 6, size=(96, 144))
    (tmp_path / "shots").mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"shots/{k}.png")
    asked = ("--ref", first, "--fps", "1/2", "--start", "4s", "--end", "8s", "--save", "masks,json,csv")
    ended = vos("track", tmp_path / "shots", *asked, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    rows = (tmp_path / "out/measurements.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [[f"{k}", f"{k}.png", f"{2 * k}.000000"] for k in (2, 3, 4)]
    assert vos("export", tmp_path / "out", "--to", "overlay").code == 0
    with av.open(str(tmp_path / "out/overlay.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == [0, 2, 4]
    again = vos("track", tmp_path / "shots", *asked, "-o", tmp_path / "out", "--resume")
    assert again.code == 0, again.err
    other = vos("track", tmp_path / "shots", *asked[:3], "1", *asked[4:], "-o", tmp_path / "out", "--resume")
    assert "holds the finished results of another run: it had source." in other.error


def test_another_clip_is_noticed(export: Callable[..., Ended], tracked: Path, tmp_path: Path) -> None:
    """Of the same size, with as many frames; and one whose frames come at other times."""
    images, _ = clip([LEFT], 10, size=(96, 144))
    ended = export("--to", "overlay", "--source", encode(tmp_path / "other.mp4", images))
    assert ended.code == 0
    assert "vos: note: 10 frames of " in ended.err
    assert "are other pictures than were tracked; if that is not the right clip, give it with --source" in ended.err
    ended = export("--to", "overlay", "--overwrite", "--source", tracked / "clip.mp4")
    assert (ended.code, ended.err) == (0, "")
    slower = encode(tmp_path / "slow.mp4", images, rate=10)
    error = export("--to", "overlay", "--overwrite", "--source", slower).error
    assert "its frame 1 is at 0.042 s, but that of the source at 0.100 s; give the right one" in error


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_the_only_object_may_be_white(vos: Vos, light: None, tmp_path: Path, mode: str) -> None:
    video, first, _ = draw(tmp_path, 3)
    assert vos("track", video, "--ref", f"{first}:5", "--save", "masks,json", "-o", tmp_path / "out").code == 0
    mask = Image.new("L", (144, 96))
    mask.paste(255, (10, 20, 30, 25))
    mask.convert(mode).save(tmp_path / "out/masks/00002.png")
    assert vos("export", tmp_path / "out", "--to", "csv").code == 0
    last = (tmp_path / "out/measurements.csv").read_text().splitlines()[-1].split(",")
    assert (last[3], last[8], last[11:15]) == ("5", "100", ["10", "20", "29", "24"])


def test_what_was_converted_before_stays_until_it_is_made_anew(export: Callable[..., Ended], out: Path) -> None:
    assert export("--to", "csv,alpha8").code == 0
    before = contents(out)
    (out / "masks/00009.png").unlink()
    assert "there is no such file" in export("--to", "csv,alpha8,npz", "--overwrite").error
    before.pop("masks/00009.png")
    assert contents(out) == before
    (out / "alpha8/notes.txt").write_text("mine")
    shutil.copy(out / "masks/00008.png", out / "masks/00009.png")
    assert export("--to", "csv,alpha8", "--overwrite").code == 0
    assert sorted(contents(out)) == sorted({*before, "masks/00009.png", "alpha8/notes.txt"})
    assert contents(out)["measurements.csv"] != before["measurements.csv"]


def test_what_cannot_be_converted(vos: Vos, export: Callable[..., Ended], out: Path, tmp_path: Path) -> None:
    assert (
        "there is no track.json; track again with --save masks,json among others"
        in vos("export", tmp_path / "none", "--to", "csv").error
    )
    assert "masks: is what results are converted from; there are overlay, alpha" in export("--to", "masks").error
    assert "unknown output 'mp3'; there are masks, overlay" in export("--to", "mp3").error
    assert "no output was named" in export("--to", "").error
    (out / "masks/00004.png").unlink()
    assert "00004.png: there is no such file, but track.json has this frame" in export("--to", "csv").error
    Image.new("L", (7, 9)).save(out / "masks/00004.png")
    assert "00004.png: is 7x9, but these results are 144x96" in export("--to", "csv").error
    Image.new("LA", (144, 96)).save(out / "masks/00004.png")
    assert "00004.png: its pixels are LA; save it as an indexed or grey PNG" in export("--to", "csv").error
    assert not (out / "measurements.csv").exists()
    shutil.rmtree(out / "masks")
    assert "no masks/ in it" in export("--to", "csv").error


def test_damaged_files_are_one_line(export: Callable[..., Ended], out: Path, tmp_path: Path) -> None:
    rng, made = random.Random(0), tmp_path / "made"
    victims = [out / "track.json", out / "masks/00002.png", out / "alpha/1/00002.png"]
    whole = {path: path.read_bytes() for path in victims}
    for path in victims:
        for _ in range(12):
            data = bytearray(whole[path])
            for _ in range(rng.choice([1, 3])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data if rng.random() < 0.7 else data[: rng.randrange(len(data))])
            ended = export("--to", "csv,alpha8,npz", "-o", made)
            assert ended.code in (0, 2), ended
            if ended.code:
                assert str(out) in ended.error
                assert not made.exists()
            else:
                assert {"measurements.csv", "masks.npz", "alpha8/2/00009.png"} <= contents(made).keys()
                shutil.rmtree(made)
        path.write_bytes(whole[path])


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["frames"].clear(),
        lambda r: r["source"].update(rate="1/0"),
        lambda r: r["source"].update(rate=None),
        lambda r: r["source"].update(height=10**9),
        lambda r: r["source"].update(reading={"start": "never"}),
        lambda r: r["source"].update(reading={"nonsense": 1}),
        lambda r: r["source"].update(reading=3),
        lambda r: r.update(frames=7),
        lambda r: r.update(source=[]),
        lambda r: r.update(version=2),
        lambda r: r.update(first_number="x"),
        lambda r: r["frames"][1].update(time="noon"),
        lambda r: r["frames"][1].update(time=float("nan")),
        lambda r: r["frames"][1].update(time=float("inf")),
        lambda r: r["frames"][1].update(frame="one"),
        lambda r: r["frames"][1]["objects"][0].update(id=400),
        lambda r: r["frames"][1]["objects"][0].update(state="here"),
        lambda r: r["frames"][1]["objects"].append(3),
    ],
)
def test_track_files_that_are_none(export: Callable[..., Ended], out: Path, change: Callable[[dict], None]) -> None:
    record = json.loads((out / "track.json").read_text())
    change(record)
    (out / "track.json").write_text(json.dumps(record))
    error = export("--to", "csv").error
    assert error == f"vos: error: {out / 'track.json'}: damaged, or not a track file of this version of vos"
