"""Hosts with several addresses, and with IPv6 ones, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

from modelfetch import Config, Engine, NetworkError
from modelfetch.testing import FakeHub
from modelfetch.transport import Reply, Transport

CONTENT = coded(12 * MiB + 5)
Settings = Callable[..., dict[str, Any]]


class Edge:
    """One address of the CDN: it passes connections on, takes them and says nothing, or breaks."""

    def __init__(self, host: str, port: int, way: str) -> None:
        self.host, self._port, self.way = host, port, way
        self.taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if self.way != "refuse":
            self._server = await asyncio.start_server(self._serve, self.host, self._port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            if self.way == "silent":
                await reader.read()
            elif self.way in ("pass", "slow"):
                await self._pass(reader, writer)
            elif self.way == "half":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                await reader.read()
                await reader.read()
        if self.way == "reset":
            writer.transport.abort()
        writer.close()
        self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            seconds = 0.1 if self.way == "slow" else 0.0
            await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer, seconds))
        finally:
            up_writer.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float = 0.0
) -> None:
    while data := await reader.read(1 << 12 if seconds else 1 << 16):
        await asyncio.sleep(seconds)
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def edges(
    monkeypatch: pytest.MonkeyPatch, *ways: str
) -> AsyncIterator[tuple[FakeHub, list[Edge]]]:
    """A hub whose CDN is called `cdn.test`, which has an address for each of the ways."""
    async with FakeHub() as hub:
        hub.add(REPO, {FILE: CONTENT}, lfs=lambda path, content: True)
        port = int(hub.cdn_url.rpartition(":")[2])
        hub.cdn_url = f"http://cdn.test:{port}"
        made = [Edge(f"127.0.0.{2 + i}", port, way) for i, way in enumerate(ways)]
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
            if host != "cdn.test":
                return real(host, *args, **more)
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, (edge.host, port)) for edge in made]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        for edge in made:
            await edge.start()
        try:
            yield hub, made
        finally:
            for edge in made:
                await edge.stop()


async def body(reply: Reply) -> bytes:
    buffer, count = memoryview(bytearray(100)), 0
    while not reply.is_over:
        count += await reply.during(reply.receive, buffer[count:], None, 0.0)
    return bytes(buffer[:count])


async def fetched(engine: Engine) -> None:
    job = await engine.download(REPO, LABEL)
    assert_is(await job.result(), CONTENT)


async def test_connections_are_spread_over_the_addresses(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edges(monkeypatch, "pass", "pass", "pass") as (hub, made):
        hub.rate = 4 * MiB  # so that no connection is ready for a second lease at once
        async with Engine(**settings_for(hub, connections=6)) as engine:
            await fetched(engine)
    taken = [edge.taken for edge in made]
    assert min(taken) >= 1
    assert max(taken) - min(taken) <= 1


@pytest.mark.parametrize(
    ("ways", "most"),
    [
        (("pass", "silent", "pass"), 1),
        (("pass", "half", "pass"), 1),
        (("pass", "refuse", "half"), 1),
        (("pass", "reset", "pass"), 0),  # the transport tries once more by itself
        (("pass", "close", "pass"), 0),
    ],
    ids=str,
)
async def test_an_address_that_failed_is_not_asked_again(
    ways: tuple[str, ...], most: int, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edges(monkeypatch, *ways) as (hub, made):
        config = Config(**settings_for(hub, read_timeout=0.2))
        transport = Transport(config, None, "test")
        url = hub.cdn.sign(REPO, hub.repos[REPO].commits[hub.add(REPO, {FILE: CONTENT})][FILE])
        failures = 0
        try:
            for _ in range(9):
                try:
                    async with transport.get(url, {"Range": "bytes=0-9"}, is_new=True) as reply:
                        assert await body(reply) == CONTENT.read(0, 10)
                except NetworkError:
                    failures += 1
        finally:
            await transport.close()
        assert sum(edge.taken for edge in made if edge.way not in ("pass", "refuse")) == 1
        assert failures <= most


@pytest.mark.parametrize("way", ["silent", "slow", "reset", "close"])
async def test_an_address_that_is_of_no_use_does_not_keep_the_file(
    way: str, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "slow":
        monkeypatch.setattr("modelfetch.core.transfer.SILENT_SECONDS", 0.3)
    async with edges(monkeypatch, way, "pass", "pass") as (hub, made):
        hub.rate = (1 if way == "slow" else 16) * MiB
        async with Engine(**settings_for(hub, connections=6, read_timeout=0.3)) as engine:
            await fetched(engine)
            assert 1 <= made[0].taken <= 3, "each of the first connections there, and no other"
            if way != "slow":  # what was on its way there is lost
                assert hub.bytes_sent_twice(FILE) == 0
            before = made[0].taken
            hub.repos.clear()
            hub.add(REPO, {FILE: (again := coded(8 * MiB, seed=2))})
            job = await engine.download(REPO, LABEL)
            assert_is(await job.result(), again)
            assert made[0].taken == before


async def test_an_address_where_nobody_listens_costs_nothing(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        edges(monkeypatch, "refuse", "pass", "refuse") as (hub, made),
        Engine(**settings_for(hub, connections=6)) as engine,
    ):
        await fetched(engine)
    assert made[1].taken >= 1


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_a_hub_on_an_ipv6_address(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub(tokens=["hf_abc"])
    hub.host = "::1"
    hub.add(REPO, {FILE: CONTENT}, lfs=lambda path, content: True)
    async with hub:
        assert hub.endpoint.startswith("http://[::1]:")
        async with Engine(**settings_for(hub, token="hf_abc")) as engine:
            await fetched(engine)
            link = f"{hub.endpoint}/{REPO}/blob/main/{FILE}"
            assert (await engine.plan(link)).files[0].path == FILE
        hosts = {record.headers["host"] for record in hub.log}
        assert hosts == {url.partition("://")[2] for url in (hub.endpoint, hub.cdn_url)}
        sent = {record.headers.get("authorization") for record in hub.requests("hub")}
        assert sent == {"Bearer hf_abc"}
        assert not any("authorization" in record.headers for record in hub.requests("cdn"))
