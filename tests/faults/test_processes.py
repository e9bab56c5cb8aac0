"""Jobs of real processes: one is killed, one is asked from outside."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, until

from modelfetch import Engine, Job, JobState
from modelfetch.testing import FakeHub

Settings = Callable[..., dict[str, Any]]
CONTENT = coded(16 * MiB)


@contextmanager
def download(hub: FakeHub, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ["get", REPO, "-q", LABEL, "--endpoint", hub.endpoint, "--cache-dir", str(place)]
    with subprocess.Popen(
        [sys.executable, "-m", "modelfetch", *words],
        env={**os.environ, "HF_HOME": str(place / "hf")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def only_job(engine: Engine) -> Job:
    while not engine.jobs():
        await asyncio.sleep(0.02)
    (job,) = engine.jobs()
    return job


async def test_a_job_outlives_its_process_with_its_id_and_bytes(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = MiB // 2
    async with Engine(**settings_for(hub)) as watcher:
        with download(hub, place) as process:
            seen = await only_job(watcher)
            await until(seen.events(), lambda status: status.downloaded_bytes > 4 * MiB)
            process.kill()
        last = seen.status.downloaded_bytes
    hub.rate = None
    async with Engine(**settings_for(hub)) as engine:
        job = await only_job(engine)
        assert (job.id, job.state) == (seen.id, JobState.PAUSED)
        assert job.status.downloaded_bytes >= last
        await job.resume()
        assert_is(await job.result(), CONTENT)
    assert hub.bytes_sent_twice(FILE) < 6 * MiB


async def test_a_job_of_another_process_is_paused_and_goes_on_here(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = MiB // 2
    async with Engine(**settings_for(hub)) as engine:
        with download(hub, place) as process:
            job = await only_job(engine)
            await until(job.events(), lambda status: status.downloaded_bytes > MiB)
            await job.pause()
            assert job.state is JobState.PAUSED
            hub.rate = None
            await job.resume()
            assert_is(await job.result(), CONTENT)
            # It has waited for the job, and sees that it is complete.
            while process.poll() is None:
                await asyncio.sleep(0.05)
            assert process.returncode == 0
    assert hub.bytes_sent_twice(FILE) < MiB
