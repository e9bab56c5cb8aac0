"""`modelfetch jobs` beside a server that runs them, and after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded
from tests.web.client import ROOT
from tests.web.lmstudio import check_status
from tests.web.served import Server, served

from modelfetch.cli import _cli
from modelfetch.testing import FakeHub

SIZE = 4 * MiB


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: coded(SIZE)})
        hub.rate = MiB // 8
        monkeypatch.setenv("MODELFETCH_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path / "cache"))
        yield hub


@pytest.fixture
def server(hub: FakeHub, tmp_path: Path) -> Iterator[Server]:
    with served(hub, tmp_path / "cache") as server:
        yield server


def modelfetch(*words: str) -> Result:
    return CliRunner().invoke(_cli, words, prog_name="modelfetch")


def listed() -> list[dict[str, Any]]:
    done = modelfetch("jobs", "--json")
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout))


def begun(server: Server) -> str:
    """Start a job there, and return its id once bytes of it came."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        job = client.post(ROOT, json={"model": REPO, "quantization": LABEL}).json()
        while not job["downloaded_bytes"]:
            job = client.get(f"{ROOT}/status/{job['job_id']}").json()
    return str(job["job_id"])


def test_without_jobs_it_is_an_empty_list(hub: FakeHub) -> None:
    assert listed() == []
    done = modelfetch("jobs")
    assert (done.exit_code, done.stdout.split()) == (0, "job model done size status".split())


def test_the_jobs_of_a_server_are_seen_paused_and_cancelled(server: Server, tmp_path: Path) -> None:
    job_id = begun(server)
    (job,) = listed()
    assert (job.pop("model"), job.pop("quantization")) == (REPO, LABEL)
    assert (job["job_id"], job["status"]) == (job_id, "downloading")
    check_status(job)
    shown = modelfetch("jobs").stdout
    for text in (job_id, f"{REPO}:{LABEL}", "4.2 MB", "downloading, "):
        assert text in shown
    done = modelfetch("jobs", "pause", job_id)
    assert (done.exit_code, "paused: Somebody asked" in done.stdout) == (0, True), done.output
    answer = httpx.get(f"{server.url}{ROOT}/status/{job_id}", trust_env=False).json()
    assert answer["status"] == "paused"
    done = modelfetch("jobs", "cancel", job_id, "--delete", "--json")
    assert [job["error"]["type"] for job in json.loads(done.stdout)] == ["cancelled"]
    assert not list(tmp_path.rglob("*.incomplete"))
    assert "failed: " in modelfetch("jobs").stdout
    assert modelfetch("jobs", "forget", job_id).stdout == ""
    assert listed() == []


def test_resume_goes_on_here_and_prints_the_path(
    server: Server, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = begun(server)
    server.process.kill()
    server.process.wait()
    monkeypatch.setenv("MODELFETCH_RESUME_ON_START", "1")
    (job,) = listed()  # which resumes nothing
    assert job["status"] == "paused"
    sent = hub.sent_bytes()
    hub.rate = None
    done = modelfetch("jobs", "resume", job_id, "--proxy", "0", "--header", "X-Gate: 1")
    assert done.exit_code == 0, done.output
    assert_same(Path(done.stdout.strip()), coded(SIZE))
    assert "100.0%" in done.stderr
    assert hub.sent_bytes() - sent <= SIZE - job["downloaded_bytes"]
    assert [job["status"] for job in listed()] == ["completed"]
    assert modelfetch("jobs", "resume", job_id).exit_code == 1


@pytest.mark.parametrize("words", [("plan", REPO, "-q", LABEL), ("quants", REPO)])
def test_who_looks_at_a_model_runs_no_old_jobs(
    words: tuple[str, ...], server: Server, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(server)
    server.process.kill()
    server.process.wait()
    hub.reset_log()
    monkeypatch.setenv("MODELFETCH_RESUME_ON_START", "1")
    assert modelfetch(*words).exit_code == 0
    assert not [record for record in hub.requests() if record.file == FILE]
    assert [job["status"] for job in listed()] == ["paused"]


def test_a_cancelled_job_is_tried_again(server: Server, hub: FakeHub) -> None:
    job_id = begun(server)
    assert modelfetch("jobs", "cancel", job_id).exit_code == 0
    hub.rate = None
    done = modelfetch("jobs", "retry", job_id, "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, last["status"], last["job_id"]) == (0, "completed", job_id)
    assert_same(Path(last["path"]), coded(SIZE))


def test_get_waits_when_somebody_else_pauses_its_job(hub: FakeHub) -> None:
    command = [sys.executable, "-m", "modelfetch", "get", REPO, "-q", LABEL, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as getting:
        assert getting.stdout is not None
        lines = (json.loads(line) for line in getting.stdout)
        job_id = next(line["job_id"] for line in lines if line["downloaded_bytes"])
        assert modelfetch("jobs", "pause", job_id).exit_code == 0
        assert next(line for line in lines if line["status"] != "downloading")["status"] == "paused"
        hub.rate = None
        done = modelfetch("jobs", "resume", job_id)
        assert done.exit_code == 0, done.output
        assert next(line for line in lines if line["status"] == "completed")["path"]
        assert getting.wait(timeout=20) == 0


def test_resume_is_stopped_as_get_is(server: Server, hub: FakeHub) -> None:
    job_id = begun(server)
    server.stop()
    command = [sys.executable, "-m", "modelfetch", "jobs", "resume", job_id, "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as resuming:
        assert resuming.stdout is not None
        assert json.loads(resuming.stdout.readline())["status"] == "downloading"
        resuming.send_signal(signal.SIGINT)
        _, said = resuming.communicate(timeout=20)
    assert resuming.returncode == 130
    assert f"go on with: modelfetch jobs resume {job_id}" in said
    assert [job["status"] for job in listed()] == ["paused"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["pause", "job_0123456789"], 3, "not found"),
        (["forget", "nothing"], 3, "not found"),
        (["pause"], 2, "at least one JOB_ID"),
        (["resume", "job_0123456789", "job_0123456780"], 2, "one JOB_ID"),
        (["pause", "job_0123456789", "--delete"], 2, "--delete is for cancel"),
        (["job_0123456789"], 2, "is not one of"),
    ],
)
def test_what_makes_no_sense(hub: FakeHub, words: list[str], code: int, says: str) -> None:
    done = modelfetch("jobs", *words)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output
