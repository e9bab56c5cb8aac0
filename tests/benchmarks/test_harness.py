"""The harness from end to end, small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.machine import find
from benchmarks.measure import Memory, Outcome, run
from benchmarks.rounds import run_case
from benchmarks.shape import Shape
from benchmarks.tasks import Command, Task

SIZE = 3 << 20
KNOWN = {contender.name: contender for contender in CONTENDERS}


def urllib(task: Task) -> Command:
    code = "import sys; from urllib.request import urlretrieve as get; get(*sys.argv[1:])"
    return Command([sys.executable, "-c", code, task.only.url, task.only.name])


class Nobody:
    """A server that is not asked."""

    certificate = None

    def forget(self, round_number: int = 0) -> None:
        """Do nothing."""

    def counted(self) -> tuple[int, int]:
        return 0, 0


def test_contenders_fetch_the_right_file_from_a_hub(tmp_path) -> None:
    case = Case("t", "small", SIZE, SIZE, tls=False, fails=True, time_limit=30.0)
    contenders = [KNOWN["modelfetch"], Contender("urllib", urllib, False, lambda: None)]
    report = run_case(case, contenders, 1, tmp_path, quick=False)
    ours, theirs = sorted(report.rounds[0], key=lambda result: result.contender)
    assert (ours.failure, theirs.failure) == (None, None)
    assert ours.requests >= 1
    assert ours.wire_bytes == theirs.wire_bytes == SIZE
    assert ours.hash_seconds == 0 < theirs.hash_seconds
    assert min(ours.cpu_seconds, ours.peak_bytes, ours.seconds, ours.without_faults) > 0


@pytest.mark.skipif(
    not (os.environ.get("CI") or (find("nginx") and shutil.which("curl"))),
    reason="needs nginx and curl",
)
def test_nginx_behind_a_proxy_serves_many_files_over_tls(tmp_path) -> None:
    case = Case("t", "small", 64 << 10, 64 << 10, files=5, shape=Shape(delay=0.001))
    report = run_case(case, [KNOWN["curl"]], 1, tmp_path, quick=False)
    (curl,) = report.rounds[0]
    assert curl.failure is None
    assert curl.requests == 5
    assert curl.wire_bytes > report.size == 5 * (64 << 10)


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("exit 3", "exit 3"),
        ("echo no such host >&2; exit 1", "exit 1: no such host"),
        ("echo 503 for url \\(http://a/b?sig\\) >&2; exit 1", "exit 1: 503"),
        ("true", "1 of 1 files missing"),
        ("echo wrong > $OUT/a.gguf", "wrong bytes in 1 of 1 files, and no error"),
        ("sleep 60", "not done after 0 s"),
    ],
)
def test_a_run_that_does_not_end_right_says_why(tmp_path, script, failure) -> None:
    result = run(
        "shell",
        Command(["sh", "-c", script]),
        Outcome(tmp_path, {"a.gguf": "0" * 64}, verifies=True),
        environment={"OUT": str(tmp_path), "PATH": "/usr/bin:/bin"},
        server=Nobody(),
        time_limit=0.3 if "sleep" in script else 30,
    )
    assert result.failure == failure


def test_a_peak_is_seen_after_it_is_over_and_children_count() -> None:
    child = "import sys; b = b'x' * (60 << 20); del b; print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = Memory(process.pid)
        while memory.peak < 60 << 20:
            time.sleep(0.005)
        process.communicate(b"")
        assert memory.stop() >= 60 << 20
