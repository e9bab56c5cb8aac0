"""One run of one command: wall and CPU time, memory, what went over the wire, and the hash."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import Nginx

_SAMPLE_SECONDS = 0.02


@dataclass
class Result:
    """What a run took.

    Attributes:
        seconds: Wall time until the file was there, and its hash known to be right.
        hash_seconds: The part of it that hashing afterwards took; 0 for those that verify.
        cpu_seconds: User and system time, of children too, the hash included.
        peak_bytes: Largest resident memory of the processes, together.
        requests: Requests to the CDN.
        wire_bytes: Bytes of bodies that it sent.
        failure: Why it did not end with the right file, `None` if it did.
    """

    contender: str
    seconds: float = 0.0
    hash_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    requests: int = 0
    wire_bytes: int = 0
    failure: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(
    name: str,
    command: list[str],
    *,
    environment: dict[str, str],
    server: Nginx,
    result_file: Path,
    sha256: str,
    verifies: bool,
    time_limit: float,
) -> Result:
    """Run a command that should leave a file; see that it is the right one.

    Args:
        name: Whose run it is.
        command: What to run.
        environment: What to add to the environment.
        server: Counts requests.
        result_file: The file, or a folder below which it is.
        sha256: Its hash.
        verifies: Whether the command compares the hash itself. If not, that is done and counted.
        time_limit: Seconds after which it has failed.
    """
    server.forget()
    os.sync()
    result = Result(name)
    before, started = _cpu_of_children(), time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    watcher = _Memory(process.pid)
    try:
        _, said = process.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        said, result.failure = "", f"not done after {time_limit:.0f} s"
    result.seconds = time.perf_counter() - started
    result.peak_bytes = watcher.stop()
    if process.returncode and result.failure is None:
        result.failure = f"exit {process.returncode}: {said.strip().splitlines()[-1:]}"
    result.cpu_seconds = _cpu_of_children() - before
    found = _file(result_file)
    if result.failure is None and found is None:
        result.failure = "no file"
    elif found is not None:
        hashing, hashing_cpu = time.perf_counter(), time.process_time()
        is_right = hash_of(found) == sha256
        if not verifies:
            result.hash_seconds = time.perf_counter() - hashing
            result.seconds += result.hash_seconds
            result.cpu_seconds += time.process_time() - hashing_cpu
        if result.failure is None and not is_right:
            result.failure = "wrong bytes"
    result.requests, result.wire_bytes = server.counted()
    return result


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, computed as fast as Python can."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _file(place: Path) -> Path | None:
    if place.is_file():
        return place
    files = [p for p in place.rglob("*") if p.is_file() and p.suffix == ".gguf"]
    return max(files, key=lambda p: p.stat().st_size, default=None)


class _Memory:
    """Samples the resident memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._is_over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._is_over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._is_over.wait(_SAMPLE_SECONDS):
            try:
                process = psutil.Process(self._pid)
                family = [process, *process.children(recursive=True)]
                self._peak = max(self._peak, sum(p.memory_info().rss for p in family))
            except psutil.Error:
                continue
