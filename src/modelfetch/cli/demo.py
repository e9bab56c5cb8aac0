"""The whole job with no network: a Hub in this process, the real command beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from modelfetch.testing import FakeHub, build_gguf

__all__ = ["show"]

REPO, FILE, LABEL = "modelfetch/demo-GGUF", "demo-Q4_K_M.gguf", "Q4_K_M"
CONNECTIONS = 8
SECONDS = 4.0  # what the transfer takes, so that there is something to see


def show(megabytes: int, folder: Path | None) -> int:
    """Fetch, kill, resume, verify; return the exit code."""
    content = build_gguf(size_bytes=megabytes * 1_000_000)
    with FakeHub.in_thread() as hub, _place(folder) as place:
        hub.add(REPO, {FILE: content})
        hub.rate = content.size / CONNECTIONS / SECONDS
        command = _command(hub.endpoint, place / "cache")
        _say(f"A Hub is at {hub.endpoint}, its CDN at {hub.cdn_url}; both are in this process.\n")
        _say(f"1. modelfetch get {REPO} -q {LABEL}, and kill -9 in the middle of it")
        sent = _kill_half_way(command, place, hub, content.size)
        _say(f"\n   killed when {sent:,} of {content.size:,} bytes had left the CDN\n")
        _say("2. the same command again")
        path = _run(command, place)
        actual = _sha256(path)
        _say(f"\n   SHA-256 {actual}\n   published {content.sha256}")
        twice = hub.bytes_sent_twice(FILE)
        share = 100 * twice / content.size
        _say(f"   the CDN's log: {twice:,} bytes left it twice ({share:.2f} % of the file)\n")
        _say("3. and once more: it is there already")
        before = hub.sent_bytes(FILE)
        _run(command, place)
        _say(f"   {hub.sent_bytes(FILE) - before} bytes left the CDN\n")
        click.echo(path)
        if folder is None:
            _say("\n(The folder is removed now; --keep FOLDER keeps it.)")
        return 0 if actual == content.sha256 else 7


def _command(endpoint: str, cache: Path) -> list[str]:
    options = ["--endpoint", endpoint, "--cache-dir", str(cache), "--connections", str(CONNECTIONS)]
    return [sys.executable, "-m", "modelfetch", "get", REPO, "-q", LABEL, *options]


def _environment(place: Path) -> dict[str, str]:
    # The user's token and mirror are none of the demo's business, and a proxy would be in its way.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MODELFETCH_"))}
    own = {"HF_HOME": str(place / "hf"), "MODELFETCH_STATE_DIR": str(place / "state")}
    return {**kept, **own, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _kill_half_way(command: list[str], place: Path, hub: FakeHub, size: int) -> int:
    with subprocess.Popen(command, env=_environment(place), stdout=subprocess.DEVNULL) as process:
        while hub.sent_bytes(FILE) < size // 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    return hub.sent_bytes(FILE)


def _run(command: list[str], place: Path) -> Path:
    done = subprocess.run(
        command, env=_environment(place), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    return Path(done.stdout.strip())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="modelfetch-demo-") as temporary:
        yield Path(temporary)


def _say(text: str) -> None:
    click.echo(text, err=True)
