from __future__ import annotations

import csv
import io
import json
import re
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import typer
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from eval import compare_cli, plain
from eval.cli import register
from eval.compare import HOLD, STAGES, Entry, Run, compare, hold_entry, preset_entries
from eval.compare_page import write_page
from eval.compare_report import COLUMNS, Comparison
from eval.continuity import Continuity, ContinuityCounter
from eval.davis import Dataset, Task, open_dataset
from eval.run import Progress, run_dataset
from eval.scoring import score_dataset
from eval.side_by_side import write_side_by_side
from tests.drawn import Thing, clip
from tests.eval.data import Maps, drawn_truth, rectangles, shifted, write_dataset, write_png
from vos.errors import EvaluationError, OutputError, SettingsError, WeightsError
from vos.references import FrameReferences
from vos.results.lock import alone
from vos.settings import Changes
from vos.timing import StageTimes
from vos.types import Frame, FrameResult


class FakeEncoder:
    """Gives a frame's index as its features, and counts."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(self, frame: Frame) -> int:
        self.calls.append(frame.index)
        return frame.index


class FakePass:
    """Answers with stored maps, and notes in a log who was asked for which frame, and what it was shown ahead."""

    def __init__(
        self, name: str, truth: dict[str, Maps], log: list[tuple[str, int]], fail_at: int | None, latency: int
    ) -> None:
        self.name = name
        self.latency = latency
        self.shown: list[list[int]] = []
        self.times = StageTimes(torch.device("cpu"))
        self._truth = truth
        self._log = log
        self._fail_at = fail_at
        self._maps: Maps = []
        self.every = 1

    def needs(self, frame: Frame, given: FrameReferences) -> bool:
        return frame.index % self.every == 0

    def step(
        self, frame: Frame, given: FrameReferences, features: int | None, upcoming: tuple[Frame, ...]
    ) -> FrameResult:
        assert features in (None, frame.index)
        self.shown.append([later.index for later in upcoming])
        if frame.index == self._fail_at:
            raise KeyboardInterrupt
        if given.ids:
            assert frame.index == 0
            reference = sum(mask * np.uint8(i) for i, mask in given.masks.items())
            (self._maps,) = [maps for maps in self._truth.values() if np.array_equal(maps[0] % 255, reference)]
        self._log.append((self.name, frame.index))
        with self.times.stage("locate"):
            return FrameResult(frame, self._maps[frame.index] % np.uint8(255), ())


class Bench:
    """Two fake presets that share an encoder, one of another encoder, and the baseline."""

    def __init__(self, folder: Path, truth: dict[str, Maps]) -> None:
        self.truth = truth
        self.dataset = open_dataset(write_dataset(folder / "davis", truth, images=True))
        self.out = folder / "out"
        self.log: list[tuple[str, int]] = []
        self.one, self.two = FakeEncoder(), FakeEncoder()
        self.fail_at: int | None = None
        self.passes: list[FakePass] = []

    def entry(
        self, name: str, encoder: FakeEncoder, maps: dict[str, Maps], facts: object = 1, latency: int = 0
    ) -> Entry:
        answers = {key: [self.truth[key][0], *maps[key][1:]] for key in self.truth}

        def begin(size: tuple[int, int]) -> FakePass:
            self.passes.append(FakePass(name, answers, self.log, self.fail_at, latency))
            return self.passes[-1]

        return Entry(name, {"preset": name, "settings": {"x": facts}}, encoder.encode, begin)

    def entries(self) -> tuple[Entry, ...]:
        return (
            hold_entry(self.dataset),
            self.entry("right", self.one, self.truth),
            self.entry("off", self.one, shifted(self.truth)),
            self.entry("other", self.two, self.truth),
        )

    def run(self, **options: object) -> dict[str, dict[str, Run]]:
        return dict(compare(self.dataset, self.entries(), self.out, **options))

    def comparison(self) -> Comparison:
        entries = self.entries()
        return Comparison.of(self.dataset, entries, compare(self.dataset, entries, self.out))


def some_truth() -> dict[str, Maps]:
    return {key: maps for key, maps in drawn_truth().items() if key in ("pair", "leaves")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, some_truth())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished comparison; tests read it and change nothing."""
    found = Bench(tmp_path_factory.mktemp("compare"), some_truth())
    found.run()
    return found


