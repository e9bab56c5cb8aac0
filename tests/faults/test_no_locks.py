"""Disks on which a lock excludes nobody, or cannot be had: two processes are two writers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, assert_same, coded, final_names

from modelfetch import Engine
from modelfetch.storage import locks
from modelfetch.testing import FakeHub, Stall

fcntl = pytest.importorskip("fcntl")
Settings = Callable[..., dict[str, Any]]
SIZE = 16 * MiB
SPEED = 8 * MiB  # of one download
CONNECTIONS = 4

# What is patched is the system's call, below everything that is ours.
NO_OP = "lambda fd, operation: None"
REFUSED = "lambda fd, operation: (_ for _ in ()).throw(OSError(errno.ENOLCK, 'no locks'))"
PROGRAM = """
import errno, fcntl
fcntl.flock = {flock}
from modelfetch.__main__ import main
main()
"""


def start(hub: FakeHub, cache: Path, flock: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(flock=flock), "get", REPO, "-q", LABEL,
         "--endpoint", hub.endpoint, "--cache-dir", str(cache),
         "--connections", str(CONNECTIONS)],
        env={**os.environ, "HF_HOME": str(cache / "hf")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def path_from(process: subprocess.Popen[str]) -> Path:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return Path(out.strip())


def ours(cache: Path) -> list[str]:
    found = (path.name for path in cache.rglob("*modelfetch*"))
    return sorted(name for name in found if not name.endswith(".sums"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("flock", [NO_OP, REFUSED], ids=["no-op", "ENOLCK"])
def test_two_processes_that_are_killed_again_and_again_leave_the_right_file(
    tmp_path: Path, flock: str
) -> None:
    content, draws = coded(SIZE), random.Random(7)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: content})
        hub.rate = SPEED / CONNECTIONS
        for stop in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            before, share = hub.sent_bytes(FILE), draws.uniform(0.1, 0.9)
            pair = [start(hub, tmp_path, flock) for _ in range(2)]
            while hub.sent_bytes(FILE) - before < share * SIZE:
                if pair[0].poll() is not None:
                    break
                time.sleep(0.01)  # until the moment that was drawn, not for luck
            pair[0].send_signal(stop)
            pair[1].kill()
            for process in pair:
                process.communicate()
        hub.rate = None
        pair = [start(hub, tmp_path, flock) for _ in range(2)]
        for process in pair:
            assert_same(path_from(process), content)
        # Whoever asks next finds the file, and removes what the killed have left.
        assert_same(path_from(start(hub, tmp_path, flock)), content)
    assert ours(tmp_path) == []
    assert len([name for name in final_names(tmp_path) if "blobs" in name]) == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flock", [NO_OP, REFUSED], ids=["no-op", "ENOLCK"])
def test_two_processes_at_once_both_have_it(tmp_path: Path, flock: str) -> None:
    content = coded(SIZE)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: content})
        hub.rate = SPEED / CONNECTIONS
        pair = [start(hub, tmp_path, flock) for _ in range(2)]
        for process in pair:
            assert_same(path_from(process), content)
    assert ours(tmp_path) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flock", [NO_OP, REFUSED], ids=["no-op", "ENOLCK"])
def test_one_process_goes_on_from_what_a_killed_one_had(tmp_path: Path, flock: str) -> None:
    content = coded(SIZE)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: content})
        hub.rate = SPEED / CONNECTIONS
        first = start(hub, tmp_path, flock)
        while hub.sent_bytes(FILE) < SIZE * 3 // 4:
            time.sleep(0.01)
        first.kill()
        first.communicate()
        assert_same(path_from(start(hub, tmp_path, flock)), content)
        assert hub.bytes_sent_twice(FILE) <= SPEED, "a second of transfer"
    assert ours(tmp_path) == []


async def test_two_engines_of_one_process_have_a_partial_each(
    hub: FakeHub, settings_for: Settings, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", lambda fd, operation: None)
    content = coded(4 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Stall(MiB), times=2)
    settings = settings_for(hub, connections=1, read_timeout=30)
    async with Engine(**settings) as one, Engine(**settings) as other:
        slow = [await engine.download(REPO, LABEL) for engine in (one, other)]
        for job in slow:
            async for status in job.events():
                if status.downloaded_bytes >= MiB:
                    break
        assert len(list(place.rglob("*.modelfetch.incomplete"))) == 2
        await slow[0].pause()
        await slow[0].resume()
        assert_is(await slow[0].result(), content)
        assert hub.sent_bytes(FILE) <= 5 * MiB, "it went on from its own"
        blob = next(path for path in place.rglob("blobs/*") if path.name == content.sha256)
        left = list(place.rglob("*.modelfetch.incomplete"))
        assert len(left) == 1
        assert not left[0].samefile(blob)
        await slow[1].cancel(delete=True)
        assert ours(place) == []
        assert_same(blob, content)
