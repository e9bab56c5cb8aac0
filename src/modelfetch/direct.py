"""Metadata of a host that is connected to directly, with the package's own HTTP; blocking.

huggingface_hub's HTTP library, with what that needs, takes half as long to import as all else here:
a tenth of a second before the first byte, for one short answer. Where no proxy stands in between,
and nobody asks for that library, `http1` is enough: it is there for the bytes anyway.

After an answer of a known length the connection is kept for the next question to the same host. An
answer that is of use may be compressed, since the listing of a large repository is long; neither
form may be longer than `MOST_BYTES`. The body of any other is not read.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelfetch.connector import Route, Seal
from modelfetch.core.origins import target_of
from modelfetch.http1 import Connection, Malformed
from modelfetch.streams import Stream, Wired

__all__ = ["FAILURES", "Answer", "Direct"]

# The listing of 50,000 files, which is the most that the Hub puts into one, has some 12 MB.
MOST_BYTES = 64 << 20
_BLOCK = 64 << 10
_MOST_LINKS = 8 << 10
# An address that says nothing for so long is left for the next, where there is one.
_ADDRESS_SECONDS = 3.0
# A body may take so many times as long as the head.
_BODY_PATIENCE = 10
_GZIP = 16 + zlib.MAX_WBITS  # zlib.h: a gzip header, and no other
_LINK = re.compile(r"<([^<>]*)>")
_PARAMETER = re.compile(r'\s*;\s*([^\s=;,"<>]*)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*))?')

FAILURES = (OSError, Malformed, ValueError, zlib.error)
"""What is raised for a host that gives no answer, or none that is HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said.

    Attributes:
        status: Status code.
        headers: Fields; lookup ignores case.
        links: The field Link (RFC 8288), all lines of it.
    """

    status: int
    headers: Mapping[str, str]
    links: str
    _body: bytes

    def json(self) -> Any:
        """Return what the body says. Raises `ValueError` where that is not JSON."""
        return json.loads(self._body)

    @property
    def next_page(self) -> str | None:
        """The link to the next page, as it stands there; `ValueError` where there are too many."""
        if len(self.links) > _MOST_LINKS:
            raise ValueError("links without end")
        position = 0
        while link := _LINK.search(self.links, position):
            position, relations = link.end(), list[str]()
            while parameter := _PARAMETER.match(self.links, position):
                position = parameter.end()
                if parameter[1].lower() == "rel":
                    relations += (parameter[2] or "").strip('"').lower().split()
            if "next" in relations:
                return link[1]
        return None


class Direct:
    """Asks hosts, one after the other; not for two threads at once.

    Args:
        trust: Whose certificates count; `None` for OpenSSL's choice, which is loaded when needed.
        seconds: How long to wait for a connection, then for the head of an answer, then for each
            part of the body; for all of that ten times as long.
    """

    def __init__(self, trust: ssl.SSLContext | None, seconds: float) -> None:
        self._seal, self._seconds = Seal(trust), seconds
        self._kept: tuple[Route, Connection, _Timed] | None = None

    def get(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Return the answer to GET of `url`; follows nothing.

        Raises:
            OSError, Malformed, ValueError, zlib.error: There is none; see `FAILURES`.
        """
        route = Route.to(url, None)
        asked = {"Host": route.authority, "Accept": "*/*", "Accept-Encoding": "gzip", **fields}
        while True:
            connection, timed = self._connection(route)
            is_used, timed.until = connection.is_used, time.monotonic() + self._seconds
            try:
                connection.ask("GET", target_of(url), asked)
                return self._read(connection)
            except ConnectionError:
                self.close()
                if not is_used:
                    raise
                # Who had been idle may have been left meanwhile: nothing was done.
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let go of the connection that is kept."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _connection(self, route: Route) -> tuple[Connection, _Timed]:
        if self._kept is None or self._kept[0] != route or not self._kept[1].is_reusable:
            self.close()
            timed = _Timed(Wired(self._connected(route)), time.monotonic() + self._seconds)
            try:
                stream = self._seal.over(timed, route) if route.scheme == "https" else timed
            except BaseException:
                timed.close()
                raise
            self._kept = (route, Connection(stream, ""), timed)
        return self._kept[1:]

    def _connected(self, route: Route) -> socket.socket:
        until = time.monotonic() + self._seconds
        found = socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
        for family, *_, address in found[:-1]:
            left = min(_ADDRESS_SECONDS, until - time.monotonic())
            with contextlib.suppress(OSError):
                return _reached(family, address, left)
        family, *_, address = found[-1]
        return _reached(family, address, max(until - time.monotonic(), _ADDRESS_SECONDS))

    def _read(self, connection: Connection) -> Answer:
        status, headers = connection.status, connection.fields
        links = ", ".join(headers.every("Link"))
        if status != 200:
            self.close()
            return Answer(status, headers, links, b"")
        body = self._body(connection)
        length = headers.get("Content-Length")
        if length is not None and int(length) != len(body):
            raise Malformed("less than it said")
        if headers.get("Content-Encoding", "").strip().lower() == "gzip":
            unpacking = zlib.decompressobj(_GZIP)
            body = unpacking.decompress(body, MOST_BYTES + 1)
            _check(len(body))
            if not unpacking.eof:
                raise Malformed("less than it packed")
        return Answer(status, headers, links, body)

    def _body(self, connection: Connection) -> bytes:
        body, block = bytearray(), memoryview(bytearray(_BLOCK))
        until = time.monotonic() + _BODY_PATIENCE * self._seconds
        while not connection.is_over:
            left = min(self._seconds, until - time.monotonic())
            count = connection.receive(block, left, 0.0) if left > 0 else 0
            if not count and not connection.is_over:
                raise TimeoutError
            body += block[:count]
            _check(len(body))
        return bytes(body)


def _reached(family: int, address: Any, seconds: float) -> socket.socket:
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        connected.settimeout(max(seconds, 0.1))
        connected.connect(address)
        # The end of a handshake and a request are small, and the second must not wait until the
        # first has arrived.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        connected.close()
        raise
    return connected


def _check(size: int) -> None:
    if size > MOST_BYTES:
        raise Malformed("more than any Hub says")


class _Timed:
    """A stream that is waited for until a time by `time.monotonic`, unless told otherwise."""

    def __init__(self, below: Stream, until: float) -> None:
        self._below, self.until = below, until

    @property
    def waited(self) -> float:
        return self._below.waited

    def read_into(self, buffer: memoryview, deadline: float | None = None) -> int:
        return self._below.read_into(buffer, self.until if deadline is None else deadline)

    def write(self, data: bytes, deadline: float | None = None) -> None:
        self._below.write(data, self.until if deadline is None else deadline)

    def is_quiet(self) -> bool:
        return self._below.is_quiet()

    def abort(self) -> None:
        self._below.abort()

    def close(self) -> None:
        self._below.close()
