"""Who takes part: the command of each, and whether it verifies what it fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import find, python, python_version_of, version_of

REPO = "bench/model-GGUF"
CONNECTIONS = 16  # what the peers are told, where they can be told


@dataclass(frozen=True)
class Task:
    """One file to fetch.

    Attributes:
        endpoint: The FakeHub.
        url: The file on the CDN.
        name: Its path in the repository.
        sha256: Its hash.
        folder: An empty folder to leave it in.
        certificate: To trust, for TLS.
    """

    endpoint: str
    url: str
    name: str
    sha256: str
    folder: Path
    certificate: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """What every contender finds in its environment."""
        trusted = str(self.certificate) if self.certificate else ""
        tls = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), trusted)
        return {
            **(tls if trusted else {}),
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HOME": str(self.folder / "hf"),
            "MODELFETCH_STATE_DIR": str(self.folder / "state"),
            "NO_PROXY": "127.0.0.1",
        }


@dataclass(frozen=True)
class Contender:
    """A program that fetches a file.

    Attributes:
        name: What it is called in tables.
        command: Its command for a task.
        verifies: Whether it compares the file with the published SHA-256 itself.
        version: Its version, `None` when it is not here.
    """

    name: str
    command: Callable[[Task], list[str]]
    verifies: bool
    version: Callable[[], str | None]


def _program(name: str, *words: str) -> Callable[[], str | None]:
    return lambda: version_of([name, *(words or ("--version",))]) if find(name) else None


def _package(name: str) -> Callable[[], str | None]:
    return lambda: python_version_of(name)


def _script(code: str) -> Callable[[Task], list[str]]:
    """Return the command of a Python program that finds its task in `t`."""

    def command(task: Task) -> list[str]:
        known = {
            "url": task.url, "name": task.name, "folder": str(task.folder), "repo": REPO,
            "endpoint": task.endpoint, "connections": CONNECTIONS,
            "certificate": str(task.certificate) if task.certificate else None,
        }  # fmt: skip
        return [python(), "-c", f"t = {known!r}\n{code}"]

    return command


def _modelfetch(task: Task) -> list[str]:
    program = shutil.which("modelfetch") or str(Path(python()).with_name("modelfetch"))
    cache = str(task.folder / "cache")
    return [program, "get", REPO, "--cache-dir", cache, "--endpoint", task.endpoint]


_LIBRARY = """
import modelfetch
modelfetch.fetch(t["repo"], endpoint=t["endpoint"], cache_dir=t["folder"] + "/cache", token=False)
"""
_HUB = """
from huggingface_hub import hf_hub_download
hf_hub_download(t["repo"], t["name"], token=False)
"""
_HF_TRANSFER = """
import hf_transfer
hf_transfer.download(t["url"], t["folder"] + "/" + t["name"], t["connections"], 10485760, 3, 3)
"""
_PYPDL = """
from pypdl import Pypdl
Pypdl().start(t["url"], file_path=t["folder"] + "/" + t["name"], segments=t["connections"],
              multisegment=True, overwrite=True, display=False, block=True)
"""
_PARFIVE = """
import aiohttp, functools, ssl
from parfive import Downloader, SessionConfig
def session(config):
    tls = ssl.create_default_context(cafile=t["certificate"]) if t["certificate"] else None
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls) if tls else None)
config = SessionConfig(aiohttp_session_generator=session)
loader = Downloader(max_splits=t["connections"], progress=False, config=config)
loader.enqueue_file(t["url"], path=t["folder"])
results = loader.download()
raise SystemExit(str(results.errors) if results.errors else 0)
"""


def _aria2(task: Task) -> list[str]:
    trusted = [f"--ca-certificate={task.certificate}"] if task.certificate else []
    return [
        "aria2c", "-q", f"-x{CONNECTIONS}", f"-s{CONNECTIONS}", "-d", str(task.folder),
        "-o", task.name, f"--checksum=sha-256={task.sha256}", *trusted, task.url,
    ]  # fmt: skip


def _curl(task: Task) -> list[str]:
    return ["curl", "-sSf", "-o", str(task.folder / task.name), task.url]


def _wget2(task: Task) -> list[str]:
    trusted = [f"--ca-certificate={task.certificate}"] if task.certificate else []
    out = str(task.folder / task.name)
    return [
        "wget2", "-q", f"--max-threads={CONNECTIONS}", "--chunk-size=32M", "-O", out,
        *trusted, task.url,
    ]  # fmt: skip


def _axel(task: Task) -> list[str]:
    # It has no option for a certificate of one's own.
    return [
        "axel", "-q", "-k", "-n", str(CONNECTIONS), "-o", str(task.folder / task.name), task.url
    ]  # fmt: skip


CONTENDERS = [
    Contender("modelfetch", _modelfetch, True, _package("modelfetch")),
    Contender("modelfetch (library)", _script(_LIBRARY), True, _package("modelfetch")),
    Contender("huggingface_hub", _script(_HUB), False, _package("huggingface_hub")),
    Contender("hf_transfer", _script(_HF_TRANSFER), False, _package("hf_transfer")),
    Contender("aria2c", _aria2, True, _program("aria2c")),
    Contender("curl", _curl, False, _program("curl")),
    Contender("wget2", _wget2, False, _program("wget2")),
    Contender("axel", _axel, False, _program("axel")),
    Contender("pypdl", _script(_PYPDL), False, _package("pypdl")),
    Contender("parfive", _script(_PARFIVE), False, _package("parfive")),
]
OURS = "modelfetch"
