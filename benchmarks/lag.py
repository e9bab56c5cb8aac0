"""What a download does to its host: how long a FastAPI server takes to answer `/ping` meanwhile.

    python -m benchmarks.lag [--size-mb 2048] [--rounds 5] [--link] [--json FILE]

The host is a FastAPI application under uvicorn in one process. A client in another process asks for
`/ping` all the time, one request after the other over one connection. That is measured while
nothing else runs, then while `Engine.download` of the same host fetches from nginx over TLS at full
speed, with the transfers in a thread and in a process of their own, or while huggingface_hub's
`hf_hub_download` does the same in a thread. What busy processors alone do to a host is shown by
programs that only count, one for each, at the lowest priority; what receiving and writing alone do,
by curl, which neither hashes nor flushes, as nice as the transfers' process. With `--link` the
bytes come over the link of case (d), 1 Gbit/s, which needs root, and not as fast as they can.
Beside it a task of the host's loop sleeps 1 ms again and again; how much later than asked it wakes
is the lag of the loop.

Each host is a new process, and is compared with itself, as it answered a moment before: the medians
of idle hosts differ among each other by as much as a download adds. One that goes on doing nothing
shows what is left of the noise. Rounds are interleaved, and each begins with another kind, so that
what else the machine does is shared by all; medians of them are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from benchmarks.cases import CASES, NAME, Case, Stage, staged
from benchmarks.contenders import REPO
from benchmarks.machine import described, ensure_tools, python
from benchmarks.rounds import shifted
from benchmarks.servers import free_port
from benchmarks.single import table
from modelfetch.aside import NICENESS
from modelfetch.memory import processors

IDLE_SECONDS = 4.0
NOTHING, PEER = "nothing", "huggingface_hub, thread"
BUSY, CURL = "only busy processors", "only curl, nice"
KINDS = (NOTHING, BUSY, CURL, "modelfetch, thread", "modelfetch, process", PEER)
ADDED = ("ping p50", "ping p99", "tick p50", "tick p99")
_URL = "LAG_URL"  # what curl fetches; the others ask the Hub
_CLIENT = """
import http.client, json, sys, time
port, out, times = int(sys.argv[1]), sys.argv[2], []
try:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        began = time.perf_counter()
        connection.request("GET", "/ping")
        if connection.getresponse().read() == b"stop":
            break
        times.append((began, time.perf_counter() - began))
        time.sleep(0.005)
finally:
    open(out, "w").write(json.dumps(times))
"""


def main() -> None:
    options = _arguments()
    ensure_tools()
    environment = described()
    print(environment, flush=True)
    case = _case(is_linked=options.link)
    with tempfile.TemporaryDirectory(prefix="lag-", dir=options.folder) as folder:
        raw = _run(case, options.size_mb, options.rounds, Path(folder))
    print("\n" + to_markdown(raw))
    if options.json:
        options.json.write_text(json.dumps({"environment": environment, **raw}, indent=1) + "\n")


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"title", "size_mb", "rounds": {kind: [row]}, "added"}`, of times in ms."""
    size_mb, rounds = (256, 1) if quick else (2048, 5)
    return _run(_case(is_linked=False), size_mb, rounds, folder)


def _run(case: Case, size_mb: int, rounds: int, folder: Path) -> dict[str, Any]:
    served = folder / "served"
    served.mkdir()
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with staged(replace(case, steps_back=True), served, size_mb << 20) as stage:
        for number in range(rounds):
            for kind in shifted(KINDS, number):
                with stage.settled(folder):
                    rows[kind].append(_measured(kind, stage, folder))
                print(f"{kind}: {_shown(rows[kind][-1])}", file=sys.stderr, flush=True)
    return {"title": case.title, "size_mb": size_mb, "rounds": rows, "added": _added(rows)}


def _case(*, is_linked: bool) -> Case:
    return next(case for case in CASES if case.tls and (case.link is not None) is is_linked)


