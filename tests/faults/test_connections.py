"""How many connections there are, which of them are replaced, and by which clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

from modelfetch import Engine, HubUnavailable, JobState, NetworkError
from modelfetch.core.concurrency import START
from modelfetch.core.lease import Lease
from modelfetch.core.retry import RetryPolicy
from modelfetch.core.transfer import Transfer
from modelfetch.storage.partial import PartialFile
from modelfetch.testing import Delay, FakeHub, LoggedRequest, Redirect, Slow, Stall, Status

Settings = Callable[..., dict[str, Any]]
NEVER = 600.0


def peers(hub: FakeHub) -> int:
    return len({request.peer for request in hub.requests("cdn")})


@pytest.fixture
def patient(settings_for: Settings) -> Settings:
    """Settings of an engine that leaves no connection for being silent."""

    def make(hub: FakeHub, **changes: Any) -> dict[str, Any]:
        return settings_for(hub, **{"read_timeout": NEVER, "first_byte_timeout": NEVER, **changes})

    return make


async def test_where_each_connection_has_a_share_there_are_more_of_them(
    hub: FakeHub, patient: Settings
) -> None:
    content = coded(64 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 5.0 * MiB
    async with Engine(**patient(hub)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert START < peers(hub) <= 32


async def test_their_number_can_be_fixed(hub: FakeHub, patient: Settings) -> None:
    hub.add(REPO, {FILE: coded(16 * MiB)})
    hub.rate = 8.0 * MiB
    async with Engine(**patient(hub, adaptive=False, connections=7)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    assert peers(hub) == 7


async def test_a_host_that_refuses_gets_fewer(hub: FakeHub, patient: Settings) -> None:
    content = coded(32 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 8.0 * MiB
    at_once: list[int] = []

    def is_too_many(request: LoggedRequest) -> bool:
        busy = sum(not other.is_finished for other in hub.requests("cdn"))
        at_once.append(busy)
        return busy > 2

    hub.script(Status(429, headers={"Retry-After": "0"}), times=None, when=is_too_many)
    retry = RetryPolicy(attempts=100, base_seconds=0.01, max_seconds=0.05)
    async with Engine(**patient(hub, retry=retry)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert max(at_once[-5:]) <= 3


async def test_a_connection_that_is_far_slower_is_replaced_and_its_bytes_kept(
    hub: FakeHub, patient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.core.transfer.SILENT_SECONDS", 0.5)
    content = coded(48 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 8.0 * MiB
    hub.script(Slow(100_000), skip=1)
    async with Engine(**patient(hub)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert hub.bytes_sent_twice(FILE) < MiB


async def test_a_fast_connection_that_becomes_a_trickle_is_not_taken_for_fast(
    hub: FakeHub, patient: Settings
) -> None:
    content = coded(24 * MiB)
    hub.add(REPO, {FILE: content})
    slow = Slow(100_000, after=2 * MiB)
    hub.script(slow, when=lambda it: it.asked is not None and it.asked[0] >= 8 * MiB)
    async with Engine(**patient(hub, connections=2, adaptive=False)) as engine:
        async with asyncio.timeout(20):  # alone it would take a minute
            assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_the_speed_of_a_connection_that_was_replaced_is_not_that_of_the_next(
    hub: FakeHub, patient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.core.transfer.SILENT_SECONDS", 0.5)
    unknown, lease = 0, Transfer.lease

    def noted(transfer: Transfer, now: float, speed: float, *rest: Any) -> Lease | None:
        nonlocal unknown
        unknown += not speed
        return lease(transfer, now, speed, *rest)

    monkeypatch.setattr(Transfer, "lease", noted)
    hub.add(REPO, {FILE: coded(48 * MiB)})
    hub.rate = 8.0 * MiB
    hub.script(Slow(100_000), skip=1)
    async with Engine(**patient(hub, connections=4, adaptive=False)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    assert unknown > 4, "all four begin so, and one of them twice"


@pytest.mark.parametrize("left", [100_000, 3 * MiB])
async def test_the_last_connection_that_falls_silent_holds_up_nothing(
    hub: FakeHub, patient: Settings, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr("modelfetch.core.transfer.SILENT_SECONDS", 0.5)
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Stall(4 * MiB - left), when=lambda r: r.asked is not None and r.asked[0] == 0)
    async with Engine(**patient(hub, connections=2)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert hub.bytes_sent_twice(FILE) < MiB


async def test_a_write_that_outlives_its_connection_is_not_lost(
    hub: FakeHub, patient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow, so the lease is taken over; its bytes are written by nobody else."""
    monkeypatch.setattr("modelfetch.core.transfer.SILENT_SECONDS", 0.3)
    monkeypatch.setattr("modelfetch.core.transfer.SPLIT_SECONDS", 0.1)
    write = PartialFile.write

    def slow(partial: PartialFile, offset: int, parts: list[memoryview]) -> None:
        if offset == 0:
            for _ in range(1000):
                again = [r for r in hub.requests("cdn") if r.asked and r.asked[0] == 0][1:]
                if any(request.is_finished for request in again):
                    break
                time.sleep(0.01)
        write(partial, offset, parts)

    monkeypatch.setattr(PartialFile, "write", slow)
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**patient(hub, connections=2)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_mirror_may_take_its_time_to_begin(hub: FakeHub, settings_for: Settings) -> None:
    content = coded(100_000)
    hub.add(REPO, {FILE: content})
    hub.script(Delay(0.8), times=None)
    settings = settings_for(hub, first_byte_timeout=NEVER, read_timeout=0.3)
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert len(hub.requests("cdn")) == 1


