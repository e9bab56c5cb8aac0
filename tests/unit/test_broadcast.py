"""Statuses to readers: what merges, and what does not."""

from __future__ import annotations

import asyncio

import pytest

from modelfetch.broadcast import Broadcast
from modelfetch.status import JobState, JobStatus

HERE, RUNNING = JobState.ALREADY_DOWNLOADED, JobState.DOWNLOADING


async def test_only_progress_of_the_same_job_merges() -> None:
    channel = Broadcast()
    one, other, third = object(), object(), object()
    reader = channel.read()
    first = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    for source in (one, other):
        channel.publish(source, JobStatus(HERE))
    for sequence in range(5):
        channel.publish(third, JobStatus(RUNNING, sequence=sequence))
    channel.publish(third, JobStatus(JobState.COMPLETED, sequence=5))
    channel.close()
    seen = [await first] + [status async for status in reader]
    assert [status.state for status in seen] == [HERE, HERE, RUNNING, JobState.COMPLETED]
    assert [status.sequence for status in seen[2:]] == [4, 5]


async def test_a_callback_gets_what_is_now_and_then_everything_and_its_errors_are_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel, seen = Broadcast(), []

    def callback(status: JobStatus) -> None:
        seen.append(status.sequence)
        raise RuntimeError("mine")

    end = channel.call(callback, JobStatus(RUNNING, sequence=1))
    channel.publish(channel, JobStatus(RUNNING, sequence=2))
    end()
    end()
    channel.publish(channel, JobStatus(RUNNING, sequence=3))
    assert seen == [1, 2]
    assert caplog.text.count("a callback for") == 2
