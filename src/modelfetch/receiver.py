"""The body of one response: how much to let come at once, and what to note of it.

Two ways, by the speed. A slow connection *collects*: its thread comes back with each piece, or when
nothing comes for a moment, and a piece is reserved when it is full, and written. One that brings a
piece in a moment *flows*: its thread receives and writes by itself, and what the next moments bring
is reserved while it does. It takes turns with those who keep the processors busy too (`cores` says
why). In both the thread tells the loop each moment what has come, and does not wait for it; and:

* nothing is kept from the disk for longer than `HOLD_SECONDS` of a trickle, and the wait for a turn
  beside it, so that `kill -9` costs little at any speed;
* whatever ends the request, what came is written first: also on cancellation.
"""

from __future__ import annotations

import asyncio
from functools import partial

from modelfetch.core.lease import Lease, Meter, Pace, busy_share
from modelfetch.core.pieces import PIECE_SIZE, piece_end
from modelfetch.cores import Turn
from modelfetch.crew import Crew
from modelfetch.errors import NetworkError
from modelfetch.hub import Source
from modelfetch.intake import LINGER_SECONDS, Intake
from modelfetch.lanes import Lane
from modelfetch.transport import Reply
from modelfetch.types import Span

__all__ = ["Receiver"]

HOLD_SECONDS = 0.25
# With a bound on the speed, no more than what it allows for so long is received at once.
BOUNDED_SECONDS = 0.02
# So many moments are reserved ahead, since the loop may be late. Memory is no matter here, but what
# nobody else may write meanwhile is.
MOMENTS = 4
MOST_AHEAD = 64 << 20
# Shorter pauses are left to add up: the loop's timer is not finer.
MIN_SLEEP = 0.005


