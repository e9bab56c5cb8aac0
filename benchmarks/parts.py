"""What each part of the engine costs: the same download without it, in interleaved rounds.

    python -m benchmarks.parts [--quick]

An `Engine` in a process of its own, timed from `download` to the verified file once everything is
imported, over TLS at full speed. Parts are taken out by patches that no user could want.
The last line is no engine: `benchmarks.floor`, the least that can be done with aiohttp.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Stage, staged
from benchmarks.contenders import REPO
from benchmarks.machine import ensure_tools, python
from benchmarks.single import GiB, MiB, child, environment, middle, run, table

_PARTIAL = "import modelfetch.storage.partial as partial\n"
_WITHOUT_CRC = _PARTIAL + "partial.crc32 = lambda *given: 0"
_ZLIB = _PARTIAL + "import zlib\npartial.crc32 = zlib.crc32"
_UNCLEARED = """
import modelfetch.storage.checksums as checksums
checksums.clear_registers = lambda: None"""
_WITHOUT_JOURNAL = """
from modelfetch.storage.journals import JournalFile
JournalFile._append = lambda self, record: None"""
_WITHOUT_HASH = """
import modelfetch.fetcher
from modelfetch.storage.partial import PartialFile
PartialFile.hash_into = lambda self, hasher, span, block: None
class Trusting:
    def __init__(self, file): self.file = file
    def hexdigest(self): return self.file.blob_name
modelfetch.fetcher.new_hasher = Trusting"""
# name -> a patch, settings
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "as it is, in a thread": ("", {}),
    "in a process of its own": ("", {"isolation": "process"}),
    "4 connections from the start": ("", {"connections": 4, "adaptive": False}),
    "16 connections from the start": ("", {"connections": 16, "adaptive": False}),
    "without flushes": ("", {"durable": False}),
    "without the checksum of pieces": (_WITHOUT_CRC, {}),
    "with vector registers left in use by it": (_UNCLEARED, {}),
    "with zlib's checksum (no extra `fast`)": (_ZLIB, {}),
    "without records in the journal": (_WITHOUT_JOURNAL, {}),
    "without the SHA-256": (_WITHOUT_HASH, {}),
}
FLOOR = "the least with aiohttp, 8 connections"
_CODE = """
import asyncio, os, time
import modelfetch.engine, modelfetch.transfers
exec(t["patch"])
async def main():
    settings = {"isolation": "thread", **t["settings"]}
    async with modelfetch.Engine(
        cache_dir=t["cache"], token=False, check_gguf=False, adopt=False, **settings
    ) as engine:
        await engine.plan(t["repo"])
        began = time.perf_counter()
        used = sum(os.times()[:4])
        await (await engine.download(t["repo"])).result()
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu": sum(os.times()[:4]) - used}
print(json.dumps(asyncio.run(main())))
"""


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"size", "rows": {"<part>": [{"seconds", "cpu"}, ...]}}`."""
    ensure_tools()
    size, rounds = (64 * MiB, 1) if quick else (2 * GiB, 3)
    rows: dict[str, list[Any]] = {name: [] for name in (*PARTS, FLOOR)}
    served = folder / "served"
    served.mkdir()
    with staged(CASES[0], served, size) as stage:
        for _ in range(rounds):
            for name, runs in rows.items():
                with stage.settled(folder):
                    runs.append(taken(name, stage, folder / "run"))
                shutil.rmtree(folder / "run")
    return {"size": size, "rows": rows}


def taken(name: str, stage: Stage, place: Path) -> Any:
    surroundings = environment(stage.endpoint, place, stage.server.certificate)
    place.mkdir()
    if name != FLOOR:
        patch, settings = PARTS[name]
        given = {"cache": str(place / "cache"), "repo": REPO, "patch": patch, "settings": settings}
        return child(_CODE, given, surroundings)
    words = [python(), "-m", "benchmarks.floor", stage.url, str(place / "file"), str(stage.size)]
    done = subprocess.run(
        [*words, "8"], env=surroundings, check=True, capture_output=True, text=True
    )
    taken = json.loads(done.stdout)
    if taken.pop("sha256") != stage.sha256:
        raise RuntimeError("the floor left wrong bytes")
    return taken


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the table."""
    whole = statistics.median(it["cpu"] for it in next(iter(raw["rows"].values())))
    rows = []
    for name, runs in raw["rows"].items():
        cpu = [it["cpu"] / raw["size"] * 1e9 for it in runs]
        share = statistics.median(it["cpu"] for it in runs) / whole
        seconds = middle([it["seconds"] for it in runs], "{:.2f}")
        rows.append((name, seconds, middle(cpu, "{:.2f}"), f"{share:.2f}"))
    heads = ["", "seconds to the verified file", "CPU s/GB", "of the first's"]
    return f"### {raw['size'] / GiB:g} GiB over TLS\n\n" + table(heads, rows)


def main() -> None:
    run("parts", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
