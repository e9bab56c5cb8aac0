"""olah as the Hub: a server that others wrote; one of its modes has no ranges, the others do."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded
from tests.interop.programs import environment

import modelfetch
from modelfetch import LocalModel
from modelfetch.testing import FakeHub

CONTENT = coded(9 * MiB + 5)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
OFFLINE = """
[basic]
host="127.0.0.1"
port={port}
repos-path="{repos}"
mirror-scheme="http"
mirror-netloc="127.0.0.1:{port}"
mirror-lfs-netloc="127.0.0.1:{port}"
mirrors-path=["{mirrors}"]
[accessibility]
offline=true
"""
pytestmark = pytest.mark.timeout(400)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def olah(folder: Path, port: int, *options: str) -> Iterator[str]:
    """Run olah; the value is its endpoint."""
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        [str(environment("olah") / "olah-cli"), *options, "--host", "127.0.0.1",
         "--port", str(port), "--log-path", str(folder / "logs")],
        stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*"},
    )  # fmt: skip
    try:
        _wait_for(port, process, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


def repository(mirrors: Path) -> None:
    """Make the git repository that olah serves; the file is in its store of large files."""
    place = mirrors / "models" / REPO
    place.mkdir(parents=True)
    (place / FILE).write_text(POINTER.format(CONTENT.sha256, CONTENT.size))
    store = place / ".git" / "lfs" / "objects" / CONTENT.sha256[:2] / CONTENT.sha256[2:4]
    git = ["git", "-C", str(place), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "a model"]):
        subprocess.run([*git, *words], check=True)
    store.mkdir(parents=True)
    (store / CONTENT.sha256).write_bytes(CONTENT.read(0, CONTENT.size))


def fetched(endpoint: str, cache: Path) -> LocalModel:
    return modelfetch.fetch(REPO, LABEL, endpoint=endpoint, cache_dir=cache, token=False)


def test_a_mirror_without_ranges(tmp_path: Path) -> None:
    port, mirrors, repos = free_port(), tmp_path / "mirrors", tmp_path / "repos"
    repository(mirrors)
    repos.mkdir()
    settings = tmp_path / "olah.toml"
    settings.write_text(OFFLINE.format(port=port, repos=repos, mirrors=mirrors))
    with olah(tmp_path, port, "-c", str(settings)) as endpoint:
        model = fetched(endpoint, tmp_path / "cache")
    assert_same(model.path, CONTENT)


def test_a_proxy_that_fetches_for_us_and_then_has_it_alone(tmp_path: Path) -> None:
    repos = tmp_path / "repos"
    repos.mkdir()
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: CONTENT})
        upstream = hub.endpoint.removeprefix("http://")
        port = free_port()
        proxy = [
            "--hf-scheme", "http", "--hf-netloc", upstream,
            "--hf-lfs-netloc", hub.cdn_url.removeprefix("http://"),
            "--mirror-scheme", "http", "--mirror-netloc", f"127.0.0.1:{port}",
            "--mirror-lfs-netloc", f"127.0.0.1:{port}", "--repos-path", str(repos),
        ]  # fmt: skip
        with olah(tmp_path, port, *proxy) as endpoint:
            model = fetched(endpoint, tmp_path / "first")
            assert_same(model.path, CONTENT)
            assert hub.requests("cdn"), "olah was asked, and asked the Hub"
    port = free_port()
    settings = tmp_path / "olah.toml"
    settings.write_text(OFFLINE.format(port=port, repos=repos, mirrors=tmp_path / "none"))
    with olah(tmp_path, port, "-c", str(settings)) as endpoint:
        model = fetched(endpoint, tmp_path / "second")
        assert_same(model.path, CONTENT)
        request = urllib.request.Request(
            f"{endpoint}/{REPO}/resolve/{model.commit}/{FILE}", headers={"Range": "bytes=5-9"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206
