"""How close the default comes to the best fixed number of connections, on lines of several shapes.

    python -m benchmarks.concurrency [--rounds 3] [--fixed 1,2,4,8,16,32] [--lines nginx,total]

The same file, fetched with each fixed number of connections and with the engine as it is by
default; rounds are interleaved and the medians compared. The lines:

* `nginx`: over TLS, with `limit_rate` for each connection, as CDNs do it;
* `total`: all connections share so many bytes per second, however many they are;
* `each`: the same, and no connection gets more than its share;
* `penalty`: the same, and whoever has more than 8 connections gets a quarter of it.

The engine runs in a process of its own, its cache is new each time, and the clock starts with the
request for the model: connections, the search for their number, hash and flush are in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import MB, NAME, Case, staged
from benchmarks.contenders import REPO
from benchmarks.machine import described, ensure_tools, python
from modelfetch.testing import FakeHub, PositionCoded

DEFAULT = 0
_FETCH = """
import json, sys, time
import modelfetch
options = json.loads(sys.argv[1])
began = time.perf_counter()
modelfetch.fetch(**options)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Server:
    """Who serves the file.

    Attributes:
        endpoint: The Hub.
        certificate: To trust, `None` without TLS.
        ideal: Seconds that no number of connections can beat, `None` where that is unknown.
    """

    endpoint: str
    certificate: Path | None = None
    ideal: float | None = None


Line = Callable[[Path, argparse.Namespace], contextlib.AbstractContextManager[Server]]


def main() -> None:
    options = _arguments()
    ensure_tools()
    print(described(), flush=True)
    fixed = [int(number) for number in options.fixed.split(",")]
    for name in options.lines.split(","):
        with (
            tempfile.TemporaryDirectory(prefix="line-", dir=options.folder) as folder,
            LINES[name](Path(folder), options) as server,
        ):
            times = _measured(server, Path(folder), [*fixed, DEFAULT], options.rounds)
        _report(name, times, server)


def _measured(
    server: Server, folder: Path, numbers: list[int], rounds: int
) -> dict[int, list[float]]:
    times: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number in numbers:
            times[number].append(_seconds(server, folder / "cache", number))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return times


def _seconds(server: Server, cache: Path, number: int) -> float:
    fixed = {} if number == DEFAULT else {"connections": number, "adaptive": False}
    options = {
        "model": REPO, "endpoint": server.endpoint, "cache_dir": str(cache), "token": False,
        "state_dir": str(cache / "state"), "check_gguf": False,
        "adopt": False, **fixed,
    }  # fmt: skip
    trusted = {"SSL_CERT_FILE": str(server.certificate)} if server.certificate else {}
    done = subprocess.run(
        [python(), "-c", _FETCH, json.dumps(options)],
        env={**os.environ, **trusted}, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    shutil.rmtree(cache)
    return float(done.stdout)


def _report(name: str, times: dict[int, list[float]], server: Server) -> None:
    medians = {number: statistics.median(taken) for number, taken in times.items()}
    default = medians.pop(DEFAULT)
    best = min(medians, key=lambda number: medians[number])
    print(f"\n{name}" + (f", at best {server.ideal:.1f} s" if server.ideal else ""))
    for number, median in medians.items():
        print(f"  {number:3} connections  {median:6.2f} s")
    more = 100 * (default / medians[best] - 1)
    print(f"  default          {default:6.2f} s, {more:+.0f} % of the best fixed number ({best})")
    fewest = min(medians)
    print(
        f"  {fewest} of them take {medians[fewest] / default:.1f} times as long as it", flush=True
    )


@contextlib.contextmanager
def _nginx(folder: Path, options: argparse.Namespace) -> Iterator[Server]:
    case = Case("l", "limit_rate", 0, 0, limit_rate=int(options.each_mb * MB))
    with staged(case, folder, options.size_mb * MB) as stage:
        yield Server(stage.endpoint, stage.server.certificate)


def _shaped(rate: Callable[[int, argparse.Namespace], float]) -> Line:
    """Return a line whose connections get what `rate` says for so many of them."""

    @contextlib.contextmanager
    def line(folder: Path, options: argparse.Namespace) -> Iterator[Server]:
        size = options.shaped_mb * MB
        with FakeHub.in_thread() as hub, shaping(hub, lambda busy: rate(busy, options)):
            hub.add(REPO, {NAME: PositionCoded(size, 1)})
            best = max(busy * rate(busy, options) for busy in range(1, 65))
            yield Server(hub.endpoint, ideal=size / best)

    return line


@contextlib.contextmanager
def shaping(hub: FakeHub, rate: Callable[[int], float]) -> Iterator[None]:
    """Keep what each connection gets to what `rate` says for as many as are busy."""
    is_over = threading.Event()

    def shape() -> None:
        while not is_over.wait(0.01):
            hub.rate = rate(max(1, hub.cdn.busy))

    hub.rate = rate(1)
    shaper = threading.Thread(target=shape)
    shaper.start()
    try:
        yield
    finally:
        is_over.set()
        shaper.join()


def _total(busy: int, options: argparse.Namespace) -> float:
    return options.total_mb * MB / busy


def _each(busy: int, options: argparse.Namespace) -> float:
    return min(options.each_mb * MB, _total(busy, options))


def _penalty(busy: int, options: argparse.Namespace) -> float:
    rate = _each(busy, options)
    return rate if busy <= FREE else rate / 4


FREE = 8
LINES: dict[str, Line] = {
    "nginx": _nginx,
    "total": _shaped(_total),
    "each": _shaped(_each),
    "penalty": _shaped(_penalty),
}


def _arguments() -> argparse.Namespace:
    about = argparse.ArgumentParser(prog="benchmarks.concurrency")
    about.add_argument("--rounds", type=int, default=3)
    about.add_argument("--fixed", default="1,2,4,8,16,32", help="numbers of connections")
    about.add_argument("--lines", default="nginx,total,each,penalty")
    about.add_argument("--size-mb", type=int, default=512, help="of the file on nginx")
    about.add_argument("--shaped-mb", type=int, default=128, help="of the file on a FakeHub")
    about.add_argument("--each-mb", type=float, default=5.0, help="MB/s of a connection")
    about.add_argument("--total-mb", type=float, default=50.0, help="MB/s of the FakeHub")
    about.add_argument("--folder", type=Path, help="where the files are")
    return about.parse_args()


if __name__ == "__main__":
    main()
