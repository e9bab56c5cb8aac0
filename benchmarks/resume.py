"""What is fetched again after `kill -9` at half of the file, and when the file is verified.

    python -m benchmarks.resume [--quick]

The FakeHub's connections share 40 MB/s, however many they are, and little is in flight, so that
what it sent is what arrived. When half of the file has been sent, the program and its children are
killed; then the same command runs again. *again* is all that was sent in both runs, less the size
of the file; a second of transfer is 40 MB. Those that do not verify are given the time of a hash.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.concurrency import shaping
from benchmarks.contenders import CONTENDERS, REPO, Command, Task, Wanted
from benchmarks.hashing import hash_of
from benchmarks.machine import ensure_tools, find
from benchmarks.single import MiB, environment, middle, run, table
from modelfetch.testing import Content, FakeHub, build_gguf

FILE = "model-Q4_K_M.gguf"
RATE = 40_000_000
LIMIT = 120.0
Make = Callable[[Task], Command]


def _aria2(*more: str) -> Make:
    def command(task: Task) -> Command:
        file = task.only
        return Command([
            "aria2c", "-q", "-c", "-x16", "-s16", "-d", str(task.folder), "-o", file.name,
            f"--checksum=sha-256={file.sha256}", *more, file.url,
        ])  # fmt: skip

    return command


def _curl(task: Task) -> Command:
    out = str(task.folder / task.only.name)
    return Command(["curl", "-sSfL", "-C", "-", "-o", out, task.only.url])


def _programs() -> dict[str, tuple[Make, bool]]:
    """Return each program's command, and whether it verifies."""
    named = {contender.name: contender for contender in CONTENDERS}
    programs: dict[str, tuple[Make, bool]] = {
        name: (named[name].command, named[name].verifies)
        for name in ("modelfetch", "huggingface_hub")
    }
    if find("aria2c"):
        programs["aria2c -c"] = _aria2(), True
        programs["aria2c -c --auto-save-interval=1"] = _aria2("--auto-save-interval=1"), True
    if find("curl"):
        programs["curl -C -"] = _curl, False
    return programs


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"size", "rate", "rows": {"<program>": [{"again", "seconds"}, ...]}}`."""
    ensure_tools()
    content = build_gguf(size_bytes=(96 if quick else 256) * MiB)
    rows: dict[str, list[dict[str, float]]] = {}
    with FakeHub.in_thread() as hub, shaping(hub, lambda busy: RATE / busy):
        commit = hub.add(REPO, {FILE: content})
        hub.has_escapes = False  # some clients change them
        url = f"{hub.endpoint}/{REPO}/resolve/{commit}/{FILE}"
        for number in range(1 if quick else 5):
            for name, (command, verifies) in _programs().items():
                place = folder / f"{name.replace(' ', '')}-{number}"
                place.mkdir()
                task = Task(hub.endpoint, (Wanted(url, FILE, content.sha256, content.size),), place)
                result = _once(hub, command(task), place, content, verifies)
                rows.setdefault(name, []).append(result)
    return {"size": content.size, "rate": RATE, "rows": rows}


def _once(
    hub: FakeHub, command: Command, place: Path, content: Content, verifies: bool
) -> dict[str, float]:
    hub.reset_log()
    quiet: dict[str, Any] = {
        "env": environment(hub.endpoint, place), "text": True,
        "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True,
    }  # fmt: skip
    with subprocess.Popen(command.words, stdin=subprocess.PIPE, **quiet) as first:
        assert first.stdin is not None
        first.stdin.write(command.stdin)
        first.stdin.close()
        until = time.monotonic() + LIMIT
        while hub.sent_bytes(FILE) < content.size // 2 and time.monotonic() < until:
            time.sleep(0.005)
        os.killpg(first.pid, signal.SIGKILL)
    before, began = hub.sent_bytes(FILE), time.perf_counter()
    subprocess.run(command.words, input=command.stdin, check=True, timeout=LIMIT, **quiet)
    took = time.perf_counter() - began
    found = max(place.rglob("*.gguf"), key=lambda path: path.stat().st_size)
    is_right = hash_of(found) == content.sha256
    if not verifies:
        took = time.perf_counter() - began
    if not is_right:
        raise RuntimeError(f"wrong bytes: {command.words}")
    again = hub.sent_bytes(FILE) - content.size
    return {"again": again, "seconds": took, "killed_at": before}


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the table."""
    best = raw["size"] / 2 / raw["rate"]
    heads = ["", "fetched again, MB", "in seconds of transfer", "seconds to verified, once more"]
    rows = []
    for name, runs in raw["rows"].items():
        again = [taken["again"] for taken in runs]
        rows.append(
            (
                name,
                middle([bytes_ / 1e6 for bytes_ in again]),
                middle([bytes_ / raw["rate"] for bytes_ in again], "{:.2f}"),
                middle([taken["seconds"] for taken in runs], "{:.2f}"),
            )
        )
    return (
        f"### (k) Killed at half of {raw['size'] / MiB:.0f} MiB, {raw['rate'] / 1e6:.0f} MB/s\n\n"
        f"The rest alone takes {best:.2f} s.\n\n" + table(heads, rows)
    )


def main() -> None:
    run("resume", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
