"""Replies onto sockets: at a rate, and with the endings that were asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from aiohttp import web

from modelfetch.testing.faults import Ending, Reply
from modelfetch.testing.log import LoggedRequest

__all__ = ["send"]

_CHUNK = 256 << 10
_RATED_CHUNKS_A_SECOND = 50
_RATED_BUFFER = 64 << 10
_LINGER_ZERO = struct.pack("ii", 1, 0)


async def send(
    request: web.Request, reply: Reply, record: LoggedRequest, rate: Callable[[], float | None]
) -> web.StreamResponse:
    """Send `reply` and note in `record` what went out.

    Args:
        request: The request that it answers.
        reply: What to send.
        record: The log's entry.
        rate: Says the bytes per second, `None` for as fast as it goes; asked all the time.
    """
    record.status = reply.status
    await asyncio.sleep(reply.delay)
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    if reply.has_length:
        response.content_length = reply.length
    else:
        response.enable_chunked_encoding()
    if rate() is not None:
        _keep_little_in_flight(request)
    await response.prepare(request)
    if request.method != "HEAD":
        await _send_body(response, reply, record, rate)
    record.is_finished = reply.ending is Ending.FINISH
    if record.is_finished:
        await response.write_eof()
    else:
        await _end(request, reply.ending)
    return response


async def _send_body(
    response: web.StreamResponse,
    reply: Reply,
    record: LoggedRequest,
    rate: Callable[[], float | None],
) -> None:
    end = reply.length
    if reply.sent_at_most is not None:
        end = min(end, reply.sent_at_most)
    loop = asyncio.get_running_loop()
    due, offset = loop.time(), 0
    while offset < end:
        speed = rate()
        step = _CHUNK if speed is None else max(1, int(speed / _RATED_CHUNKS_A_SECOND))
        chunk = _piece(reply, offset, min(end, offset + min(step, _CHUNK)))
        await response.write(chunk)
        offset += len(chunk)
        record.sent += len(chunk)
        if reply.content is not None:
            record.spans[:] = [(reply.start, reply.start + offset)]
        if speed is not None:
            due = max(due, loop.time() - 0.1) + len(chunk) / speed
            await asyncio.sleep(due - loop.time())


def _piece(reply: Reply, start: int, stop: int) -> bytes:
    if reply.content is None:
        data = reply.body[start:stop]
    else:
        data = reply.content.read(reply.start + start, reply.start + stop)
    wrong = range(max(start, reply.flipped.start), min(stop, reply.flipped.stop))
    if not wrong:
        return data
    changed = bytearray(data)
    for offset in wrong:
        changed[offset - start] ^= 0xFF
    return bytes(changed)


async def _end(request: web.Request, ending: Ending) -> None:
    if ending is Ending.STALL:
        await asyncio.Event().wait()  # until the client leaves, which cancels this handler
    transport = request.transport
    if transport is None:
        return
    if ending is Ending.RESET:
        with contextlib.suppress(OSError):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    else:
        transport.close()


def _keep_little_in_flight(request: web.Request) -> None:
    # So that what is called sent has nearly been received, and a kill shows what it costs.
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _RATED_BUFFER)
        request.transport.set_write_buffer_limits(high=_RATED_BUFFER)