class Receiver:
    """What comes of one response.

    Args:
        crew: What the connections of the file share.
        reply: The response, which has passed the gate.
        lease: What it was asked for.
        lane: The right to have it.
        span: What its body holds.
        source: Where it comes from.
        pace: What is known of its connection; it is measured on here.

    Attributes:
        is_hindered: Whether the job's own bound on the speed held it up.
    """

    def __init__(
        self, crew: Crew, reply: Reply, lease: Lease, lane: Lane, span: Span, source: Source,
        pace: Pace,
    ) -> None:  # fmt: skip
        self._crew, self._shared, self._transfer = crew, crew.shared, crew.transfer
        self._reply, self._lease, self._lane = reply, lease, lane
        self._source, self._last = source, span.stop
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._intake = Intake(reply.receive, crew.partial, span)
        self._counted = span.start
        self._waited, self._blocked = reply.waited, 0.0
        self._written = span.start
        self._heard_at = self._landed_at = self._now()
        self._meter = Meter(span.start, self._heard_at)
        self._pace, self._is_ending, self.is_hindered = pace, False, False

    @property
    def _stop(self) -> int:
        return min(self._last, self._lease.stop)

    async def run(self) -> None:
        """Receive until the lease ends, or its lane is wanted back.

        Raises:
            NetworkError: The connection broke, stalled or dripped, or the body ended early.
            StorageError: The file system refused.
        """
        is_flowing, held_since = False, self._now()
        try:
            while self._intake.stop < self._stop:
                begun, before = self._intake.start, self._intake.stop
                if is_flowing:
                    await self._flow()
                else:
                    await self._collect(held_since + HOLD_SECONDS)
                has_come = self._intake.stop > before
                if not has_come and self._reply.is_over:
                    host = self._reply.host
                    raise NetworkError(f"{host} ended the body early.", host=host)
                await self._throttle()
                is_flowing = has_come and self._is_fast
                if self._intake.is_empty or self._intake.start != begun:
                    held_since = self._now()
                elif self._now() - held_since >= HOLD_SECONDS:
                    await self._put_away()
                if self._is_too_many():
                    return
        finally:
            if self._lease.is_dropped:
                self._reply.blame()
            await self._put_away()

    @property
    def _is_fast(self) -> bool:
        return self._shared.most is None and self._pace.speed * LINGER_SECONDS >= PIECE_SIZE

    async def _flow(self) -> None:
        """Let pieces come and be written, for as long as they do."""
        asked_at = self._now()
        async with self._shared.cores.turn(self._rank, lambda: self._pace.share) as turn:
            self._skip(self._now() - asked_at)
            if not self._is_fast:
                return
            intake, gaps = self._intake, list[Span]()
            intake.until, self._is_ending = intake.start, False
            self._let_come(gaps)
            hear = partial(self._hear, turn, gaps)
            tell = partial(self._loop.call_soon_threadsafe, hear)
            try:
                await self._reply.during(intake.take, LINGER_SECONDS, gaps, tell)
            finally:
                self._arrived()
                self._note(gaps)

    def _rank(self) -> int:
        return max(0, self._counted - self._transfer.done.frontier)

    def _skip(self, seconds: float) -> None:
        """Leave a time out of all measures; what the kernel got meanwhile counts after it."""
        self._meter.skip(seconds)
        self._lease.paused(seconds)
        self._heard_at, self._landed_at = self._heard_at + seconds, self._now()

    def _hear(self, turn: Turn, gaps: list[Span]) -> None:
        """Note what a moment has brought, and let more come, or let it end."""
        intake = self._intake
        self._arrived()
        self._note()
        # The loop may have been late for the last moment, and early for this one.
        is_slow = not self._is_fast or self._now() - self._landed_at >= 2 * LINGER_SECONDS
        is_shorter = self._stop < intake.until  # what was cut off is not to be kept from others
        # For good: the thread may be about to tell of another moment before it sees that.
        self._is_ending |= turn.is_over or is_slow or is_shorter or self._is_too_many()
        if self._is_ending:
            intake.until = intake.stop
        else:
            self._let_come(gaps)

    def _let_come(self, gaps: list[Span]) -> None:
        """Reserve what the next moments bring.

        And no more: were it kept while a connection is silent, who fetches the same in its place
        could not write it.
        """
        intake = self._intake
        ahead = min(int(self._pace.speed * LINGER_SECONDS) * MOMENTS, MOST_AHEAD)
        until = max(intake.until, piece_end(intake.stop + ahead, self._stop))
        for span in self._transfer.reserve(Span(intake.until, until)):
            if gaps and gaps[-1].stop == span.start:
                gaps[-1] = Span(gaps[-1].start, span.stop)
            else:
                gaps.append(span)
        intake.until = min(until, self._stop)

    async def _collect(self, until: float) -> None:
        """Wait for bytes, and write them when they fill a piece.

        Args:
            until: For how long what is held can wait for more, in seconds of the loop.
        """
        intake, before = self._intake, self._intake.stop
        end = piece_end(before, self._stop)
        most = self._shared.most
        bound = end if most is None else before + max(1, int(most * BOUNDED_SECONDS))
        intake.until = min(end, bound)
        seconds = None if intake.is_empty else max(0.0, until - self._now())
        tell = partial(self._loop.call_soon_threadsafe, self._hear_of_some, until)
        try:
            await self._reply.during(intake.take, seconds, None, tell)
        finally:
            self._arrived()
        if intake.stop == end:
            await self._put_away()

    def _hear_of_some(self, until: float) -> None:
        """Note what a moment has brought, and let more come for the piece, or let it end."""
        self._arrived()
        self._crew.look_for_slow(self._now())
        intake = self._intake
        is_shorter = self._stop < intake.until
        if is_shorter or self._now() >= until or self._is_too_many():
            intake.until = intake.stop

    async def _put_away(self) -> None:
        """Write what is held."""
        intake = self._intake
        if intake.is_empty:
            return
        gaps = self._transfer.reserve(Span(intake.start, intake.stop))
        try:
            await self._reply.during(intake.put_away, gaps)
        finally:
            self._note(gaps)

    def _arrived(self) -> None:
        # A thread may be at them.
        stop, has_waited, blocked = self._intake.stop, self._reply.waited, self._intake.blocked
        count, self._counted = stop - self._counted, stop
        if count:
            now = self._now()
            waited, self._waited = has_waited - self._waited, has_waited
            elapsed, self._heard_at = now - self._heard_at, now
            self._pace.share = busy_share(
                self._pace.share, elapsed, waited + blocked - self._blocked
            )
            self._blocked = blocked
            self._crew.progress.received += count
            self._shared.owed(count)
            self._lane.arrived(count, now, waited)
            self._crew.signer.arrived(self._source, count, now)
            self._lease.arrived(stop, now)

    def _note(self, gaps: list[Span] | None = None) -> None:
        """Note what was written; after the last write of `gaps`, the rest of them is free again."""
        now, intake, lease = self._now(), self._intake, self._lease
        if intake.start != self._written:
            self._written, self._landed_at = intake.start, now
        while intake.landed:
            self._transfer.landed(lease, intake.landed.popleft(), now)
        if gaps is not None:
            lease.position = max(lease.position, intake.start)
            self._transfer.unreserve(gaps)
        progress = self._crew.progress
        progress.landed = max(progress.landed, self._transfer.done.size)
        self._pace.speed = lease.speed = self._meter.speed(self._pace.speed, self._counted, now)
        self._crew.bell.ring()
        self._crew.look_for_slow(now)

    def _is_too_many(self) -> bool:
        if self._transfer.is_streaming:
            return False  # it could only begin again
        return self._lane.must_leave(self._lease.seconds_left(self._now()))

    async def _throttle(self) -> None:
        wait = self._shared.owed()
        if wait >= HOLD_SECONDS:
            await self._put_away()
        if wait >= MIN_SLEEP:
            self.is_hindered |= self._shared.own.take(0, self._now()) > 0
            await self._shared.pay(wait)
