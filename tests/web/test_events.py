"""Server-sent events, over both adapters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, coded
from tests.web.conftest import Serving
from tests.web.lmstudio import check_status

from modelfetch import Engine, Job, JobState
from modelfetch.testing import FakeHub
from modelfetch.web.streams import EventStreams

ROOT = "/api/v1/models/download"
SLOW = 20_000


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """Parse a stream as the HTML standard says; a comment comes as {"": text}."""
    fields: dict[str, str] = {}
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(":")
            assert name not in fields
            fields[name] = value.removeprefix(" ")
        else:
            yield fields
            fields = {}
    assert not fields  # nothing was cut in the middle


async def jobs_in(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    async for fields in events(answer):
        if "data" in fields:
            assert fields["event"] == "status"
            job = json.loads(fields["data"])
            check_status(job)
            yield int(fields["id"]), job


async def slow_job(hub: FakeHub, engine: Engine) -> Job:
    hub.add(REPO, {FILE: coded(MiB)})
    hub.rate = SLOW
    return await engine.download(REPO, LABEL)


async def test_a_job_is_followed_to_its_end(
    hub: FakeHub, engine: Engine, url: str, http: aiohttp.ClientSession
) -> None:
    job = await slow_job(hub, engine)
    async with http.get(f"{url}{ROOT}/events?job_id={job.id}") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        seen = []
        async for sequence, status in jobs_in(answer):
            if not seen:
                await job.pause()
            elif status["status"] == "paused":
                hub.rate = None
                await job.resume()
            seen.append((sequence, status["status"], status["downloaded_bytes"]))
    states = [state for _, state, _ in seen]
    assert states[-1] == "completed"
    assert states.count("completed") == 1
    assert "paused" in states
    assert [number for number, _, _ in seen] == sorted({number for number, _, _ in seen})
    assert [size for _, _, size in seen] == sorted(size for _, _, size in seen)


async def test_all_jobs_are_followed_until_the_engine_closes(
    hub: FakeHub, engine: Engine, url: str, http: aiohttp.ClientSession
) -> None:
    hub.add("acme/other-GGUF", {FILE: coded(9)})
    async with http.get(f"{url}{ROOT}/events") as answer:
        first = await slow_job(hub, engine)
        second = await engine.download("acme/other-GGUF")
        last: dict[str, str] = {}
        async for _, status in jobs_in(answer):
            last[status["job_id"]] = status["status"]
            states = (last.get(str(second.id)), last.get(str(first.id)))
            if states == ("completed", "downloading") and engine.is_open:
                # What is there already is no job, and no event.
                await (await engine.download("acme/other-GGUF")).result()
                await engine.close()
    assert last == {first.id: "paused", second.id: "completed"}


async def test_what_a_reader_has_is_not_repeated(
    hub: FakeHub, engine: Engine, url: str, http: aiohttp.ClientSession
) -> None:
    job = await slow_job(hub, engine)
    await job.pause()
    target = f"{url}{ROOT}/events?job_id={job.id}"
    async with http.get(target) as answer:
        number, status = await anext(jobs_in(answer))
    assert (number, status["status"]) == (job.status.sequence, "paused")
    for last_id, shown in [(str(number), False), (str(number - 1), True), ("x", True), ("", True)]:
        async with http.get(target, headers={"Last-Event-ID": last_id}) as answer:
            waiting = asyncio.ensure_future(anext(jobs_in(answer)))
            # Nothing has changed, so only a change of ours ends the wait.
            if not shown:
                await anext(events(answer))  # the opening
                await job.resume()
            _, status = await waiting
            assert (status["status"] == "paused") == shown
            await job.pause()
    await job.cancel()
    async with http.get(target) as answer:
        number, status = [one async for one in jobs_in(answer)][-1]
        assert status["status"] == "failed"
    async with http.get(target, headers={"Last-Event-ID": str(number)}) as answer:
        # To EventSource: do not come back.
        assert (answer.status, await answer.read()) == (204, b"")


async def test_silence_is_filled_with_comments(
    engine: Engine, serving: Serving, http: aiohttp.ClientSession
) -> None:
    async with (
        serving(engine, heartbeat_seconds=0.02) as url,
        http.get(f"{url}{ROOT}/events") as answer,
    ):
        parts = events(answer)
        assert [await anext(parts) for _ in range(3)] == [
            {"retry": "3000"},
            {"": "still here"},
            {"": "still here"},
        ]


async def test_a_stream_goes_on_after_a_silence(
    hub: FakeHub, engine: Engine, serving: Serving, http: aiohttp.ClientSession
) -> None:
    job = await slow_job(hub, engine)
    await job.pause()
    async with (
        serving(engine, heartbeat_seconds=0.02) as url,
        http.get(f"{url}{ROOT}/events?job_id={job.id}") as answer,
    ):
        silences = 0
        async for fields in events(answer):
            silences += "" in fields
            if silences == 3:
                hub.rate = None
                await job.resume()
                silences += 1
    assert json.loads(fields["data"])["status"] == "completed"


async def test_a_reader_who_leaves_is_let_go(
    hub: FakeHub,
    engine: Engine,
    serving: Serving,
    http: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = await slow_job(hub, engine)
    readers = engine._broadcast._readers
    async with serving(engine, heartbeat_seconds=0.02) as url:
        answer = await http.get(f"{url}{ROOT}/events")
        await anext(events(answer))
        assert len(readers) == 1
        answer.close()
        while readers:
            await asyncio.sleep(0.01)
        await job.pause()  # no events from now on
        answer = await http.get(f"{url}{ROOT}/events")
        await anext(events(answer))
        assert len(readers) == 1
        answer.close()
        while readers:
            await asyncio.sleep(0.01)
    assert "Traceback" not in caplog.text


async def test_500_readers_of_whom_100_never_read(hub: FakeHub, engine: Engine, url: str) -> None:
    job = await slow_job(hub, engine)
    target = f"{url}{ROOT}/events?job_id={job.id}"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1024) as many:
        answers = await asyncio.gather(*(many.get(target) for _ in range(500)))
        hub.rate = None

        async def last(answer: aiohttp.ClientResponse) -> str:
            return [str(status["status"]) async for _, status in jobs_in(answer)][-1]

        ends = await asyncio.gather(*(last(answer) for answer in answers[:400]))
        assert set(ends) == {"completed"}
        assert job.state is JobState.COMPLETED
        for answer in answers:
            answer.close()


async def test_a_reader_who_never_reads_holds_little(
    engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    async def endless(*args: Any) -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b":" * (256 << 10) + b"\n\n"
            await asyncio.sleep(0)

    monkeypatch.setattr(EventStreams, "read", endless)
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1024)
    writer.write(f"GET {ROOT}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    before = -1
    while taken != before or not taken:
        before = taken
        await asyncio.sleep(0.1)
    # What the kernel takes on loopback, and a few pieces in the server.
    assert taken < 64
    writer.transport.abort()


@pytest.mark.parametrize("query", ["?job_id=", "?job_id=a&job_id=b", "?id=x"])
async def test_a_wrong_query_is_no_stream(
    url: str, http: aiohttp.ClientSession, query: str
) -> None:
    async with http.get(f"{url}{ROOT}/events{query}") as answer:
        assert (answer.status, answer.content_type) == (400, "application/json")
