"""`modelfetch serve` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modelfetch.testing import FakeHub


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str

    def shell(self, command: str, token: str = "") -> Any:
        """Run an example of the documentation, and return what it prints."""
        port = self.url.rpartition(":")[2]
        done = subprocess.run(
            ["sh", "-c", command.replace(":1234", f":{port}")],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LM_API_TOKEN": token},
        )
        return json.loads(done.stdout)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float, str]:
        """Stop it; return its exit code, the seconds that took, and what it said."""
        since = time.monotonic()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - since, said


@contextlib.contextmanager
def served(hub: FakeHub, cache: Path, *words: str, **env: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "modelfetch", "serve", "--port", "0", *words]
    command += ["--endpoint", hub.endpoint, "--cache-dir", str(cache)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line.startswith("http://"), process.stderr and process.stderr.read()
            yield Server(process, line)
        finally:
            if process.poll() is None:
                process.kill()


def free_port() -> int:
    """Return a port that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[Any]) -> None:
    """Return when something answers there."""
    while True:
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.ConnectError:
            assert process.poll() is None
            time.sleep(0.05)
