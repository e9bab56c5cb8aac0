from __future__ import annotations

import sys

import pytest

from modelfetch.cli.display import choose_display
from modelfetch.types import Plan, PlannedFile


def test_without_stderr_nothing_is_said_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As under pythonw, or with `2>&-`: stdout is for the path alone."""
    monkeypatch.setattr(sys, "stderr", None)
    file = PlannedFile("m.gguf", 1000, "d" * 64, None)
    choose_display(False, Plan("a/b", "main", "c" * 40, "Q4_K_M", "the only one", (file,)))
    assert capsys.readouterr().out == ""
