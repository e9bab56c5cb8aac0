"""A server that misbehaves on its socket: the file is right, or absent and the error says why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, final_names

from modelfetch import Engine, IntegrityError, JobState, NetworkError
from modelfetch.core.retry import RetryPolicy
from modelfetch.shared import MAX_REFUSALS
from modelfetch.testing import (
    ChangedETag,
    Delay,
    Encoded,
    FakeHub,
    Fault,
    HtmlPage,
    IgnoreRange,
    RateLimited,
    Reset,
    ShiftedRange,
    ShortBody,
    Stall,
    Status,
    WrongBytes,
    WrongTotal,
)

SIZE = 6 * MiB + 13
Settings = Callable[..., dict[str, Any]]

PASSING: list[tuple[str, Fault]] = [
    ("reset before the first byte", Reset(0)),
    ("reset in the middle of a piece", Reset(MiB + 4321)),
    ("short body", ShortBody(70_000)),
    ("empty body", ShortBody(0)),
    ("stall at once", Stall(0)),
    ("stall in the middle", Stall(MiB // 2 + 1)),
    ("500", Status(500)),
    ("502", Status(502, b"<h1>bad gateway</h1>")),
    ("503", Status(503)),
    ("408", Status(408)),
    ("429 without a time", RateLimited(retry_after=None)),
    ("429 with a date that is past", RateLimited("Tue, 14 Nov 2023 22:13:50 GMT")),
    ("503 with Retry-After", Status(503, headers={"Retry-After": "0"})),
    ("shifted later", ShiftedRange(4096)),
    ("shifted earlier", ShiftedRange(-4096)),
    ("a page of a proxy", HtmlPage()),
    ("a page that says 206", HtmlPage(206)),
    ("a page that says 403", HtmlPage(403)),
    ("an encoding", Encoded()),
    ("another total", WrongTotal(SIZE + 1)),
    ("no total", WrongTotal(None)),
    ("403 for the URL", Status(403, b"<Error><Code>AccessDenied</Code></Error>")),
    ("404 for the URL", Status(404)),
    ("416 inside the file", Status(416, headers={"Content-Range": f"bytes */{SIZE}"})),
    ("416 of a shorter file", Status(416, headers={"Content-Range": "bytes */5"})),
    ("slow to begin", Delay(0.05)),
]


@pytest.mark.parametrize(("name", "fault"), PASSING, ids=[name for name, _ in PASSING])
@pytest.mark.parametrize("skip", [0, 1], ids=["first", "second"])
async def test_a_passing_fault_costs_no_byte_of_the_file(
    hub: FakeHub, engine: Engine, name: str, fault: Fault, skip: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # On a busy machine a lease may look slow, and be split; that is not what this is about.
    for constant in ("SPLIT_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(f"modelfetch.core.transfer.{constant}", 60.0)
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(fault, skip=skip)
    job = await engine.download(REPO, LABEL)
    assert_is(await job.result(), content)
    assert job.status.downloaded_bytes == SIZE
    # Leases are 2 MiB here: no more than what the faulty answer itself carried is fetched twice.
    assert hub.bytes_sent_twice(FILE) <= 2 * MiB


@pytest.mark.parametrize("fault", [Reset(200_000), ShortBody(200_000), Stall(200_000)])
async def test_connections_that_always_break_are_only_a_matter_of_patience(
    hub: FakeHub, engine: Engine, fault: Fault
) -> None:
    # Each attempt brings something, so the budget is never spent, however often it fails.
    content = coded(3 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(
        fault, times=None, when=lambda r: r.asked is not None and r.asked[1] - r.asked[0] > 200_000
    )
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Status(503), "passing fault"),
        (Status(403), "refuses this URL"),
        (Reset(0), "broke"),
        (HtmlPage(), "a web page in place of the file"),
        (ShiftedRange(8), r"asked for \[\d+, \d+\), got \["),
        (WrongTotal(5), "has 5 bytes"),
        (Encoded(), "encoded"),
        (Status(412), "no meaning"),
    ],
)
async def test_a_lasting_fault_is_a_typed_error_and_nothing_is_published(
    hub: FakeHub, engine: Engine, place: Path, fault: Fault, says: str
) -> None:
    hub.add(REPO, {FILE: coded(SIZE)})
    hub.script(fault, times=None)
    job = await engine.download(REPO, LABEL)
    with pytest.raises(NetworkError, match=says) as caught:
        await job.result()
    assert caught.value.host == hub.cdn_url.removeprefix("http://")
    assert job.state is JobState.FAILED
    assert job.status.to_dict()["error"]["type"] == "network_error"
    assert "X-Amz" not in str(caught.value)
    assert final_names(place) == []


@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
async def test_a_server_without_ranges_gives_one_stream_and_the_fact_is_reported(
    hub: FakeHub, engine: Engine, chunked: bool
) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(IgnoreRange(chunked), times=None)
    hub.rate = 16 * MiB  # else the others may have it whole before they can be stopped
    job = await engine.download(REPO, LABEL)
    assert_is(await job.result(), content)
    assert job.status.files[0].single_stream
    whole = [r for r in hub.requests("cdn") if r.sent == SIZE]
    assert len(whole) == 1, "the others were stopped"


async def test_a_broken_stream_begins_again_and_progress_does_not_go_back(
    hub: FakeHub, engine: Engine
) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(_Both(IgnoreRange(), Reset(4 * MiB)), times=1)
    hub.script(IgnoreRange(), times=None)
    job = await engine.download(REPO, LABEL)
    seen = [status.downloaded_bytes async for status in job.events()]
    assert_is(await job.result(), content)
    assert seen == sorted(seen)


async def test_ranges_that_stop_working_in_the_middle_are_survived(
    hub: FakeHub, engine: Engine
) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(IgnoreRange(), skip=3, times=None)
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_an_expired_url_is_signed_again_once_for_all_connections(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(24 * MiB)
    hub.add(REPO, {FILE: content})

    def expire(record: Any) -> bool:
        if len(hub.requests("cdn")) == 6:
            hub.expire_urls()
        return False

    hub.script(Status(500), when=expire)
    async with Engine(**settings_for(hub, connections=4)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    refused = [r for r in hub.requests("cdn") if r.status == 403]
    resolved = [r for r in hub.requests("hub") if r.method == "HEAD"]
    assert refused
    assert len(resolved) <= 3, "each expiry costs one request to the Hub, not one per connection"


async def test_fresh_urls_that_are_all_refused_are_not_asked_for_for_ever(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(SIZE)})
    hub.script(Status(403), times=None)
    patient = RetryPolicy(attempts=10_000, base_seconds=0.001, max_seconds=0.001)
    async with Engine(**settings_for(hub, retry=patient)) as engine:
        with pytest.raises(NetworkError, match="refuses this URL"):
            await (await engine.download(REPO, LABEL)).result()
    assert len([r for r in hub.requests("hub") if r.method == "HEAD"]) <= MAX_REFUSALS + 1


async def test_another_validator_leads_to_a_fresh_url(hub: FakeHub, engine: Engine) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(ChangedETag(), skip=1, times=1)
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert len([r for r in hub.requests("hub") if r.method == "HEAD"]) == 2


async def test_wrong_bytes_are_found_and_fetched_again(hub: FakeHub, engine: Engine) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(WrongBytes(at=1000, count=3), times=1)
    job = await engine.download(REPO, LABEL)
    seen = [status.downloaded_bytes async for status in job.events()]
    assert_is(await job.result(), content)
    assert seen == sorted(seen)


async def test_a_server_that_always_sends_wrong_bytes_publishes_nothing(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(WrongBytes(at=5), times=None)
    job = await engine.download(REPO, LABEL)
    with pytest.raises(IntegrityError) as caught:
        await job.result()
    assert caught.value.expected == content.sha256
    assert caught.value.actual not in (None, content.sha256)
    assert final_names(place) == []
    assert caught.value.path is not None
    assert Path(caught.value.path).stat().st_size == SIZE, "kept aside, for inspection"
    # The next attempt is not poisoned by what was kept.
    hub.unscript()
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_only_what_the_disk_lost_is_fetched_again(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    content = coded(16 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = MiB // 2
    job = await engine.download(REPO, LABEL)
    async for status in job.events():
        if status.downloaded_bytes > 6 * MiB:
            break
    await job.pause()
    partial = next(place.rglob("*.modelfetch.incomplete"))
    with partial.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff")
    hub.rate = None
    sent = hub.sent_bytes()
    await job.resume()
    assert_is(await job.result(), content)
    assert hub.sent_bytes() - sent <= content.size - status.downloaded_bytes + 2 * MiB


async def test_wrong_bytes_and_a_disk_that_lost_some_are_both_repaired(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    content = coded(3 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(_Both(WrongBytes(at=10), Stall(2 * MiB)), times=None)
    async with Engine(**settings_for(hub, connections=1, read_timeout=30)) as engine:
        job = await engine.download(REPO, LABEL)
        async for status in job.events():
            if status.downloaded_bytes >= 2 * MiB:
                break
        await job.pause()
        partial = next(place.rglob("*.modelfetch.incomplete"))
        with partial.open("r+b") as stream:
            stream.seek(MiB + 100)
            stream.write(b"\xff")
        hub.unscript()
        await job.resume()
        assert_is(await job.result(), content)


async def test_a_host_that_says_429_is_left_alone_by_all_connections(
    hub: FakeHub, engine: Engine
) -> None:
    content = coded(SIZE)
    hub.add(REPO, {FILE: content})
    hub.script(RateLimited(retry_after=1), times=1)
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert len([r for r in hub.requests("cdn") if r.status == 429]) == 1


@pytest.mark.parametrize("on", ["resolve", "api"])
@pytest.mark.parametrize("fault", [Status(503), RateLimited(retry_after=0)])
async def test_the_hub_itself_may_have_a_passing_fault(
    hub: FakeHub, engine: Engine, on: Any, fault: Fault
) -> None:
    content = coded(MiB)
    hub.add(REPO, {FILE: content})
    hub.script(fault, on=on)
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


class _Both:
    """One fault after the other on the same reply."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = faults

    def apply(self, reply: Any) -> Any:
        for fault in self._faults:
            reply = fault.apply(reply)
        return reply


async def test_bytes_that_were_hashed_are_not_overwritten_by_a_stream_that_differs(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(3 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Stall(MiB + 600_000), times=None)
    settings = settings_for(hub, connections=1, read_timeout=30)
    async with Engine(**settings) as engine:
        job = await engine.download(REPO, LABEL)
        while job.status.files[0].downloaded_bytes < MiB:
            await asyncio.sleep(0.01)
        await job.pause()
        hub.unscript()
        # On resuming, a server without ranges sends other bytes where some are on disk already.
        hub.script(_Both(IgnoreRange(), WrongBytes(at=1000)), times=None)
        await job.resume()
        assert_is(await job.result(), content)


async def test_one_whole_file_among_parts_is_a_stumble_and_no_stream(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]]
) -> None:
    content = coded(12 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(IgnoreRange(), skip=1, times=2)
    async with Engine(**settings_for(hub, connections=1)) as engine:
        job = await engine.download(REPO, LABEL)
        assert_is(await job.result(), content)
        assert not job.status.files[0].single_stream
    assert [r.status for r in hub.requests("cdn")] == [206, 200, 200, 206]
