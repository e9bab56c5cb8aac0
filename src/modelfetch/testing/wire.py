"""Misbehaviours below the level of a well-formed response: raw bytes, lies about framing, drips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from modelfetch.testing.faults import Ending, Reply

__all__ = ["Altered", "Drip", "Framing", "Hints", "LongBody", "Raw", "Redirect"]


@dataclass(frozen=True)
class Altered:
    """Whatever a function makes of the reply.

    Attributes:
        change: The function; it must not change the reply that it is given.
    """

    change: Callable[[Reply], Reply]

    def apply(self, reply: Reply) -> Reply:
        """Answer with what the function returns."""
        return self.change(reply)


@dataclass(frozen=True)
class Raw:
    """Some bytes in place of the whole response, which need not be HTTP, and then an end.

    Attributes:
        data: The bytes.
        ending: How the connection ends after them.
    """

    data: bytes = b""
    ending: Ending = Ending.CLOSE

    def apply(self, reply: Reply) -> Reply:
        """Answer with the bytes."""
        del reply
        return Reply(0, head=self.data, ending=self.ending)


@dataclass(frozen=True)
class Framing:
    """The right body, under fields that say otherwise where it ends; the connection closes with it.

    Attributes:
        fields: Raw lines in place of Content-Length.
        version: Version of HTTP in the status line.
    """

    fields: Sequence[str] = ()
    version: str = "1.1"

    def apply(self, reply: Reply) -> Reply:
        """Write the head anew."""
        lines = [
            f"HTTP/{self.version} {reply.status} {HTTPStatus(reply.status).phrase}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
            *self.fields,
        ]
        head = "\r\n".join([*lines, "", ""]).encode()
        return replace(reply, head=head, ending=Ending.CLOSE)


@dataclass(frozen=True)
class Hints:
    """Interim responses before the right one (RFC 9110 section 15.2).

    Attributes:
        codes: Their status codes.
    """

    codes: Sequence[int] = (103,)

    def apply(self, reply: Reply) -> Reply:
        """Send them first."""
        lines = (f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n\r\n" for code in self.codes)
        return replace(reply, before="".join(lines).encode())


@dataclass(frozen=True)
class LongBody:
    """The right response, and more bytes after its end on the same connection.

    Attributes:
        extra: How many.
    """

    extra: int = 1

    def apply(self, reply: Reply) -> Reply:
        """Send more."""
        return replace(reply, after=b"\xa5" * self.extra)


@dataclass(frozen=True)
class Drip:
    """The right bytes, never silent, and never done.

    Attributes:
        bytes_per_second: Of this response.
    """

    bytes_per_second: float = 100.0

    def apply(self, reply: Reply) -> Reply:
        """Slow down."""
        return replace(reply, rate=self.bytes_per_second)


@dataclass(frozen=True)
class Redirect:
    """A redirect to anywhere.

    Attributes:
        location: Value of the Location field; `None` for a redirect without one.
        code: Status code.
    """

    location: str | None
    code: int = 302

    def apply(self, reply: Reply) -> Reply:
        """Answer with the redirect."""
        del reply
        return Reply(self.code, {} if self.location is None else {"Location": self.location})
