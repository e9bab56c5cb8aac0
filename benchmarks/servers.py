"""The servers of a run: nginx as the CDN, and a FakeHub in a process of its own.

Nothing but 127.0.0.1 is listened to. nginx logs one line for each request, with the bytes that it
sent, which is where requests and bytes on the wire are counted.
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

from benchmarks.machine import find, python

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
    listen 127.0.0.1:{port}{tls};
    {certificate}
    root {files};
    location / {{ {limit} }}
  }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        url: Where it is.
        certificate: The certificate to trust, for TLS.
        log: Its access log.
    """

    url: str
    certificate: Path | None
    log: Path

    def forget(self) -> None:
        """Begin to count anew."""
        self.log.write_text("")

    def counted(self) -> tuple[int, int]:
        """Return requests and body bytes since `forget`."""
        lines = self.log.read_text().splitlines()
        return len(lines), sum(int(line.split()[1]) for line in lines)


@contextlib.contextmanager
def nginx(files: Path, *, tls: bool, limit_rate: int | None = None) -> Iterator[Nginx]:
    """Serve a folder.

    Args:
        files: What to serve.
        tls: Whether over TLS, with a certificate made for the purpose.
        limit_rate: Bytes per second of each connection, `None` for no bound.
    """
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        root, port = Path(folder), free_port()
        certificate = make_certificate(root) if tls else None
        limit = f"limit_rate {limit_rate};" if limit_rate else ""
        shown = f"ssl_certificate {root}/c.pem; ssl_certificate_key {root}/k.pem;" if tls else ""
        workers = max(1, (os.cpu_count() or 1) // 2)
        text = _CONF.format(
            root=root, port=port, files=files, limit=limit, certificate=shown,
            tls=" ssl" if tls else "", workers=workers,
        )  # fmt: skip
        (root / "nginx.conf").write_text(f"{'user root;' if os.geteuid() == 0 else ''}{text}")
        command = [find("nginx") or "nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        try:
            yield Nginx(
                f"{'https' if tls else 'http'}://127.0.0.1:{port}", certificate, root / "access.log"
            )
        finally:
            subprocess.run([*command, "-s", "quit"], check=False, stderr=subprocess.DEVNULL)
            _gone(root / "nginx.pid")


@dataclass(frozen=True)
class HubFile:
    """A file that the Hub lists: its path, size and SHA-256, and where its bytes are."""

    path: str
    size: int
    sha256: str
    url: str


@contextlib.contextmanager
def hub(repo: str, files: list[HubFile]) -> Iterator[str]:
    """Run a FakeHub that lists `files` in `repo`; yield its endpoint."""
    listed = [[file.path, file.size, file.sha256, file.url] for file in files]
    process = subprocess.Popen(
        [python(), "-m", "benchmarks.hub", repo],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(listed) + "\n")
        process.stdin.flush()
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def make_certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1, its own authority; return it. The key is beside it."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", f"{folder}/k.pem", "-out", f"{folder}/c.pem", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return folder / "c.pem"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _gone(path: Path) -> None:
    for _ in range(100):
        if not path.exists():
            return
        time.sleep(0.02)
