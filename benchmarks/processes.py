"""Whether more processes bring more: so many of them, each fetching a file of its own, at once.

    python -m benchmarks.processes [--quick]

One engine receives in threads that mostly run without the interpreter's lock, but a file has one
hash, which is one core's work, and what is left to Python is another's ceiling. Here 1, 2 and 4
engines, each in a process of its own, start at the same moment; all of it at full speed on
loopback, so that the sender takes its part of the same cores. Bytes per second are all bytes over
the time until the last file is verified.
"""

from __future__ import annotations

import os
import shutil
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Stage, staged
from benchmarks.contenders import REPO
from benchmarks.machine import ensure_tools
from benchmarks.single import GiB, MiB, child, environment, middle, run, table

READY = "ready"
_CODE = """
import asyncio, os, time
import modelfetch.engine, modelfetch.transfers
async def main():
    async with modelfetch.Engine(
        cache_dir=t["cache"], token=False, check_gguf=False, adopt=False, isolation="thread"
    ) as engine:
        await engine.plan(t["repo"])
        used = sum(os.times()[:4])
        print(t["ready"], flush=True)
        input()
        await (await engine.download(t["repo"])).result()
        return {"ended": time.time(), "cpu": sum(os.times()[:4]) - used}
print(json.dumps(asyncio.run(main())))
"""


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"size", "rows": {"<line>": {"<processes>": [{"seconds", "cpu"}, ...]}}}`."""
    ensure_tools()
    size, rounds = (32 * MiB, 1) if quick else (GiB, 3)
    rows: dict[str, dict[str, list[Any]]] = {}
    for line, case in (("TLS", CASES[0]), ("plain", CASES[1])):
        served = folder / "served"
        served.mkdir(exist_ok=True)
        found = rows[line] = {str(count): [] for count in (1, 2, 4)}
        with staged(case, served, size) as stage:
            for _ in range(rounds):
                for count, runs in found.items():
                    with stage.settled(folder):
                        runs.append(at_once(int(count), stage, folder / "run"))
                    shutil.rmtree(folder / "run")
    return {"size": size, "cores": os.cpu_count(), "rows": rows}


def at_once(count: int, stage: Stage, place: Path) -> dict[str, float]:
    """Fetch the file so many times at once; return the seconds until the last, and the CPU."""
    barrier = threading.Barrier(count)
    began: list[float] = []

    def on_line(line: str) -> None:
        if line == READY:
            barrier.wait()
            began.append(time.time())

    def fetch(number: int) -> Any:
        own = place / str(number)
        own.mkdir(parents=True)
        given = {"cache": str(own / "cache"), "repo": REPO, "ready": READY}
        surroundings = environment(stage.endpoint, own, stage.server.certificate)
        try:
            return child(_CODE, given, surroundings, on_line)
        finally:
            barrier.abort()

    with ThreadPoolExecutor(count) as pool:
        taken = list(pool.map(fetch, range(count)))
    seconds = max(one["ended"] for one in taken) - min(began)
    return {"seconds": seconds, "cpu": sum(one["cpu"] for one in taken)}


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the tables."""
    parts = []
    for line, found in raw["rows"].items():
        single = statistics.median(one["seconds"] for one in next(iter(found.values())))
        rows = []
        for count, runs in found.items():
            size = int(count) * raw["size"]
            speeds = [size / one["seconds"] / 1e6 for one in runs]
            growth = int(count) * single / statistics.median(one["seconds"] for one in runs)
            cpu = middle([one["cpu"] / size * 1e9 for one in runs], "{:.2f}")
            rows.append((count, middle(speeds, "{:.0f}"), f"{growth:.2f}", cpu))
        heads = ["processes", "MB/s of all", "of one's", "CPU s/GB"]
        parts.append(
            f"### {raw['size'] / GiB:g} GiB each, {line}, {raw['cores']} cores with the sender\n\n"
            + table(heads, rows)
        )
    return "\n".join(parts)


def main() -> None:
    run("processes", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
