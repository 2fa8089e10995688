"""Files that get their name while others look at them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from vos import paths


@pytest.mark.parametrize(("system", "refused", "fails"), [("nt", 3, False), ("nt", 99, True), ("posix", 1, True)])
def test_a_file_that_is_in_use_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, refused: int, fails: bool
) -> None:
    part, path = tmp_path / "a.part", tmp_path / "a"
    part.write_text("new")
    path.write_text("old")
    replace, calls = Path.replace, []

    def in_use(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) <= refused:
            raise PermissionError(13, "in use")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", in_use)
    monkeypatch.setattr(paths, "os", SimpleNamespace(name=system))
    monkeypatch.setattr(paths, "time", SimpleNamespace(sleep=lambda _: None))
    if fails:
        with pytest.raises(PermissionError):
            paths.put(part, path)
    else:
        paths.put(part, path)
    assert path.read_text() == ("old" if fails else "new")
