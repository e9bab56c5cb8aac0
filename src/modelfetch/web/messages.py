"""What goes in and out of the handler, whatever carries it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Problem", "Request", "Response", "error_response", "json_response"]

# An answer tells how things are now, and is JSON whatever a browser makes of its text.
_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Problem(Exception):
    """The request cannot be answered as asked; becomes `{"error": {...}}`.

    Args:
        status: HTTP status of the answer.
        kind: `type` on the wire.
        message: For whoever reads it; holds nothing that the caller may not know.
        code: A finer word than `kind`.
        param: The field that is wrong.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        wire = {"type": kind, "message": message, "code": code, "param": param}
        self.status = status
        self.error = {name: text for name, text in wire.items() if text is not None}
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Attributes:
        method: In upper case.
        path: Decoded, below the place where the API is mounted.
        query: As it was sent, without the `?`.
        headers: All of them, in order, their names in lower case.
        body: The body as it arrives; raises `Problem` when it does not arrive whole.
        root: Where the API is mounted: what stands before `path` in the URL.
        local_address: The server's own end of the connection; `None` when it has no address.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: AsyncIterator[bytes]
    root: str = ""
    local_address: str | None = None

    def header(self, name: str) -> str | None:
        """Return the value of a header that may be there once.

        Raises:
            Problem: It is there more than once, so that two readers may see two things.
        """
        values = [value for other, value in self.headers if other == name]
        if len(values) > 1:
            raise Problem(
                400, "invalid_request", f"The header {name} is repeated.", code="repeated_header"
            )
        return values[0] if values else None


@dataclass(slots=True)
class Response:
    """One HTTP answer: a body, or a stream of events.

    Attributes:
        status: HTTP status.
        body: The whole body, which a HEAD request does not get.
        headers: Without `Content-Length`, which the adapter knows.
        events: Pieces of an endless body, each to be sent at once. Close it when the reader left.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    events: AsyncGenerator[bytes, None] | None = None

    def __post_init__(self) -> None:
        self.headers = _ALWAYS | self.headers


def json_response(content: Any, status: int = 200) -> Response:
    """Return `content` as JSON, in ASCII and on one line."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(status, body, {"Content-Type": "application/json; charset=utf-8"})


def error_response(problem: Problem) -> Response:
    """Return a problem in LM Studio's form."""
    response = json_response({"error": problem.error}, problem.status)
    response.headers |= problem.headers
    return response
