"""One HTTP/1.1 connection, for a thread that waits: a request, the head of its answer, its body.

Heads and chunks are understood by h11, the library under huggingface_hub's own: it is strict, knows
no sockets, and goes on where it was, however the bytes come. On top of it, whatever might decide in
two ways which bytes belong to the body is refused (RFC 9112 sections 5.2 and 6.3): a length beside
chunks, a list of lengths, folded lines.

The body of a known length goes from the stream into the caller's buffer, and nowhere else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

import h11

from modelfetch.streams import Stream

__all__ = ["Malformed", "Connection", "Fields"]

_MAX_INTERIM = 16
# The Hub's heads have about 30 fields, and 5 kB with a signed Location.
_MAX_HEAD, _MAX_FIELDS = 64 << 10, 100
_HEAD_SIZE, _CHUNKS_SIZE = 16 << 10, 256 << 10
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_FOLDED = re.compile(rb"\n[ \t]")
_LENGTHS = re.compile(rb"(?i)\ncontent-length:[^\n]*,")


class Malformed(Exception):
    """What came is not an HTTP/1.1 response, or can be read in two ways; or no such request."""


class Fields(Mapping[str, str]):
    """Header fields; lookup ignores case, and gives the first of several."""

    def __init__(self, fields: Mapping[str, str] | list[tuple[str, str]]) -> None:
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self._fields: dict[str, list[str]] = {}
        for name, value in pairs:
            self._fields.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][0]

    def every(self, name: str) -> list[str]:
        """Return the values of all fields of that name."""
        return self._fields.get(name.lower(), [])

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
        self._chunks: h11.Connection | None = None
        self._chunks_buffer = memoryview(b"")
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
        exchange = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._stream.write(_request(exchange, method, target, fields))
        self._begin(exchange, self._head(exchange), method)

    def _head(self, exchange: h11.Connection) -> h11.Response:
        """Read up to the end of the head of the answer, and no further."""
        buffer, came, interim = memoryview(bytearray(_HEAD_SIZE)), b"", 0
        while not isinstance(event := _next(exchange), h11.Response):
            if isinstance(event, h11.InformationalResponse):
                interim += 1
            elif count := self._stream.read_into(buffer):
                fresh = bytes(buffer[:count])
                came += fresh
                exchange.receive_data(fresh)
            elif came:
                raise Malformed("the head ends in the middle")
            else:
                raise ConnectionResetError
            if interim > _MAX_INTERIM:
                raise Malformed("interim answers without end")
        head = came[: len(came) - len(exchange.trailing_data[0])]
        if len(head) > _MAX_HEAD:
            raise Malformed("a head without end")
        if _FOLDED.search(head):
            raise Malformed("a folded line")
        if _LENGTHS.search(head):
            raise Malformed("a list of lengths")
        return event

    def _begin(self, exchange: h11.Connection, head: h11.Response, method: str) -> None:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
        fields = Fields(pairs)
        if head.http_version not in (b"1.0", b"1.1"):
            raise Malformed("another version of HTTP")
        if len(pairs) > _MAX_FIELDS:
            raise Malformed("fields without end")
        is_chunked = "Transfer-Encoding" in fields
        if is_chunked and "Content-Length" in fields:
            raise Malformed("both a length and chunks")
        self.status, self.fields, self.is_over = head.status_code, fields, False
        self._will_close = head.http_version == b"1.0" or _says_close(pairs)
        has_body = method not in ("HEAD", "CONNECT") and head.status_code not in (204, 304)
        if is_chunked and has_body:
            self._chunks, self._left = exchange, None
            self._chunks_buffer = memoryview(bytearray(_CHUNKS_SIZE))
            return
        self._ahead = memoryview(exchange.trailing_data[0])
        length = fields.get("Content-Length")
        self._left = 0 if not has_body else None if length is None else int(length)
        if self._left == 0:
            self._end()

    def receive(self, buffer: memoryview, seconds: float, linger: float) -> int:
        """Take bytes of the body into `buffer`; return how many.

        0 means that the body is over: see `is_over`, or that nothing came.

        Args:
            buffer: Where to; not empty.
            seconds: How long to wait for the first byte.
            linger: How long to wait for more, until the buffer is full.

        Raises:
            Malformed: The chunks of the body are none.
            OSError: The connection broke.
        """
        if self._failure is not None:
            raise self._failure
        if self.is_over:
            return 0
        now = time.monotonic()
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
        try:
            if self._chunks is not None:
                self._read_chunks(self._chunks, deadline)
            count = self._take(buffer, deadline)
        except TimeoutError:
            return 0
        if self._left is not None:
            self._left -= count
        if self._chunks is None and (count == 0 or self._left == 0):
            self._end()
        return count

    def _take(self, buffer: memoryview, deadline: float) -> int:
        if self._left is not None:
            buffer = buffer[: self._left]
        if not self._ahead:
            return 0 if self.is_over else self._stream.read_into(buffer, deadline)
        count = min(len(buffer), len(self._ahead))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _read_chunks(self, chunks: h11.Connection, deadline: float) -> None:
        """Have something of the body in `_ahead`, or its end."""
        while not self._ahead:
            event = _next(chunks)
            if isinstance(event, h11.Data):
                self._ahead = memoryview(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._will_close = True
                self._end()
                return
            else:
                count = self._stream.read_into(self._chunks_buffer, deadline)
                chunks.receive_data(bytes(self._chunks_buffer[:count]))

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

    def abort(self) -> None:
        """End it, whoever is in it."""
        self._stream.abort()

    def close(self) -> None:
        """Let go of it; nobody may be in it."""
        self._stream.close()


def _request(
    exchange: h11.Connection, method: str, target: str, fields: Mapping[str, str]
) -> bytes:
    if not _TARGET.fullmatch(target):
        raise Malformed("the URL has characters that no URL has")
    for name, value in fields.items():
        if not _VALUE.fullmatch(value):
            raise Malformed(f"the field {name} has characters that no field has")
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    try:
        head = exchange.send(h11.Request(method=method, target=target, headers=pairs))
        return (head or b"") + (exchange.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError:
        raise Malformed("the request has a field that no request has") from None


def _next(exchange: h11.Connection) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
    try:
        return exchange.next_event()
    except h11.RemoteProtocolError as error:
        # After the colon it quotes what came, which may be a signed URL.
        raise Malformed(str(error).partition(":")[0]) from None


def _says_close(pairs: list[tuple[str, str]]) -> bool:
    values = [value for name, value in pairs if name.lower() == "connection"]
    return any(word.strip().lower() == "close" for it in values for word in it.split(","))
