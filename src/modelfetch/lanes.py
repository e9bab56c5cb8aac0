"""Who may have a request under way: the engine's connections, shared out among hosts and jobs.

There is one budget for the engine, and for each host the number that `core.concurrency` finds best.
A *lane* is the right to have one request under way. Its holder may keep it for one lease after the
other, which keeps a connection busy without a pause, until the host's number goes down or another
job has too little: a free lane goes to the job that has the fewest, so a large download does not
starve a small one.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass

from modelfetch.core.concurrency import START, Concurrency

__all__ = ["Lane", "Lanes"]


# What a request that is too many may still take: what is on its way when it ends is lost.
PATIENCE_SECONDS = 3.0


@dataclass(slots=True)
class _Host:
    concurrency: Concurrency
    taken: int = 0
    leaving: int = 0
    flowing: int = 0
    """Lanes on which bytes have come: one that is being connected tells nothing of the speed."""


@dataclass(slots=True, eq=False)
class _Waiter:
    host: str
    owner: object
    group: object
    turn: asyncio.Future[bool]


@dataclass(slots=True)
class Lane:
    """The right to have one request under way.

    Attributes:
        host: Where to.
    """

    host: str
    _owner: object
    _lanes: Lanes
    _is_leaving: bool = False
    _is_flowing: bool = False

    @property
    def among(self) -> int:
        """How many lanes there are to this host."""
        return self._lanes.of(self.host).concurrency.target

    @property
    def may_stay(self) -> bool:
        """Whether the next request may have this lane too."""
        return not self._is_leaving and self._lanes.may_stay(self.host, self._owner)

    def must_leave(self, seconds: float) -> bool:
        """Return whether the request is to end now: there are too many, and it would last long.

        Where too many make all of them slow, waiting for the end of each would take the longest
        where it hurts most.

        Args:
            seconds: What it would still take.
        """
        host = self._lanes.of(self.host)
        is_surplus = host.taken - host.leaving > host.concurrency.target
        if not self._is_leaving and is_surplus and seconds > PATIENCE_SECONDS:
            self._is_leaving = True
            host.leaving += 1
        return self._is_leaving

    def left(self) -> None:
        """Record that the lane was given back."""
        self._lanes.of(self.host).flowing -= self._is_flowing
        if self._is_leaving:
            self._lanes.of(self.host).leaving -= 1

    def arrived(self, nbytes: int, now: float, waited: float) -> None:
        """Record bytes of a body, at a time of the loop, and how long they were waited for."""
        if not self._lanes.is_adaptive:
            return
        host = self._lanes.of(self.host)
        before = host.concurrency.target
        if not self._is_flowing:
            self._is_flowing = True
            host.flowing += 1
        host.concurrency.arrived(nbytes, host.flowing, now, waited)
        if host.concurrency.target > before:
            self._lanes.hand_out()

    def hindered(self, is_so: bool) -> None:
        """Record whether the job was held up by a bound of its own, so that lanes are no help."""
        if is_so:
            self._lanes.narrow(self._owner)
        else:
            self._lanes.widen(self._owner)

    def refused(self, now: float) -> None:
        """Record that the host would not serve the request."""
        if self._lanes.is_adaptive:
            self._lanes.of(self.host).concurrency.refused(now)


class Lanes:
    """The lanes of one engine, of one loop.

    Args:
        most: How many there are, over all hosts.
        adaptive: Whether the number for each host is searched for; without it, it is `most`.
        processors: How many this process has.

    Attributes:
        is_adaptive: That.
    """

    def __init__(self, most: int, *, adaptive: bool, processors: int = 2) -> None:
        self.is_adaptive = adaptive
        self._most, self._processors = most, processors
        self._hosts: dict[str, _Host] = {}
        self._held: dict[object, int] = {}
        self._narrow: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        self._waiters: list[_Waiter] = []

    def of(self, host: str) -> _Host:
        """Return what is known of `host`."""
        if host not in self._hosts:
            start = START if self.is_adaptive else self._most
            self._hosts[host] = _Host(Concurrency(self._most, start, self._processors))
        return self._hosts[host]

    @contextlib.asynccontextmanager
    async def lane(self, host: str, owner: object, group: object) -> AsyncIterator[Lane | None]:
        """Have a lane inside the `async with`, after waiting for it; `None` after `dismiss`.

        Args:
            host: Where to.
            owner: The job; it is referred to weakly.
            group: What `dismiss` is called with.
        """
        if not await self._turn(host, owner, group):
            yield None
            return
        lane = Lane(host, owner, self)
        try:
            yield lane
        finally:
            lane.left()
            self._give_back(host, owner)

    def dismiss(self, group: object) -> None:
        """Let nobody of `group` wait any longer."""
        for waiter in self._waiters:
            if waiter.group is group and not waiter.turn.done():
                waiter.turn.set_result(False)

    def may_stay(self, host: str, owner: object) -> bool:
        """Return whether a lane to `host` may be kept by `owner` for another request."""
        if self.of(host).taken > self.of(host).concurrency.target:
            return False
        if self._held[owner] > self._limit(owner):
            return False
        waiting = {waiter.owner for waiter in self._waiters if not waiter.turn.done()} - {owner}
        others = {other for other in waiting if self._held.get(other, 0) < self._limit(other)}
        poorest = min((self._held.get(other, 0) for other in others), default=self._most)
        return 0 < poorest >= self._held[owner] - 1

    def hand_out(self) -> None:
        """Give free lanes to those who wait; to be called when there may be some."""
        self._waiters = [waiter for waiter in self._waiters if not waiter.turn.done()]
        while sum(self._held.values()) < self._most:
            able = [waiter for waiter in self._waiters if self._may_have(waiter)]
            if not able:
                return
            waiter = min(able, key=lambda waiter: self._held.get(waiter.owner, 0))
            self._waiters.remove(waiter)
            self._take(waiter.host, waiter.owner)
            waiter.turn.set_result(True)

    async def _turn(self, host: str, owner: object, group: object) -> bool:
        waiter = _Waiter(host, owner, group, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self.hand_out()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            has_lane = waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.result()
            if has_lane:
                self._give_back(host, owner)
            raise

    def narrow(self, owner: object) -> None:
        """Give a job one lane less than it has, and always one."""
        self._narrow[owner] = max(1, self._held.get(owner, 0) - 1)

    def widen(self, owner: object) -> None:
        """Give a job that was narrowed one lane more again."""
        if owner in self._narrow:
            self._narrow[owner] += 1
            if self._narrow[owner] >= self._most:
                del self._narrow[owner]
            self.hand_out()

    def _may_have(self, waiter: _Waiter) -> bool:
        known, held = self.of(waiter.host), self._held.get(waiter.owner, 0)
        has_room = known.taken < known.concurrency.target
        return has_room and held < self._limit(waiter.owner)

    def _limit(self, owner: object) -> int:
        return self._narrow.get(owner, self._most)

    def _take(self, host: str, owner: object) -> None:
        self.of(host).taken += 1
        self._held[owner] = self._held.get(owner, 0) + 1

    def _give_back(self, host: str, owner: object) -> None:
        self.of(host).taken -= 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self.hand_out()
