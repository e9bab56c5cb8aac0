"""What the connections of one file share, and how one can end the request of another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from modelfetch.core.lease import Lease
from modelfetch.core.retry import Budget
from modelfetch.core.transfer import Transfer
from modelfetch.shared import Bell, FileProgress, Shared, Signer
from modelfetch.storage.partial import PartialFile

__all__ = ["Crew"]

# How often slow requests are looked for.
LOOK_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class Crew:
    """What the connections of one file share.

    Attributes:
        shared: The engine's resources.
        transfer: The file's state.
        partial: Where bytes go.
        signer: Where bytes come from.
        progress: What the job sees.
        bell: Rung after every change of `transfer`.
        budget: What is left of the patience.
    """

    shared: Shared
    transfer: Transfer
    partial: PartialFile
    signer: Signer
    progress: FileProgress
    bell: Bell
    budget: Budget
    _requests: dict[Lease, asyncio.Timeout] = field(default_factory=dict)
    _looked_at: float = 0.0

    @contextlib.asynccontextmanager
    async def request(self, lease: Lease) -> AsyncIterator[None]:
        """Whatever goes on for `lease` inside the `async with` can be ended by the others.

        Raises:
            TimeoutError: It was.
        """
        async with asyncio.timeout(None) as clock:
            self._requests[lease] = clock
            try:
                yield
            finally:
                self._requests.pop(lease, None)

    def end_dropped(self, now: float) -> None:
        """End the requests of leases that were dropped."""
        for lease in [lease for lease in self._requests if lease.is_dropped]:
            self._requests.pop(lease).reschedule(now)

    def look_for_slow(self, now: float) -> None:
        """End the requests that are far slower than the others, or than those of another endpoint.

        Cheap to call often.
        """
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self.transfer.drop_slow(now)
            left = self.transfer.size_bytes - self.transfer.done.size
            most = self.shared.most
            if not self.transfer.is_streaming and self.signer.is_outpaced(left, most, now):
                self.transfer.drop_all()
            self.end_dropped(now)

    def disband(self) -> None:
        """End all requests, and all waiting for lanes: the file is complete."""
        now = asyncio.get_running_loop().time()
        while self._requests:
            self._requests.popitem()[1].reschedule(now)
        self.shared.lanes.dismiss(self)
