"""Other programs, each in a virtual environment of its own; made once for a run of the tests."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

__all__ = ["environment"]


@functools.cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="modelfetch-programs-")


@functools.cache
def environment(requirement: str) -> Path:
    """Return the folder of the programs of a fresh environment that has `requirement`."""
    place = Path(_root().name, str(abs(hash(requirement))))
    venv.create(place, with_pip=False, symlinks=True)
    folder = place / "bin"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(folder / "python"), "install", "-q",
         "--disable-pip-version-check", requirement],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return folder
