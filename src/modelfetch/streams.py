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
# Bytes that came sooner were there already: the line is faster than this thread.
_AT_ONCE_SECONDS = 20e-6


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
        self._arrivals = _Readiness(connected, for_reading=True)
        # To ask for what is not there costs a call of the kernel, an exception, and twice the
        # interpreter's lock: who had to wait waits first the next time.
        self._waits_first = False
        self.waited = 0.0

    def read_into(self, buffer: memoryview, deadline: float | None = None) -> int:
        """See `Stream`."""
        while True:
            if self._waits_first:
                self._waits_first = self._wait_for_bytes(deadline) > _AT_ONCE_SECONDS
            try:
                count = self._socket.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                self._waits_first = True
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
        return not self._is_aborted and not self._arrivals.within(0.0)

    def abort(self) -> None:
        """See `Stream`."""
        self._is_aborted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Stream`."""
        self._socket.close()

    def _wait_for_bytes(self, deadline: float | None) -> float:
        """Wait for bytes, or the end; return for how many seconds."""
        began = time.monotonic()
        try:
            self._wait(self._arrivals, deadline)
        finally:
            waited = time.monotonic() - began
            self.waited += waited
        return waited

    def _wait_for_room(self, deadline: float | None) -> None:
        try:
            self._wait(_Readiness(self._socket, for_reading=False), deadline)
        except TimeoutError:
            # Half of it is sent: nothing else can be.
            raise ConnectionAbortedError from None

    def _wait(self, readiness: _Readiness, deadline: float | None) -> None:
        while True:
            self._check()
            left = _LOOK_UP_SECONDS if deadline is None else deadline - time.monotonic()
            if readiness.within(max(0.0, min(_LOOK_UP_SECONDS, left))):
                return
            if left <= 0:  # what was there already is taken all the same
                raise TimeoutError

    def _check(self) -> None:
        if self._is_aborted:
            raise ConnectionAbortedError


class _Readiness:
    """Waits until a socket has bytes, or room for some. One thread at a time."""

    def __init__(self, connected: socket.socket, *, for_reading: bool) -> None:
        self._socket, self._for_reading = connected, for_reading
        self._poll = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(connected, select.POLLIN if for_reading else select.POLLOUT)

    def within(self, seconds: float) -> bool:
        """Return whether it is so, after waiting for it."""
        if self._poll is not None:
            return bool(self._poll.poll(seconds * 1000))
        sides = ([self._socket], []) if self._for_reading else ([], [self._socket])
        return any(map(bool, select.select(*sides, [], seconds)))  # pragma: no cover


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
        while True:
            count, is_over = self._open(buffer)
            if count or is_over:
                return count
            self._flush(deadline)  # it may have been asked for new keys
            self._feed(deadline)

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
        return bool(self._incoming.pending or self._tls.pending())

    def _open(self, buffer: memoryview) -> tuple[int, bool]:
        """Decrypt what is there and fits; return how many bytes, and whether that was the end.

        OpenSSL gives out a record at a time. Where there is nothing to make one of it is not asked,
        since to say so takes an exception.
        """
        size, count = len(buffer), 0
        try:
            while count < size and (self._has_more or self._incoming.eof):
                fresh = self._tls.read(size - count, buffer[count:])
                if not fresh:
                    return count, True
                count += int(fresh)
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return count, True
        return count, False

    def _feed(self, deadline: float | None) -> None:
        count = self._below.read_into(self._sealed, deadline)
        if count:
            self._incoming.write(self._sealed[:count])
        else:
            self._incoming.write_eof()

    def _flush(self, deadline: float | None = None) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read(), deadline)