def test_lockstep_encodes_once_per_encoder(bench: Bench) -> None:
    bench.run()
    assert bench.one.calls == bench.two.calls == [*range(9), *range(9)]
    assert bench.log[:6] == [("right", 0), ("off", 0), ("other", 0), ("right", 1), ("off", 1), ("other", 1)]


def test_a_preset_that_looks_ahead_is_shown_the_frames_it_wants(bench: Bench) -> None:
    late = [bench.entry("right", bench.one, bench.truth), bench.entry("late", bench.two, bench.truth, latency=4)]
    found = dict(compare(bench.dataset, late, bench.out))
    assert [[name for name, _ in bench.log[k : k + 2]] for k in range(0, 36, 2)] == [["right", "late"]] * 18
    assert [frame for name, frame in bench.log if name == "late"] == [*range(9), *range(9)]
    assert bench.passes[1].shown == [list(range(t + 1, min(t + 5, 9))) for t in range(9)]
    assert bench.one.calls == bench.two.calls == [*range(9), *range(9)]
    for runs in found.values():
        assert runs["late"].score.j == runs["right"].score.j == 1.0
        assert runs["late"].cost.frames == 9


def test_what_a_preset_does_not_need_is_not_encoded_for_it(bench: Bench) -> None:
    entry = bench.entry("right", bench.one, bench.truth)

    def begin(size: tuple[int, int]) -> FakePass:
        entry.begin(size)
        bench.passes[-1].every = 4
        return bench.passes[-1]

    sparse = Entry(entry.name, entry.facts, entry.encode, begin)
    other = bench.entry("other", bench.two, bench.truth)
    for runs in dict(compare(bench.dataset, [sparse, other], bench.out)).values():
        assert runs["right"].score.j == 1.0
    assert bench.one.calls == [0, 4, 8, 0, 4, 8]
    assert bench.two.calls == [*range(9), *range(9)]


def test_scores_are_those_of_the_masks_on_disk(bench: Bench) -> None:
    found = bench.run()
    for name in (HOLD, "right", "off", "other"):
        for score in score_dataset(bench.dataset, bench.out / name):
            assert (score.j, score.f) == (found[score.name][name].score.j, found[score.name][name].score.f)
    assert found["pair"]["right"].score.j == 1.0
    assert found["pair"]["off"].score.j < 1.0


def test_hold_is_the_first_mask(bench: Bench) -> None:
    bench.run()
    for t in range(9):
        with Image.open(bench.out / HOLD / "pair" / f"{t:05d}.png") as image:
            assert np.array_equal(np.asarray(image), bench.truth["pair"][0])


def test_costs(bench: Bench) -> None:
    runs = bench.run()["pair"]
    for run in runs.values():
        assert run.cost.frames == 9
        assert tuple(run.cost.seconds) == STAGES
        assert all(seconds >= 0 for seconds in run.cost.seconds.values())
        assert run.cost.rate == pytest.approx(9 / sum(run.cost.seconds.values()))
        assert sum(run.cost.ms.values()) == pytest.approx(1000 / run.cost.rate)
    decode, encode = ({name: run.cost.seconds[s] for name, run in runs.items()} for s in ("decode", "encode"))
    assert len(set(decode.values())) == 1
    assert decode[HOLD] > 0
    assert encode["right"] == encode["off"] > encode[HOLD] == 0
    assert runs["right"].cost.seconds["locate"] > 0
    assert runs["right"].cost.seconds["write"] > 0


