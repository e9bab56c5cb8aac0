"""Bytes over a socket, plain or in TLS, for a thread that waits for them.

Why not asyncio's transports, on which aiohttp is built: there each arrival is a turn of the loop,
and each byte over TLS is copied five times on its way to the disk. Here a thread waits in the
kernel, and bytes are received, or decrypted, where they are written from. That halves the work for
each byte (docs/performance.md), and what is left runs without the interpreter's lock.

A thread that waits cannot be cancelled, but its socket can be shut: `abort` may be called from any
other thread, and ends whatever goes on here with an error.

TLS goes through `ssl.MemoryBIO` and not through `SSLSocket`: that asks the kernel twice for each
record of 16 KiB, this once for all that is there; and it works over another TLS, as a proxy that is
itself spoken to in TLS needs.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Protocol

__all__ = ["Sealed", "Stream", "Wired"]

# What is asked of the kernel at once for TLS: 16 records.
_SEALED_SIZE = 256 << 10
# Where shutting a socket does not wake who waits for it, he looks up so often.
_LOOK_UP_SECONDS = 1.0


class Stream(Protocol):
    """Bytes both ways. One thread at a time; `abort` is for the others."""

    @property
    def waited(self) -> float:
        """Seconds for which bytes were waited for, in all its life."""

    def read_into(self, buffer: memoryview, deadline: float | None = None) -> int:
        """Wait for bytes, take what is there and fits; return how many: 0 at the end.

        Args:
            buffer: Where to; not empty.
            deadline: Until when to wait, by `time.monotonic`; `None` for as long as it takes.

        Raises:
            TimeoutError: Nothing came.
            OSError: It broke, or was aborted.
        """

    def write(self, data: bytes, deadline: float | None = None) -> None:
        """Send all of `data`. Raises `OSError`; after the deadline, too."""

    def is_quiet(self) -> bool:
        """Return whether it is open, and nothing has come that nobody read."""

    def abort(self) -> None:
        """End it, whoever is in it."""

    def close(self) -> None:
        """Let go of it; nobody may be in it."""


class Wired:
    """A socket that is connected."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._is_aborted = False
        self.waited = 0.0

    def read_into(self, buffer: memoryview, deadline: float | None = None) -> int:
        """See `Stream`."""
        while True:
            try:
                count = self._socket.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                began = time.monotonic()
                try:
                    self._wait(for_reading=True, deadline=deadline)
                finally:
                    self.waited += time.monotonic() - began
            else:
                self._check()
                return count

    def write(self, data: bytes, deadline: float | None = None) -> None:
        """See `Stream`."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, InterruptedError):
                self._wait_for_room(deadline)

    def is_quiet(self) -> bool:
        """See `Stream`."""
        return not self._is_aborted and not self._is_ready(for_reading=True, seconds=0.0)

    def abort(self) -> None:
        """See `Stream`."""
        self._is_aborted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Stream`."""
        self._socket.close()

    def _wait_for_room(self, deadline: float | None) -> None:
        try:
            self._wait(for_reading=False, deadline=deadline)
        except TimeoutError:
            # Half of it is sent: nothing else can be.
            raise ConnectionAbortedError from None

    def _wait(self, *, for_reading: bool, deadline: float | None) -> None:
        while True:
            self._check()
            seconds = _LOOK_UP_SECONDS
            if deadline is not None:
                seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                raise TimeoutError
            if self._is_ready(for_reading=for_reading, seconds=seconds):
                return

    def _is_ready(self, *, for_reading: bool, seconds: float) -> bool:
        if not hasattr(select, "poll"):  # pragma: no cover
            sides = ([self._socket], []) if for_reading else ([], [self._socket])
            return any(map(bool, select.select(*sides, [], seconds)))
        poll = select.poll()
        poll.register(self._socket, select.POLLIN if for_reading else select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def _check(self) -> None:
        if self._is_aborted:
            raise ConnectionAbortedError


class Sealed:
    """TLS over another stream; making it shakes hands.

    Args:
        below: What it goes over.
        trust: Whose certificates count.
        host: Who the other end is to be.

    Raises:
        OSError: The handshake failed; `ssl.SSLError` where TLS itself says why.
    """

    def __init__(self, below: Stream, trust: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._sealed = memoryview(bytearray(_SEALED_SIZE))
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(None)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that says why
                raise
        self._flush()

    @property
    def waited(self) -> float:
        """See `Stream`."""
        return self._below.waited

    def read_into(self, buffer: memoryview, deadline: float | None = None) -> int:
        """See `Stream`."""
        size, count = len(buffer), 0
        while count < size:
            try:
                fresh = self._tls.read(size - count, buffer[count:])
            except ssl.SSLWantReadError:
                if count:
                    return count
                self._flush(deadline)  # it may have been asked for new keys
                self._feed(deadline)
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return count
            if not fresh:
                return count
            count += int(fresh)
        return count

    def write(self, data: bytes, deadline: float | None = None) -> None:
        """See `Stream`."""
        self._tls.write(data)
        self._flush(deadline)

    def is_quiet(self) -> bool:
        """See `Stream`."""
        return not self._has_more and self._below.is_quiet()

    def abort(self) -> None:
        """See `Stream`."""
        self._below.abort()

    def close(self) -> None:
        """See `Stream`."""
        self._below.close()

    @property
    def _has_more(self) -> bool:
        return bool(self._tls.pending() or self._incoming.pending)

    def _feed(self, deadline: float | None) -> None:
        count = self._below.read_into(self._sealed, deadline)
        if count:
            self._incoming.write(self._sealed[:count])
        else:
            self._incoming.write_eof()

    def _flush(self, deadline: float | None = None) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read(), deadline)
