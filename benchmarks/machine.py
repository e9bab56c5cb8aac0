"""The machine: what it is, and the tools that a run needs on it."""

from __future__ import annotations

import compileall
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import modelfetch
from modelfetch.memory import processors

# program -> Debian package
TOOLS = {
    "nginx": "nginx-light",
    "curl": "curl",
    "aria2c": "aria2",
    "wget2": "wget2",
    "axel": "axel",
    "sha256sum": "coreutils",
    "openssl": "openssl",
    "ip": "iproute2",
    "tc": "iproute2",
}


def ensure_tools() -> list[str]:
    """Install what is missing where that can be done; return what is missing still."""
    missing = [program for program in TOOLS if find(program) is None]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        packages = sorted({TOOLS[program] for program in missing})
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-q"], ["install", "-y", "-q", *packages]):
            subprocess.run(
                ["apt-get", *words], env=environment, check=False, stdout=subprocess.DEVNULL
            )
    return [program for program in TOOLS if find(program) is None]


def find(program: str) -> str | None:
    """Return the path of a program, those for administrators included."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def described() -> str:
    """Return a line that says what the figures were measured on."""
    cpu = "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"model name\s*: (.*)", info.read_text())
        cpu = match[1] if match else cpu
    return (
        f"{cpu}, {processors()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"
    )


def version_of(command: list[str]) -> str:
    """Return the first version number that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
    return match[0] if match else "?"


def python_version_of(package: str) -> str | None:
    """Return the version of an installed Python package, `None` without it."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def ours() -> str:
    """Return our version, with the commit of a checkout: many have the same number."""
    number = f"{python_version_of('modelfetch')}"
    source = Path(modelfetch.__file__).parent
    if find("git") is None or (commit := _git(source, "rev-parse", "--short", "HEAD")) is None:
        return number
    is_changed = _git(source, "diff", "--quiet", "HEAD", "--", ".") is None
    return f"{number} ({commit}{', changed' if is_changed else ''})"


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says there, `None` if it fails."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    return None if done.returncode else done.stdout.strip()


def warm(modules: Sequence[str]) -> None:
    """Import Python packages once, so that nobody's first run compiles them.

    pip compiles what it installs, but not a package that is installed for editing, as ours is here.
    """
    compileall.compile_dir(str(Path(modelfetch.__file__).parent), quiet=2)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for module in modules:
        words = [python(), "-c", f"import {module}"]
        subprocess.run(words, env=environment, check=False, capture_output=True)


def python() -> str:
    """Return the interpreter, by which Python contenders run."""
    return sys.executable
