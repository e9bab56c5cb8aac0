"""The most memory that a download needs, over that of the imported library, by size of the file.

    python -m benchmarks.rss [--quick]

16 connections from the first moment, nginx over TLS at full speed, an `Engine` in a process of its
own: VmHWM of the kernel at the end, less VmRSS once everything is imported and the engine is open.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, staged
from benchmarks.contenders import REPO
from benchmarks.machine import ensure_tools
from benchmarks.single import GiB, MiB, child, environment, middle, run, table

PROMISE = 64 * 10**6
_CODE = """
import asyncio, re, time
import modelfetch.engine, modelfetch.transfers
def held(name):
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(name + r":\\s+(\\d+) kB", status.read())[1])
async def main():
    engine = modelfetch.Engine(
        cache_dir=t["cache"], token=False, check_gguf=False, connections=16, adaptive=False,
        isolation="thread")
    async with engine:
        await engine.plan(t["repo"])
        before = held("VmRSS")
        open("/proc/self/clear_refs", "w").write("5")
        began = time.perf_counter()
        await (await engine.download(t["repo"])).result()
        seconds = time.perf_counter() - began
    return {"before": before, "most": held("VmHWM"), "seconds": seconds}
print(json.dumps(asyncio.run(main())))
"""


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"rows": {"<size>": [{"before", "most", "seconds"}, ...]}}`, in bytes."""
    ensure_tools()
    sizes = [64 * MiB, 256 * MiB] if quick else [256 * MiB, 2 * GiB]
    rows: dict[str, list[Any]] = {}
    for number in range(1 if quick else 3):
        for size in sizes:
            served = folder / "served"
            served.mkdir(exist_ok=True)
            with staged(CASES[0], served, size) as stage:
                place = folder / f"{number}-{size}"
                given = {"cache": str(place / "cache"), "repo": REPO}
                certificate = stage.server.certificate
                taken = child(_CODE, given, environment(stage.endpoint, place, certificate))
                rows.setdefault(str(size), []).append(taken)
            shutil.rmtree(place)
    return {"rows": rows}


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the table."""
    rows = []
    for size, runs in raw["rows"].items():
        over = [(taken["most"] - taken["before"]) / 1e6 for taken in runs]
        rows.append(
            (
                f"{int(size) / GiB:g} GiB",
                middle(over),
                middle([taken["before"] / 1e6 for taken in runs]),
                "yes" if max(over) * 1e6 <= PROMISE else "NO",
            )
        )
    return "### Memory with 16 connections, TLS at full speed\n\n" + table(
        ["size", "peak over the imported library, MB", "that, MB", "at most 64 MB"], rows
    )


def main() -> None:
    run("rss", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
