"""Every output read back as a user's program would, and compared with the masks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.results.soft import IDS, soft_results
from vos.errors import OutputError, SettingsError
from vos.results import KINDS, Labels, ResultWriter, Run, Summary, files, matte
from vos.results.measure import COLUMNS, perimeter
from vos.results.polygons import polygons_of
from vos.results.yolo import outline_of
from vos.results.yuv import bt709
from vos.types import OPAQUE, FrameResult
from vos.video import Source, open_source

COUNT = 5
RESULTS = soft_results(COUNT)


@pytest.fixture
def source() -> Iterator[Source]:
    with open_source([RESULTS[0].frame.image]) as opened:
        yield opened


def write(out: Path, source: Source, *save: str, ids: tuple[int, ...] = IDS, number: str | None = None) -> Summary:
    with ResultWriter(out, Run(source, ids=ids, first_number=number), save=save) as writer:
        for result in RESULTS:
            writer.write(result)
    assert not list(out.rglob("*.part"))
    return writer.close()


def layer(result: FrameResult, object_id: int) -> np.ndarray:
    """False everywhere before the object enters."""
    known = object_id in [item.id for item in result.objects]
    return result.layer(object_id) if known else np.zeros(result.index_map.shape, bool)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le"])
@pytest.mark.parametrize("size", [(480, 854), (62, 82)])
def test_a_picture_is_converted_the_same_every_time(
    pixels: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    image = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    depth = 2 if "10" in pixels else 1

    def seen() -> bytes:
        rows = [
            np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, -1)[:, : depth * plane.width]
            for plane in bt709(image, pixels).planes
        ]
        return b"".join(part.tobytes() for part in rows)

    assert len({seen() for _ in range(60)}) == 1


def test_the_drawn_objects_overlap() -> None:
    assert (layer(RESULTS[2], 1) & layer(RESULTS[2], 7)).sum() > 20


def test_alphas_agree_with_the_masks() -> None:
    for result in RESULTS:
        for item in result.objects:
            alpha = result.alpha(item.id)
            assert alpha.dtype == np.uint16
            assert (alpha[result.mask(item.id)] >= OPAQUE).all()
            assert (alpha[result.index_map == 0] < OPAQUE).all()
            assert result.mask(item.id).any() or not alpha.any()
    hard = FrameResult(RESULTS[1].frame, RESULTS[1].index_map, RESULTS[1].objects)
    assert set(np.unique(hard.alpha(7))) == {0, 65535}
    assert np.array_equal(hard.layer(7), hard.mask(7))
    with pytest.raises(KeyError, match="object 3 is not known in frame 1; known: \\[1, 7\\]"):
        hard.alpha(3)


@pytest.mark.parametrize(("kind", "bits"), [("alpha", 16), ("alpha8", 8)])
def test_alpha_sequences(tmp_path: Path, source: Source, kind: str, bits: int) -> None:
    summary = write(tmp_path, source, kind)
    assert summary.outputs == (tmp_path / kind,)
    for result in RESULTS:
        for i in IDS:
            with Image.open(tmp_path / kind / str(i) / f"{result.frame.index:05d}.png") as image:
                assert image.mode == ("I;16" if bits == 16 else "L")
                read = np.asarray(image).astype(np.int64)
            known = i in [item.id for item in result.objects]
            expected = result.alpha(i) if known else np.zeros_like(result.index_map, np.uint16)
            assert np.array_equal(read, expected >> (16 - bits))
            assert np.array_equal(read >= 1 << (bits - 1), layer(result, i))
    soft = (RESULTS[1].alpha(7) > 0) & (RESULTS[1].alpha(7) < 65535)
    assert soft.sum() > 50


@pytest.mark.parametrize(
    ("number", "names"), [("1001", "1001 1002 1003"), ("00098", "00098 00099 00100"), ("9", "9 10 11")]
)
def test_sequences_begin_where_they_are_told(tmp_path: Path, source: Source, number: str, names: str) -> None:
    write(tmp_path, source, "alpha8", "cutouts", number=number)
    for kind in ("alpha8", "cutouts"):
        for i in IDS:
            found = sorted((tmp_path / kind / str(i)).iterdir(), key=lambda path: int(path.stem))
            assert [path.stem for path in found][:3] == names.split()
            assert len(found) == COUNT


def test_cutouts(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "cutouts")
    for result in RESULTS:
        for i in IDS:
            with Image.open(tmp_path / f"cutouts/{i}/{result.frame.index:05d}.png") as image:
                assert image.mode == "RGBA"
                read = np.asarray(image)
            alpha = read[..., 3]
            assert np.array_equal(alpha >= 128, layer(result, i))
            assert np.array_equal(read[alpha > 0, :3], result.frame.image[alpha > 0])
            assert not read[alpha == 0].any()


def test_prores_mattes(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "prores")
    assert sorted(p.name for p in (tmp_path / "prores").iterdir()) == ["1.mov", "7.mov"]
    for i in IDS:
        with av.open(str(tmp_path / f"prores/{i}.mov")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "prores"
            assert stream.codec_context.codec_tag == "ap4h"
            assert (stream.codec_context.colorspace, stream.codec_context.color_primaries) == (1, 1)
            frames = list(container.decode(stream))
        assert {(frame.colorspace, frame.color_primaries, frame.color_trc) for frame in frames} == {(1, 1, 1)}
        assert [frame.time for frame in frames] == [float(result.frame.time or 0) for result in RESULTS]
        for frame, result in zip(frames, RESULTS, strict=True):
            assert "a" in frame.format.name
            wide = frame.reformat(format="yuva444p16le")
            plane = wide.planes[3]
            alpha = np.frombuffer(bytes(plane), "<u2").reshape(plane.height, -1)[:, : plane.width]
            assert np.array_equal(alpha >= OPAQUE, layer(result, i))
            known = i in [item.id for item in result.objects]
            expected = result.alpha(i).astype(int) if known else 0
            assert np.abs(alpha.astype(int) - expected).max() <= 128  # ten bits
            # The whole picture is there, behind what is transparent too: no more is lost than ProRes loses.
            rgb = frame.to_ndarray(format="rgb24").astype(int)
            assert np.abs(rgb - result.frame.image).mean() < 8


def test_a_matte_of_an_object_that_was_not_announced_begins_where_it_enters(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "prores", ids=())
    with av.open(str(tmp_path / "prores/7.mov")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == COUNT - 1


def test_without_the_encoder_prores_is_refused(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matte.av, "codecs_available", set())
    with pytest.raises(OutputError, match="prores/: this PyAV was built without prores_ks; install PyAV's own wheel"):
        write(tmp_path, source, "prores")


def test_coco_reads_its_file(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "coco")
    coco = COCO(str(tmp_path / "coco.json"))
    assert sorted(coco.getCatIds()) == sorted(IDS)
    assert [coco.imgs[k]["file_name"] for k in sorted(coco.imgs)] == [f"{k:05d}.jpg" for k in range(COUNT)]
    for result in RESULTS:
        found = {a["category_id"]: a for a in coco.loadAnns(coco.getAnnIds(imgIds=result.frame.index))}
        assert set(found) == {i for i in IDS if layer(result, i).any()}
        for i, annotation in found.items():
            mask = layer(result, i)
            assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            assert annotation["bbox"] == box
            assert annotation["area"] == mask.sum()
    both = [coco.annToMask(a) for a in coco.loadAnns(coco.getAnnIds(imgIds=2))]
    assert (both[0] & both[1]).sum() == (layer(RESULTS[2], 1) & layer(RESULTS[2], 7)).sum() > 0


@pytest.mark.parametrize("ids", [IDS, ()], ids=["announced", "not announced"])
def test_youtube_vos(tmp_path: Path, source: Source, ids: tuple[int, ...]) -> None:
    write(tmp_path, source, "youtube", ids=ids)
    read = json.loads((tmp_path / "youtube.json").read_text())
    (video,) = read["videos"]
    assert (video["width"], video["height"], video["length"]) == (64, 48, COUNT)
    assert video["file_names"] == [f"{k:05d}.jpg" for k in range(COUNT)]
    assert [a["category_id"] for a in read["annotations"]] == list(IDS)
    for annotation in read["annotations"]:
        assert annotation["video_id"] == video["id"]
        fields = [annotation[name] for name in ("segmentations", "bboxes", "areas")]
        for result, rle, box, area in zip(RESULTS, *fields, strict=True):
            mask = layer(result, annotation["category_id"])
            if not mask.any():
                assert rle is box is area is None
                continue
            assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)
            assert box == coco_mask.toBbox(rle).tolist()
            assert area == mask.sum()


def test_arrays(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "npz")
    with np.load(tmp_path / "masks.npz", allow_pickle=False) as read:
        assert read["ids"].tolist() == list(IDS)
        assert len(read.files) == 1 + COUNT * len(IDS)
        for result in RESULTS:
            for i in IDS:
                array = read[f"{i}/{result.frame.index:05d}"]
                assert array.dtype == bool
                assert np.array_equal(array, layer(result, i))


def test_polygons_in_their_file(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "polygons")
    read = json.loads((tmp_path / "polygons.json").read_text())
    assert [frame["frame"] for frame in read["frames"]] == list(range(COUNT))
    for result, frame in zip(RESULTS, read["frames"], strict=True):
        found = {item["id"]: item["polygons"] for item in frame["objects"]}
        for i in IDS:
            assert np.array_equal(filled(found.get(i, []), result.index_map.shape), layer(result, i))


def filled(polygons: list, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels whose centres lie inside an odd number of rings of a polygon."""
    mask = np.zeros(shape, bool)
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    for rings in polygons:
        inside = np.zeros(shape, bool)
        for ring in rings:
            for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
                if x0 == x1:
                    inside ^= (xs > x0) & (ys > min(y0, y1)) & (ys < max(y0, y1))
                else:
                    assert y0 == y1
        assert not (mask & inside).any()
        mask |= inside
    return mask


