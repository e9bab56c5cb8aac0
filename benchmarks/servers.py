"""The servers of a run: nginx as the CDN, a FakeHub, and a proxy, each in a process of its own.

Nothing but 127.0.0.1, or a network namespace of the harness, is listened to. nginx logs one line
for each request, with the bytes that it sent, which is where requests and bytes on the wire are
counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.machine import find, python
from benchmarks.shape import Shape

LOOPBACK = "127.0.0.1"
_SETTLE_SECONDS = 0.02  # until a line is in the log for a connection that a client just left
_CONF = """
worker_processes {workers};
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  log_format wire '$status $body_bytes_sent "$http_range"';
  access_log {root}/access.log wire;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  sendfile on; tcp_nopush on; keepalive_requests 1000000;
  server {{
    listen {address}:{port}{tls};
    {certificate}
    add_header Content-Disposition inline;
    root {files};
    location / {{ {limit} }}
  }}
}}
"""
# As the Hub's CDN has it, and not as nginx 1.22, which would not speak TLS 1.3.
_TLS = """
    ssl_certificate {root}/c.pem; ssl_certificate_key {root}/k.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
"""


class Server(Protocol):
    """Who sends the bytes, and counts them."""

    @property
    def certificate(self) -> Path | None:
        """The certificate to trust, for TLS."""

    def forget(self, round_number: int = 0) -> None:
        """Begin to count anew, in a round of this number."""

    def counted(self) -> tuple[int, int]:
        """Return requests and body bytes since `forget`."""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        url: Where it is.
        port: The same, its port.
        certificate: The certificate to trust, for TLS.
        log: Its access log.
    """

    url: str
    port: int
    certificate: Path | None
    log: Path

    def forget(self, round_number: int = 0) -> None:
        """Begin to count anew."""
        del round_number
        self.log.write_text("")

    def counted(self) -> tuple[int, int]:
        """Return requests and body bytes since `forget`."""
        time.sleep(_SETTLE_SECONDS)
        lines = self.log.read_text().splitlines()
        return len(lines), sum(int(line.split()[1]) for line in lines)


@contextlib.contextmanager
def nginx(
    files: Path,
    *,
    tls: bool,
    limit_rate: int | None = None,
    address: str = LOOPBACK,
    within: list[str] | None = None,
) -> Iterator[Nginx]:
    """Serve a folder.

    Args:
        files: What to serve.
        tls: Whether over TLS, with a certificate made for the purpose.
        limit_rate: Bytes per second of each connection, `None` for no bound.
        address: What to listen on.
        within: What comes before its command, to run it in a network namespace.
    """
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        root, port = Path(folder), free_port()
        certificate = make_certificate(root, address) if tls else None
        limit = f"limit_rate {limit_rate};" if limit_rate else ""
        shown = _TLS.format(root=root) if tls else ""
        workers = max(1, (os.cpu_count() or 1) // 2)
        text = _CONF.format(
            root=root, address=address, port=port, files=files, limit=limit, certificate=shown,
            tls=" ssl" if tls else "", workers=workers,
        )  # fmt: skip
        (root / "nginx.conf").write_text(f"{'user root;' if os.geteuid() == 0 else ''}{text}")
        command = [find("nginx") or "nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]
        # No daemon: that has a session of its own, and Linux shares the processors among sessions
        # before it looks at who is nice.
        serving = subprocess.Popen(
            [*(within or []), *command, "-g", "daemon off;"], stderr=subprocess.DEVNULL
        )
        try:
            _listens(root / "nginx.pid", serving)
            url = f"{'https' if tls else 'http'}://{address}:{port}"
            yield Nginx(url, port, certificate, root / "access.log")
        finally:
            serving.terminate()
            serving.wait()


class _Helper:
    """A process of the harness that is spoken with in lines."""

    def __init__(self, module: str, given: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [python(), "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.say(json.dumps(given))
        self.first = self.heard()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()


class Shaped:
    """A server behind a proxy; its bytes are those that the proxy sent, with their framing."""

    def __init__(self, behind: Nginx, shape: Shape) -> None:
        self._behind = behind
        self._helper = _Helper(
            "benchmarks.proxy", {"shape": shape.to_dict(), "target": behind.port}
        )
        self.certificate = behind.certificate
        self.url = behind.url.replace(f":{behind.port}", f":{self._helper.first}")

    def forget(self, round_number: int = 0) -> None:
        """Begin to count anew, connections too."""
        self._behind.forget(round_number)
        self._helper.say("forget")

    def counted(self) -> tuple[int, int]:
        """Return requests and bytes since `forget`."""
        self._helper.say("count")
        return self._behind.counted()[0], int(self._helper.heard())

    def end(self) -> None:
        self._helper.end()


@contextlib.contextmanager
def shaped(behind: Nginx, shape: Shape) -> Iterator[Shaped]:
    """Put a proxy before a server."""
    server = Shaped(behind, shape)
    try:
        yield server
    finally:
        server.end()


@dataclass(frozen=True)
class HubFile:
    """A file that the Hub lists.

    Attributes:
        path: Its path in the repository.
        size: Bytes.
        sha256: Its hash.
        url: Where its bytes are; where they are on this disk, if the Hub's own CDN sends them.
    """

    path: str
    size: int
    sha256: str
    url: str


class Hub:
    """A FakeHub; counts what its own CDN sends, which is nothing if nginx is the CDN."""

    certificate: Path | None = None

    def __init__(self, repo: str, files: list[HubFile], *, sends: bool) -> None:
        listed = [[file.path, file.size, file.sha256, file.url] for file in files]
        self._helper = _Helper("benchmarks.hub", {"repo": repo, "files": listed, "sends": sends})
        self.endpoint = self._helper.first

    def forget(self, round_number: int = 0) -> None:
        """Begin to count anew; which faults come depends on the round."""
        self._helper.say(f"forget {round_number}")

    def fail(self, is_failing: bool) -> None:
        """Let one in a hundred requests to its CDN go wrong, or none."""
        self._helper.say("fail" if is_failing else "work")

    def counted(self) -> tuple[int, int]:
        """Return requests and body bytes since `forget`."""
        self._helper.say("count")
        requests, sent = self._helper.heard().split()
        return int(requests), int(sent)

    def end(self) -> None:
        self._helper.end()


@contextlib.contextmanager
def hub(repo: str, files: list[HubFile]) -> Iterator[str]:
    """Run a FakeHub that lists `files` in `repo`; yield its endpoint."""
    with running_hub(repo, files, sends=False) as server:
        yield server.endpoint


@contextlib.contextmanager
def running_hub(repo: str, files: list[HubFile], *, sends: bool) -> Iterator[Hub]:
    """Run a FakeHub.

    Args:
        repo: The repository.
        files: What it lists there.
        sends: Whether its own CDN has the files.
    """
    server = Hub(repo, files, sends=sends)
    try:
        yield server
    finally:
        server.end()


def make_certificate(folder: Path, address: str = LOOPBACK) -> Path:
    """Make a certificate for an address, its own authority; return it. The key is beside it."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", f"{folder}/k.pem", "-out", f"{folder}/c.pem", "-subj", f"/CN={address}",
            "-addext", f"subjectAltName=IP:{address}",
        ],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return folder / "c.pem"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(pid_file: Path, nginx: subprocess.Popen[bytes]) -> None:
    # It is written once the socket listens.
    while not pid_file.exists():
        if nginx.poll() is not None:
            raise RuntimeError(f"nginx has ended with {nginx.returncode}.")
        time.sleep(0.02)