def test_resume_does_what_is_left(bench: Bench) -> None:
    bench.fail_at = 4
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert not list(bench.out.rglob("done.json"))
    bench.fail_at = None
    first = bench.run()
    bench.log.clear()
    seen: list[Progress] = []
    (bench.out / "off" / "leaves" / "done.json").unlink()
    (bench.out / "other" / "pair" / "00003.png").unlink()
    again = bench.run(on_progress=seen.append)
    assert bench.log == [*(("other", t) for t in range(9)), *(("off", t) for t in range(9))]
    for sequence, runs in first.items():
        for name, run in runs.items():
            assert again[sequence][name].score.j == run.score.j
            assert again[sequence][name].continuity == run.continuity
            if (sequence, name) not in (("pair", "other"), ("leaves", "off")):
                assert again[sequence][name].cost.ms == pytest.approx(run.cost.ms, abs=1e-3)
    assert not any(progress.resumed for progress in seen)
    bench.run(on_progress=seen.append)
    assert seen[-2:] == [Progress("pair", 9, 9, resumed=True), Progress("leaves", 9, 9, resumed=True)]
    bench.run(overwrite=True)
    assert len(bench.log) == 18 + 2 * 3 * 9


def test_a_marker_without_times_is_not_done(bench: Bench) -> None:
    bench.run()
    (bench.out / "off" / "pair" / "done.json").write_text('{"frames": 9}')
    bench.log.clear()
    bench.run()
    assert bench.log == [("off", t) for t in range(9)]


def test_other_settings_are_refused(bench: Bench) -> None:
    bench.run()
    changed = [bench.entry("off", bench.one, bench.truth, facts=2)]
    with pytest.raises(EvaluationError, match=r"made with other settings \(settings\.x was 1, is 2\)"):
        list(compare(bench.dataset, changed, bench.out))


def test_a_stopped_comparison_leaves_no_half_sequence_marked(bench: Bench) -> None:
    runs = compare(bench.dataset, bench.entries(), bench.out)
    assert next(runs)[0] == "pair"
    assert {path.parent.name for path in bench.out.rglob("done.json")} == {"pair"}


def test_only_the_first_annotation_task(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "u", some_truth(), folder="Annotations_unsupervised", images=True)
    dataset = open_dataset(root, task=Task.UNSUPERVISED)
    with pytest.raises(EvaluationError, match="tracks from the first annotation"):
        list(compare(dataset, [hold_entry(dataset)], tmp_path / "out"))


def test_frames_are_let_go(tmp_path: Path) -> None:
    maps = [rectangles([(1, 5, 5, 20, 20)])] * 30
    bench = Bench(tmp_path, {"still": maps})
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0

    class Watching(FakeEncoder):
        def encode(self, frame: Frame) -> int:
            nonlocal most
            alive.add(frame)
            most = max(most, len(alive))
            return super().encode(frame)

    list(compare(bench.dataset, [bench.entry("a", Watching(), bench.truth)], bench.out))
    # The frame at hand, and the first one, which its source keeps.
    assert 1 <= most <= 3


def continuity(truth: list[np.ndarray], found: list[np.ndarray], objects: int) -> Continuity:
    counter = ContinuityCounter(objects)
    for a, b in zip(truth, found, strict=True):
        counter.update(a, b)
    return counter.total


LEFT, RIGHT = (0, 0, 20, 20), (0, 30, 20, 50)


