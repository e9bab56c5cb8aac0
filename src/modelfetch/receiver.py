"""The body of one response: how much to let come at once, and what to note of it.

Two ways, by the speed. A slow connection *collects*: its thread comes back with each arrival, and a
piece is reserved when it is full, and written. One that brings a piece in a moment *runs*: it
reserves what a moment brings, and its thread receives and writes that without a word. In both:

* nothing is kept from the disk for longer than `HOLD_SECONDS` of a trickle, so that `kill -9` costs
  little at any speed;
* whatever ends the request, what came is written first: also on cancellation.
"""

from __future__ import annotations

import asyncio

from modelfetch.core.lease import Lease, Meter
from modelfetch.core.pieces import PIECE_SIZE, piece_end
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
# Memory is no matter here, but what nobody else may write meanwhile is.
MOST_AT_ONCE = 8 << 20
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
        speed: Of its connection so far; 0 when unknown.

    Attributes:
        speed: The same, measured.
        is_hindered: Whether the job's own bound on the speed held it up.
    """

    def __init__(
        self, crew: Crew, reply: Reply, lease: Lease, lane: Lane, span: Span, source: Source,
        speed: float,
    ) -> None:  # fmt: skip
        self._crew, self._shared, self._transfer = crew, crew.shared, crew.transfer
        self._reply, self._lease, self._lane = reply, lease, lane
        self._source, self._last = source, span.stop
        self._now = asyncio.get_running_loop().time
        self._intake = Intake(reply.receive, crew.partial, span)
        self._meter = Meter(span.start, self._now())
        self._waited = reply.waited
        self.speed, self.is_hindered = speed, False

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
                    await self._collect(held_since + HOLD_SECONDS - self._now())
                count = self._intake.stop - before
                if not count and self._reply.is_over:
                    host = self._reply.host
                    raise NetworkError(f"{host} ended the body early.", host=host)
                await self._throttle(count)
                is_flowing = bool(count) and self._is_fast
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
        return self._shared.most is None and self.speed * LINGER_SECONDS >= PIECE_SIZE

    async def _flow(self) -> None:
        """Let a moment's worth of pieces come and be written without a word.

        What may be written is reserved before, for no longer than that: were it kept while a
        connection is silent, who fetches the same in its place could not write it.
        """
        intake, moment = self._intake, min(int(self.speed * LINGER_SECONDS), MOST_AT_ONCE)
        before, until = intake.stop, piece_end(intake.stop + moment, self._stop)
        gaps = self._transfer.reserve(Span(intake.start, until))
        try:
            await self._reply.during(intake.take, until, LINGER_SECONDS, gaps)
        finally:
            self._arrived(intake.stop - before)
            self._note(gaps)

    async def _collect(self, patience: float) -> None:
        """Wait for bytes, and write them when they fill a piece.

        Args:
            patience: Seconds that what is held can wait for more.
        """
        intake, before = self._intake, self._intake.stop
        end = piece_end(before, self._stop)
        most = self._shared.most
        until = end if most is None else min(end, before + max(1, int(most * BOUNDED_SECONDS)))
        seconds = None if intake.is_empty else max(0.0, patience)
        try:
            await self._reply.during(intake.take, until, seconds)
        finally:
            self._arrived(intake.stop - before)
        if intake.stop == end:
            await self._put_away()

    async def _put_away(self) -> None:
        """Write what is held."""
        intake = self._intake
        if intake.is_empty:
            return
        gaps = self._transfer.reserve(Span(intake.start, intake.stop))
        try:
            await self._shared.offload(intake.put_away, gaps)
        finally:
            self._note(gaps)

    def _arrived(self, count: int) -> None:
        if count:
            now = self._now()
            self._crew.progress.received += count
            waited, self._waited = self._reply.waited - self._waited, self._reply.waited
            self._lane.arrived(count, now, waited)
            self._crew.signer.arrived(self._source, count, now)
            self._lease.arrived(self._intake.stop, now)

    def _note(self, gaps: list[Span]) -> None:
        """Note what was written of `gaps`; the rest is free again."""
        now, intake, lease = self._now(), self._intake, self._lease
        for span in intake.landed:
            self._transfer.landed(lease, span, now)
        intake.landed.clear()
        lease.position = max(lease.position, intake.start)
        self._transfer.unreserve(gaps)
        progress = self._crew.progress
        progress.landed = max(progress.landed, self._transfer.done.size)
        self.speed = lease.speed = self._meter.speed(self.speed, intake.stop, now)
        self._crew.bell.ring()
        self._crew.look_for_slow(now)

    def _is_too_many(self) -> bool:
        if self._transfer.is_streaming:
            return False  # it could only begin again
        return self._lane.must_leave(self._lease.seconds_left(self._now()))

    async def _throttle(self, count: int) -> None:
        wait = self._shared.owed(count)
        if wait >= HOLD_SECONDS:
            await self._put_away()
        if wait >= MIN_SLEEP:
            self.is_hindered |= self._shared.own.take(0, self._now()) > 0
            await self._shared.pay(wait)
