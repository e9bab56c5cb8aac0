"""A TCP proxy that shapes what passes: `python -m benchmarks.proxy`, a process of its own.

Reads one line of JSON from stdin, the fields of `shape.Shape` and `target`, a port of 127.0.0.1;
prints its own port. Each later line is a command: `forget` begins to count anew, and connections
are numbered from 0 again; `count` prints the bytes that went down to the clients.

It knows nothing of what it carries. A connection is busy while it has bytes for its client. A new
one costs its handshake in time, since connecting to a proxy at hand does not. TCP's slow start is
not modelled: a connection has its full window at once.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.shape import Bucket, Shape

_TICK_SECONDS = 0.01
_SOCKET_BUFFER = 1 << 20
# A server that is late with a body for a moment has not ended it.
_LINGER_SECONDS = 0.1


class Line:
    """What all connections have in common.

    Attributes:
        shape: What it does.
        accepted: Connections so far.
        sent: Bytes to clients so far.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.accepted = self.sent = 0
        self._busy: dict[Pipe, float] = {}

    def begins(self, pipe: Pipe) -> None:
        """Note that a pipe to a client has something to send."""
        self._busy[pipe] = math.inf

    def pauses(self, pipe: Pipe, now: float) -> None:
        """Note that it has nothing more; soon it counts as idle."""
        self._busy[pipe] = now + _LINGER_SECONDS

    def ends(self, pipe: Pipe) -> None:
        """Note that it is gone."""
        self._busy.pop(pipe, None)

    def busy(self, now: float) -> int:
        """Return how many have something to send, or had just now."""
        return sum(until > now for until in self._busy.values())

    def forget(self) -> None:
        """Begin anew."""
        self.accepted = self.sent = 0


class Pipe:
    """Bytes on their way from one end to the other.

    Args:
        line: Whose delay it has.
        number: The connection's, by which it has its rate; `None` for no bound (the way up).
        opens_at: Time before which nothing is there, by the loop's clock.
    """

    def __init__(self, line: Line, number: int | None, opens_at: float) -> None:
        self._line, self._number, self._opens_at = line, number, opens_at
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._held = 0
        self._bucket = Bucket(self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._is_blocked = False
        self.is_closed = False
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None

    def put(self, data: bytes | None) -> None:
        """Take bytes, or `None` for the end."""
        if self.is_closed:
            return
        at = max(self._loop.time(), self._opens_at) + self._line.shape.delay
        self._queue.append((at, data))
        self._held += len(data or b"")
        if self._number is not None:
            self._line.begins(self)
        if self.source is not None and self._held > self._line.shape.window:
            self.source.pause_reading()
        if self._timer is None:
            self._pass_on()

    def block(self, is_blocked: bool) -> None:
        """Wait while the sink takes no more."""
        self._is_blocked = is_blocked
        if not is_blocked and self._timer is None:
            self._pass_on()

    def close(self) -> None:
        """Forget what is under way, and end the connection at the far end."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self._line.ends(self)
        if self.sink is not None and not self.sink.is_closing():
            self.sink.abort()

    def _pass_on(self) -> None:
        self._timer = None
        while self._queue and self.sink is not None and not self._is_blocked:
            at, data = self._queue[0]
            wait = at - self._loop.time()
            if wait <= 0 and data is not None:
                data, wait = self._within_rate(data)
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._pass_on)
                break
            self._queue.popleft()
            if data is not None:
                self._send(data)
            elif self._number is None:
                self.sink.write_eof()
            else:
                self.sink.close()  # the server has said all; a client that writes on gets a reset
        if not self._queue and self._number is not None:
            self._line.pauses(self, self._loop.time())
        if self.source is not None and self._held <= self._line.shape.window // 2:
            self.source.resume_reading()

    def _within_rate(self, data: bytes) -> tuple[bytes, float]:
        """Return what of `data` may go now, the rest is first in the queue; or when to look again.

        What is returned is still at the head of the queue.
        """
        if self._number is None:
            return data, 0.0
        now = self._loop.time()
        rate = self._line.shape.rate_of(self._number, self._line.busy(now))
        if rate is None:
            return data, 0.0
        allowed = self._bucket.allowed(now, rate)
        if allowed < min(len(data), rate * _TICK_SECONDS):
            return data, _TICK_SECONDS
        self._bucket.spend(min(allowed, len(data)))
        if allowed < len(data):
            at = self._queue.popleft()[0]
            self._queue.appendleft((at, data[allowed:]))
            self._queue.appendleft((at, data[:allowed]))
        return data[:allowed], 0.0

    def _send(self, data: bytes) -> None:
        assert self.sink is not None
        self._held -= len(data)
        if self.sink.is_closing():
            return  # who left is told of in a moment
        if self._number is not None:
            self._line.sent += len(data)
        self.sink.write(data)


class End(asyncio.Protocol):
    """One end of a connection: what it reads goes into `away`, what it writes comes from `here`."""

    def __init__(self, away: Pipe, here: Pipe, lost: Callable[[], None]) -> None:
        self._away, self._here, self._lost = away, here, lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_SOCKET_BUFFER)
        self._away.source = self._here.sink = transport
        if self._here.is_closed:  # the client left before the server was reached
            transport.abort()
        self._here.block(False)

    def data_received(self, data: bytes) -> None:
        self._away.put(data)

    def eof_received(self) -> bool:
        self._away.put(None)
        return True  # the other direction may go on

    def pause_writing(self) -> None:
        self._here.block(True)

    def resume_writing(self) -> None:
        # Not at once: asyncio (3.11) tells this in the middle of its own work, and a transport that
        # is closed here would be closed twice.
        asyncio.get_running_loop().call_soon(self._here.block, False)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()


async def listen(line: Line, target: int) -> asyncio.Server:
    """Pass on to a port of 127.0.0.1 whatever comes to the server that is returned."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def accepted() -> asyncio.Protocol:
        opens_at = loop.time() + 2 * line.shape.delay
        down = Pipe(line, line.accepted, opens_at)
        up = Pipe(line, None, opens_at)
        line.accepted += 1

        def lost() -> None:
            for pipe in (up, down):
                pipe.close()

        async def connect() -> None:
            try:
                await loop.create_connection(lambda: End(down, up, lost), "127.0.0.1", target)
            except OSError:
                lost()

        task = loop.create_task(connect())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return End(up, down, lost)

    return await loop.create_server(accepted, "127.0.0.1", 0, backlog=1024)


async def serve() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    line = Line(Shape(**given["shape"]))
    server = await listen(line, given["target"])
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while command := await loop.run_in_executor(None, sys.stdin.readline):
        if command.strip() == "forget":
            line.forget()
        else:
            print(line.sent, flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