def two(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> np.ndarray:
    return rectangles([(i, *box) for i, box in ((1, first), (2, second)) if box is not None])  # type: ignore[misc]


def test_lost_and_recovered() -> None:
    here, gone, half = two(LEFT, None), two(None, None), two((0, 0, 8, 20), None)
    assert continuity([here] * 4, [here] * 4, 1) == Continuity()
    # IoU 0.4 is neither lost nor found: the span goes on, and is one loss until it ends.
    assert continuity([here] * 6, [gone, half, gone, here, half, gone], 1) == Continuity(lost=3, losses=2, recovered=1)
    assert continuity([gone] * 2, [gone] * 2, 1) == Continuity(), "an object that is not there cannot be lost"
    sliver = two((0, 0, 2, 20), None)
    assert continuity([here], [sliver], 1) == Continuity(), "IoU 0.1 is not below 0.1"
    assert continuity([here], [two((0, 0, 1, 20), None)], 1) == Continuity(lost=1, losses=1)


def test_returns_and_ghosts() -> None:
    here, gone, half = two(LEFT, None), two(None, None), two((0, 0, 8, 20), None)
    truth = [here, gone, gone, *[here] * 12]
    assert continuity(truth, truth, 1) == Continuity(returns=1, met=1)
    late = [here, gone, gone, *[half] * 9, here, here, here]
    assert continuity(truth, late, 1) == Continuity(returns=1, met=1), "found on the tenth frame"
    later = [here, gone, gone, *[half] * 10, here, here]
    assert continuity(truth, later, 1) == Continuity(returns=1)
    assert continuity([here, gone, here, gone, here], [here, gone, half, gone, here], 1).met == 1
    assert continuity([gone] * 2, [here] * 2, 1) == Continuity(ghosts=2)
    few = np.zeros((100, 100), np.uint8)
    for size, ghosts in ((10, 0), (11, 1)):
        few[0, :size] = 1
        assert continuity([np.zeros_like(few)], [few], 1).ghosts == ghosts, "0.1 % of a frame is not more than that"


def test_swaps() -> None:
    right, crossed = two(LEFT, RIGHT), two(RIGHT, LEFT)
    assert continuity([right], [crossed], 2) == Continuity(lost=2, losses=2, swaps=2, mixed=2)
    both = two(LEFT, None)
    assert continuity([both], [rectangles([(2, *LEFT)])], 2).swaps == 1
    # As much of one's own as of the other's is no swap, a pixel less is.
    truth = two((0, 0, 10, 20), (10, 0, 20, 20))
    assert continuity([truth], [two((5, 0, 15, 20), None)], 2).swaps == 0
    assert continuity([truth], [two((6, 0, 15, 20), None)], 2).swaps == 1
    assert continuity([both], [rectangles([(1, *RIGHT)])], 1).swaps == 0, "a lone object has none to swap with"


def test_parts_that_change_hands() -> None:
    truth = two((0, 0, 18, 20), (18, 0, 38, 20))
    for x, mixed in ((19, 0), (20, 0), (21, 1)):
        found = two((0, 0, x, 20), (x, 0, 38, 20))
        assert continuity([truth], [found], 2) == Continuity(mixed=mixed), "a tenth of a mask is not more than that"
    assert continuity([truth], [two((0, 0, 30, 20), None)], 1).mixed == 0, "another that is not scored is background"


@given(arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 4)), arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 3)))
def test_continuity_by_the_book(truth: np.ndarray, found: np.ndarray) -> None:
    lost = losses = recovered = swaps = mixed = returns = met = ghosts = 0
    for i in (1, 2, 3):
        away, before, waiting = False, True, False
        for a, b in zip(truth, found, strict=True):
            returns += not before and (a == i).any()
            waiting = (waiting or not before) and bool((a == i).any())
            before = bool((a == i).any())
            ghosts += not before and bool((b == i).any())
            iou = plain.jaccard(a == i, b == i) if (a == i).any() else 0.0
            if (a == i).any() and iou < 0.1:
                lost, losses, away = lost + 1, losses + (not away), True
            elif away and iou >= 0.5:
                recovered, away = recovered + 1, False
            if waiting and iou >= 0.5:
                met, waiting = met + 1, False
            overlap = [int(((a == k) & (b == i)).sum()) for k in (1, 2, 3)]
            swaps += max(overlap) > overlap[i - 1]
            theirs = max(n for k, n in enumerate(overlap, start=1) if k != i)
            mixed += 10 * theirs > int((b == i).sum())
    book = Continuity(lost, losses, recovered, swaps, mixed, returns, met, ghosts)
    assert continuity(list(truth), list(found), 3) == book


def test_ids_beyond_the_objects_are_background() -> None:
    truth = rectangles([(1, *LEFT), (7, *RIGHT)])
    assert continuity([truth], [rectangles([(1, *LEFT)])], 1) == Continuity()


def test_table(done: Bench) -> None:
    console = Console(width=100)
    with console.capture() as capture:
        (table,) = done.comparison().tables(console)
        console.print(table)
    lines = {line[:12].strip(): line[12:].split() for line in capture.get().splitlines()}
    assert re.split(r"\s+", capture.get().split("\n")[1].strip()) == [HOLD, "right", "off", "other"]
    assert lines["J&F"][1::2] == ["100.0", "100.0"]
    assert float(lines["J&F"][0]) < 100
    assert lines["lost frames"][1] == "0"
    assert all(column.title in lines for column in COLUMNS)


