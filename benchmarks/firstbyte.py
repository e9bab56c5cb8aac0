"""How long until the first byte of a model is on the disk, and how many requests that takes.

    python -m benchmarks.firstbyte [--quick]

From the call to the moment when the partial in the cache has a size, looked at from another process
about every millisecond. *cold* is the first use in a process that has imported the package and no
more, so that what it imports at first use counts; *warm* is the second model of the same process.
The requests are all those that the Hub and its CDN got, up to and including the first one for
bytes. Each also with 40 ms added to every answer, which stands for the way to a Hub far away.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import python
from benchmarks.single import MiB, environment, middle, run, table
from modelfetch.testing import Delay, FakeHub, build_gguf

REPO, FILE = "bench/first-GGUF", "first-Q4_K_M.gguf"
OTHER, OTHER_FILE = "bench/other-GGUF", "other-Q4_K_M.gguf"
DELAY = 0.04
LIMIT = 30.0

_PREPARED = """
import sys, time
def called():
    print("ready", flush=True)
    sys.stdin.readline()
    print(time.monotonic(), flush=True)
cache, is_warm = sys.argv[1], sys.argv[2] == "warm"
"""
_CODE = {
    "modelfetch": """
import asyncio, modelfetch
async def main():
    async with modelfetch.Engine(cache_dir=cache, token=False) as engine:
        if is_warm:
            await (await engine.download("bench/other-GGUF")).result()
        called()
        await (await engine.download("bench/first-GGUF")).result()
if is_warm:
    asyncio.run(main())
else:
    called()
    modelfetch.fetch("bench/first-GGUF", cache_dir=cache, token=False)
""",
    "huggingface_hub": """
import huggingface_hub
if is_warm:
    huggingface_hub.hf_hub_download(
        "bench/other-GGUF", "other-Q4_K_M.gguf", cache_dir=cache, token=False)
called()
huggingface_hub.hf_hub_download(
    "bench/first-GGUF", "first-Q4_K_M.gguf", cache_dir=cache, token=False)
""",
}


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"rows": {"<program>, <cold or warm>, <ms> ms": {"seconds", "requests"}}}`."""
    rows: dict[str, dict[str, list[float]]] = {}
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: build_gguf(size_bytes=64 * MiB, seed=1)})
        hub.add(OTHER, {OTHER_FILE: build_gguf(size_bytes=MiB, seed=2)})
        for number in range(2 if quick else 7):
            for delay in (0.0, DELAY):
                hub.unscript()
                for where in ("api", "resolve", "cdn") if delay else ():
                    hub.script(Delay(delay), on=where, times=None)
                for program in _CODE:
                    for kind in ("cold", "warm"):
                        place = folder / f"{program}-{kind}-{number}-{delay}"
                        seconds, requests = _once(hub, program, kind, place)
                        row = rows.setdefault(
                            f"{program}, {kind}, {1000 * delay:.0f} ms",
                            {"seconds": [], "requests": []},
                        )
                        row["seconds"].append(seconds)
                        row["requests"].append(requests)
    return {"rows": rows}


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the table."""
    return "### (i) From the call to the first byte on disk\n\n" + table(
        ["", "milliseconds", "requests"],
        [
            (name, middle([1000 * s for s in row["seconds"]], "{:.0f}"), f"{max(row['requests'])}")
            for name, row in raw["rows"].items()
        ],
    )


def _once(hub: FakeHub, program: str, kind: str, place: Path) -> tuple[float, int]:
    place.mkdir()
    blobs = place / "cache" / f"models--{REPO.replace('/', '--')}" / "blobs"
    with subprocess.Popen(
        [python(), "-c", _PREPARED + _CODE[program], str(place / "cache"), kind],
        env=environment(hub.endpoint, place),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        hub.reset_log()
        process.stdin.write("go\n")
        called = float(process.stdout.readline())
        while not _has_bytes(blobs):
            if time.monotonic() > called + LIMIT:
                raise RuntimeError(f"{program} has no byte after {LIMIT:.0f} s")
            time.sleep(0.001)
        seconds = time.monotonic() - called
        process.kill()
    log = list(hub.log)
    first = next(i for i, r in enumerate(log) if r.server == "cdn" and r.method == "GET")
    return seconds, first + 1


def _has_bytes(blobs: Path) -> bool:
    try:
        return any(".incomplete" in p.name and p.stat().st_size for p in blobs.iterdir())
    except FileNotFoundError:
        return False


def main() -> None:
    run("firstbyte", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
