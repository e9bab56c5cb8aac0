"""What the connections of a file, the files of a job and the jobs of an engine share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from modelfetch.core.contest import MEASURE_SECONDS
from modelfetch.core.pace import SpeedWindow, TokenBucket
from modelfetch.core.tensors import Header
from modelfetch.cores import Cores
from modelfetch.errors import HubUnavailable, ModelFetchError, NetworkError, RateLimited
from modelfetch.hub import Source
from modelfetch.lanes import Lanes
from modelfetch.offload import Offload
from modelfetch.transport import Transport

__all__ = ["Bell", "FileProgress", "Shared", "Signer"]

# How many fresh URLs in a row may be refused before that is taken for the answer.
MAX_REFUSALS = 6
# And how many whole files in a row for ranges.
MAX_WHOLES = 3
# A wait for the bound on the speed is reckoned anew after this long: the bound may have changed.
LIMIT_SECONDS = 0.5
# A URL is renewed so long before its end, or a tenth of its life if that is shorter; when the Hub
# has none to give then, the old one is used on, and the Hub asked again after as long.
RENEWAL_SECONDS = 60.0


@dataclass(slots=True)
class FileProgress:
    """What is known of one file's progress; written by its workers, read by its job.

    Attributes:
        landed: Bytes on disk; never goes back, even when some prove wrong.
        received: Bytes that came over the network in this run, those fetched twice included.
        reused: Bytes that were copied from an earlier version of the file.
        connections: Requests under way.
        single_stream: Whether the server ignores ranges.
        verified: Whether the file has its final name.
        header: Its head, when it is a GGUF file and that has come.
        adopted_from: Where on this machine it was found, when it was not fetched.
    """

    landed: int = 0
    received: int = 0
    reused: int = 0
    connections: int = 0
    single_stream: bool = False
    verified: bool = False
    header: Header | None = None
    adopted_from: str | None = None


class Bell:
    """Wakes everybody who waits for the next change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for the next ring, or that long."""
        if seconds is None:
            await self._event.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


class Signer:
    """The file's URL, fetched once for all connections, and again when it expires or was refused.

    Attributes:
        source: The URL in use, `None` before the first and after a refusal.
        etag: Strong validator of the first response from it. Another URL may lead to another edge
            with tags of its own, so each begins anew; that both have the published bytes is for the
            SHA-256 to prove.
    """

    def __init__(self, locate: Callable[[], Awaitable[Source]]) -> None:
        self._locate = locate
        self._lock = asyncio.Lock()
        self.source: Source | None = None
        self.etag: str | None = None
        self.is_distrusted = False
        self._renew_at: float | None = None
        self._answers = 0
        self._failure: ModelFetchError | None = None
        self._refusals = 0
        self._gives_ranges = False
        self._wholes = 0
        self._speed = SpeedWindow(MEASURE_SECONDS)
        self._measured_at = 0.0

    async def current(self) -> Source:
        """Return the URL, asking the Hub for it if there is none that will do.

        All who wait for one answer of the Hub get that answer, if it is an error too: a silent Hub
        costs the patience of one connection, not of all in turn.

        Raises:
            ModelFetchError: The Hub does not give one. After a `RateLimited` its wait is over.
        """
        if self.source is not None and not self._is_due():
            return self.source
        seen = self._answers
        async with self._lock:
            if self.source is not None and not self._is_due():
                return self.source
            if self._failure is not None and self._answers > seen:
                raise self._failure  # it came while this one waited
            self._failure = None
            try:
                return await self._renew()
            except ModelFetchError as error:
                self._failure = error
                raise
            finally:
                self._answers += 1

    async def _renew(self) -> Source:
        now = asyncio.get_running_loop().time
        try:
            source = await self._locate()
        except RateLimited as limited:
            if self.source is None:
                # Slept with the lock held: the other connections wait behind it, and do not ask.
                await asyncio.sleep(limited.retry_after or 1.0)
                raise
            self._renew_at = now() + RENEWAL_SECONDS
        except (HubUnavailable, NetworkError):
            if self.source is None:
                raise
            self._renew_at = now() + RENEWAL_SECONDS
        else:
            self.source, self.etag = source, None
            self._gives_ranges, self._wholes = False, 0
            self._begin_measure(now())
            life = source.lifetime_seconds
            early = None if life is None else life - min(RENEWAL_SECONDS, life / 10)
            self._renew_at = None if early is None else now() + early
        return self.source

    def arrived(self, source: Source | None, nbytes: int, now: float) -> None:
        """Record bytes from `source`, at a time of the loop."""
        if source is not None and source is self.source and source.outpaced is not None:
            self._speed.add(nbytes, now)

    def is_outpaced(self, left: int, most: float | None, now: float) -> bool:
        """Return whether another endpoint may be faster; then that is next.

        Args:
            left: Bytes that are missing: few are not worth it.
            most: Bytes per second that the user allows; `None` for no bound.
            now: Time of the loop.
        """
        if self.source is None or self.source.outpaced is None:
            return False
        if now - self._measured_at < MEASURE_SECONDS:
            return False
        speed = self._speed.speed(now)
        self._begin_measure(now)
        is_bound = most is not None and speed > most / 2
        is_near = left < speed * MEASURE_SECONDS
        if is_bound or is_near or not self.source.outpaced(speed):
            return False
        self.source = None
        return True

    def _begin_measure(self, now: float) -> None:
        self._speed, self._measured_at = SpeedWindow(MEASURE_SECONDS), now

    def _is_due(self) -> bool:
        return self._renew_at is not None and asyncio.get_running_loop().time() >= self._renew_at

    # An answer may come from a URL that has been renewed since: it says nothing of the new one.

    def etag_of(self, source: Source) -> str | None:
        """Return what an answer from `source` must have as its validator; `None` for any."""
        return self.etag if source is self.source else None

    def accepted(self, source: Source, etag: str | None) -> None:
        """Note that a URL was good, and the validator of what it gave."""
        if source is self.source:
            self._refusals = 0
            self.etag = self.etag or etag

    def gave_range(self, source: Source) -> None:
        """Note that the host of a URL has answered with the range that was asked for."""
        if source is self.source:
            self._gives_ranges, self._wholes = True, 0

    def means_whole(self, source: Source) -> bool:
        """Return whether a 200 says that the host has no ranges, rather than that it stumbled.

        A host that has given ranges is believed only the third time in a row: taking the file as
        one stream throws away what other connections are at.
        """
        if source is not self.source:
            return False
        self._wholes += 1
        return not self._gives_ranges or self._wholes >= MAX_WHOLES

    def distrust(self) -> None:
        """Forget the URL, and take bytes over new connections only: the last ones were wrong."""
        self.stumbled(self.source)
        self.source, self.is_distrusted = None, True

    def stumbled(self, source: Source | None) -> None:
        """Note that nothing comes from `source`; where there is another endpoint, that is next."""
        if source is not None and self.source is source and source.shun is not None:
            source.shun()
            self.source = None

    def refused(self, source: Source) -> bool:
        """Forget `source`, unless another connection has renewed it; return whether to ask on.

        A URL may expire at any time, but one fresh URL after the other is not refused by chance.
        """
        if self.source is source:
            self._refusals += 1
            if self._refusals > 1:  # one that has expired is refused once
                self.stumbled(source)
            self.source = None
        return self._refusals < MAX_REFUSALS


@dataclass(slots=True)
class Shared:
    """What all transfers of an engine share.

    Attributes:
        lanes: The engine's connections.
        cores: The processors for them.
        bucket: The bound on the engine's speed.
        waits: Until when (loop time) a host wants no requests.
        job: Whose view this is; connections are shared out by it.
        own: The bound on that job's speed.
    """

    transport: Transport
    offload: Offload
    lanes: Lanes
    cores: Cores
    bucket: TokenBucket
    waits: dict[str, float] = field(default_factory=dict)
    job: object = None
    own: TokenBucket = field(default_factory=TokenBucket)

    @property
    def most(self) -> float | None:
        """Bytes per second that this job may have; `None` for no bound."""
        rates = [rate for rate in (self.bucket.rate, self.own.rate) if rate is not None]
        return min(rates, default=None)

    def owed(self, nbytes: int = 0) -> float:
        """Take `nbytes` from what the engine and the job may have; return how long to wait."""
        now = asyncio.get_running_loop().time()
        return max(self.bucket.take(nbytes, now), self.own.take(nbytes, now))

    async def pay(self, seconds: float) -> None:
        """Wait that long for the bound on the speed, or as long as a changed one takes."""
        while seconds > LIMIT_SECONDS:
            await asyncio.sleep(LIMIT_SECONDS)
            seconds = self.owed()
        await asyncio.sleep(seconds)
