"""What a server can do wrong, as values.

A fault changes a `Reply`: the right answer goes in, the wrong one comes out, and the server sends
what it is given. A new misbehaviour is a new small class here and no change of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from modelfetch.testing.content import Content

__all__ = [
    "ChangedETag",
    "Delay",
    "Encoded",
    "Ending",
    "Fault",
    "HtmlPage",
    "IgnoreRange",
    "RateLimited",
    "Reply",
    "Reset",
    "ShiftedRange",
    "ShortBody",
    "Slow",
    "Stall",
    "Status",
    "WrongBytes",
    "WrongTotal",
]

_PAGE = b"<!doctype html><title>Sign in</title><h1>Sign in to the network</h1>"


class Ending(StrEnum):
    """How a response ends."""

    FINISH = "finish"
    RESET = "reset"
    """TCP RST."""
    CLOSE = "close"
    """TCP FIN, whatever was promised."""
    CUT = "cut"
    """TCP FIN without the close_notify by which TLS tells an end from an attack."""
    STALL = "stall"
    """Nothing more, until the client leaves."""


@dataclass(frozen=True)
class Reply:
    """A response as the server will send it.

    Attributes:
        status: Status code.
        headers: Header fields; Content-Length is set from the body unless given.
        body: The body, when it is no part of a file.
        content: The file of which the body is `[start, stop)`.
        start: First byte of the file that is sent.
        stop: End of what is sent.
        sent_at_most: Body bytes after which `ending` comes; `None` for all.
        ending: How it ends.
        flipped: Offsets in the body whose bytes are inverted.
        delay: Seconds before the first byte.
        has_length: Whether Content-Length is sent; chunked otherwise.
        rate: Bytes per second of the body; `None` for as fast as the connection may.
        fast_bytes: What comes of the body before `rate` counts.
        before: Raw bytes ahead of the status line.
        head: Raw bytes in place of status line and fields; the body follows without any framing,
            and the connection ends with it.
        after: Raw bytes after the body, where nobody expects any.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None
    start: int = 0
    stop: int = 0
    sent_at_most: int | None = None
    ending: Ending = Ending.FINISH
    flipped: range = range(0)
    delay: float = 0.0
    has_length: bool = True
    rate: float | None = None
    fast_bytes: int = 0
    before: bytes = b""
    head: bytes | None = None
    after: bytes = b""

    @property
    def length(self) -> int:
        """Size of the body that the headers promise."""
        return self.stop - self.start if self.content is not None else len(self.body)

    def with_headers(self, **headers: str) -> Reply:
        """Return the reply with more fields; `_` in a name stands for `-`."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **more})


class Fault(Protocol):
    """One misbehaviour."""

    def apply(self, reply: Reply) -> Reply:
        """Return what is sent in place of `reply`."""


def _instead(reply: Reply, status: int, body: bytes, headers: Mapping[str, str]) -> Reply:
    del reply
    return Reply(status, {"Content-Type": "text/plain", **headers}, body)


@dataclass(frozen=True)
class Status:
    """Another status code, with a body of its own."""

    code: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def apply(self, reply: Reply) -> Reply:
        """Answer with the code."""
        return _instead(reply, self.code, self.body, self.headers)


@dataclass(frozen=True)
class HtmlPage:
    """A page of a proxy or a login portal."""

    code: int = 200

    def apply(self, reply: Reply) -> Reply:
        """Answer with the page."""
        return _instead(reply, self.code, _PAGE, {"Content-Type": "text/html; charset=utf-8"})


@dataclass(frozen=True)
class RateLimited:
    """429, with the seconds to wait in the forms that servers use.

    Attributes:
        retry_after: Value of Retry-After, seconds or a date.
        reset: The Hub's `RateLimit: "resolvers";r=0;t=<reset>`.
    """

    retry_after: int | str | None = 1
    reset: int | None = None

    def apply(self, reply: Reply) -> Reply:
        """Answer 429."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.reset is not None:
            headers["RateLimit"] = f'"resolvers";r=0;t={self.reset}'
        return _instead(reply, 429, b"Too Many Requests", headers)


@dataclass(frozen=True)
class _EndsAt:
    at: int


class Reset(_EndsAt):
    """RST after `at` bytes of the body."""

    def apply(self, reply: Reply) -> Reply:
        """Reset there."""
        return replace(reply, sent_at_most=self.at, ending=Ending.RESET)


class Stall(_EndsAt):
    """Silence after `at` bytes of the body."""

    def apply(self, reply: Reply) -> Reply:
        """Stall there."""
        return replace(reply, sent_at_most=self.at, ending=Ending.STALL)


class ShortBody(_EndsAt):
    """A clean close after `at` bytes, although more was promised."""

    def apply(self, reply: Reply) -> Reply:
        """Close there."""
        return replace(reply, sent_at_most=self.at, ending=Ending.CLOSE)


@dataclass(frozen=True)
class ShiftedRange:
    """A 206 that begins `by` bytes later than asked, and says so (a block-aligned cache does)."""

    by: int

    def apply(self, reply: Reply) -> Reply:
        """Shift the range."""
        if reply.content is None or reply.status != 206:
            return reply
        size = reply.content.size
        start = min(max(0, reply.start + self.by), size - 1)
        stop = min(size, max(start + 1, reply.stop + self.by))
        shifted = replace(reply, start=start, stop=stop)
        return shifted.with_headers(Content_Range=f"bytes {start}-{stop - 1}/{size}")


@dataclass(frozen=True)
class IgnoreRange:
    """200 and the whole file.

    Attributes:
        chunked: Leave out Content-Length.
    """

    chunked: bool = False

    def apply(self, reply: Reply) -> Reply:
        """Ignore the range."""
        if reply.content is None:
            return reply
        headers = {k: v for k, v in reply.headers.items() if k != "Content-Range"}
        return replace(
            reply, status=200, headers=headers, start=0, stop=reply.content.size,
            has_length=not self.chunked,
        )  # fmt: skip


@dataclass(frozen=True)
class WrongBytes:
    """The right length, with `count` bytes from `at` inverted."""

    at: int = 0
    count: int = 1

    def apply(self, reply: Reply) -> Reply:
        """Flip them."""
        return replace(reply, flipped=range(self.at, self.at + self.count))


@dataclass(frozen=True)
class WrongTotal:
    """A Content-Range whose total is another size (`None` for `*`)."""

    total: int | None

    def apply(self, reply: Reply) -> Reply:
        """Change the total."""
        head = reply.headers.get("Content-Range", "").partition("/")[0]
        total = "*" if self.total is None else str(self.total)
        return reply.with_headers(Content_Range=f"{head}/{total}")


@dataclass(frozen=True)
class Encoded:
    """A Content-Encoding that nobody asked for."""

    encoding: str = "gzip"

    def apply(self, reply: Reply) -> Reply:
        """Claim the encoding."""
        return reply.with_headers(Content_Encoding=self.encoding)


@dataclass(frozen=True)
class ChangedETag:
    """Another validator than before."""

    etag: str = '"changed"'

    def apply(self, reply: Reply) -> Reply:
        """Change it."""
        return reply.with_headers(ETag=self.etag)


@dataclass(frozen=True)
class Slow:
    """A body at so many bytes per second, but for the first `after` bytes of it."""

    rate: float
    after: int = 0

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with a speed."""
        return replace(reply, rate=self.rate, fast_bytes=self.after)


@dataclass(frozen=True)
class Delay:
    """Nothing for some seconds, then the right answer."""

    seconds: float

    def apply(self, reply: Reply) -> Reply:
        """Wait first."""
        return replace(reply, delay=self.seconds)
