"""What goes wrong in case (l): one request in a hundred, each time in another way."""

from __future__ import annotations

from collections.abc import Callable

from modelfetch.testing import Fault, Reply, Reset, ShortBody, Stall, Status

EVERY = 100
FIRST = 25
# Each is made from the number of body bytes after which it comes.
KINDS: tuple[Callable[[int], Fault], ...] = (
    Reset,
    ShortBody,
    lambda _: Status(503, b"Service Unavailable"),
    Stall,
)


class Mishaps:
    """A fault of the FakeHub, for requests that it counts itself."""

    def __init__(self) -> None:
        self._asked = self._kind = 0

    def begin(self, round_number: int) -> None:
        """Count from 0 again. In 400 requests is each kind once, in another order each time."""
        self._asked, self._kind = 0, round_number

    def apply(self, reply: Reply) -> Reply:
        """Answer as is right, or not."""
        self._asked += 1
        if self._asked % EVERY != FIRST or reply.content is None:
            return reply
        kind = KINDS[self._kind % len(KINDS)]
        self._kind += 1
        return kind(reply.length // 2).apply(reply)
