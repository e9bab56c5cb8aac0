"""The job object at every moment of a whole life, by LM Studio's rules for each field."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, coded, until
from tests.web.lmstudio import check_download, check_status

from modelfetch import Engine, Job, JobState
from modelfetch.testing import FakeHub, Stall, Status
from modelfetch.web.wire import job_object

SIZE = 2 * MiB


class Samples:
    """What a client could have been answered: looked at in every turn of the loop."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.seen: list[dict[str, Any]] = []
        self._last: list[Any] = []

    async def take(self) -> None:
        while True:
            if self.job is not None:
                shown = job_object(self.job.status)
                # The speed is another one in every turn; to check all of them takes minutes.
                kind = [*shown, shown["status"], shown["downloaded_bytes"]]
                if kind != self._last:
                    self._last = kind
                    self.seen.append(shown)
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_blocking() -> None:
    """Not here: it takes what the samples need of the loop."""


async def test_each_field_is_there_when_it_should_be_over_a_whole_life(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]]
) -> None:
    """Waiting, running, paused, restarted, failed, tried again, cancelled, completed."""
    hub.add(REPO, {FILE: coded(SIZE)})
    hub.add("acme/first-GGUF", {FILE: coded(MiB, 2)})
    hub.script(Stall(1000), times=1, when=lambda request: "first" in request.path)
    settings = settings_for(hub, max_jobs=1, read_timeout=30.0)
    samples = Samples()
    sampling = asyncio.create_task(samples.take())
    hub.rate = MiB // 8
    async with Engine(**settings) as engine:
        first = await engine.download("acme/first-GGUF", LABEL)
        job = samples.job = await engine.download(REPO, LABEL)
        assert job.status.is_queued or first.state is JobState.COMPLETED
        await first.cancel()
        await until(job.events(), lambda status: status.downloaded_bytes > SIZE // 8)
        await job.pause()
        await job.resume()
        await until(job.events(), lambda status: status.downloaded_bytes > SIZE // 4)
    async with Engine(**settings) as engine:
        job = samples.job = engine.job(str(job.id))
        hub.script(Status(403), times=None)
        await job.resume()
        assert (await job.wait()).state is JobState.FAILED
        hub.unscript()
        await job.retry()
        await until(job.events(), lambda status: status.downloaded_bytes > SIZE // 2)
        await job.cancel()
        await job.retry()
        hub.rate = None
        await job.result()
        await asyncio.sleep(0.01)
        check_download(job_object((await engine.download(REPO, LABEL)).status))
    sampling.cancel()
    for shown in samples.seen:
        check_status(shown)
        check_download(shown)
    states = [shown["status"] for shown in samples.seen]
    turns = [state for state, last in zip(states, [None, *states], strict=False) if state != last]
    assert turns == [
        *("downloading", "paused", "downloading", "paused"),
        *("downloading", "failed", "downloading", "failed", "downloading", "completed"),
    ]
    bytes_seen = [shown["downloaded_bytes"] for shown in samples.seen]
    assert bytes_seen == sorted(bytes_seen)
    assert bytes_seen[-1] == SIZE
    assert {shown["total_size_bytes"] for shown in samples.seen} == {SIZE}
    assert len({(shown["job_id"], shown["started_at"]) for shown in samples.seen}) == 1
    # Both were sampled: with a speed to tell from, and without.
    running = [shown for shown in samples.seen if shown["status"] == "downloading"]
    assert len({"estimated_completion" in shown for shown in running}) == 2
