"""A resolver that spreads connections, and remembers addresses that failed.

Whoever makes a connection goes on to the next address by itself (RFC 8305). What it cannot know is
that an address which answers is of no use: it says nothing, or breaks off. So the transport tells,
and the next connections begin elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from modelfetch.core.addresses import AddressBook

__all__ = ["Address", "Attempt", "Resolver"]

CACHE_SECONDS = 10.0

# As `socket.getaddrinfo` has it: family, type, protocol, name, and what is connected to.
Address = tuple[int, int, int, str, Any]


@dataclass(slots=True)
class Attempt:
    """One request, whose connection may have to be made first.

    Attributes:
        address: The address that it has to do with, as far as is known.
    """

    address: str | None = None


class Resolver:
    """The system's resolver, in an order of our own. Make it inside a running loop."""

    def __init__(self) -> None:
        self._book = AddressBook()
        self._now = asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._answers: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    def failed(self, attempt: Attempt) -> None:
        """Note that a request failed: others begin elsewhere."""
        if attempt.address is not None:
            self._book.failed(attempt.address, self._now())

    async def resolve(self, host: str, port: int, attempt: Attempt) -> list[Address]:
        """Return the addresses of a host, best first, which is noted in `attempt`.

        Raises:
            OSError: It has none.
        """
        found = await self._found(host, port)
        order = self._book.order([(it[0], str(it[4][0])) for it in found], self._now())
        if order:
            attempt.address = str(found[order[0]][4][0])
        return [found[index] for index in order]

    async def _found(self, host: str, port: int) -> list[Address]:
        key = (host, port)
        async with self._lock:
            until, found = self._answers.get(key, (0.0, []))
            if self._now() >= until:
                found = await _asked(host, port)
                fresh = {k: it for k, it in self._answers.items() if it[0] > self._now()}
                self._answers = {**fresh, key: (self._now() + CACHE_SECONDS, found)}
        return found


async def _asked(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        flags = socket.AI_ADDRCONFIG
        return [*await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]
    except socket.gaierror:
        # Where there is only loopback, that flag leaves nothing of a loopback name.
        return [*await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
