"""How many jobs run at once, and who is next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from modelfetch.core.line import Rank

__all__ = ["Turns"]


class Turns:
    """Lets some run, and the others wait in line.

    Args:
        most: How many may run at once.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: dict[asyncio.Future[None], Callable[[], Rank]] = {}

    def waiting(self) -> list[Rank]:
        """Return the ranks of those who wait, the next one first."""
        return sorted(rank() for rank in self._waiting.values())

    @asynccontextmanager
    async def turn(self, rank: Callable[[], Rank]) -> AsyncIterator[None]:
        """Wait for a turn, and have it inside the `async with`.

        Args:
            rank: Where the caller stands; asked whenever somebody may go.
        """
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[admitted] = rank
        self._admit()
        try:
            await admitted
            yield
        finally:
            if self._waiting.pop(admitted, None) is None:
                self._free += 1
                self._admit()

    def _admit(self) -> None:
        while self._free > 0 and self._waiting:
            first = min(self._waiting, key=lambda waiter: self._waiting[waiter]())
            del self._waiting[first]
            if not first.done():  # a waiter who was cancelled a moment ago has left already
                first.set_result(None)
            self._free -= 1
