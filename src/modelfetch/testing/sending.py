"""Replies onto sockets: at a rate, and with the endings that were asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web

from modelfetch.testing.faults import Ending, Reply
from modelfetch.testing.log import LoggedRequest

__all__ = ["send", "transports_of"]

_CHUNK = 256 << 10
_RATED_CHUNKS_A_SECOND = 50
_RATED_BUFFER = 64 << 10
_BURST_SECONDS = 0.1  # what a late wake-up may catch up on
_LOOK_SECONDS = 0.05  # how soon a change of the rate is seen
_LINGER_ZERO = struct.pack("ii", 1, 0)


async def send(
    request: web.Request,
    reply: Reply,
    record: LoggedRequest,
    rate: Callable[[], float | None] = lambda: None,
) -> web.StreamResponse:
    """Send `reply` and note in `record` what went out.

    Args:
        request: The request that it answers.
        reply: What to send.
        record: The log's entry.
        rate: Tells the bytes per second now, `None` for as fast as it goes.
    """
    record.status = reply.status
    await asyncio.sleep(reply.delay)
    is_slow = reply.rate is not None
    pace = _Pace(
        request, lambda: reply.rate if is_slow and record.sent >= reply.fast_bytes else rate()
    )
    if request.transport is not None and reply.before:
        request.transport.write(reply.before)
    if reply.head is not None:
        await _send_raw(request, reply.head, reply, record, pace)
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    if reply.has_length:
        response.content_length = reply.length
    else:
        response.enable_chunked_encoding()
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            await _send_body(response.write, reply, record, pace)
        if reply.ending is Ending.FINISH:
            await response.write_eof()
            if request.transport is not None and reply.after:
                request.transport.write(reply.after)
        else:
            await _end(request, reply.ending)
    except ConnectionResetError:
        # The client has left, which is what aiohttp cancels a handler for; it is no error to log.
        raise asyncio.CancelledError from None
    record.is_finished = reply.ending is Ending.FINISH
    return response


async def _send_raw(
    request: web.Request, head: bytes, reply: Reply, record: LoggedRequest, pace: _Pace
) -> None:
    """Write past aiohttp, which would correct what is to be wrong; the connection ends here.

    Raises:
        CancelledError: Always, so that aiohttp sends nothing of its own.
    """

    async def write(data: bytes) -> None:
        transport = request.transport
        while transport is not None and transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
            transport = request.transport
        if transport is None or transport.is_closing():
            raise asyncio.CancelledError
        transport.write(data)

    await write(head)
    if request.method != "HEAD":
        await _send_body(write, reply, record, pace)
    await _end(request, reply.ending)
    raise asyncio.CancelledError


async def _send_body(
    write: Callable[[bytes], Awaitable[None]], reply: Reply, record: LoggedRequest, pace: _Pace
) -> None:
    end = reply.length
    if reply.sent_at_most is not None:
        end = min(end, reply.sent_at_most)
    offset = 0
    while offset < end:
        chunk = _piece(reply, offset, min(end, offset + pace.step()))
        await write(chunk)
        offset += len(chunk)
        record.sent = offset
        if reply.content is not None:
            record.spans[:] = [(reply.start, reply.start + offset)]
        await pace.wait(len(chunk))


class _Pace:
    """Holds one response to a rate that may change while it is sent: a token bucket."""

    def __init__(self, request: web.Request, rate: Callable[[], float | None]) -> None:
        self._request, self._rate = request, rate
        self._now = asyncio.get_running_loop().time
        self._bytes, self._at = 0.0, self._now()
        self._is_tight = False

    def step(self) -> int:
        """Return how many bytes to send next."""
        rate = self._rate()
        if rate is None:
            return _CHUNK
        if not self._is_tight:
            self._is_tight = True
            _keep_little_in_flight(self._request)
        return max(1, min(_CHUNK, int(rate / _RATED_CHUNKS_A_SECOND)))

    async def wait(self, sent: int) -> None:
        """Sleep until `sent` more bytes are within the rate, whatever it is by then."""
        self._bytes -= sent
        # What was sent before there was a rate owes nothing to it.
        while self._is_tight and (rate := self._rate()) is not None:
            now = self._now()
            earned = self._bytes + (now - self._at) * rate
            self._bytes, self._at = min(earned, _BURST_SECONDS * rate), now
            if self._bytes >= 0:
                return
            await asyncio.sleep(min(-self._bytes / rate, _LOOK_SECONDS) if rate else _LOOK_SECONDS)
        self._bytes, self._at = 0.0, self._now()


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
    if ending in (Ending.RESET, Ending.CUT):
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, ValueError):  # the client may have left already
            # A reset throws away what is still under way: up to megabytes that the script promised.
            # The kernel has no event for its arrival.
            while transport.get_write_buffer_size() or _unacknowledged(connection):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            if ending is Ending.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    else:
        transport.close()


def _unacknowledged(connection: socket.socket) -> int:
    """Return the bytes that the peer's kernel does not have yet; 0 where nobody tells."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    told = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(told, sys.byteorder)


def _keep_little_in_flight(request: web.Request) -> None:
    # So that what is called sent has nearly been received, and a kill shows what it costs.
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _RATED_BUFFER)
        request.transport.set_write_buffer_limits(high=_RATED_BUFFER)


def transports_of(runner: web.AppRunner) -> list[asyncio.Transport]:
    """Return the connections of a server that are open now."""
    handlers = [] if runner.server is None else list(runner.server.connections)
    transports = [handler.transport for handler in handlers]
    return [one for one in transports if isinstance(one, asyncio.Transport)]