@settings(max_examples=150, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_polygons_hold_exactly_the_mask(mask: np.ndarray) -> None:
    polygons = polygons_of(mask)
    assert np.array_equal(filled(polygons, mask.shape), mask)
    for outer, *holes in polygons:
        assert _area(outer) > 0
        assert all(_area(hole) < 0 for hole in holes)
    assert sum(_area(ring) for rings in polygons for ring in rings) == mask.sum()


def _area(ring: list[list[float]]) -> float:
    x, y = np.array(ring).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_polygons_by_hand() -> None:
    ring = np.ones((3, 4), bool)
    ring[1, 1:3] = False
    outer, hole = polygons_of(ring)[0]
    assert sorted(outer) == [[-0.5, -0.5], [-0.5, 2.5], [3.5, -0.5], [3.5, 2.5]]
    assert sorted(hole) == [[0.5, 0.5], [0.5, 1.5], [2.5, 0.5], [2.5, 1.5]]
    assert len(polygons_of(np.eye(2, dtype=bool))) == 2


@settings(max_examples=300, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_outline_is_the_mask(mask: np.ndarray) -> None:
    assert np.array_equal(inside(outline_of(mask), mask.shape), mask)


def test_an_outline_has_fewer_corners_than_steps() -> None:
    ys, xs = np.mgrid[:200, :300]
    ring = ((xs - 150) ** 2 + (ys - 100) ** 2 < 80**2) & ((xs - 150) ** 2 + (ys - 100) ** 2 > 40**2)
    mask = ring | ((xs < 20) & (ys < 20))
    outline = outline_of(mask)
    assert np.array_equal(inside(outline, mask.shape), mask)
    assert len(outline) < 0.7 * sum(len(ring) for rings in polygons_of(mask) for ring in rings)


def inside(outline: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels whose centres are inside by the even-odd rule."""
    mask = np.zeros(shape, bool)
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    for one, other in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = sorted([tuple(one), tuple(other)], key=lambda corner: corner[1])
        if y0 != y1:
            mask ^= (ys >= y0) & (ys < y1) & (xs > x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
    return mask


@pytest.mark.parametrize("ids", [IDS, ()], ids=["announced", "not announced"])
def test_yolo(tmp_path: Path, source: Source, ids: tuple[int, ...]) -> None:
    write(tmp_path, source, "yolo", ids=ids)
    about = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert about == {"train": "images", "val": "images", "names": {k: f"object {k + 1}" for k in range(max(IDS))}}
    height, width = RESULTS[0].frame.size
    for result in RESULTS:
        number = f"{result.frame.index:05d}"
        with Image.open(tmp_path / f"yolo/images/{number}.jpg") as picture:
            assert np.abs(np.asarray(picture).astype(int) - result.frame.image).mean() < 4  # of noise
        found = {}
        for line in (tmp_path / f"yolo/labels/{number}.txt").read_text().splitlines():
            number, *shares = line.split()
            corners = np.array(shares, float).reshape(-1, 2)
            assert corners.min() >= 0 and corners.max() <= 1
            found[int(number) + 1] = inside(corners * (width, height) - 0.5, (height, width))
        for i in IDS:
            assert np.array_equal(found.get(i, np.zeros((height, width), bool)), layer(result, i))


def test_labels_are_the_classes_of_data_sets(tmp_path: Path, source: Source) -> None:
    labels = Labels((f"über: {IDS[-1]}", 'a "b"', "none:"))
    with ResultWriter(tmp_path, Run(source, ids=IDS, labels=labels), save=["coco", "youtube", "yolo", "csv"]) as writer:
        for result in RESULTS:
            writer.write(result)
    classes = {1: "über", 2: 'a "b"', 3: "none"}
    for name in ("coco", "youtube"):
        read = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert {category["id"]: category["name"] for category in read["categories"]} == classes
        assert {a["track_id"] for a in read["annotations"]} == set(IDS)
        for annotation in read["annotations"]:
            assert annotation["category_id"] == (1 if annotation["track_id"] == IDS[-1] else 2)
    about = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))
    assert about["names"] == {number - 1: name for number, name in classes.items()}
    lines = [line for path in (tmp_path / "yolo/labels").iterdir() for line in path.read_text().splitlines()]
    assert {line.split()[0] for line in lines} == {"0", "1"}
    with open(tmp_path / "measurements.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert row["label"] == ("über" if int(row["id"]) == IDS[-1] else 'a "b"')


def test_pictures(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "pictures", "coco")
    names = [image["file_name"] for image in json.loads((tmp_path / "coco.json").read_text())["images"]]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == names
    for name, result in zip(names, RESULTS, strict=True):
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert np.abs(np.asarray(picture).astype(int) - result.frame.image).mean() < 4  # of noise


def test_measurements(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, "csv")
    with open(tmp_path / "measurements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(int(r["frame"]), int(r["id"])) for r in rows] == [
        (result.frame.index, item.id) for result in RESULTS for item in result.objects
    ]
    for row in rows:
        result = RESULTS[int(row["frame"])]
        mask = result.mask(int(row["id"]))
        assert int(row["area"]) == mask.sum()
        assert float(row["time"]) == pytest.approx(result.frame.index / 24, abs=1e-6)
        if not mask.any():
            assert (row["state"], row["centroid_x"], row["x0"], row["perimeter"]) == ("absent", "", "", "")
            continue
        ys, xs = np.nonzero(mask)
        assert (float(row["centroid_x"]), float(row["centroid_y"])) == pytest.approx((xs.mean(), ys.mean()), abs=1e-3)
        box = [float(row[name]) for name in ("x0", "y0", "x1", "y1")]
        assert box == [xs.min(), ys.min(), xs.max(), ys.max()]
        assert float(row["perimeter"]) == pytest.approx(perimeter(mask), abs=0.01)
        assert row["state"] == ("uncertain" if result.frame.index == 2 else "visible")
        assert row["given"] == str(int(result.frame.index == 0))


@pytest.mark.parametrize("turn", range(0, 90, 9))
def test_perimeter(turn: int) -> None:
    ys, xs = np.mgrid[:400, :400] - 200.0
    assert perimeter(np.hypot(xs, ys) <= 150) == pytest.approx(2 * np.pi * 150, rel=0.01)
    ring = (np.hypot(xs, ys) <= 150) & (np.hypot(xs, ys) >= 50)
    assert perimeter(ring) == pytest.approx(2 * np.pi * 200, rel=0.01)
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    square = (abs(c * xs - s * ys) <= 100) & (abs(s * xs + c * ys) <= 100)
    assert perimeter(square) == pytest.approx(800, rel=0.06)
    assert perimeter(np.zeros((3, 3), bool)) == 0


def test_all_at_once_and_over_each_other(tmp_path: Path, source: Source) -> None:
    write(tmp_path, source, *KINDS)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {kind.target.name for kind in KINDS.values()}
    with pytest.raises(OutputError, match=r"already holds results \(masks/, overlay.mp4, track.json, alpha/, .*csv\)"):
        write(tmp_path, source, "csv")
    with ResultWriter(tmp_path, Run(source, ids=IDS), save=["csv"], overwrite=True) as writer:
        writer.write(RESULTS[0])
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["measurements.csv"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_a_frame_leaves_nothing(tmp_path: Path, source: Source, kind: str) -> None:
    with pytest.raises(KeyError), ResultWriter(tmp_path / "out", Run(source), save=[kind]):
        raise KeyError
    assert not (tmp_path / "out").exists()


def test_names_are_checked(tmp_path: Path, source: Source) -> None:
    with pytest.raises(SettingsError, match="no output was named; there are masks, overlay"):
        ResultWriter(tmp_path, Run(source), save=[])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_full_disk_leaves_what_is_whole(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    """The disk takes no more from some byte on, until the reserve is given up."""
    written, limit = 0, float("inf")

    class Disk:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            nonlocal written
            if written + len(data) > limit:
                raise OSError(28, "No space left on device")
            written += len(data)
            return int(self.file.write(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    init, release = files.PartFile.__init__, files.Reserve.release

    def opened(self: files.PartFile, *arguments: Any) -> None:
        init(self, *arguments)
        self._file = Disk(self._file)  # type: ignore[assignment]

    def released(self: files.Reserve) -> bool:
        nonlocal limit
        limit = float("inf")
        return release(self)

    monkeypatch.setattr(files.PartFile, "__init__", opened)
    monkeypatch.setattr(files.Reserve, "release", released)
    write(tmp_path / "whole", source, kind)
    limit, written = written * share, 0
    out = tmp_path / "out"
    try:
        # What there is no room for at the very end fits into the reserve.
        assert write(out, source, kind).complete
    except OutputError as error:
        assert "No space left on device" in str(error)
    else:
        assert share == 0.8 or kind == "overlay"
    assert not [p for p in out.rglob("*") if p.name.endswith(".part") or p.name.startswith(".")]
    for path in out.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".npz":
            with np.load(path) as read:
                assert all(read[name].shape in ((48, 64), (2,)) for name in read.files)
        elif path.suffix in (".mov", ".mp4"):
            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)) >= 1
        elif path.suffix == ".csv":
            with open(path, newline="") as file:
                assert all(len(row) == len(COLUMNS) for row in csv.reader(file))
