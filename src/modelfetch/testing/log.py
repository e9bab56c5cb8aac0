"""What the FakeHub was asked, and what it sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["LoggedRequest", "asked_span", "bytes_sent_twice"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)


@dataclass
class LoggedRequest:
    """One request.

    Attributes:
        sequence: Number of the request, from 0.
        server: `hub` or `cdn`.
        method: HTTP method.
        path: Path of the URL, as sent.
        query: Query of the URL, as sent.
        repo: Repository that it is about, `""` if none.
        file: Path of the file in the repository, `""` if none.
        headers: Fields of the request, names in lower case.
        asked: The range asked for, half-open, `None` without one that is understood. It may reach
            beyond the file; an open end is the end of the file.
        peer: The client's port: one for each connection.
        status: Status of the answer, 0 before it.
        spans: File bytes handed to the socket, half-open, one span for each request.
        sent: Body bytes handed to the socket.
        is_finished: Whether the answer was sent to its end.
    """

    sequence: int
    server: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    asked: tuple[int, int] | None
    peer: int
    repo: str = ""
    file: str = ""
    status: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    sent: int = 0
    is_finished: bool = False

    @property
    def has_token(self) -> bool:
        """Whether an Authorization field arrived."""
        return "authorization" in self.headers


def asked_span(field: str | None, size: int) -> tuple[int, int] | None:
    """Return the half-open range that a Range field asks for, `None` if it is to be ignored.

    Args:
        field: Its value (RFC 9110 section 14.1.2); several ranges are ignored, as a server may.
        size: Bytes of the file.
    """
    found = _RANGE.fullmatch((field or "").strip())
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    start = int(first)
    if not last:
        return start, max(start, size)
    return (start, int(last) + 1) if int(last) >= start else None


def bytes_sent_twice(requests: Sequence[LoggedRequest]) -> int:
    """Return how many bytes of one file were sent more often than once, counted each time again."""
    spans = sorted(span for request in requests for span in request.spans)
    total = sum(stop - start for start, stop in spans)
    union, reach = 0, 0
    for start, stop in spans:
        union += max(0, stop - max(start, reach))
        reach = max(reach, stop)
    return total - union