def _measured(kind: str, stage: Stage, folder: Path) -> dict[str, float]:
    environment = {
        **os.environ, "SSL_CERT_FILE": str(stage.server.certificate),
        "REQUESTS_CA_BUNDLE": str(stage.server.certificate), "HF_ENDPOINT": stage.endpoint,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder / "hf"), _URL: stage.url,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        done = subprocess.run(
            [python(), "-m", "benchmarks.lag", "--host", kind, cache],
            env=environment, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    row: dict[str, float] = json.loads(done.stdout)
    return row


async def host(kind: str, cache: str) -> None:
    """Be the host of one download; print what it felt of it as JSON."""
    work: dict[str, Callable[[], Awaitable[object]]] = {
        NOTHING: lambda: asyncio.sleep(IDLE_SECONDS),
        BUSY: _busy,
        CURL: lambda: _curl(cache),
        "modelfetch, thread": lambda: _modelfetch(cache, "thread"),
        "modelfetch, process": lambda: _modelfetch(cache, "process"),
        PEER: lambda: asyncio.to_thread(_huggingface_hub, cache),
    }
    app, is_over = FastAPI(), False

    @app.get("/ping", response_class=PlainTextResponse)
    async def ping() -> str:
        return "stop" if is_over else "pong"

    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    # What is imported at first use is not what a running host feels.
    import huggingface_hub

    import modelfetch.engine  # noqa: F401

    huggingface_hub.hf_hub_download  # noqa: B018
    out = Path(cache, "pings.json")
    words = [str(server.config.port), str(out)]
    client = await asyncio.create_subprocess_exec(python(), "-c", _CLIENT, *words)
    await asyncio.sleep(1)  # it has begun, and its first pings, which are left out, are over
    lags: list[tuple[float, float]] = []
    ticking = asyncio.create_task(_tick(lags))
    idle_since = time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    began, cpu = time.perf_counter(), time.process_time()
    await work[kind]()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    ticking.cancel()
    is_over = True
    await client.wait()
    server.should_exit = True
    await serving
    found = {"ping": json.loads(await asyncio.to_thread(out.read_text)), "tick": lags}
    row: dict[str, float] = {"seconds": seconds, "host cpu seconds": cpu}
    for name, values in found.items():
        row |= _told(name, [took for at, took in values if at + took >= began])
        idle = [took for at, took in values if idle_since <= at and at + took < began]
        row |= _told(f"idle {name}", idle)
    print(json.dumps(row))


async def _tick(lags: list[tuple[float, float]]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        lags.append((began + 0.001, time.perf_counter() - began - 0.001))


async def _busy() -> None:
    words = ["nice", "-n", "19", python(), "-c", "while True: pass"]
    counting = [await asyncio.create_subprocess_exec(*words) for _ in range(processors())]
    await asyncio.sleep(IDLE_SECONDS)
    for process in counting:
        process.kill()
        await process.wait()


async def _curl(cache: str) -> None:
    words = ["curl", "-sSf", "--cacert", os.environ["SSL_CERT_FILE"], "-o", f"{cache}/file"]
    # In this session, as the transfers' process: being nice counts within one (sched(7)).
    curl = await asyncio.create_subprocess_exec(
        "nice", "-n", str(NICENESS), *words, os.environ[_URL]
    )
    if await curl.wait() != 0:
        raise RuntimeError("curl failed")


async def _modelfetch(cache: str, isolation: str) -> None:
    from modelfetch import Engine

    async with Engine(
        endpoint=os.environ["HF_ENDPOINT"], cache_dir=cache, token=False, isolation=isolation,
        state_dir=cache, adopt=False, check_gguf=False,
    ) as engine:  # fmt: skip
        await (await engine.download(REPO)).result()


def _huggingface_hub(cache: str) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPO, NAME, cache_dir=cache, token=False)


def _told(name: str, values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    picked = {"p50": cuts[49], "p99": cuts[98], "max": max(values)}
    told = {f"{name} {key}": 1000 * value for key, value in picked.items()}
    return {f"{name}s": len(values), **told}


def _shown(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in row.items())


def _added(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return what each kind adds to its idle host, in ms: medians of the rounds."""
    return {
        kind: {c: statistics.median(row[c] - row[f"idle {c}"] for row in found) for c in ADDED}
        for kind, found in rows.items()
    }


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the tables."""
    rows, added = raw["rounds"], raw["added"]
    columns = list(rows[NOTHING][0])
    medians = [
        [kind, *(f"{statistics.median(row[c] for row in found):.2f}" for c in columns)]
        for kind, found in rows.items()
    ]
    parts = [
        [kind, *(f"{row[c]:+.2f} ({_share(row[c], added[PEER][c])})" for c in ADDED)]
        for kind, row in added.items()
    ]
    rounds = len(rows[NOTHING])
    return (
        f"### {raw['title']}, {raw['size_mb']} MiB, {rounds} rounds\n\n"
        + table(["medians", *map(_titled, columns)], medians)
        + "\n"
        + table(["added to the same host when idle, ms", *ADDED], parts)
    )


def _titled(column: str) -> str:
    if column.endswith(("pings", "ticks")):
        return f"{column}, number"
    return f"{column}, {'s' if column.endswith('seconds') else 'ms'}"


def _share(own: float, peers: float) -> str:
    return f"{own / peers:.2f} of {PEER.split(',')[0]}'s" if peers > 0 else "-"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--link", action="store_true", help="over 1 Gbit/s; needs root")
    parser.add_argument("--folder", type=Path, help="where files are put; default: temporary")
    parser.add_argument("--json", type=Path, help="where to put all figures")
    parser.add_argument("--host", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        asyncio.run(host(*options.host))
        sys.exit()
    return options


if __name__ == "__main__":
    main()
