"""A span that one connection fetches: its size, its pace, where to cut it in two.

A lease is sized by its connection's speed, so that it takes `ROUND_TRIPS`: long enough that one
more does not matter, and no longer. For the file is hashed from its beginning while it arrives, and
the hash waits for the slowest of the first leases; and a failure costs up to one. What a connection
seems to do at first is often what a server lets out at once, or lay in buffers, or what it has
while there are few; so it is trusted with `GROWTH` times the last lease at most. Ends lie on
multiples of `ALIGNMENT`, which keeps slice caches from fetching a slice for two requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp

from modelfetch.core.pieces import PIECE_SIZE

__all__ = [
    "ALIGNMENT",
    "FAR",
    "MAX_LEASE",
    "MIN_LEASE",
    "MIN_SPLIT",
    "Lease",
    "Meter",
    "Pace",
    "busy_share",
    "lease_size",
    "mean_speed",
]

ALIGNMENT = 4 << 20
MIN_LEASE = 4 << 20
MAX_LEASE = 64 << 20
ROUND_TRIPS = 20.0
LEAST_SECONDS, MOST_SECONDS = 0.5, 2.0
GROWTH = 2
# A smaller part costs more in a request than it saves.
MIN_SPLIT = 256 << 10
# Less than this, in less time than that, was under way together: its speed is that of a wake-up.
TELLING_BYTES = 64 << 10
TELLING_SECONDS = 0.1
MEAN_SECONDS = 0.1
LEAST_SHARE = 0.001  # 0 is for what is not known
FAR = 4.0
"""By this factor a connection is far slower than another: no noise, and no share of a line."""
TRIED_SECONDS = 0.5
"""Until then nobody is called so: a thread that waited for a processor looks the same."""


@dataclass(slots=True, eq=False)
class Lease:
    """A span that one connection is fetching.

    Attributes:
        position: Offset of the next byte to land; all before it, from the lease's start, is done.
        stop: End of the lease. It may shrink while the lease is being fetched.
        since: When it was granted, or bytes of it arrived or landed last; pauses are left out.
        speed: Bytes per second of its connection; 0 when unknown.
        is_dropped: Whether its owner should end the request, whatever came of it.
        start: Where it began.
        began: When it was granted; pauses are left out.
        front: Offset of the next byte to arrive; what is between `position` and it is about to be
            written, and need not be fetched by another.
    """

    position: int
    stop: int
    since: float
    speed: float = 0.0
    is_dropped: bool = False
    start: int = field(init=False)
    began: float = field(init=False)
    front: int = field(init=False)

    def __post_init__(self) -> None:
        self.start, self.began, self.front = self.position, self.since, self.position

    @property
    def remaining(self) -> int:
        """Bytes that have not landed."""
        return max(0, self.stop - self.position)

    @property
    def to_come(self) -> int:
        """Bytes that have not arrived."""
        return max(0, self.stop - self.front)

    def arrived(self, front: int, now: float) -> None:
        """Record that all before `front` has arrived, though it may not be on disk."""
        self.front, self.since = front, now

    def landed(self, stop: int, now: float) -> None:
        """Record that bytes up to `stop` are on disk."""
        self.position, self.since = max(self.position, stop), now
        self.front = max(self.front, self.position)

    def paused(self, seconds: float) -> None:
        """Record that nobody looked whether something had come, for so long."""
        self.began, self.since = self.began + seconds, self.since + seconds

    def seconds_left(self, now: float) -> float:
        """Return how long it will take, as far as one can tell; it grows in a stall."""
        idle = now - self.since
        return idle + self.to_come / self.speed if self.speed else idle

    def pace(self, now: float) -> float:
        """Return the bytes per second of its life."""
        return (self.position - self.start) / max(now - self.began, 1e-6)

    def is_far_below(self, speed: float, now: float) -> bool:
        """Return whether its connection is far slower than `speed`, and has been all its life."""
        is_known = self.speed > 0 and now - self.began >= TRIED_SECONDS
        return is_known and max(self.speed, self.pace(now)) * FAR < speed

    def fair_cut(self, speed: float) -> int:
        """Return where to cut it in two, so that both parts end at once.

        On the end of a piece, if there is one near. At least `2 * MIN_SPLIT` must be to come.

        Args:
            speed: Bytes per second of the connection that gets the second part; 0 when unknown.
        """
        share = self.speed / (self.speed + speed) if self.speed and speed else 0.5
        kept = min(max(MIN_SPLIT, int(self.to_come * share)), self.to_come - MIN_SPLIT)
        on_piece = (self.front + kept) // PIECE_SIZE * PIECE_SIZE
        return on_piece if on_piece >= self.front + MIN_SPLIT else self.front + kept


@dataclass(slots=True)
class Pace:
    """What is known of a connection, from one lease to the next.

    Attributes:
        speed: Bytes per second; 0 when unknown.
        share: For which part of its time it wants a processor; 0 when unknown.
    """

    speed: float = 0.0
    share: float = 0.0


def lease_size(speed: float, latency: float = 0.0, last: int = 0) -> int:
    """Return the size of a lease: a power of two from `MIN_LEASE` to `MAX_LEASE`.

    Args:
        speed: Bytes per second of its connection; 0 when unknown.
        latency: Seconds from a request of it to the answer; 0 when unknown.
        last: Size of its last lease; 0 when it had none.
    """
    seconds = min(max(LEAST_SECONDS, ROUND_TRIPS * latency), MOST_SECONDS)
    wanted = min(speed * seconds, last * GROWTH) if last else speed * seconds
    size = MIN_LEASE
    while size < MAX_LEASE and size < wanted:
        size *= 2
    return size


class Meter:
    """Measures the speed of a connection while the bytes of one response arrive.

    Args:
        position: Offset of its first byte.
        now: Seconds, of any clock that does not go back.
    """

    def __init__(self, position: int, now: float) -> None:
        self._position, self._since = position, now

    def skip(self, seconds: float) -> None:
        """Leave out a time in which nobody looked whether something had come."""
        self._since += seconds

    def speed(self, known: float, position: int, now: float) -> float:
        """Return the speed, now that all before `position` has arrived.

        Args:
            known: What it was; 0 when unknown.
            position: Offset of the next byte to arrive.
            now: As when it was made.
        """
        received, seconds = position - self._position, now - self._since
        if received < TELLING_BYTES and seconds < TELLING_SECONDS:
            return known
        self._position, self._since = position, now
        return mean_speed(known, received, seconds)


def mean_speed(speed: float, received: int, seconds: float) -> float:
    """Return the speed of a connection after one measure more.

    A mean over about `MEAN_SECONDS`, in which a measure weighs by the time that it took, and not by
    its bytes: else a burst would count as much as the wait after it, and a worker that comes from a
    fast connection to a slow one would believe in its speed until too late to share the lease. The
    first measure counts in full. A few bytes that came at once tell nothing: a lease of one byte
    would make any connection seem slow.

    Args:
        speed: Bytes per second so far; 0 when unknown.
        received: Bytes that came since the last measure.
        seconds: How long they took.
    """
    if received < TELLING_BYTES and seconds < TELLING_SECONDS:
        return speed
    return _mean(speed, received / max(seconds, 1e-6), seconds)


def busy_share(share: float, elapsed: float, waited: float) -> float:
    """Return for which part of its time a connection wants a processor, after one measure more.

    A mean like that of the speed: in single moments it waits for nothing or for all of the time,
    as buffers are filled and emptied.

    Args:
        share: That part so far; 0 when unknown.
        elapsed: Seconds since the last measure.
        waited: For how many of them it waited for the network, or for the disk.
    """
    measured = 1 - min(1.0, waited / max(elapsed, 1e-6))
    return max(LEAST_SHARE, _mean(share, measured, elapsed))


def _mean(known: float, measured: float, seconds: float) -> float:
    """Return a mean over about `MEAN_SECONDS` after one measure more; of 0, nothing is known."""
    kept = exp(-seconds / MEAN_SECONDS) if known else 0.0
    return kept * known + (1 - kept) * measured
