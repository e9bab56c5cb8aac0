"""What grows with the size of a file, the number of jobs and of files, and what must not.

    python -m benchmarks.growth [--quick]

* *size*: files fetched from nginx over plain HTTP, in a process of its own: CPU for each GiB, and
  the most memory over that of the imported library.
* *journal*: what planning, ranges and the journal alone need for files that no disk here holds, up
  to 64 GiB: every piece of 1 MiB leased to 16 connections, landed and written down; then the
  journal read as after a crash. Time for each piece, memory for each piece.
* *jobs*: small models in one engine, all waiting in line, then run one after the other: CPU to ask
  for one and to run it, memory of one that waits, CPU for each second while they wait, and after.
* *files*: one model in so many small shards: CPU and memory for each file.
"""

from __future__ import annotations

import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, staged
from benchmarks.contenders import REPO
from benchmarks.machine import ensure_tools
from benchmarks.single import GiB, MiB, child, environment, run, table
from modelfetch.core.journal import Header, Piece
from modelfetch.core.lease import Lease
from modelfetch.core.pieces import SpanSet, piece_end
from modelfetch.core.transfer import Transfer
from modelfetch.storage.journals import JournalFile, read_journal
from modelfetch.testing import BytesContent, FakeHub, Stall
from modelfetch.types import Span

