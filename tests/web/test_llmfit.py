"""A client that we did not write: llmfit (PyPI, a program in Rust) takes us for LM Studio.

Its server passes downloads on to the LM Studio at LMSTUDIO_HOST and polls the job's status.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.helpers import FILE, REPO, MiB, assert_same, coded
from tests.web.served import free_port, served, wait_for

from modelfetch.testing import FakeHub

LLMFIT = shutil.which("llmfit", path=str(Path(sys.executable).parent))
TOKEN = "sk-lm-test"

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="llmfit is not built for it"
)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: coded(8 * MiB)})
        hub.rate = 8 * MiB / 8 / 4  # a download takes four seconds, llmfit looks every second
        yield hub


@pytest.fixture
def llmfit(hub: FakeHub, tmp_path: Path) -> Iterator[httpx.Client]:
    """llmfit's own API, with modelfetch where it expects LM Studio."""
    assert LLMFIT is not None
    port = free_port()
    with served(hub, tmp_path / "cache", "--api-token", TOKEN) as server:
        home = {"HOME": str(tmp_path), "LMSTUDIO_HOST": server.url, "LMSTUDIO_API_KEY": TOKEN}
        with (
            subprocess.Popen([LLMFIT, "serve", "--port", str(port)], env={**os.environ, **home})
            as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):  # fmt: skip
            try:
                wait_for(f"http://127.0.0.1:{port}/health", process)
                yield client
            finally:
                process.kill()


def download(llmfit: httpx.Client, model: str) -> list[dict[str, Any]]:
    """Let llmfit download a model with "LM Studio"; return what it showed its user."""
    wanted = {"model": model, "runtime": "lmstudio"}
    started = llmfit.post("/api/v1/download", json=wanted).json()
    shown: list[dict[str, Any]] = [started]
    while shown[-1]["status"] == "pulling":
        shown.append(llmfit.get(f"/api/v1/download/{started['id']}/status").json())
        time.sleep(0.1)
    return shown


def test_llmfit_downloads_a_model_and_then_finds_it(
    llmfit: httpx.Client, hub: FakeHub, tmp_path: Path
) -> None:
    link = f"https://huggingface.co/{REPO}"
    shown = download(llmfit, link)
    assert (shown[-1]["status"], shown[-1]["progress_pct"]) == ("done", 100.0)
    # It followed our job by its id: only then it knows how much has come.
    assert any(0 < status["progress_pct"] < 100 for status in shown[1:-1])
    (path,) = (tmp_path / "cache").glob("models--*/snapshots/*/*.gguf")
    assert_same(path, coded(8 * MiB))
    hub.reset_log()
    assert download(llmfit, link)[-1]["status"] == "done"
    assert hub.requests("cdn") == []


def test_llmfit_is_told_of_a_model_that_is_not_there(llmfit: httpx.Client) -> None:
    shown = download(llmfit, "https://huggingface.co/acme/nothing-GGUF")
    assert shown[-1]["status"] == "error"
