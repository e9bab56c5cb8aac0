"""One connection at work: take a lease, ask for it, pass the gate, write what comes.

Everything is decided in `core`: `transfer` says which span, `ranges` what a response is good for,
`retry` whether to go on. What is left here is the order of effects, and these rules:

* a lane of the engine is held while requests are under way, and not while waiting;
* a lease that was dropped, and any request once the file is complete, is ended from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

from modelfetch.core.lease import Lease, Pace
from modelfetch.core.ranges import Action, Verdict, judge, range_headers
from modelfetch.core.retry import retry_after
from modelfetch.crew import Crew
from modelfetch.errors import HubUnavailable, NetworkError, Offline
from modelfetch.hub import Source
from modelfetch.lanes import Lane
from modelfetch.receiver import Receiver
from modelfetch.transport import Reply
from modelfetch.types import Span

__all__ = ["Worker"]

IDLE_SECONDS = 0.05
# Fruitless attempts in a row after which another endpoint is asked, where there is one.
STUMBLES = 2


_STUMBLED = Verdict(Action.RETRY, "the whole file for a part of it, which it gave before")


class Worker:
    """One of a file's connections."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._shared, self._transfer = crew.shared, crew.transfer
        self._signer, self._progress, self._bell = crew.signer, crew.progress, crew.bell
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._latency = self._began = 0.0
        self._last = 0
        self._is_hindered = False
        self._source: Source | None = None

    async def run(self) -> None:
        """Fetch leases until the file is complete.

        Raises:
            NetworkError, HubUnavailable: Patience is at its end.
            ModelFetchError: The Hub refuses the file, or the disk does.
        """
        budget = self._crew.budget
        while not self._transfer.is_complete:
            try:
                if not await self._work():
                    # Not at each ring: what can be shared changes with time, and looking costs.
                    await self._rest(IDLE_SECONDS)
                continue
            except (NetworkError, HubUnavailable) as error:
                if self._transfer.is_complete:
                    return
                if not _may_pass(error) or not self._may_go_on():
                    raise
                if budget.fruitless >= STUMBLES:
                    self._signer.stumbled(self._source)
            await self._rest(budget.delay(random.random()))

    async def _work(self) -> bool:
        """Fetch leases for as long as there are some and the lane is ours.

        Returns:
            Whether there may be more to do at once.
        """
        source = await self._willing_source()
        if self._transfer.is_complete:
            return False
        has_worked = False
        async with self._shared.lanes.lane(source.host, self._shared.job, self._crew) as lane:
            while lane is not None:
                source = await self._signer.current()
                is_welcome = self._shared.waits.get(source.host, 0.0) <= self._loop.time()
                if source.host != lane.host or not is_welcome:
                    return True  # who waits for a lane may wait for one to a host that was left
                if has_worked and not lane.may_stay:
                    break
                now = self._loop.time()
                lease = self._transfer.lease(
                    now, self._pace.speed, lane.among, self._latency, self._last
                )
                if lease is None:
                    break
                has_worked, self._last = True, max(self._last, lease.remaining)
                self._crew.end_dropped(now)
                self._is_hindered = False
                await self._fetch_lease(lease, source, lane)
                lane.hindered(self._is_hindered)
        return has_worked

    async def _fetch_lease(self, lease: Lease, source: Source, lane: Lane) -> None:
        self._source, self._began = source, self._loop.time()
        self._progress.connections += 1
        try:
            async with self._crew.request(lease):
                await self._fetch(lease, source, lane)
        except TimeoutError:
            self._pace, self._last = Pace(), 0  # of that connection; the next may lead elsewhere
            raise NetworkError(
                f"{source.host} was far slower here than elsewhere.", host=source.host
            ) from None
        finally:
            self._progress.connections -= 1
            self._transfer.release(lease)
            self._bell.ring()

    async def _fetch(self, lease: Lease, source: Source, lane: Lane) -> None:
        asked = Span(lease.position, lease.stop)
        size = self._transfer.size_bytes
        async with self._answer(source, asked, lane) as reply:
            etag = self._signer.etag_of(source)
            verdict = judge(asked, size, etag, reply.status, reply.headers)
            if verdict.action is Action.WAIT:
                lane.refused(self._loop.time())
            if verdict.span is None:
                raise self._refusal(verdict, reply, source)
            if verdict.action is Action.WRITE:
                self._signer.gave_range(source)
            elif not self._signer.means_whole(source):
                raise self._refusal(_STUMBLED, reply, source)
            elif not self._transfer.begin_stream(lease):
                return  # another connection is receiving the whole file already
            self._progress.single_stream = self._transfer.is_streaming
            self._signer.accepted(source, verdict.etag)
            receiver = Receiver(self._crew, reply, lease, lane, verdict.span, source, self._pace)
            try:
                await receiver.run()
            finally:
                self._is_hindered = receiver.is_hindered

    @contextlib.asynccontextmanager
    async def _answer(self, source: Source, asked: Span, lane: Lane) -> AsyncIterator[Reply]:
        is_answered, asked_at = False, self._loop.time()
        try:
            async with self._shared.transport.get(
                source.url, range_headers(asked), is_new=self._signer.is_distrusted
            ) as reply:
                is_answered, self._latency = True, self._loop.time() - asked_at
                yield reply
        except NetworkError:
            if not is_answered:
                lane.refused(self._loop.time())
            raise

    def _refusal(self, verdict: Verdict, reply: Reply, source: Source) -> NetworkError:
        is_final = verdict.action is Action.GIVE_UP
        if verdict.action is Action.RESIGN:
            is_final = not self._signer.refused(source)
        if verdict.action is Action.WAIT:
            wait = retry_after(reply.headers, time.time()) or 1.0
            # The host behind a redirect is asked by way of the one that leads to it.
            for host in (reply.host, source.host):
                self._shared.waits[host] = self._loop.time() + wait
        error = NetworkError(
            f"{reply.host} did not give the bytes asked for: {verdict.reason}.",
            host=reply.host,
            status=reply.status,
            request_id=reply.request_id,
            hint="What came is kept: ask again to go on.",
        )
        error.is_final = is_final
        return error

    def _may_go_on(self) -> bool:
        received, now = self._transfer.received, self._loop.time()
        return self._crew.budget.spend(received, self._began, now)

    async def _willing_source(self) -> Source:
        self._began = self._loop.time()
        source = await self._signer.current()
        until = self._shared.waits.get(source.host, 0.0)
        await self._rest(until - self._loop.time())
        return source

    async def _rest(self, seconds: float) -> None:
        """Wait that long, but no longer than there is something to fetch."""
        until = self._loop.time() + seconds
        while not self._transfer.is_complete and (left := until - self._loop.time()) > 0:
            await self._bell.wait(left)


def _may_pass(error: NetworkError | HubUnavailable) -> bool:
    return not isinstance(error, Offline) and not getattr(error, "is_final", False)
