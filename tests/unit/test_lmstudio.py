"""Where LM Studio keeps what it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.storage.catalogs import lmstudio_home


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def test_its_folder(user: Path) -> None:
    assert lmstudio_home() == user / ".lmstudio"
    (user / ".cache" / "lm-studio").mkdir(parents=True)
    assert lmstudio_home() == user / ".cache" / "lm-studio"
    (user / ".lmstudio-home-pointer").write_text(f"{user}/elsewhere\n")
    assert lmstudio_home() == user / "elsewhere"


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"relative/path", b"x" * 10_000])
def test_a_pointer_that_is_none(user: Path, text: bytes) -> None:
    (user / ".lmstudio-home-pointer").write_bytes(text)
    assert lmstudio_home() == user / ".lmstudio"
