"""The harness's lines: what a shape gives to whom, and a proxy that loses nothing on the way."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.mishaps import Mishaps
from benchmarks.proxy import Line, Pipe, listen
from benchmarks.shape import BURST_SECONDS, Bucket, Shape

from modelfetch.testing import BytesContent, PositionCoded, Reply
from modelfetch.testing.faults import Ending

MB = 10**6


def test_without_bounds_nothing_is_held_back() -> None:
    assert Shape(delay=0.02).rate_of(0, 16) is None


def test_the_total_is_shared_and_falls_beyond_the_most() -> None:
    shape = Shape(rate=30 * MB, total=120 * MB, most=6, penalty=1 / 3)
    assert shape.rate_of(0, 1) == 30 * MB
    assert shape.rate_of(0, 6) == 20 * MB
    assert shape.rate_of(0, 8) == pytest.approx(5 * MB)


def test_one_in_four_connections_is_slow_and_the_first_is_not() -> None:
    shape = Shape(rate=20 * MB, slow_every=4, slow_rate=1 * MB)
    rates = [shape.rate_of(number, 1) for number in range(8)]
    assert [rate == 1 * MB for rate in rates] == [False, False, True, False] * 2


def test_a_bucket_gives_what_its_rate_allows_and_a_late_sender_no_more_than_a_burst() -> None:
    bucket = Bucket(now=0.0)
    assert bucket.allowed(0.01, 1 * MB) == 10_000
    bucket.spend(10_000)
    assert bucket.allowed(0.01, 1 * MB) == 0
    assert bucket.allowed(9.0, 1 * MB) == int(BURST_SECONDS * MB)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(delay=0.005),
        Shape(rate=40 * MB, slow_every=4, slow_rate=20 * MB),
        Shape(total=80 * MB, most=2, penalty=0.5),
    ],
    ids=["plain", "late", "rated", "shared"],
)
async def test_a_proxy_passes_on_every_byte_in_order(shape: Shape) -> None:
    content = PositionCoded(3 * MB + 17, 1)
    data = content.read(0, content.size)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(5)) + data)
        await writer.drain()
        writer.close()

    async def fetch(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        received = await reader.read(-1)
        writer.close()
        return received

    line = Line(shape)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        proxy = await listen(line, server.sockets[0].getsockname()[1])
        async with proxy:
            port = proxy.sockets[0].getsockname()[1]
            received = await asyncio.gather(*(fetch(port) for _ in range(4)))
    assert all(one == b"hello" + data for one in received)
    assert (line.accepted, line.sent) == (4, 4 * (5 + len(data)))


async def test_a_client_that_leaves_ends_the_connection_to_the_server() -> None:
    has_ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(MB))
                await writer.drain()
        except OSError:
            has_ended.set()
        finally:
            writer.close()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        proxy = await listen(Line(Shape(rate=MB)), server.sockets[0].getsockname()[1])
        async with proxy:
            reader, writer = await asyncio.open_connection(*proxy.sockets[0].getsockname())
            await reader.readexactly(10)
            writer.transport.abort()
            await has_ended.wait()


async def test_nothing_is_sent_to_who_has_left(caplog: pytest.LogCaptureFixture) -> None:
    loop, line = asyncio.get_running_loop(), Line(Shape())
    async with await asyncio.start_server(lambda _, there: there.close(), "127.0.0.1", 0) as server:
        transport, _ = await loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname()
        )
        transport.abort()  # what it is told of `connection_lost` comes a turn of the loop later
        pipe = Pipe(line, 0, loop.time())
        for _ in range(10):
            pipe.put(bytes(100))
        pipe.sink = transport
        pipe.block(False)
    assert not caplog.records
    assert line.sent == 0


def test_one_request_in_a_hundred_goes_wrong_and_each_kind_has_its_turn() -> None:
    mishaps, right = Mishaps(), Reply(200, content=BytesContent(bytes(1000)), stop=1000)
    kinds = [
        (200, Ending.RESET), (200, Ending.CLOSE), (503, Ending.FINISH), (200, Ending.STALL),
    ]  # fmt: skip
    for round_number in range(2):
        mishaps.begin(round_number)
        replies = [mishaps.apply(right) for _ in range(400)]
        seen = [(reply.status, reply.ending) for reply in replies if reply != right]
        assert seen == [*kinds[round_number:], *kinds[:round_number]]
