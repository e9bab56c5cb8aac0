"""Which of a host's addresses to try first.

Connections are spread over all addresses of the family that the system prefers. An address that
failed comes last for a while, and is tried all the same when the others fail too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["AddressBook"]

PENALTY_SECONDS = 60.0
# Hosts of other people's choice (redirects) must not fill the memory.
MAX_FAILED = 256


class AddressBook:
    """What is known of addresses."""

    def __init__(self) -> None:
        self._turn = 0
        self._failed: dict[str, float] = {}

    def failed(self, address: str, now: float) -> None:
        """Note that something went wrong there.

        Args:
            address: An IP address.
            now: Seconds, of any clock that does not go back.
        """
        self._failed.pop(address, None)
        self._failed[address] = now
        while len(self._failed) > MAX_FAILED:
            del self._failed[next(iter(self._failed))]

    def order(self, addresses: Sequence[tuple[int, str]], now: float) -> list[int]:
        """Return the indices of `addresses` in the order to try them.

        Args:
            addresses: Family and IP address of each, in the system's order (RFC 6724).
            now: As for `failed`.
        """
        since = [self._failed.get(address, -math.inf) for _, address in addresses]
        well = [i for i, then in enumerate(since) if now - then >= PENALTY_SECONDS]
        ill = sorted(set(range(len(since))) - set(well), key=lambda i: since[i])
        first = [i for i in well if addresses[i][0] == addresses[well[0]][0]]
        self._turn += 1
        start = self._turn % len(first) if first else 0
        return [*first[start:], *first[:start], *(i for i in well if i not in first), *ill]
