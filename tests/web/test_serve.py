"""`modelfetch serve` as a process: LM Studio's own examples with curl, clients, stops."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from tests.helpers import FILE, REPO, MiB, assert_same, coded
from tests.web.client import ROOT, lm_studio_client
from tests.web.lmstudio import check_download, check_status
from tests.web.served import served

from modelfetch.cli import _cli
from modelfetch.testing import FakeHub

TOKEN = "sk-lm-test"

# The examples of https://lmstudio.ai/docs/developer/rest/download and .../download-status, to the
# letter; only the address is put in.
DOWNLOAD = """
      curl http://localhost:1234/api/v1/models/download \\
        -H "Authorization: Bearer $LM_API_TOKEN" \\
        -H "Content-Type: application/json" \\
        -d '{
          "model": "qwen/qwen3-4b-2507"
        }'
"""
STATUS = """
      curl \\
        http://127.0.0.1:1234/api/v1/models/download/status/job_493c7c9ded
"""
STATUS_WITH_TOKEN = """
      curl -H "Authorization: Bearer $LM_API_TOKEN" \\
        http://localhost:1234/api/v1/models/download/status/job_493c7c9ded
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:  # type: ignore[override]
    with FakeHub.in_thread() as hub:
        for repo in ("qwen/qwen3-4b-2507", "lmstudio-community/Qwen3-4B-Instruct-2507-GGUF", REPO):
            hub.add(repo, {FILE: coded(MiB)})
        yield hub


@pytest.fixture(autouse=True)
def clean(hub: FakeHub) -> Iterator[None]:
    yield
    hub.unscript()
    hub.rate = None
    hub.reset_log()


def test_the_documentation_s_examples(hub: FakeHub, tmp_path: Path) -> None:
    hub.rate = MiB
    with served(hub, tmp_path) as server:
        job = server.shell(DOWNLOAD)
        check_download(job)
        assert job["total_size_bytes"] == MiB
        assert server.shell(STATUS) == {
            "error": {
                "type": "job_not_found",
                "message": "Download job with id 'job_493c7c9ded' not found",
            }
        }
        states = []
        while states[-1:] != ["completed"]:
            status = server.shell(STATUS.replace("job_493c7c9ded", job["job_id"]))
            check_status(status)
            assert status["started_at"] == job["started_at"]
            states.append(status["status"])
        assert set(states) == {"downloading", "completed"}
        assert server.shell(DOWNLOAD) == {"status": "already_downloaded"}


def test_the_documentation_s_examples_with_a_token(hub: FakeHub, tmp_path: Path) -> None:
    with served(hub, tmp_path, MODELFETCH_API_TOKEN=TOKEN) as server:
        assert server.shell(DOWNLOAD)["error"]["type"] == "unauthorized"
        assert server.shell(DOWNLOAD, "wrong")["error"]["type"] == "unauthorized"
        job = server.shell(DOWNLOAD, TOKEN)
        check_download(job)
        command = STATUS_WITH_TOKEN.replace("job_493c7c9ded", job["job_id"])
        check_status(server.shell(command, TOKEN))
        _, _, said = server.stop()
        assert TOKEN not in said


