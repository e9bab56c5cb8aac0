"""Who takes part: the command of each, and whether it verifies what it fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import commands
from benchmarks.machine import find, ours, python_version_of, version_of
from benchmarks.tasks import CONNECTIONS, REPO, Command, Task, Wanted

__all__ = ["CONNECTIONS", "CONTENDERS", "OURS", "REPO", "Command", "Contender", "Task", "Wanted"]

OURS = "modelfetch"


@dataclass(frozen=True)
class Contender:
    """A program that fetches files.

    Attributes:
        name: What it is called in tables.
        command: Its command for a task.
        verifies: Whether it compares the files with the published SHA-256 itself.
        version: Its version, `None` when it is not here.
        takes_many: Whether it can fetch more than one file.
        is_yardstick: Whether it writes nothing, and shows what the line can do.
    """

    name: str
    command: Callable[[Task], Command]
    verifies: bool
    version: Callable[[], str | None]
    takes_many: bool = True
    is_yardstick: bool = False


def _program(name: str, *words: str) -> Callable[[], str | None]:
    return lambda: version_of([name, *(words or ("--version",))]) if find(name) else None


def _package(name: str) -> Callable[[], str | None]:
    return lambda: python_version_of(name)


def another_version(source: Path) -> Contender:
    """Return ours in another version.

    Args:
        source: The folder that has its package.
    """
    command = commands.another(str(source.resolve()))
    return Contender("another modelfetch", command, True, _package("modelfetch"))


CONTENDERS = [
    Contender(OURS, commands.modelfetch, True, ours),
    Contender("modelfetch (library)", commands.library, True, ours),
    Contender("huggingface_hub", commands.huggingface_hub, False, _package("huggingface_hub")),
    Contender("hf_transfer", commands.hf_transfer, False, _package("hf_transfer")),
    Contender("aria2c", commands.aria2c, True, _program("aria2c")),
    Contender("curl", commands.curl, False, _program("curl")),
    Contender("wget2", commands.wget2, False, _program("wget2")),
    Contender("axel", commands.axel, False, _program("axel"), takes_many=False),
    Contender("pypdl", commands.pypdl, False, _package("pypdl")),
    Contender("parfive", commands.parfive, False, _package("parfive")),
    Contender(
        "curl to /dev/null", commands.curl_to_nowhere, False, _program("curl"), is_yardstick=True
    ),
]
