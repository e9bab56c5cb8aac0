"""What the FakeHub was asked, and what it sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["LoggedRequest", "bytes_sent_twice"]


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
        asked: The range asked for, half-open, `None` without one; -1 stands for the end that an
            open range leaves out, and the start of a suffix is negative.
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


def bytes_sent_twice(requests: Sequence[LoggedRequest]) -> int:
    """Return how many bytes of one file were sent more often than once, counted each time again."""
    spans = sorted(span for request in requests for span in request.spans)
    total = sum(stop - start for start, stop in spans)
    union, reach = 0, 0
    for start, stop in spans:
        union += max(0, stop - max(start, reach))
        reach = max(reach, stop)
    return total - union