def test_a_client_of_lm_studio_gets_its_model(hub: FakeHub, tmp_path: Path) -> None:
    hub.rate = MiB
    with served(hub, tmp_path, "--api-token", TOKEN) as server:
        answers = lm_studio_client(server.url, f"https://huggingface.co/{REPO}", TOKEN)
        assert [answer["status"] for answer in answers[-2:]] == ["downloading", "completed"]
        for answer in answers:
            check_status(answer)
        again = lm_studio_client(server.url, f"https://huggingface.co/{REPO}", TOKEN)
        assert again == [{"status": "already_downloaded"}]
        with pytest.raises(RuntimeError, match="not"):
            lm_studio_client(server.url, "nobody/nothing", TOKEN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_pauses_the_job_and_ends_the_streams(
    hub: FakeHub, tmp_path: Path, number: signal.Signals
) -> None:
    size = 8 * MiB
    hub.add("acme/big-GGUF", {"big-Q4_K_M.gguf": coded(size)})
    hub.rate = size / 8 / 10
    with (
        served(hub, tmp_path) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
        client.stream("GET", f"{ROOT}/events") as events,
        client.stream("GET", f"{ROOT}/events") as unread,
    ):
        assert unread.status_code == 200
        job = client.post(ROOT, json={"model": "acme/big-GGUF"}).json()
        lines = events.iter_lines()
        jobs = (json.loads(line[6:]) for line in lines if line.startswith("data: "))
        came = next(status for status in jobs if status["downloaded_bytes"] > MiB)
        code, seconds, said = server.stop(number)
        assert list(jobs)[-1]["status"] == "paused"  # and the stream has an end
        # It takes five at most, of which a busy machine may make more.
        assert (code, seconds < 15) == (0, True), said
        assert "Traceback" not in said
        logged = [line.partition("modelfetch.serve: ")[2] for line in said.splitlines()]
        job_id = job["job_id"]
        assert [line for line in logged if line] == [
            f"{job_id} downloading", f"{job_id} paused: The engine that ran it was closed."
        ]  # fmt: skip
    hub.rate = None
    hub.reset_log()
    with served(hub, tmp_path) as server:
        answers = lm_studio_client(server.url, "acme/big-GGUF")
        assert answers[-1]["status"] == "completed"
    # It went on from what had come.
    assert hub.sent_bytes("big-Q4_K_M.gguf") <= size - came["downloaded_bytes"]
    (path,) = (tmp_path / "models--acme--big-GGUF" / "snapshots").glob("*/*.gguf")
    assert_same(path, coded(size))
    assert job["job_id"].startswith("job_")


@pytest.mark.timeout(300)
def test_a_job_survives_twenty_kills_with_its_id_and_bytes(
    hub: FakeHub, tmp_path: Path, state_dir: Path
) -> None:
    content, dice = coded(48 * MiB), random.Random(5)
    hub.add("acme/long-GGUF", {"long-Q4_K_M.gguf": content})
    hub.rate = MiB // 4
    job_id, durable = "", 0
    for kills in range(21):
        with (
            served(hub, tmp_path) as server,
            httpx.Client(base_url=server.url, trust_env=False) as client,
        ):
            if not job_id:
                job_id = client.post(ROOT, json={"model": "acme/long-GGUF"}).json()["job_id"]
            (job,) = client.get(ROOT).json()["jobs"]
            assert job["job_id"] == job_id
            assert job["status"] == ("paused" if kills else "downloading")
            assert job["downloaded_bytes"] >= durable
            if kills == 20:
                hub.rate = None
            if kills and (kills == 20 or dice.random() < 0.9):  # or killed before it goes on
                job = client.post(f"{ROOT}/{job_id}/resume", json={}).json()
                assert job["downloaded_bytes"] >= durable
                wanted = job["downloaded_bytes"] + dice.choice([0, dice.randrange(MiB)])
                while job["downloaded_bytes"] < (content.size if kills == 20 else wanted):
                    job = client.get(f"{ROOT}/status/{job_id}").json()
                    assert job["downloaded_bytes"] >= durable
            if kills == 20:
                while job["status"] == "downloading":
                    job = client.get(f"{ROOT}/status/{job_id}").json()
                assert job["status"] == "completed"
            server.process.kill()
            server.process.wait()
            record = json.loads((state_dir / "jobs" / f"{job_id}.json").read_text())
            assert record["status"]["downloaded_bytes"] >= durable
            durable = record["status"]["downloaded_bytes"]
    (path,) = (tmp_path / "models--acme--long-GGUF" / "snapshots").glob("*/*.gguf")
    assert_same(path, content)


def test_a_stop_right_after_the_start(hub: FakeHub, tmp_path: Path) -> None:
    with served(hub, tmp_path) as server:
        assert server.stop()[0] == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.2", "box.example"])
def test_it_does_not_listen_beyond_this_machine_without_a_token(host: str, tmp_path: Path) -> None:
    words = ["serve", "--host", host, "--port", "0", "--cache-dir", str(tmp_path)]
    done = CliRunner().invoke(_cli, words)
    assert done.exit_code == 2
    assert "needs a token" in done.stderr


def test_an_empty_token_is_none(tmp_path: Path) -> None:
    words = ["serve", "--host", "0.0.0.0", "--api-token", "", "--cache-dir", str(tmp_path)]
    assert CliRunner().invoke(_cli, words).exit_code == 2


def test_it_listens_beyond_this_machine_with_a_token(hub: FakeHub, tmp_path: Path) -> None:
    with served(hub, tmp_path, "--host", "0.0.0.0", "--api-token", TOKEN) as server:
        port = server.url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}{ROOT}"
        assert httpx.get(url, trust_env=False).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(url, headers=headers, trust_env=False).json() == {"jobs": []}


def test_ipv6(hub: FakeHub, tmp_path: Path) -> None:
    with served(hub, tmp_path, "--host", "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(server.url + ROOT, trust_env=False).json() == {"jobs": []}
        evil = {"Host": "evil.example"}
        assert httpx.get(server.url + ROOT, headers=evil, trust_env=False).status_code == 403


def test_a_port_that_is_taken(hub: FakeHub, tmp_path: Path) -> None:
    with served(hub, tmp_path) as server:
        port = server.url.rpartition(":")[2]
        words = ["serve", "--port", port, "--cache-dir", str(tmp_path)]
        done = subprocess.run(
            [sys.executable, "-m", "modelfetch", *words],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert f"Cannot listen at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hint_of_what_to_do_again_has_no_api_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelfetch.cli.running import without_secrets

    for words in (["--api-token", TOKEN], [f"--api-token={TOKEN}"]):
        assert without_secrets(["serve", *words, "--port", "1"]) == ["serve", "--port", "1"]
