"""One HTTP/1.1 connection, for a thread that waits: a request, the head of its answer, its body.

Heads are read by the standard library's `http.client`, which forgives a lot. What it forgives in
the framing would decide which bytes belong to the body, so that is refused here (RFC 9112 sections
5 and 6.3): lengths that contradict each other or are no number, a length beside chunks, folded
lines, lines that are no fields.

The body of a known length goes from the stream into the caller's buffer, and nowhere else; one in
chunks goes through `http.client`.
"""

from __future__ import annotations

import http.client
import io
import re
import time
from collections.abc import Iterator, Mapping

from modelfetch.streams import Reader, Stream

__all__ = ["Malformed", "Connection", "Fields"]

_MAX_INTERIM = 16
_READ_AHEAD = 16 << 10
_LENGTH = re.compile(r"[0-9]{1,19}")
_TARGET = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Malformed(Exception):
    """What came is not an HTTP/1.1 response, or can be read in two ways; or no such request."""


class Fields(Mapping[str, str]):
    """Header fields; lookup ignores case, and gives the first of several."""

    def __init__(self, fields: Mapping[str, str] | list[tuple[str, str]]) -> None:
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self._fields: dict[str, str] = {}
        for name, value in pairs:
            self._fields.setdefault(name.lower(), value)

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields


class Connection:
    """A connection, and the exchange that goes on over it. One thread at a time, but for `abort`.

    Args:
        stream: The bytes.
        address: The IP address of the other end.

    Attributes:
        status: Status code of the last answer.
        fields: Its fields.
        is_used: Whether there was an exchange before this one.
        is_over: Whether the body has ended, as it should or not.
    """

    def __init__(self, stream: Stream, address: str) -> None:
        self._stream, self.address = stream, address
        self.status, self.fields = 0, Fields({})
        self.is_used = self._is_spoiled = self._will_close = False
        self.is_over = True
        self._reader = Reader(stream)
        self._chunks: http.client.HTTPResponse | None = None
        self._ahead = memoryview(b"")
        self._left: int | None = 0
        self._failure: OSError | Malformed | None = None

    def ask(self, method: str, target: str, fields: Mapping[str, str]) -> None:
        """Send a request and read the head of its answer; the last body must be over.

        Args:
            method: `GET`, `HEAD` or `CONNECT`.
            target: As it stands in the request line.
            fields: All of the request's, `Host` among them.

        Raises:
            Malformed: What came is no answer, or the request cannot be sent.
            OSError: The connection broke.
        """
        self._is_spoiled = True  # until the body is over
        self._stream.write(_request(method, target, fields))
        response = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            for _ in range(_MAX_INTERIM):
                if response.status >= 200:
                    break
                response.headers = None  # type: ignore[assignment]
                response.begin()
            else:
                raise Malformed("interim answers without end")
        except http.client.RemoteDisconnected:
            raise ConnectionResetError from None
        except (http.client.HTTPException, ValueError) as error:
            raise Malformed(type(error).__name__) from None
        self._begin(response, method)

    def _begin(self, response: http.client.HTTPResponse, method: str) -> None:
        length = _checked_length(response.headers)
        has_body = method not in ("HEAD", "CONNECT") and response.status not in (204, 304)
        self.status, self.fields = response.status, Fields(response.headers.items())
        self._will_close, self.is_over = response.will_close, False
        if response.chunked and has_body:
            self._chunks = response
        else:
            self._ahead = memoryview(self._reader.ahead(response.fp))
            self._left = length if has_body else 0
            response.close()
            if self._left == 0:
                self._end()

    def receive(self, buffer: memoryview, seconds: float, linger: float, patience: float) -> int:
        """Take bytes of the body into `buffer`; return how many.

        0 means that the body is over: see `is_over`, or that nothing came.

        Args:
            buffer: Where to; not empty.
            seconds: How long to wait for the first byte.
            linger: How long to wait for more, until the buffer is full.
            patience: How long to wait for the rest of the head of a chunk.

        Raises:
            Malformed: The chunks of the body are none.
            TimeoutError: Or the rest of one did not come.
            OSError: The connection broke.
        """
        if self._failure is not None:
            raise self._failure
        if self.is_over:
            return 0
        now = time.monotonic()
        self._reader.deadline = now + patience
        count, until = self._receive(buffer, now + seconds), now + linger
        while 0 < count < len(buffer) and not self.is_over:
            try:
                fresh = self._receive(buffer[count:], until)
            except (OSError, Malformed) as error:
                self._failure = error  # what came before it is as good as any
                break
            if not fresh:
                break
            count += fresh
        return count

    def _receive(self, buffer: memoryview, deadline: float) -> int:
        if self._chunks is not None:
            is_there = self._reader.has_ahead(self._chunks.fp) or self._stream.has_come(deadline)
            return self._receive_chunked(self._chunks, buffer) if is_there else 0
        if self._left is not None:
            buffer = buffer[: self._left]
        if self._ahead:
            count = min(len(buffer), len(self._ahead))
            buffer[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
        else:
            try:
                count = self._stream.read_into(buffer, deadline)
            except TimeoutError:
                return 0
        if self._left is not None:
            self._left -= count
        if count == 0 or self._left == 0:
            self._end()
        return count

    def _receive_chunked(self, chunks: http.client.HTTPResponse, buffer: memoryview) -> int:
        try:
            data = chunks.read1(len(buffer))
        except (http.client.HTTPException, ValueError) as error:
            raise Malformed(type(error).__name__) from None
        buffer[: len(data)] = data
        if not data:
            self._will_close = True
            self._end()
        return len(data)

    def _end(self) -> None:
        # After a body that was cut short, or went on, nobody knows where the next answer begins.
        is_clean = self._left == 0 and not self._ahead
        self._is_spoiled = self._will_close or not is_clean
        self._chunks, self.is_over, self.is_used = None, True, True

    @property
    def is_reusable(self) -> bool:
        """Whether another request can be sent, as far as one knows."""
        return self.is_over and not self._is_spoiled and self._stream.is_quiet()

    @property
    def waited(self) -> float:
        """Seconds for which bytes were waited for, in all its life."""
        return self._stream.waited

    @property
    def stream(self) -> Stream:
        """The bytes, for who goes on with them after CONNECT."""
        return self._stream

    def makefile(self, mode: str) -> io.BufferedReader:
        """Be a socket, for `http.client`."""
        del mode
        self._reader = Reader(self._stream)
        return io.BufferedReader(self._reader, _READ_AHEAD)

    def abort(self) -> None:
        """End it, whoever is in it."""
        self._stream.abort()

    def close(self) -> None:
        """Let go of it; nobody may be in it."""
        self._stream.close()


def _request(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    if not _TARGET.fullmatch(target):
        raise Malformed("the URL has characters that no URL has")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in fields.items():
        if not _VALUE.fullmatch(value):
            raise Malformed(f"the field {name} has characters that no field has")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _checked_length(headers: http.client.HTTPMessage) -> int | None:
    """Return Content-Length, `None` where there is none."""
    if headers.defects:
        raise Malformed(type(headers.defects[0]).__name__)
    if not all(_VALUE.fullmatch(value) for value in headers.values()):
        raise Malformed("a folded line")
    lengths = {value.strip() for value in headers.get_all("Content-Length", [])}
    if not lengths:
        return None
    if "Transfer-Encoding" in headers:
        raise Malformed("both a length and chunks")
    if len(lengths) > 1 or not _LENGTH.fullmatch(length := lengths.pop()):
        raise Malformed("no length")
    return int(length)
