"""Many files at once, and a server with any fault at random: all arrive, nothing is left behind.

In CI some seconds, 30 files; `python -m pytest -m slow tests/faults/test_soak.py` runs a minute of
rounds in one engine, and SOAK_SECONDS any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import threading
import time
from pathlib import Path

import huggingface_hub
import psutil
import pytest
from tests.helpers import MiB, assert_same, coded

from modelfetch import Engine
from modelfetch.core.retry import RetryPolicy
from modelfetch.testing import (
    ChangedETag,
    Delay,
    Encoded,
    Ending,
    FakeHub,
    Fault,
    HtmlPage,
    IgnoreRange,
    LongBody,
    RateLimited,
    Raw,
    Reset,
    ShiftedRange,
    ShortBody,
    Stall,
    Status,
    WrongBytes,
    WrongTotal,
)

FILES = 30
PROCESS = psutil.Process()
CONTENTS = [coded(2 * MiB + number * 70_001, number) for number in range(FILES)]


class Weather:
    """A fault for one request in `every`, drawn from all of them."""

    def __init__(self, seed: int, every: int) -> None:
        self._chance = random.Random(seed)
        self._every = every
        self.count = 0

    def apply(self, reply: object) -> object:
        if self._chance.random() * self._every >= 1:
            return reply
        self.count += 1
        return self._drawn().apply(reply)  # type: ignore[arg-type]

    def _drawn(self) -> Fault:
        at = self._chance.randrange(MiB)
        return self._chance.choice(
            [
                Reset(at), ShortBody(at), Stall(at), IgnoreRange(), IgnoreRange(chunked=True),
                Raw(), Raw(ending=Ending.RESET), Raw(b"HTTP/1.1 2", Ending.STALL), HtmlPage(),
                Status(403), Status(404), Status(500), Status(503), Status(416), Delay(0.2),
                RateLimited(retry_after=0), WrongTotal(None), Encoded(), ChangedETag(),
                ShiftedRange(1 + at), LongBody(99), WrongBytes(at),
            ]
        )  # fmt: skip


def held() -> tuple[int, int, int]:
    """Return the tasks, descriptors and threads of this process."""
    huggingface_hub.close_session()  # the host's; it keeps up to four connections for the next time
    gc.collect()
    return len(asyncio.all_tasks()), PROCESS.num_fds(), threading.active_count()


def descriptors() -> set[str]:
    """Return what the descriptors of this process lead to, where that can be told."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found.add(f"{entry.name} {entry.readlink()}")
    return found


async def settled(wanted: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return what is held once it is no more than `wanted`: threads end in their own time."""
    for _ in range(100):
        if all(now <= then for now, then in zip(held(), wanted, strict=True)):
            break
        await asyncio.sleep(0.05)
    return held()


async def fetch_all(engine: Engine, round_: int) -> None:
    """Fetch all files; a job whose file failed its hash twice is asked for again."""

    async def fetch(number: int) -> None:
        for _ in range(5):
            job = await engine.download(f"acme/soak-{number}-GGUF", "Q4_K_M")
            try:
                model = await job.result()
            except Exception as error:
                last = error
                continue
            assert_same(model.path, CONTENTS[number])
            return
        raise AssertionError(f"round {round_}: file {number} never came") from last

    async with asyncio.TaskGroup() as group:
        for number in range(FILES):
            group.create_task(fetch(number))


async def soak(place: Path, seconds: float, seed: int) -> list[int]:
    """Fetch round after round; return the resident bytes after each."""
    sizes: list[int] = []
    ends = time.monotonic() + seconds
    with FakeHub.in_thread() as hub:
        for number, content in enumerate(CONTENTS):
            hub.add(f"acme/soak-{number}-GGUF", {f"soak-{number}-Q4_K_M.gguf": content})
        weather = Weather(seed, every=4)
        hub.script(weather, times=None)  # type: ignore[arg-type]
        async with Engine(
            endpoint=hub.endpoint,
            cache_dir=place,
            token=False,
            connections=8,
            read_timeout=0.5,
            flush_seconds=0.2,
            retry=RetryPolicy(attempts=40, base_seconds=0.01, max_seconds=0.1),
        ) as engine:
            while not sizes or time.monotonic() < ends:
                if random.Random(len(sizes)).random() < 0.3:
                    hub.expire_urls()
                await fetch_all(engine, len(sizes))
                assert not list(place.rglob("*.incomplete")), "partials are gone"
                assert not list(place.rglob("*.journal*")), "so are journals"
                assert len(list(place.rglob("*.lock"))) <= FILES, "one lock for each blob"
                shutil.rmtree(place)
                hub.reset_log()
                gc.collect()
                sizes.append(PROCESS.memory_info().rss)
        assert weather.count >= 8 * len(sizes), "it was bad all the time"
    return sizes


async def check(place: Path, seconds: float) -> list[int]:
    await soak(place / "warm", 0, seed=1)  # what is made once, is made now
    before, known = held(), descriptors()
    sizes = await soak(place / "cache", seconds, seed=2)
    after = await settled(before)
    assert after[0] == before[0], "no task is left"
    assert after[1] <= before[1], f"no descriptor is left: {descriptors() - known}"
    assert after[2] <= before[2], "no thread is left"
    return sizes


@pytest.mark.timeout(120)
async def test_nothing_is_left_behind_in_bad_weather(tmp_path: Path) -> None:
    await check(tmp_path, seconds=5)


@pytest.mark.slow
@pytest.mark.timeout(0)
async def test_memory_stays_flat_for_a_minute_of_bad_weather(tmp_path: Path) -> None:
    sizes = await check(tmp_path, float(os.environ.get("SOAK_SECONDS", "60")))
    print([size >> 20 for size in sizes])
    third = len(sizes) // 3
    early, late = max(sizes[:third]), max(sizes[-third:])
    told = f"resident at most {early >> 20} MiB in the first third, {late >> 20} MiB in the last"
    print(f"\n{len(sizes)} rounds of {FILES} files; {told}")
    assert late <= early + 16 * MiB
