"""A resolver for aiohttp that spreads connections, and remembers addresses that failed.

aiohttp goes on to the next address while a connection is being made (RFC 8305). What it cannot know
is that an address which answers is of no use: it says nothing, or breaks off. So the transport
tells, and the next connections begin elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from modelfetch.core.addresses import AddressBook

__all__ = ["Attempt", "Resolver"]

# As long as aiohttp keeps an answer.
CACHE_SECONDS = 10.0
_ATTEMPT: ContextVar[Attempt | None] = ContextVar("modelfetch_attempt", default=None)


@dataclass(slots=True)
class Attempt:
    """One request, whose connection may have to be made first.

    Attributes:
        address: The address that it has to do with, as far as is known.
    """

    address: str | None = None

    def begin(self) -> None:
        """Let the next look-up of this task be for this request."""
        _ATTEMPT.set(self)


class Resolver(AbstractResolver):
    """The system's resolver, in an order of our own. Make it inside a running loop."""

    def __init__(self) -> None:
        self._system = ThreadedResolver()
        self._book = AddressBook()
        self._now = asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._answers: dict[tuple[str, int, int], tuple[float, list[ResolveResult]]] = {}

    def failed(self, attempt: Attempt) -> None:
        """Note that a request failed: others begin elsewhere."""
        if attempt.address is not None:
            self._book.failed(attempt.address, self._now())

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host, best first.

        Raises:
            OSError: It has none.
        """
        attempt = _ATTEMPT.get()
        if attempt is not None:
            self.failed(attempt)  # aiohttp asks again by itself where a connection breaks off
        found = await self._found(host, port, family)
        order = self._book.order([(it["family"], it["host"]) for it in found], self._now())
        if attempt is not None and order:
            attempt.address = found[order[0]]["host"]
        return [found[index] for index in order]

    async def _found(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        key = (host, port, int(family))
        async with self._lock:
            until, found = self._answers.get(key, (0.0, []))
            if self._now() >= until:
                found = await self._system.resolve(host, port, family)
                fresh = {k: it for k, it in self._answers.items() if it[0] > self._now()}
                self._answers = {**fresh, key: (self._now() + CACHE_SECONDS, found)}
        return found

    async def close(self) -> None:
        """Do nothing: there is nothing open."""