CONNECTIONS = 16
SMALL = 16 << 10
IDLE_SECONDS = 3.0
_MEASURED = """
import asyncio, re, resource, time
import modelfetch.engine, modelfetch.transfers
def held(name):
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(name + r":\\s+(\\d+) kB", status.read())[1])
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def opened(**more):
    return modelfetch.Engine(
        cache_dir=t["cache"], token=False, check_gguf=False, adopt=False, isolation="thread",
        **more)
"""
_SIZE = """
async def main():
    async with opened() as engine:
        await engine.plan(t["repo"])
        before, began = held("VmRSS"), cpu()
        open("/proc/self/clear_refs", "w").write("5")
        await (await engine.download(t["repo"])).result()
        return {"cpu": cpu() - began, "memory": held("VmHWM") - before}
print(json.dumps(asyncio.run(main())))
"""
_JOBS = """
async def idle():
    began = cpu()
    await asyncio.sleep(t["idle"])
    return (cpu() - began) / t["idle"]
async def main():
    async with opened(finished_jobs=1_000_000, max_jobs=1) as engine:
        await (await engine.download("bench/warm-GGUF")).result()
        slow = await engine.download("bench/slow-GGUF")
        before, began, started = held("VmRSS"), cpu(), time.perf_counter()
        jobs = [await engine.download(f"bench/job-{n}-GGUF") for n in range(t["count"])]
        asked, memory = cpu() - began, held("VmRSS") - before
        waiting = await idle()
        began = cpu()
        await slow.cancel()
        for job in jobs:
            await job.result()
        took, seconds = cpu() - began, time.perf_counter() - started - t["idle"]
        return {"asked": asked, "cpu": took, "memory": memory, "seconds": seconds,
                "waiting": waiting, "idle": await idle()}
print(json.dumps(asyncio.run(main())))
"""
_FILES = """
async def main():
    async with opened() as engine:
        await (await engine.download("bench/warm-GGUF")).result()
        before, began, started = held("VmRSS"), cpu(), time.perf_counter()
        await engine.plan(t["repo"])
        plan = cpu() - began
        await (await engine.download(t["repo"])).result()
        took, seconds = cpu() - began, time.perf_counter() - started
        return {"plan": plan, "cpu": took, "memory": held("VmRSS") - before, "seconds": seconds}
print(json.dumps(asyncio.run(main())))
"""


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"<part>": {"<number of units>": {"cpu", "memory", ...}}}`, in seconds and bytes."""
    return {name: part(quick, folder / name) for name, part in PARTS.items()}


def sizes(quick: bool, folder: Path) -> dict[str, Any]:
    ensure_tools()
    rows = {}
    for size in [16 * MiB, 256 * MiB] if quick else [16 * MiB, 256 * MiB, GiB, 4 * GiB]:
        served = folder / "served"
        served.mkdir(parents=True)
        with staged(CASES[1], served, size) as stage:
            given = {"cache": str(folder / "cache"), "repo": REPO}
            with stage.settled(folder.parent):
                rows[str(size)] = child(
                    _MEASURED + _SIZE, given, environment(stage.endpoint, folder)
                )
        shutil.rmtree(folder)
    return rows


def journals(quick: bool, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    # The first run warms up.
    counted = [64 * MiB, 64 * MiB, GiB, 8 * GiB] + ([] if quick else [64 * GiB])
    return {str(size): _journal(size, folder / "journal") for size in counted}


def _journal(size: int, path: Path) -> dict[str, float]:
    header = Header("0" * 64, size, "boot", "writer")
    tracemalloc.start()
    _fill(size, JournalFile(path, durable=False), header)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    filling = _cpu(lambda: _fill(size, JournalFile(path, durable=False), header))
    reading = _cpu(lambda: _read(path, size, header))
    tracemalloc.start()
    _read(path, size, header)
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"cpu": filling, "memory": most, "read_cpu": reading, "read_memory": read}


def _fill(size: int, journal: JournalFile, header: Header) -> None:
    """Let connections whose turns come at random land all pieces of a file."""
    journal.begin(header, [], [])
    transfer, chance = Transfer(size, SpanSet()), random.Random(1)
    leases: list[Lease | None] = [None] * CONNECTIONS
    now = 0.0
    while not transfer.is_complete:
        now += 0.001
        place = chance.randrange(CONNECTIONS)
        lease = leases[place]
        if lease is None or not lease.remaining:
            if lease is not None:
                transfer.release(lease)
            lease = leases[place] = transfer.lease(now, 50e6, CONNECTIONS)
            if lease is None:
                continue
        span = Span(lease.position, piece_end(lease.position, lease.stop))
        for gap in transfer.reserve(span):
            journal.piece(Piece(gap, 0))
            transfer.landed(lease, gap, now)
    journal.close()


def _read(path: Path, size: int, header: Header) -> None:
    found = read_journal(path)
    assert found is not None
    done = SpanSet(piece.span for piece in found.trusted(header))
    assert done.size == size


def jobs(quick: bool, folder: Path) -> dict[str, Any]:
    counts = [1, 10, 100] if quick else [1, 10, 100, 1000]
    with FakeHub.in_thread() as hub:
        _warm(hub)
        for number in range(max(counts)):
            hub.add(f"bench/job-{number}-GGUF", {f"job-{number}-Q4_K_M.gguf": _small(number)})
        return {str(count): _in_child(hub, _JOBS, folder, count=count) for count in counts}


def files(quick: bool, folder: Path) -> dict[str, Any]:
    counts = [1, 10, 100] if quick else [1, 10, 100, 1000, 10_000]
    with FakeHub.in_thread() as hub:
        _warm(hub)
        for count in counts:
            hub.add(
                f"bench/files-{count}-GGUF",
                {
                    f"m-Q4_K_M-{n + 1:05}-of-{count:05}.gguf": _small(count + n)
                    for n in range(count)
                },
                lfs=lambda path, content: True,
            )
        return {
            str(count): _in_child(hub, _FILES, folder, repo=f"bench/files-{count}-GGUF")
            for count in counts
        }


def _in_child(hub: FakeHub, code: str, folder: Path, **given: object) -> Any:
    given = {"cache": str(folder / "cache"), "idle": IDLE_SECONDS, **given}
    result = child(_MEASURED + code, given, environment(hub.endpoint, folder))
    shutil.rmtree(folder)
    hub.reset_log()
    return result


def _warm(hub: FakeHub) -> None:
    hub.add("bench/warm-GGUF", {"warm-Q4_K_M.gguf": _small(-1)})
    hub.add("bench/slow-GGUF", {"slow-Q4_K_M.gguf": _small(-2)})
    hub.script(Stall(0), path="slow-*", times=None)


def _small(number: int) -> BytesContent:
    return BytesContent(random.Random(number).randbytes(SMALL))


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


PARTS: dict[str, Callable[[bool, Path], dict[str, Any]]] = {
    "size": sizes, "journal": journals, "jobs": jobs, "files": files,
}  # fmt: skip


def to_markdown(raw: dict[str, Any]) -> str:
    """Return a table for each part."""
    return "### (n) Growth\n\n" + "\n".join(_TABLES[name](raw[name]) for name in _TABLES)


def _sizes_table(rows: dict[str, Any]) -> str:
    return table(
        ["a file of, MiB", "CPU s/GiB", "most memory over the library, MB"],
        [
            (int(n) // MiB, f"{row['cpu'] * GiB / int(n):.2f}", f"{row['memory'] / 1e6:.1f}")
            for n, row in rows.items()
        ],
    )


def _journals_table(rows: dict[str, Any]) -> str:
    heads = [
        "planning and journal of, GiB", "us a piece", "most memory, MB",
        "read again, us a piece", "most memory then, bytes a piece",
    ]  # fmt: skip
    lines = []
    for size, row in rows.items():
        pieces = int(size) / MiB
        lines.append(
            (
                f"{int(size) / GiB:g}",
                f"{1e6 * row['cpu'] / pieces:.1f}",
                f"{row['memory'] / 1e6:.2f}",
                f"{1e6 * row['read_cpu'] / pieces:.1f}",
                f"{row['read_memory'] / pieces:.0f}",
            )
        )
    return table(heads, lines)


def _jobs_table(rows: dict[str, Any]) -> str:
    heads = [
        "jobs", "CPU ms to ask for one", "to run it", "kB of one that waits", "seconds, all",
        "while they wait: CPU ms a second", "when all is over",
    ]  # fmt: skip
    return table(
        heads,
        [
            (
                count,
                f"{1000 * row['asked'] / int(count):.1f}",
                f"{1000 * row['cpu'] / int(count):.1f}",
                f"{row['memory'] / 1000 / int(count):.0f}",
                f"{row['seconds']:.1f}",
                f"{1000 * row['waiting']:.1f}",
                f"{1000 * row['idle']:.1f}",
            )
            for count, row in rows.items()
        ],
    )


def _files_table(rows: dict[str, Any]) -> str:
    heads = ["files", "CPU ms a file", "of it planning", "kB a file", "seconds, all"]
    return table(
        heads,
        [
            (
                count,
                f"{1000 * row['cpu'] / int(count):.1f}",
                f"{1000 * row['plan'] / int(count):.2f}",
                f"{row['memory'] / 1000 / int(count):.0f}",
                f"{row['seconds']:.1f}",
            )
            for count, row in rows.items()
        ],
    )


_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "size": _sizes_table, "journal": _journals_table, "jobs": _jobs_table, "files": _files_table,
}  # fmt: skip


def main() -> None:
    run("growth", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
