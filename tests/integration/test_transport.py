"""The transport against servers that go wrong before HTTP, or between two answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.authority import server_context

from modelfetch import Config, NetworkError
from modelfetch.connector import Route
from modelfetch.transport import Transport

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def at(serve: Serve, **settings: Any) -> AsyncIterator[str]:
    """Have a server; its connections end with it. Gives its `host:port`."""
    writers: list[asyncio.StreamWriter] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, **settings)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


@contextlib.asynccontextmanager
async def transport_of(tmp_path: Path, **settings: Any) -> AsyncIterator[Transport]:
    transport = Transport(Config(cache_dir=tmp_path, **settings), None, "test")
    try:
        yield transport
    finally:
        await transport.close()


@contextlib.asynccontextmanager
async def mute() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Have a server that listens and says nothing. Gives its `host:port`, and what it heard."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.read()

    async with at(listen) as host:
        yield host, heard


async def test_a_proxy_that_takes_a_connection_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"CONNECT cdn.test:443")
        asked.set()
        await reader.read()
        gone.set()

    async with at(listen) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        async with transport_of(tmp_path, connect_timeout=0.2, read_timeout=30.0) as transport:
            with pytest.raises(NetworkError, match="silent") as caught:
                await transport.head("https://cdn.test/x")
            assert caught.value.host == "cdn.test"
            assert asked.is_set()
        await gone.wait()


async def test_a_host_that_says_nothing_holds_up_no_bytes_of_others(tmp_path: Path) -> None:
    async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        await reader.read()

    async with (
        mute() as (silent, heard),
        at(good) as host,
        transport_of(tmp_path, connections=1) as transport,
    ):
        heads = [asyncio.create_task(transport.head(f"http://{silent}/x")) for _ in range(100)]
        while len(heard) < 40:
            await asyncio.sleep(0.01)
        async with transport.get(f"http://{host}/x", {}) as reply:
            buffer = memoryview(bytearray(3))
            async with asyncio.timeout(20.0):
                assert await reply.during(reply.receive, buffer, None, 20.0) == 3
        for head in heads:
            head.cancel()
        async with asyncio.timeout(20.0):
            await asyncio.gather(*heads, return_exceptions=True)


async def test_what_no_thread_has_begun_is_cancelled_at_once(tmp_path: Path) -> None:
    async with mute() as (silent, heard), transport_of(tmp_path, connections=1) as transport:

        async def get() -> None:
            async with transport.get(f"http://{silent}/x", {}):
                raise AssertionError

        gets = [asyncio.create_task(get()) for _ in range(30)]  # it has 9 threads
        in_line = transport._threads._pool._work_queue
        while len(heard) < 9 or in_line.qsize() < 21:
            await asyncio.sleep(0.01)
        gets[-1].cancel()
        async with asyncio.timeout(20.0):
            await asyncio.gather(gets[-1], return_exceptions=True)
        assert not any(get.done() for get in gets[:9])
        for task in gets:
            task.cancel()
        await asyncio.gather(*gets, return_exceptions=True)


async def test_a_host_that_ends_connections_that_were_kept_is_asked_over_a_new_one(
    tmp_path: Path,
) -> None:
    served: list[int] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY)
        await reader.readuntil(b"\r\n\r\n")
        served.append(1)

    async with at(once) as host, transport_of(tmp_path) as transport:
        await asyncio.gather(*(transport.head(f"http://{host}/x") for _ in range(4)))
        for _ in range(4):
            assert (await transport.head(f"http://{host}/x")).status == 200
    assert served


async def test_the_late_body_of_a_head_is_not_the_next_answer(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"hello" + EMPTY)

    async with at(chatty) as host, transport_of(tmp_path) as transport:
        for _ in range(2):
            assert (await transport.head(f"http://{host}/x")).status == 200
    assert len(heads) == 3


async def test_a_field_of_the_user_is_in_the_place_of_ours(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(EMPTY)

    async with at(listen) as host:
        settings = {"endpoint": f"http://{host}", "headers": {"accept": "a/b"}}
        async with transport_of(tmp_path, **settings) as transport:
            await transport.head(f"http://{host}/x")
    assert heads[0].lower().count(b"accept:") == 1
    assert b"accept: a/b" in heads[0]


async def test_http_1_1_is_what_is_offered_over_tls(tmp_path: Path) -> None:
    offered: list[str | None] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offered.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY)

    context = server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with at(listen, ssl=context) as host, transport_of(tmp_path) as transport:
        await transport.head(f"https://{host}/x")
    assert offered == ["http/1.1"]


@pytest.mark.parametrize("name", ["a..b", ".foo", "x" * 64, "\u00fc" * 63])
@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9"])
async def test_a_name_that_no_host_has(tmp_path: Path, name: str, proxy: str | None) -> None:
    async with transport_of(tmp_path, proxy=proxy) as transport:
        with pytest.raises(NetworkError, match="no host has such a name"):
            await transport.head(f"https://{name}/x")


def test_a_route_tells_nobody_the_password() -> None:
    assert "secret" not in repr(Route.to("https://a.test/x", "http://me:secret@b.test:1"))
