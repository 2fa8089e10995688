"""What the README shows is true: its Python runs as it stands, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from tests.cli.conftest import DISC, encode
from tests.drawn import clip
from vos.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_runs_as_it_stands(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    images, truth = clip([DISC], 2, size=(120, 160))
    encode(tmp_path / "clip.mp4", images)
    Image.fromarray(truth[0] * 255).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(code, found)
    areas = found["areas"]
    assert isinstance(areas, list)
    assert areas[0][:4] == (0, 1, "visible", int(np.count_nonzero(truth[0])))
    assert len(areas) == 2
    assert "(120, 160, 3)" in capsys.readouterr().out


PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]


def anchors(page: Path) -> set[str]:
    """What headings are called in links: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if target.startswith("http"):
            continue
        there = (ROOT / page).parent / target if target else ROOT / page
        assert there.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(there), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("script", [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*/*.py"))])
def test_the_scripts_of_the_docs_start(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "argparse" not in (ROOT / script).read_text(encoding="utf-8"):
        pytest.skip("a module, not a script")
    monkeypatch.setattr("sys.argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_set_up_commands_come_first() -> None:
    first = README.index("```")
    assert README[first:].startswith("```\nmake demo")
    assert "\nmake test" in README[first : first + 300]


def test_every_command_shown_exists() -> None:
    commands = set(get_command(app).commands)
    shown = set()
    for page in PAGES:
        shown |= set(re.findall(r"^(?:\$ )?vos (\w+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert {"track", "eval"} <= shown <= commands