def test_on_a_narrow_terminal_there_are_several_tables_and_no_number_is_broken(done: Bench) -> None:
    comparison, console = done.comparison(), Console(width=32)
    with console.capture() as capture:
        tables = list(comparison.tables(console))
        console.print(*tables)
    lines = [line.strip() for line in capture.get().splitlines()]
    assert 1 < len(tables) <= len(comparison.rows)
    for column in COLUMNS:
        shown = [line.removeprefix(column.title) for line in lines if re.match(rf"{column.title} +[\d-]", line)]
        assert " ".join(shown).split() == [column.text(row) for row in comparison.rows]


def test_csv(done: Bench) -> None:
    rows = list(csv.DictReader(io.StringIO(done.comparison().to_csv())))
    assert [row["preset"] for row in rows] == [HOLD, "right", "off", "other"]
    assert list(rows[0])[1:7] == ["J&F-Mean", "J-Mean", "F-Mean", "J-Recall", "F-Recall", "frames/s"]
    assert float(rows[1]["J&F-Mean"]) == 1.0
    assert float(rows[1]["frames/s"]) > 0
    assert {"lost-frames", "losses", "recovered", "id-swaps", "process-peak-mb", "encode-ms"} <= set(rows[0])


def test_json(done: Bench) -> None:
    data = json.loads(done.comparison().to_json())
    assert list(data["rows"]) == [HOLD, "right", "off", "other"]
    pair = data["rows"]["off"]["sequences"]["pair"]
    assert len(pair["objects"]["pair_1"]["J-frames"]) == 7
    assert pair["J-Mean"] == done.comparison().rows[2].runs["pair"].score.j
    assert data["rows"]["right"]["run"]["preset"] == "right"
    assert data["dataset"]["sequences"] == ["pair", "leaves"]
    assert "cores" in data["machine"]


def test_notes(done: Bench, bench: Bench) -> None:
    notes = done.comparison().notes()
    assert notes[0].startswith(
        "decode and encode are measured once per frame and charged to each preset as if it ran alone"
    )
    assert re.fullmatch(r"peak memory of the whole process, all rows together: \d+ MB", notes[1])
    assert len(notes) == 2
    held = {key: [maps[0]] * 9 for key, maps in bench.truth.items()}
    entries = (hold_entry(bench.dataset), bench.entry("lazy", bench.one, held))
    worse = Comparison.of(bench.dataset, entries, compare(bench.dataset, entries, bench.out)).notes()
    assert worse[-1] == "no better than holding the first mask still: lazy"


def test_note_on_times_of_several_runs(bench: Bench) -> None:
    bench.run()
    marker = bench.out / "off" / "pair" / "done.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "timed": "2020-01-01T00:00:00+00:00"}))
    assert "the rows were timed in several runs, so their times may not compare" in " ".join(bench.comparison().notes())


