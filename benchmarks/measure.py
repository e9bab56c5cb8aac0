"""One run of one command: wall and CPU time, memory, what went over the wire, and the hash."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hashing import hashes_of
from benchmarks.servers import Server
from benchmarks.tasks import Command

# Looking takes a processor that the run wants, 50 times a second 4 % of (a); the kernel keeps the
# peak of each process, so seldom is enough. Children are dear to find, and stay for a while.
_FIRST_LOOK_SECONDS, _LOOK_SECONDS, _LOOKS_OF_A_FAMILY = 0.01, 0.25, 4


@dataclass
class Result:
    """What a run took.

    Attributes:
        seconds: Wall time until the files were there, and their hashes known to be right.
        hash_seconds: The part of it that hashing afterwards took; 0 for those that verify.
        cpu_seconds: User and system time, of children too, the hash included.
        peak_bytes: Largest resident memory of the processes, together.
        requests: Requests to the CDN.
        wire_bytes: Bytes that it sent.
        failure: Why it did not end with the right files, `None` if it did.
        without_faults: Seconds of the same contender in the same round without faults; `None` in
            cases that have none, or if that failed.
    """

    contender: str
    seconds: float = 0.0
    hash_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    requests: int = 0
    wire_bytes: int = 0
    failure: str | None = None
    without_faults: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What a run should leave.

    Attributes:
        folder: Where it runs, and below which the files are, under whatever folders.
        hashes: The SHA-256 of each, by file name; empty for a run that leaves nothing.
        verifies: Whether the command compares them itself. If not, that is done and counted.
    """

    folder: Path
    hashes: Mapping[str, str]
    verifies: bool


def run(
    name: str,
    command: Command,
    outcome: Outcome,
    *,
    environment: Mapping[str, str],
    server: Server,
    round_number: int = 0,
    time_limit: float,
) -> Result:
    """Run a command that should leave files; see that they are the right ones.

    Args:
        name: Whose run it is.
        command: What to run.
        outcome: What it should leave.
        environment: Its environment.
        server: Counts requests.
        round_number: Of the run.
        time_limit: Seconds after which it has failed.
    """
    server.forget(round_number)
    result = Result(name)
    before = _cpu_of_children()
    _execute(command, environment, outcome.folder, time_limit, result)
    result.cpu_seconds = _cpu_of_children() - before
    result.requests, result.wire_bytes = server.counted()
    if result.failure is None:
        _verify(outcome, result)
    return result


def _execute(
    command: Command,
    environment: Mapping[str, str],
    folder: Path,
    time_limit: float,
    result: Result,
) -> None:
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.words, env=environment, cwd=folder, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        watcher = Memory(process.pid)
        try:
            process.communicate(command.stdin, timeout=time_limit)
        except subprocess.TimeoutExpired:
            result.failure = f"not done after {time_limit:.0f} s"
        finally:
            result.seconds = time.perf_counter() - started
            with contextlib.suppress(ProcessLookupError):  # what it started is ended with it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            result.peak_bytes = watcher.stop()
        if process.returncode and result.failure is None:
            said.seek(0)
            result.failure = f"exit {process.returncode}: {_short(said.read())}".removesuffix(": ")


def _short(said: str) -> str:
    """Return the last line of what a program said, without URLs, which are long and not the why."""
    last = said.strip().rpartition("\n")[2]
    return re.sub(r"(\s*for url)?[\s'\"(]*https?://\S+", "", last)[:160]


def _verify(outcome: Outcome, result: Result) -> None:
    found = {path.name: path for path in outcome.folder.rglob("*.gguf") if path.is_file()}
    missing = outcome.hashes.keys() - found.keys()
    if missing:
        result.failure = f"{len(missing)} of {len(outcome.hashes)} files missing"
        return
    began, used = time.perf_counter(), time.process_time() + _cpu_of_children()
    hashes = hashes_of([found[name] for name in outcome.hashes]) if outcome.hashes else []
    if not outcome.verifies:
        result.hash_seconds = time.perf_counter() - began
        result.seconds += result.hash_seconds
        result.cpu_seconds += time.process_time() + _cpu_of_children() - used
    wrong = sum(mine != right for mine, right in zip(hashes, outcome.hashes.values(), strict=True))
    if wrong:
        result.failure = f"wrong bytes in {wrong} of {len(hashes)} files, and no error"


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Memory:
    """Looks at the memory of a process and its children, from now on.

    Attributes:
        peak: Bytes; the largest sum of what each of them had at most, of those there at a time.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid, self._is_over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Look no more; return the peak."""
        self._is_over.set()
        self._thread.join()
        return self.peak

    def _watch(self) -> None:
        family, pause, look = [self._pid], _FIRST_LOOK_SECONDS, 0
        while not self._is_over.wait(pause):
            if pause < _LOOK_SECONDS or look % _LOOKS_OF_A_FAMILY == 0:
                family = [self._pid, *_children_of(self._pid)]
            self.peak = max(self.peak, sum(map(_peak_of, family)))
            pause, look = min(2 * pause, _LOOK_SECONDS), look + 1


def _children_of(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _peak_of(pid: int) -> int:
    """Return the largest resident memory of a process so far (`VmHWM`, proc_pid_status(5))."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0
