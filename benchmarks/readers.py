"""Whether readers of the events slow a download down: its speed with 500 of them and without.

    python -m benchmarks.readers [--size-mb 1024] [--pairs 7] [--json FILE]

`modelfetch serve` fetches one file from nginx over TLS at full speed, again and again: in each pair
once alone and once while 500 clients of another process have `/api/v1/models/download/events` open,
of whom 100 never read a byte. Which of the two comes first alternates. Told are the speeds, and the
ratio within each pair, of which the median counts: what else the machine does changes from minute
to minute, and a pair is one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from benchmarks.cases import CASES, Stage, staged
from benchmarks.contenders import REPO
from benchmarks.machine import described, ensure_tools, python

ROOT = "/api/v1/models/download"
READERS, SILENT = 500, 100
_OPEN = build_opener(ProxyHandler({})).open


def main() -> None:
    options = _arguments()
    ensure_tools()
    machine = described()
    print(machine, flush=True)
    with tempfile.TemporaryDirectory(prefix="readers-", dir=options.folder) as folder:
        served = Path(folder, "served")
        served.mkdir()
        with (
            staged(CASES[0], served, options.size_mb << 20) as stage,
            _server(stage, Path(folder, "cache"), options.limit_rate) as (url, process),
        ):
            _fetched(url, stage, Path(folder, "cache"))  # the first, which warms up
            pairs = []
            for number in range(options.pairs):
                pair = {}
                for is_read in (False, True) if number % 2 else (True, False):
                    with _readers(url) if is_read else contextlib.nullcontext():
                        before = sum(process.cpu_times()[:2])
                        speed = _fetched(url, stage, Path(folder, "cache"))
                        cpu = sum(process.cpu_times()[:2]) - before
                    word = "with" if is_read else "without"
                    pair |= {word: speed, f"cpu {word}": cpu}
                pair["memory"] = process.memory_info().rss / 1e6
                pairs.append(pair)
                print(_told(pair), flush=True)
    ratio = statistics.median(pair["with"] / pair["without"] for pair in pairs)
    print(f"median of the ratios: {ratio:.3f}")
    if options.json:
        summary = {"machine": machine, "size_mb": options.size_mb, "pairs": pairs, "ratio": ratio}
        options.json.write_text(json.dumps(summary, indent=1))


def _told(pair: dict[str, float]) -> str:
    speeds = f"{pair['without']:.0f} MB/s without, {pair['with']:.0f} with"
    cpu = f"{pair['cpu without']:.1f} s of CPU without, {pair['cpu with']:.1f} with"
    return f"{speeds} ({pair['with'] / pair['without']:.3f}); {cpu}; {pair['memory']:.0f} MB"


@contextlib.contextmanager
def _server(
    stage: Stage, cache: Path, limit_rate: str | None
) -> Iterator[tuple[str, psutil.Process]]:
    words = ["--port", "0", "--endpoint", stage.endpoint, "--cache-dir", str(cache), "--no-adopt"]
    words += ["--limit-rate", limit_rate] if limit_rate else []
    settings = {
        "SSL_CERT_FILE": str(stage.server.certificate), "MODELFETCH_TOKEN": "0",
        "MODELFETCH_CHECK_GGUF": "0", "MODELFETCH_STATE_DIR": str(cache.with_name("state")),
    }  # fmt: skip
    process = subprocess.Popen(
        [python(), "-m", "modelfetch", "serve", *words],
        env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _readers(url: str) -> Iterator[None]:
    process = subprocess.Popen(
        [python(), "-m", "benchmarks.readers", "--read", url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "all are there\n"
        yield
    finally:
        process.kill()
        process.wait()


def _fetched(url: str, stage: Stage, cache: Path) -> float:
    """Let the server fetch the file; return the MB/s, from the request to `completed`."""
    shutil.rmtree(cache, ignore_errors=True)
    with stage.settled(cache.parent):
        began = time.perf_counter()
        job = _called(url + ROOT, {"model": REPO})
        while job["status"] == "downloading":
            time.sleep(0.02)
            job = _called(f"{url}{ROOT}/status/{job['job_id']}")
        seconds = time.perf_counter() - began
    if job["status"] != "completed":
        sys.exit(f"it did not end well: {job}")
    return stage.size / seconds / 1e6


def _called(url: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with _OPEN(Request(url, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


async def read(url: str) -> None:
    """Be the readers, until killed."""
    parts = urlsplit(url)
    opened = await asyncio.gather(*(_opened(parts.hostname or "", parts.port or 0, number)
                                    for number in range(READERS)))  # fmt: skip
    print("all are there", flush=True)
    await asyncio.gather(*(_drained(reader) for reader, _ in opened[SILENT:]))


async def _opened(
    host: str, port: int, number: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    plug = socket.socket()
    plug.setblocking(False)
    if number < SILENT:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least that there is
    await asyncio.get_running_loop().sock_connect(plug, (host, port))
    reader, writer = await asyncio.open_connection(sock=plug)
    writer.write(f"GET {ROOT}/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert b" 200 " in await reader.readline()
    if number < SILENT:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    return reader, writer


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--limit-rate", help="bound on the speed, such as 100M; default: none")
    parser.add_argument("--folder", type=Path, help="where files are put; default: temporary")
    parser.add_argument("--json", type=Path, help="where to put all figures")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        asyncio.run(read(options.read))
        sys.exit()
    return options


if __name__ == "__main__":
    main()