def test_page(done: Bench, tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(b"video")
    write_page(done.comparison(), tmp_path / "page.html", {"pair": video})
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>3 presets on the same frames</h1>" in text
    assert "2 sequences, 4 objects, 18 frames" in text
    assert text.count("data:image/svg+xml") == 3 + 2
    assert text.count("<video") == 1
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    for column in COLUMNS:
        assert column.title.replace("&", "&amp;").replace(" ", "<br>") in text
    with pytest.raises(OutputError, match=r"cannot read .*none\.mp4"):
        write_page(done.comparison(), tmp_path / "page.html", {"pair": tmp_path / "none.mp4"})


def test_side_by_side(done: Bench, tmp_path: Path) -> None:
    scores = {row.name: row.runs["pair"].score for row in done.comparison().rows[1:]}
    sequence, path = done.dataset.sequence("pair"), tmp_path / "deep" / "pair.mp4"
    write_side_by_side(sequence, done.out, scores, path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 9
    high, wide = frames[0].shape[:2]
    assert wide == 2 * 60
    right, off = frames[8][: high // 2, 60:], frames[8][high // 2 :, :60]
    truth = frames[8][: high // 2, :60]
    panels = [panel[high // 2 - 40 :].astype(int) for panel in (truth, right, off)]
    same, apart = (abs(panels[0] - panel).mean() for panel in panels[1:])
    assert 2 * same < apart, (same, apart)
    assert [p.name for p in path.parent.iterdir()] == ["pair.mp4"]


def test_side_by_side_refusals(done: Bench, tmp_path: Path) -> None:
    score = done.comparison().rows[1].runs["pair"].score
    sequence = done.dataset.sequence("pair")
    with pytest.raises(EvaluationError, match="sequence pair, frame 00000: nobody has no mask to show"):
        write_side_by_side(sequence, done.out, {"nobody": score}, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*b\.mp4"):
        write_side_by_side(sequence, done.out, {"right": score}, tmp_path / "file" / "b.mp4")


Vos = Callable[..., Result]


@pytest.fixture
def vos() -> Vos:
    """Runs a command line that holds this room's commands; errors come back as they were raised."""
    app = typer.Typer()
    register(app)

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def faked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command line with fake presets: `right`, `off`, `other`."""

    def entries(presets: Iterable[str], overrides: Iterable[str], dataset: Dataset) -> tuple[Entry, ...]:
        return tuple(entry for entry in bench.entries() if entry.name in presets)

    monkeypatch.setattr(compare_cli, "preset_entries", entries)
    return bench


def test_command(vos: Vos, faked: Bench, tmp_path: Path) -> None:
    arguments = ("compare", "--davis", faked.dataset.root, "--presets", "right, off", "-o", faked.out)
    shown = vos(
        *arguments, "--csv", tmp_path / "c.csv", "--json", tmp_path / "c.json", "--page", "--video", "pair"
    )  # fmt: skip
    assert "DAVIS 2017 val, 480p: 2 sequences, 4 objects" in shown.stdout
    assert "note: peak memory of the whole process" in shown.stdout
    assert "1/2 pair: J&F hold " in shown.stderr
    assert (tmp_path / "c.csv").read_text().count("\n") == 4
    assert list(json.loads((tmp_path / "c.json").read_text())["rows"]) == [HOLD, "right", "off"]
    assert "<video" in (faked.out / "compare.html").read_text(encoding="utf-8")
    assert (faked.out / "pair.mp4").stat().st_size > 1000
    again = vos(*arguments, "--json", "-", "--sequences", "leaves")
    assert list(json.loads(again.stdout)["rows"]["off"]["sequences"]) == ["leaves"]
    assert "1/1 leaves" in again.stderr
    assert "(was done before)" in again.stderr
    quiet = vos(*arguments, "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    with alone(faked.out / "off"), pytest.raises(OutputError, match="off: another run is writing there"):
        vos(*arguments)


@pytest.mark.parametrize(
    ("arguments", "kind", "error"),
    [
        (("--presets", "persam,magic"), SettingsError, r"unknown preset 'magic'; presets: .*persam-f.*"),
        (("--presets", " , "), EvaluationError, r"nothing to compare; give at least one preset of: .*persam-f.*"),
        (("--presets", "persam", "--sequences", "cat"), EvaluationError, r"no sequence 'cat' in set val of .*pair, .*"),
        (
            ("--presets", "persam", "--video", "cat"),
            EvaluationError,
            "--video cat: not among the sequences compared: pair, leaves",
        ),
        (("--presets", "persam", "--override", "x=1"), SettingsError, "unknown setting 'x'; .*"),
    ],
)
def test_errors(vos: Vos, bench: Bench, arguments: tuple[str, ...], kind: type[Exception], error: str) -> None:
    with pytest.raises(kind) as raised:
        vos("compare", "--davis", bench.dataset.root, "-o", bench.out, *arguments)
    assert re.fullmatch(error, str(raised.value))
    assert not bench.out.exists()


def test_presets_share_models_that_agree(bench: Bench, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("half_embeddings: true\n")
    names = ["persam", "persam-f", str(mine), "persam"]
    one, two, other = preset_entries(names, ["decoder.cascade=1"], bench.dataset)
    assert [one.name, two.name, other.name] == ["persam", "persam-f", "mine"]
    assert one.encode == two.encode
    assert one.encode != other.encode
    assert two.facts["settings"]["decoder"]["cascade"] == 1
    (hold := tmp_path / "hold.yaml").write_text("half_embeddings: true\n")
    with pytest.raises(
        EvaluationError, match=r"two rows would be called 'hold'; rename the file of preset .*hold\.yaml"
    ):
        preset_entries([str(hold)], [], bench.dataset)


def test_embeddings_are_kept_where_the_command_says(
    vos: Vos, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "1: kept"

    def entries(presets: Iterable[str], overrides: Changes, dataset: Dataset) -> tuple[Entry, ...]:
        (entry,) = preset_entries(presets, overrides, dataset)
        fake = bench.entry("persam", bench.one, bench.truth)
        return (Entry("persam", entry.facts, fake.encode, fake.begin),)

    monkeypatch.setattr(compare_cli, "preset_entries", entries)
    arguments = ("--davis", bench.dataset.root, "--cache-embeddings", kept)
    shown = vos("compare", "--presets", "persam", "-o", bench.out, *arguments)
    assert "note: embeddings may come from a cache" in shown.stdout
    # The same settings as those of `vos eval`, which goes on from these masks.
    monkeypatch.setattr("vos.pipeline.track", None)
    vos("eval", bench.out / "persam", "--run", "--preset", "persam", *arguments)


def test_missing_weights_are_said_before_any_frame(bench: Bench, tmp_path: Path) -> None:
    entries = preset_entries(["persam"], [f"weights={tmp_path / 'none.pt'}"], bench.dataset)
    with pytest.raises(WeightsError, match=r"none\.pt"):
        list(compare(bench.dataset, entries, bench.out))
    assert not list(bench.out.rglob("*.png"))


def test_vos_eval_goes_on_with_a_row(vos: Vos, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a comparison keeps of a preset is what `vos eval --run` keeps, so neither tracks what the other has."""
    (entry,) = preset_entries(["persam"], [], bench.dataset)
    fake = bench.entry("persam", bench.one, bench.truth)
    list(compare(bench.dataset, [Entry("persam", entry.facts, fake.encode, fake.begin)], bench.out))
    monkeypatch.setattr("vos.pipeline.track", None)
    arguments = ("eval", bench.out / "persam", "--davis", bench.dataset.root, "--run", "--preset", "persam")
    assert "J&F 100.0 over 4 objects" in vos(*arguments).stdout


@pytest.mark.slow
def test_real_presets_give_what_they_give_alone(checkpoint: Path, tmp_path: Path) -> None:
    things = [
        Thing(28, hue=0, path=lambda t: (70 + 6 * t, 90), seed=1),
        Thing(24, hue=110, path=lambda t: (250 - 5 * t, 160), shape="square", seed=2),
    ]
    for name, count in (("both", 2), ("one", 1)):
        images, truth = clip(things[:count], 3)
        for t, (image, index_map) in enumerate(zip(images, truth, strict=True)):
            write_png(tmp_path / "davis" / "Annotations" / "480p" / name / f"{t:05d}.png", index_map)
            path = tmp_path / "davis" / "JPEGImages" / "480p" / name / f"{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    listing = tmp_path / "davis" / "ImageSets" / "2017" / "val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("both\none\n")
    dataset = open_dataset(tmp_path / "davis")
    presets = preset_entries(["persam", "persam-f"], [f"weights={checkpoint}"], dataset)
    entries = (hold_entry(dataset), *presets)
    comparison = Comparison.of(dataset, entries, compare(dataset, entries, tmp_path / "out"))
    hold, persam, _ = comparison.rows
    for row in comparison.rows[1:]:
        assert row.jf > max(0.9, hold.jf)
        assert row.continuity == Continuity()
        assert all(row.cost.seconds[stage] > 0 for stage in STAGES)
    assert persam.cost.seconds["encode"] == comparison.rows[2].cost.seconds["encode"]
    assert comparison.notes()[-1].startswith("peak memory")

    def alone(source: str, reference: np.ndarray) -> Iterable[FrameResult]:
        from vos import track

        return track(source, reference, preset="persam", overrides=[f"weights={checkpoint}"])

    list(run_dataset(open_dataset(tmp_path / "davis", sequences=["both"]), tmp_path / "alone", alone, {}))
    for path in sorted((tmp_path / "alone" / "both").glob("*.png")):
        assert path.read_bytes() == (tmp_path / "out" / "persam" / "both" / path.name).read_bytes()
