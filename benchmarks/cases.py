"""What is fetched, and over which kind of line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import REPO, Contender, Task, Wanted
from benchmarks.hashing import hash_of
from benchmarks.link import link, obstacle
from benchmarks.memory import settled
from benchmarks.servers import Hub, HubFile, Server, nginx, running_hub, shaped
from benchmarks.shape import Shape
from modelfetch.testing import build_gguf

KB, MB, GB, MiB, GiB = 10**3, 10**6, 10**9, 1 << 20, 1 << 30
NAME = "model-Q4_K_M.gguf"
_STRIDE = 16 << 20
PATIENCE = 3.0  # seconds of silence that every contender is told to wait in (l)


@dataclass(frozen=True)
class Case:
    """A workload and a line.

    Attributes:
        letter: Its short name.
        title: What it is.
        size: Bytes of each file.
        quick_size: The same for `--quick`.
        tls: Whether over TLS.
        limit_rate: Bytes per second of each connection by nginx itself, `None` for no bound.
        files: How many files; more than one are the parts of a split model.
        shape: What a proxy before the CDN does, `None` for no proxy.
        link: Bits per second of a link to the CDN, `None` for loopback. Such a case has a
            yardstick: what it takes without writing and verifying.
        fails: Whether one in a hundred requests goes wrong. The CDN is then the FakeHub's, and each
            contender is compared with itself without the faults.
        steps_back: Whether the CDN runs when nobody else wants the processor, since one on another
            machine would not want it at all.
        time_limit: Seconds after which a run has failed.
    """

    letter: str
    title: str
    size: int
    quick_size: int
    tls: bool = True
    limit_rate: int | None = None
    files: int = 1
    shape: Shape | None = None
    link: int | None = None
    fails: bool = False
    steps_back: bool = False
    time_limit: float = 300.0

    @property
    def through_hub(self) -> bool:
        """Whether everybody is given the Hub's URLs; if not, those who take a URL get the CDN's."""
        return self.fails or self.files > 1

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be run here, `None` if it can."""
        return None if self.link is None else obstacle()

    def takes(self, contender: Contender) -> bool:
        """Whether a contender takes part."""
        if contender.is_yardstick:
            return self.link is not None
        return self.files == 1 or contender.takes_many

    def names(self) -> list[str]:
        """Return the files' names."""
        if self.files == 1:
            return [NAME]
        stem, count = NAME.removesuffix(".gguf"), self.files
        return [f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


CASES = [
    Case("a", "TLS, loopback at full speed", 2 * GiB, 128 * MiB),
    Case("b", "plain HTTP, loopback at full speed", 2 * GiB, 128 * MiB, tls=False),
    Case("c", "20 MB/s for each connection", 2 * GiB, 48 * MiB, tls=False, limit_rate=20 * MB),
    Case("d", "TLS over a link of 1 Gbit/s", GiB, 64 * MiB, link=GB),
    Case("e", "TLS, 40 ms of latency to the CDN", GiB, 64 * MiB, shape=Shape(delay=0.02)),
    Case(
        "f", "30 MB/s for each connection, 120 MB/s for all, a third of it beyond 6 at once",
        384 * MiB, 48 * MiB, tls=False,
        shape=Shape(rate=30 * MB, total=120 * MB, most=6, penalty=1 / 3),
    ),
    Case(
        "g", "20 MB/s for each connection, but 1 MB/s for one in four (the third, the seventh...)",
        256 * MiB, 32 * MiB, tls=False,
        shape=Shape(rate=20 * MB, slow_every=4, slow_rate=1 * MB),
    ),
    Case("h1", "200 small files, TLS", 256 << 10, 256 << 10, files=200),
    Case("h2", "12 shards, TLS", 64 * MiB, 4 * MiB, files=12),
    Case(
        "l", "400 small files, one in a hundred requests fails (reset, short body, 503, stall)",
        256 << 10, 64 << 10, tls=False, files=400, fails=True, time_limit=60.0,
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A case that is set up: servers run, and the files are there.

    Attributes:
        endpoint: The FakeHub.
        server: Counts what the CDN sends.
        files: What to fetch.
        size: Bytes of all of them.
        hub: The FakeHub as a process.
        served: Where the files are on this machine.
        patience: Seconds of silence that contenders are told to wait, `None` for their default.
    """

    endpoint: str
    server: Server
    files: tuple[Wanted, ...]
    size: int
    hub: Hub
    served: tuple[Path, ...]
    patience: float | None = None

    @property
    def url(self) -> str:
        """Where the first file is."""
        return self.files[0].url

    @property
    def sha256(self) -> str:
        """Hash of the first file."""
        return self.files[0].sha256

    def task(self, folder: Path) -> Task:
        """Return what a contender is to do, in a folder."""
        return Task(self.endpoint, self.files, folder, self.server.certificate, self.patience)

    def settled(self, folder: Path) -> AbstractContextManager[None]:
        """Have the memory settled for a run; see `benchmarks.memory.settled`."""
        return settled(folder, self.size, self.served)


@contextlib.contextmanager
def staged(case: Case, folder: Path, size: int) -> Iterator[Stage]:
    """Make the files and run the servers of a case.

    Args:
        case: Which.
        folder: Where the files are made, unless they are there.
        size: Bytes of each file.
    """
    made_files = [made(folder, size, split) for split in _splits(case)]
    hashes = [hash_of(path) for path in made_files]
    with contextlib.ExitStack() as stack:
        if case.fails:
            server, urls = None, [str(path) for path in made_files]
        else:
            server, base = _cdn(case, folder, stack)
            urls = [f"{base}/{path.name}" for path in made_files]
        listed = [
            HubFile(name, path.stat().st_size, sha256, url)
            for name, path, sha256, url in zip(case.names(), made_files, hashes, urls, strict=True)
        ]
        hub = stack.enter_context(running_hub(REPO, listed, sends=case.fails))
        base = f"{hub.endpoint}/{REPO}/resolve/main"
        wanted = tuple(
            Wanted(
                f"{base}/{file.path}" if case.through_hub else file.url,
                file.path,
                file.sha256,
                file.size,
            )
            for file in listed
        )
        yield Stage(
            hub.endpoint, server or hub, wanted, sum(file.size for file in listed), hub,
            tuple(made_files), PATIENCE if case.fails else None,
        )  # fmt: skip


def _cdn(case: Case, folder: Path, stack: contextlib.ExitStack) -> tuple[Server, str]:
    """Run the CDN of a case; return what counts there, and where it is."""
    before = ["nice", "-n", "19"] if case.steps_back else []
    if case.link is not None:
        far = stack.enter_context(link(case.link))
        within = [*far.within, *before]
        server = stack.enter_context(
            nginx(folder, tls=case.tls, address=far.address, within=within)
        )
        return server, server.url
    server = stack.enter_context(
        nginx(folder, tls=case.tls, limit_rate=case.limit_rate, within=before)
    )
    if case.shape is None:
        return server, server.url
    proxy = stack.enter_context(shaped(server, case.shape))
    return proxy, proxy.url


def _splits(case: Case) -> list[tuple[int, int] | None]:
    return [None] if case.files == 1 else [(number, case.files) for number in range(case.files)]


def made(folder: Path, size: int, split: tuple[int, int] | None = None) -> Path:
    """Make a GGUF file that is served, unless it is there; every byte depends on its place.

    Args:
        folder: Where.
        size: Bytes of it.
        split: `(number from 0, count)` for a part of a split model.
    """
    number, count = split or (0, 1)
    path = folder / f"{size}-{number}-of-{count}.gguf"
    if not path.exists():
        content, draft = build_gguf(size_bytes=size, split=split, seed=number), path.with_suffix("")
        with draft.open("wb") as file:
            for start in range(0, content.size, _STRIDE):
                file.write(content.read(start, min(content.size, start + _STRIDE)))
        draft.rename(path)
    return path
