"""What is fetched, and over which kind of line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import REPO
from benchmarks.measure import hash_of
from benchmarks.servers import HubFile, Nginx, hub, nginx
from modelfetch.testing import PositionCoded

MB, GiB = 10**6, 1 << 30
NAME = "model-Q4_K_M.gguf"
_STRIDE = 16 << 20


@dataclass(frozen=True)
class Case:
    """A workload of one file.

    Attributes:
        letter: Its short name.
        title: What it is.
        size: Bytes of the file.
        quick_size: The same for `--quick`.
        tls: Whether over TLS.
        limit_rate: Bytes per second of each connection, `None` for no bound.
    """

    letter: str
    title: str
    size: int
    quick_size: int
    tls: bool = True
    limit_rate: int | None = None


CASES = [
    Case("a", "2 GiB over TLS, loopback at full speed", 2 * GiB, GiB // 2),
    Case("b", "2 GiB, plain HTTP, loopback at full speed", 2 * GiB, GiB // 2, tls=False),
    Case("c", "2 GiB, 20 MB/s for each connection", 2 * GiB, GiB // 4, False, 20 * MB),
]


@dataclass(frozen=True)
class Stage:
    """A case that is set up: servers run, and the file is there."""

    endpoint: str
    server: Nginx
    url: str
    sha256: str
    size: int


@contextlib.contextmanager
def staged(case: Case, folder: Path, size: int) -> Iterator[Stage]:
    """Make the file and run the servers of a case."""
    source = made(folder, size)
    sha256 = hash_of(source)
    with nginx(folder, tls=case.tls, limit_rate=case.limit_rate) as server:
        url = f"{server.url}/{source.name}"
        with hub(REPO, [HubFile(NAME, size, sha256, url)]) as endpoint:
            yield Stage(endpoint, server, url, sha256, size)


def made(folder: Path, size: int) -> Path:
    """Make the file that is served, unless it is there; every byte depends on its place."""
    path = folder / f"{size}.gguf"
    if not path.exists():
        content, draft = PositionCoded(size, 1), path.with_suffix(".tmp")
        with draft.open("wb") as file:
            for start in range(0, size, _STRIDE):
                file.write(content.read(start, min(size, start + _STRIDE)))
        draft.rename(path)
    return path
