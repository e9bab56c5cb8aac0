"""`kill -9` at random moments: what was on the disk is not fetched again, and the file is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded

from modelfetch.testing import Content, FakeHub

SIZE = 64 * MiB
CONNECTIONS = 4
SPEED = 40 * MiB  # of one download, over all of its connections
KILLS = 20
AT_ONCE = 3


def start(hub: FakeHub, cache: Path, repo: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelfetch", "get", repo, "-q", LABEL, "--endpoint", hub.endpoint,
         "--cache-dir", str(cache), "--connections", str(CONNECTIONS)],
        env={**os.environ, "HF_HOME": str(cache / "hf")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def kill_and_resume(hub: FakeHub, cache: Path, content: Content, number: int, share: float) -> int:
    """Return how many bytes left the CDN twice."""
    repo = f"acme/kill-{number}-GGUF"
    name = f"kill-{number}-Q4_K_M.gguf"
    hub.add(repo, {name: content})
    with start(hub, cache, repo) as first:
        while hub.sent_bytes(name) < share * SIZE and first.poll() is None:
            time.sleep(0.01)  # until the moment that was drawn, not for luck
        first.kill()
    with start(hub, cache, repo) as second:
        out, err = second.communicate()
    assert second.returncode == 0, err
    assert_same(Path(out.strip()), content)
    return hub.bytes_sent_twice(name)


@pytest.mark.timeout(300)
def test_at_20_random_points_no_more_than_a_second_of_transfer_is_fetched_again(
    tmp_path: Path,
) -> None:
    content = coded(SIZE)
    shares = [random.Random(20).random() for _ in range(KILLS)]
    with FakeHub.in_thread() as hub, ThreadPoolExecutor(AT_ONCE) as pool:
        hub.rate = SPEED / CONNECTIONS
        runs = [
            pool.submit(kill_and_resume, hub, tmp_path / str(number), content, number, share)
            for number, share in enumerate(shares)
        ]
        twice = [run.result() for run in runs]
    assert max(twice) <= SPEED, f"bytes fetched twice: {twice}"
    assert min(twice) < SIZE // 4
    print(f"\nbytes fetched twice, of {SPEED} a second: max {max(twice)}, all {sorted(twice)}")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_everything_and_says_how_to_go_on(
    tmp_path: Path, stop: signal.Signals
) -> None:
    content = coded(8 * MiB)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: content})
        hub.rate = MiB
        with start(hub, tmp_path, REPO) as first:
            while hub.sent_bytes(FILE) < 3 * MiB:
                time.sleep(0.01)
            first.send_signal(stop)
            _, err = first.communicate()
        assert first.returncode == 130
        assert f"go on with: modelfetch get {REPO} -q {LABEL}" in err
        assert "Traceback" not in err
        hub.rate = None
        with start(hub, tmp_path, REPO) as second:
            out, err = second.communicate()
        assert second.returncode == 0, err
        assert_same(Path(out.strip()), content)
        # A clean stop writes what the connections hold; only what was on the wire is lost.
        assert hub.bytes_sent_twice(FILE) <= MiB


def test_a_laptop_that_was_closed_goes_on_though_its_urls_and_connections_are_gone(
    tmp_path: Path,
) -> None:
    content = coded(16 * MiB)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: content})
        hub.rate = 2.0 * MiB
        with start(hub, tmp_path, REPO) as sleeper:
            while hub.sent_bytes(FILE) < 5 * MiB:
                time.sleep(0.01)
            sleeper.send_signal(signal.SIGSTOP)
            hub.expire_urls()
            hub.drop_connections()
            hub.rate = None
            sleeper.send_signal(signal.SIGCONT)
            out, err = sleeper.communicate()
        assert sleeper.returncode == 0, err
        assert_same(Path(out.strip()), content)
        assert any(record.status == 403 for record in hub.requests("cdn")), "URLs had expired"
        assert len([r for r in hub.requests("hub") if r.method == "HEAD"]) == 2, "one re-sign"
        assert hub.bytes_sent_twice(FILE) <= 2 * MiB
