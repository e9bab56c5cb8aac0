"""One file's transfer as a state: which bytes are done, which are leased, what to fetch next.

Theory
------
A *lease* is the span that one connection fetches now. Leases are handed out lowest offset first, so
that the contiguous front grows and the hash can follow it closely. `claimed` is always exactly the
bytes done plus the bytes leased, so a lease cut from its gaps cannot overlap another.

In the tail nothing is left to lease while slow connections still work. Then the lease that will
take longest is split, so that both parts end at the same time as far as their speeds are known: its
owner stops at the new end, the idle connection fetches the rest. What the owner has asked for
beyond that is on its way already and comes twice, and the other's request takes a round trip before
it brings anything, so a lease is split only when it would take `SPLIT_SECONDS` more and several
round trips, or, where its speed is unknown, has brought nothing for `YOUNG_SECONDS`. One that is
silent, or far slower than it could be, is *dropped*: its owner is to end the request, and the idle
connection fetches all of the rest.

Before the tail, too, a lease is dropped whose connection is far slower than the others: another
connection may lead to a better edge. A silence of all of them is not any one's fault. One that
would outlast the rest of the file is taken over at once: it would be in the tail, and until then
the hash may wait for it. And who would need far longer for its part than those who live for all of
the rest, or has yet to find out how fast it is, gets nothing more: it is there in a moment.

A server without ranges sends the whole file from zero over one connection: `begin_stream` gives
that connection everything and ends all other leases.

No I/O, no clock: the shell reports what happened and when, and asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from modelfetch.core.averages import median
from modelfetch.core.lease import ALIGNMENT, FAR, MIN_SPLIT, Lease, lease_size
from modelfetch.core.pieces import PIECE_SIZE, SpanSet
from modelfetch.types import Span

__all__ = ["Transfer"]

# Below this a split costs more in a request than it saves.
SPLIT_SECONDS = 0.5
SPLIT_ROUND_TRIPS = 4.0
# A new connection takes as long to be of use.
NEWCOMER_SECONDS = 0.25
# Of one that is far slower little is on its way, so little comes twice.
HURRY_SECONDS = 0.1
# A lease may take so long to show its speed; a connection that brought something so lately lives.
YOUNG_SECONDS = 1.0
# Without a byte for so long, a lease is silent; younger than this, it cannot be judged.
SILENT_SECONDS = 3.0
# Far slower than others: by the factor `FAR`, and by the middle one of so many.
MIN_OTHERS = 2


class Transfer:
    """The state of one file's transfer.

    Args:
        size_bytes: Size of the file.
        done: Bytes that are on disk already.

    Attributes:
        done: Bytes that are on disk.
        received: Bytes that landed and were new, in this object's life.
    """

    def __init__(self, size_bytes: int, done: SpanSet) -> None:
        self.size_bytes = size_bytes
        self.done = done
        self.received = 0
        self._settled = done.copy()
        self._promised = SpanSet()
        self._leases: set[Lease] = set()
        self._stream: Lease | None = None
        self._within: tuple[Span, ...] = (Span(0, size_bytes),)

    @property
    def is_complete(self) -> bool:
        """Whether every byte is on disk."""
        return self.done.size == self.size_bytes

    @property
    def is_streaming(self) -> bool:
        """Whether one connection is receiving the whole file from zero."""
        return self._stream is not None

    @property
    def active(self) -> tuple[Lease, ...]:
        """The leases being fetched, lowest first."""
        return tuple(sorted(self._leases, key=lambda lease: lease.position))

    def lease(
        self,
        now: float,
        speed: float = 0.0,
        among: int = 1,
        latency: float = 0.0,
        last: int = 0,
    ) -> Lease | None:
        """Give out the next span to fetch; `None` when there is none for now.

        Args:
            now: Seconds, of any clock that does not go back.
            speed: Bytes per second of the connection that asks; 0 when unknown.
            among: How many connections share what is left; near the end each gets its part.
            latency: Seconds from a request of that connection to its answer; 0 when unknown.
            last: Bytes of the last lease of that connection; 0 when it had none.
        """
        if self._stream is not None:
            return None
        claimed = self._claimed()
        gaps = (gap for span in self._within for gap in claimed.gaps(span))
        gap = next(gaps, None)
        if gap is None:
            return self._split(now, speed, latency)
        rest = self._seconds_for_the_rest(now)
        if (laggard := self._laggard(now, speed, latency, rest)) is not None:
            return self._taken_over(laggard, now, speed)
        free = self.size_bytes - claimed.size
        length = _length(gap, free, lease_size(speed, latency, last), among)
        length = min(length, gap.size)
        is_too_late = length > speed * rest * FAR if speed else rest < NEWCOMER_SECONDS
        if is_too_late:
            return None
        return self._granted(Lease(gap.start, gap.start + length, now, speed))

    def _claimed(self) -> SpanSet:
        """Return what nobody needs to lease.

        It is on disk, or being written, or comes from elsewhere, or a lease has it. Reckoned anew
        each time: kept as a set of its own, it would have to be right after every end of a lease
        and every write that failed, and what it claims for nobody is never fetched.
        """
        claimed = self._settled.copy()
        for span in self._promised:
            claimed.add(span)
        for lease in self._leases:
            claimed.add(Span(lease.position, max(lease.position, lease.stop)))
        return claimed

    def reserve(self, span: Span) -> list[Span]:
        """Return the parts of `span` to write: those that nobody has written or is writing.

        Bytes that are on disk may have been hashed. Written once more, from a server that sends
        others this time, they would be published under a hash that is not theirs. Whoever reserves
        is the only one to write: each part is either `landed` afterwards, or given to `unreserve`.
        """
        gaps = list(self._settled.gaps(span))
        self._settled.add(span)
        return gaps

    def unreserve(self, spans: Iterable[Span]) -> None:
        """Give back what `reserve` returned, as far as it did not land: it was not written.

        It can be leased again, unless a lease has it: others may have fetched it too, and left it
        to this write.
        """
        for gap in [gap for span in spans for gap in self.done.gaps(span)]:
            self._settled.remove(gap)

    def landed(self, lease: Lease, span: Span, now: float) -> int:
        """Record that `span` of `lease` is on disk; return how many of its bytes were new."""
        fresh = self.done.add(span)
        self._settled.add(span)
        self.received += fresh
        lease.landed(span.stop, now)
        return fresh

    def release(self, lease: Lease) -> None:
        """Take a lease back, fetched or not; what did not land can be leased again."""
        self._leases.discard(lease)
        if lease is self._stream:
            self._stream = None

    def begin_stream(self, lease: Lease) -> bool:
        """Make `lease` the one stream of the whole file; return whether it is.

        All other leases end where they are. Returns False when another is the stream already.
        """
        if self._stream is not None:
            return self._stream is lease
        self._stream = lease
        for other in self._leases - {lease}:
            other.stop = other.position
        lease.position, lease.front, lease.stop = 0, 0, self.size_bytes
        return True

    def drop_slow(self, now: float) -> None:
        """Drop the leases whose connections are far slower than the others that live."""
        if self._stream is not None:
            return
        living = [lease for lease in self._leases if now - lease.since < YOUNG_SECONDS]
        for lease in self._leases:
            speeds = [other.speed for other in living if other is not lease and other.speed]
            if len(speeds) < MIN_OTHERS or now - lease.began < SILENT_SECONDS:
                continue
            usual, pace = median(speeds), lease.pace(now)
            if pace * FAR < usual and lease.to_come > pace * SILENT_SECONDS:
                lease.is_dropped = True

    def drop_all(self) -> None:
        """Drop all leases: there is a better place to ask."""
        for lease in self._leases:
            lease.is_dropped = True

    def confine(self, *spans: Span) -> None:
        """Lease from now on only what lies in `spans`; everything again when there are none."""
        self._within = spans or (Span(0, self.size_bytes),)

    def promise(self, span: Span) -> None:
        """Lease no byte of `span`: they come from elsewhere, through `reserve` and `filled`."""
        self._promised.add(span)

    def filled(self, span: Span) -> int:
        """Record that promised bytes are on disk; return how many of them are new."""
        return self.done.add(span)

    def lose(self, spans: Iterable[Span]) -> None:
        """Forget bytes that proved wrong; they will be leased again. No lease may be active."""
        for span in spans:
            self.done.remove(span)
        self._settled, self._promised = self.done.copy(), SpanSet()

    def _split(self, now: float, speed: float, latency: float) -> Lease | None:
        # One of which all has arrived waits for the disk, and has nothing to share.
        victims = [lease for lease in self._leases if lease.to_come and not lease.is_dropped]
        victim = max(victims, key=lambda lease: lease.seconds_left(now), default=None)
        if victim is None:
            return None
        is_slow = victim.is_far_below(speed, now)
        least = HURRY_SECONDS if is_slow else SPLIT_SECONDS if victim.speed else YOUNG_SECONDS
        if victim.seconds_left(now) < max(least, _round_trips(latency)):
            return None
        if is_slow or now - victim.since >= SILENT_SECONDS:
            return self._taken_over(victim, now, speed)
        if victim.to_come < 2 * MIN_SPLIT:
            return None
        return self._cut(victim, victim.fair_cut(speed), now, speed)

    def _seconds_for_the_rest(self, now: float) -> float:
        """Return how long all that is missing will take those who are at it, and live."""
        living = (lease for lease in self._leases if now - lease.since < YOUNG_SECONDS)
        pace = sum(lease.speed for lease in living if not lease.is_dropped)
        return (self.size_bytes - self.done.size) / pace if pace else inf

    def _laggard(self, now: float, speed: float, latency: float, rest: float) -> Lease | None:
        """Return the lease that is far slower and would outlast the rest of the file, if any."""
        known = [lease for lease in self._leases if lease.speed and lease.to_come]
        last = max(known, key=lambda lease: lease.seconds_left(now), default=None)
        if last is None or last.is_dropped:
            return None
        usual = min(speed, median(lease.speed for lease in known))
        would_outlast = last.seconds_left(now) > max(rest, SPLIT_SECONDS, _round_trips(latency))
        return last if would_outlast and last.is_far_below(usual, now) else None

    def _taken_over(self, victim: Lease, now: float, speed: float) -> Lease:
        victim.is_dropped = True
        return self._cut(victim, victim.front, now, speed)

    def _cut(self, victim: Lease, at: int, now: float, speed: float) -> Lease:
        lease = Lease(at, victim.stop, now, speed)
        victim.stop = at
        return self._granted(lease)

    def _granted(self, lease: Lease) -> Lease:
        self._leases.add(lease)
        return lease


def _round_trips(latency: float) -> float:
    """Return the seconds that a take-over has to save."""
    # A mirror that once took half a minute to fetch the file itself does so no more.
    return min(SPLIT_ROUND_TRIPS * latency, SILENT_SECONDS)


def _length(gap: Span, free: int, wanted: int, among: int) -> int:
    share = -(-free // max(1, among))
    if share < wanted:
        # Near the end everybody gets an equal part, in whole pieces.
        return max(PIECE_SIZE, -(-share // PIECE_SIZE) * PIECE_SIZE)
    aligned = (gap.start + wanted) // ALIGNMENT * ALIGNMENT
    return aligned - gap.start if aligned > gap.start else wanted