async def test_a_host_that_does_not_begin_is_asked_again(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(100_000)
    hub.add(REPO, {FILE: content})
    hub.script(Delay(NEVER))
    settings = settings_for(hub, first_byte_timeout=0.3, read_timeout=NEVER)
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert len(hub.requests("cdn")) == 2


@pytest.mark.parametrize("on", ["cdn", "resolve"])
async def test_a_redirect_to_a_name_that_no_host_has_is_one_bad_answer(
    hub: FakeHub, settings_for: Settings, on: Any
) -> None:
    content = coded(MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Redirect("http://a..b/x"), on=on)
    async with Engine(**settings_for(hub)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_silent_hub_costs_the_patience_of_one_connection(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(8 * MiB)})
    hub.script(Delay(NEVER), on="resolve", times=None)
    async with Engine(**settings_for(hub, first_byte_timeout=0.2)) as engine:
        with pytest.raises((NetworkError, HubUnavailable)):
            await (await engine.download(REPO, LABEL)).result()
    assert len([r for r in hub.requests("hub") if r.method == "HEAD"]) == 4  # its attempts


async def test_two_jobs_share_the_connections(hub: FakeHub, patient: Settings) -> None:
    large, small = coded(24 * MiB), coded(6 * MiB)
    hub.add(REPO, {FILE: large})
    hub.add("acme/other-GGUF", {"other-Q4_K_M.gguf": small})
    hub.rate = 6.0 * MiB
    async with Engine(**patient(hub, connections=2)) as engine:
        first = await engine.download(REPO, LABEL)
        await asyncio.sleep(0.2)
        second = await engine.download("acme/other-GGUF", LABEL)
        await second.result()
        assert first.status.state is JobState.DOWNLOADING
        await first.result()


async def test_a_job_with_a_bound_has_the_connections_that_it_can_use(
    hub: FakeHub, patient: Settings
) -> None:
    """One at first, and more only where that is slower than its bound."""
    content = coded(12 * MiB)
    hub.add(REPO, {FILE: content})
    most = 0
    async with Engine(**patient(hub)) as engine:
        job = await engine.download(REPO, LABEL, max_bytes_per_second=6.0 * MiB)
        async for status in job.events():
            most = max(most, status.connections)
    assert_is(await job.result(), content)
    assert (most, peers(hub)) == (1, 1)
    hub.rate = 8.0 * MiB
    hub.add(REPO, {FILE: coded(24 * MiB, seed=2)})
    async with Engine(**patient(hub)) as engine:
        job = await engine.download(REPO, LABEL, max_bytes_per_second=1e12)
        await job.result()
    assert peers(hub) > 2


async def test_connections_that_are_too_many_end_before_their_leases_do(
    hub: FakeHub, patient: Settings
) -> None:
    """Theirs would take 16 seconds more; the bytes that came are kept."""
    hub.add(REPO, {FILE: coded(32 * MiB)})
    hub.rate = MiB / 4
    async with Engine(**patient(hub, connections=START)) as engine:
        job = await engine.download(REPO, LABEL)
        async for status in job.events():
            if status.connections == START and status.downloaded_bytes > MiB:
                break
        (host,) = engine._transfers._carrier._lanes._hosts.values()
        host.concurrency.refused(time.monotonic())
        async with asyncio.timeout(10):
            async for status in job.events():
                if status.connections < START:
                    break
        await job.pause()
        had = job.status.downloaded_bytes
        hub.rate = None
        await job.resume()
        assert_is(await job.result(), coded(32 * MiB))
    assert hub.sent_bytes() < 32 * MiB + 2 * MiB
    assert had > MiB
