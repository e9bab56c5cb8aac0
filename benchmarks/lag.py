"""What a download does to its host: lag of a 1 ms ticker and of an HTTP `/ping` in one process.

    python -m benchmarks.lag [--size-mb 2048] [--rounds 3]

A host program serves `/ping` from its own loop with aiohttp.web and sleeps 1 ms again and again;
how much later than asked it wakes is the lag. A client in another process asks for `/ping` all the
time. That is measured while nothing else runs, while `Engine.download` fetches from nginx over TLS
at full speed, and while huggingface_hub's `hf_hub_download` does the same in a thread. Rounds are
interleaved; the medians of the rounds are printed, and what each adds to the idle host.
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
from pathlib import Path

from aiohttp import web

from benchmarks.cases import CASES, NAME, Stage, staged
from benchmarks.contenders import REPO
from benchmarks.machine import described, ensure_tools, python
from benchmarks.servers import free_port

IDLE_SECONDS = 4.0
KINDS = ("idle", "modelfetch", "modelfetch, own process", "huggingface_hub")
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
        times.append(time.perf_counter() - began)
        time.sleep(0.005)
finally:
    open(out, "w").write(json.dumps(times))
"""


def main() -> None:
    options = _arguments()
    ensure_tools()
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="lag-", dir=options.folder) as folder:
        served = Path(folder, "served")
        served.mkdir()
        with staged(CASES[0], served, options.size_mb << 20) as stage:
            rows: dict[str, list[dict[str, float]]] = {}
            for _ in range(options.rounds):
                for kind in KINDS:
                    rows.setdefault(kind, []).append(_measured(kind, stage, Path(folder)))
    _show(rows)


def _measured(kind: str, stage: Stage, folder: Path) -> dict[str, float]:
    environment = {
        **os.environ, "SSL_CERT_FILE": str(stage.server.certificate),
        "REQUESTS_CA_BUNDLE": str(stage.server.certificate), "HF_ENDPOINT": stage.endpoint,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder / "hf"),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        done = subprocess.run(
            [python(), "-m", "benchmarks.lag", "--host", kind, cache],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    row: dict[str, float] = json.loads(done.stdout)
    return row


async def host(kind: str, cache: str) -> None:
    """Be the host of one download; print the lags as JSON."""
    work: dict[str, Callable[[], Awaitable[object]]] = {
        "idle": lambda: asyncio.sleep(IDLE_SECONDS),
        "modelfetch": lambda: _modelfetch(cache, "thread"),
        "modelfetch, own process": lambda: _modelfetch(cache, "process"),
        "huggingface_hub": lambda: asyncio.to_thread(_huggingface_hub, cache),
    }
    is_over = False

    async def ping(_: web.Request) -> web.Response:
        return web.Response(text="stop" if is_over else "pong")

    app = web.Application()
    app.router.add_get("/ping", ping)
    runner, port = web.AppRunner(app, access_log=None), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    out = Path(cache, "pings.json")
    client = await asyncio.create_subprocess_exec(python(), "-c", _CLIENT, str(port), str(out))
    lags: list[float] = []
    ticking = asyncio.create_task(_tick(lags))
    # What is imported at first use is not what a running host feels.
    import huggingface_hub

    import modelfetch.engine  # noqa: F401

    huggingface_hub.hf_hub_download  # noqa: B018
    await asyncio.sleep(0.5)
    lags.clear()
    began = time.perf_counter()
    await work[kind]()
    seconds = time.perf_counter() - began
    ticking.cancel()
    is_over = True
    await client.wait()
    await runner.cleanup()
    pings = json.loads(await asyncio.to_thread(out.read_text))
    print(json.dumps({"seconds": seconds, **_told("tick", lags), **_told("ping", pings)}))


async def _tick(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(0.001)
        lags.append(loop.time() - began - 0.001)


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
    return {f"{name} {key}": 1000 * value for key, value in picked.items()}


def _show(rows: dict[str, list[dict[str, float]]]) -> None:
    columns = list(rows["idle"][0])
    medians = {k: {c: statistics.median(r[c] for r in v) for c in columns} for k, v in rows.items()}
    print("\n| | " + " | ".join(f"{c}{'' if c == 'seconds' else ', ms'}" for c in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for kind, row in medians.items():
        print(f"| {kind} | " + " | ".join(f"{row[c]:.2f}" for c in columns) + " |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files are put; default: temporary")
    parser.add_argument("--host", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        asyncio.run(host(*options.host))
        sys.exit()
    return options


if __name__ == "__main__":
    main()
