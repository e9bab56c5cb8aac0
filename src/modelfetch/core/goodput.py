"""What all connections to a host bring together, in windows, so that its noise is known.

And which of two numbers of connections brings more, as far as that noise lets one tell.

Who limits each connection often does it in bursts: nginx's `limit_rate` sends 2 MB, then is silent
as long as they should have taken. A window holds several bursts of all connections together, or all
that it would measure is their phase. Where noise is large all the same, a trial of more may stay
undecided. Taking it back by mistake costs most of the speed, taking it by mistake a few connections
that the next round gives back; so it wins with less than certainty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot, sqrt

from modelfetch.core.averages import deviation, mean

__all__ = ["CLEAR", "EAGER_WINDOWS", "MIN_WINDOWS", "UNSURE", "Goodput", "Queue", "has_won"]

WINDOW_SECONDS = 0.08
WINDOW_BYTES = 32 << 10
"""Of each connection: a window that chunks can fill by chance says nothing."""
EAGER_WINDOWS, MIN_WINDOWS = 2, 3
UNSURE = 0.2
"""The least part by which windows differ where there are too few to tell."""
WAITING, SLIGHTLY = 0.1, 0.04
"""Below this part of their time, connections do not wait for the network; where so many of them
work that a queue would show, the second is what counts."""
# A trial wins when it is faster by this part, and by that many standard errors; it is given up when
# it is as likely as not no better, for it may be costing speed.
GAIN = 0.04
CERTAINTY = 2.0
DOUBT = 0.7
# What is enough for more connections where all windows did not bring certainty; fewer are as good
# as more if they are no slower.
LIKELIHOOD = 1.0
MAX_WINDOWS = 15
# A disk that is behind keeps everybody busy too, and brings less than was seen before: below this
# part of it, more windows have to say so.
STALL, STALL_WINDOWS = 0.75, 15
# With so many at work for each processor, some wait for one: measures are not that wrong.
QUEUE, QUEUE_LOOKS = 1.5, 3
# `EAGER_WINDOWS` do for an outcome that is clear: slower by this factor; or, until a trial has
# failed, faster by it. Later, when a tenth is a gain, that much is noise.
CLEAR = 1.5


@dataclass(slots=True)
class Goodput:
    """Bytes per second of all connections together, by windows."""

    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """The same for windows in which nobody waited for the network."""
    wanted: list[float] = field(default_factory=list)
    """For all windows: how many connections did not wait for it, on average."""
    _since: float | None = None
    _nbytes: int = 0
    _waited: float = 0.0

    def add(
        self, nbytes: int, connections: int, now: float, waited: float, most_busy: float,
        processors: int,
    ) -> None:  # fmt: skip
        """Count what came over one connection.

        Args:
            nbytes: How many bytes.
            connections: How many connections are at work.
            now: Seconds, of any clock that does not go back.
            waited: For how long that one had nothing to do before; `inf` when it is of no matter.
            most_busy: Bytes per second from which a window does not count as busy.
            processors: How many there are.
        """
        if self._since is None:
            self._since = now  # of what arrives first, nobody knows how long it took
            return
        self._nbytes += nbytes
        self._waited += waited
        elapsed = now - self._since
        if elapsed >= WINDOW_SECONDS and self._nbytes >= WINDOW_BYTES * connections:
            rate = self._nbytes / elapsed
            waiting = SLIGHTLY if connections > QUEUE * processors else WAITING
            is_busy = self._waited < waiting * elapsed * connections and rate < most_busy
            self.wanted.append(connections - self._waited / elapsed)
            (self.busy if is_busy else self.rates).append(rate)
            self._since, self._nbytes, self._waited = now, 0, 0.0

    def is_busy(self, pace: float, fewest: int) -> bool:
        """Return whether this machine is what limits the speed, and not for a moment only.

        Args:
            pace: Bytes per second that were seen before.
            fewest: How many windows have to say so, at least.
        """
        is_stall = bool(self.busy) and mean(self.busy) < STALL * pace
        return len(self.busy) >= max(STALL_WINDOWS if is_stall else fewest, len(self.rates))

    @property
    def begins_with_burst(self) -> bool:
        """Whether the first window was faster than all later ones."""
        return len(self.rates) > 1 and self.rates[0] > (1 + UNSURE) * max(self.rates[1:])

    def settled(self) -> Goodput:
        """Return it without a burst at its beginning, where two windows are left then."""
        is_shorter = self.begins_with_burst and len(self.rates) > EAGER_WINDOWS
        return Goodput(self.rates[1:]) if is_shorter else self

    @property
    def mean(self) -> float:
        """Their mean; there must be one."""
        return mean(self.rates)

    @property
    def error(self) -> float:
        """The standard error of the mean; there must be two."""
        spread = deviation(self.rates)
        if len(self.rates) < MIN_WINDOWS:
            spread = max(spread, UNSURE * self.mean)  # two may be alike by chance
        return spread / sqrt(len(self.rates))


class Queue:
    """Whether connections seem to wait for a processor: more are no help then.

    No more of them work at once than there are processors; who does not wait for the network beyond
    that waits for one, or for the disk. A burst may look like it, and more may be a help with a
    disk that is far away, so it is believed for some looks in a row, and then tried.

    Args:
        processors: How many there are.
    """

    def __init__(self, processors: int) -> None:
        self._most, self._looks = QUEUE * processors, 0

    def seen(self, goodput: Goodput) -> bool | None:
        """Return whether there is one in all windows; `None` while there are too few of them."""
        if min(goodput.wanted) <= self._most:
            self._looks = 0
        elif self._looks < QUEUE_LOOKS:
            if len(goodput.wanted) < MIN_WINDOWS:
                return None
            self._looks += 1
            return True
        return False


def has_won(trial: Goodput, known: Goodput, *, is_more: bool, is_eager: bool) -> bool | None:
    """Return whether the number of connections on trial is the better one.

    Args:
        trial: What it brings.
        known: What the other one brought.
        is_more: Whether it is the larger one.
        is_eager: Whether no trial has failed yet.

    Returns:
        `None` while that is open.
    """
    if is_eager and trial.mean > known.rates[-1] * CLEAR:
        return True
    if trial.mean * CLEAR < known.mean:
        return False
    if len(trial.rates) < MIN_WINDOWS:
        return None
    margin = trial.mean - known.mean * (1 + GAIN)
    noise = hypot(known.error, trial.error)
    if margin > CERTAINTY * noise:
        return True
    if margin < -DOUBT * noise:
        return False
    if len(trial.rates) < MAX_WINDOWS:
        return None
    return margin > LIKELIHOOD * noise if is_more else trial.mean > known.mean
