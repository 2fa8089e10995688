"""Running the command line in this process or as a user would, and small clips to run it on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.drawn import Thing, clip
from tests.stand_in import stand_in_models
from vos.cli.main import main
from vos.models import load

VOS = Path(sys.executable).parent / "vos"
DISC = Thing(20, hue=0, path=lambda t: (40 + 4 * t, 60))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr that a refusal consists of."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.out + self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("vos: error: ")
        return lines[0]


Vos = Callable[..., Ended]


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded in this process."""
    monkeypatch.setattr(load, "load_models", lambda *_: stand_in_models())


@pytest.fixture
def vos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vos:
    """`vos ARGUMENTS` in this process: what the installed script calls."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["vos", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def installed() -> Vos:
    """`vos ARGUMENTS` through the installed entry point."""

    def run(*arguments: object, cwd: Path | None = None) -> Ended:
        done = subprocess.run([VOS, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@dataclass(frozen=True)
class Scene:
    """A drawn clip on disk with its first mask."""

    video: Path
    mask: Path
    truth: list[np.ndarray]


def encode(path: Path, images: list[np.ndarray], rate: int = 24, codec: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Three frames, 160x120, one disc."""
    images, truth = clip([DISC], 3, size=(120, 160))
    mask = tmp_path / "mask.png"
    Image.fromarray(truth[0] * 255).save(mask)
    return Scene(encode(tmp_path / "clip.mp4", images), mask, truth)
