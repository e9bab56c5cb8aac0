"""How many connections to one host: as many as make it faster, and no more.

Theory
------
Nobody knows the best number before. Where a server gives each connection a share, more is faster;
where the line is full, more only costs; and some servers slow everybody down who takes too many.
So the number is searched for while the bytes arrive. `best` is the number that the search believes
in; a *trial* opens more connections, or fewer, and is compared with it. It wins only if the goodput
of all connections together rises by some percent and by more than the noise of both measures.

* Up first: doubling, until a trial fails, and without long measuring while each brings half as
  much again or more, since until then the line is idle; then halving the interval between what was
  good and what was too many. Where more have failed, or there can be no more, fewer are tried too,
  and taken if they are faster, or as fast as far as can be told.
* Then it rests, `MIN_REST` seconds after a change and twice as long after each round without, and
  looks around again, in small steps: the network may have changed.
* A server that refuses (429, 503, a connection that ends before any answer) is not asked why: a
  quarter of the connections is taken back at once, or up to half if so few worked since the last.

Goodput is measured in windows, so that its noise is known. Windows count only while as many
connections work as are wanted, but for one in eight, and have had a moment to get up to speed. A
trial ends as soon as its outcome is clear: a quarter of a second when the difference is large.

More connections help against waiting, and where there are processors that have nothing to do. When
there are as many of them as processors, or more, and nobody waits for the network, since this
machine is busy with what has come, or its disk is, then more are no help: there are fewer from then
on, down to the number of processors, as they are in each other's way, and no more are tried while
that lasts. Nor for the next seconds where some wait and far more than processors do not. A disk
that is behind for a moment looks the same, but for the goodput, which falls. In the first moment
nothing is known of that; it is made good as soon as somebody waits: if fewer bring far less then,
the number that was left is tried again, and not left for that again. And new connections that begin
with a burst keep this machine busy, too: as long as a trial brings more than fewer did, it goes on.

What a number of connections brings in its first moment may be more than it will bring: new ones get
their first burst, and small requests, as the first ones are, all that they ask for. So of what a
trial is compared with, a first window that was faster than all later ones does not count, doubling
compares with the last, and a trial that failed has a second one when the number that had won is
seen to bring far less than it.

No clock and no sockets: the shell reports what arrived, and when.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from modelfetch.core.averages import mean
from modelfetch.core.goodput import (
    CLEAR,
    EAGER_WINDOWS,
    MIN_WINDOWS,
    UNSURE,
    Goodput,
    Queue,
    has_won,
)

__all__ = ["START", "Concurrency"]

START = 8
# Now and then a connection breaks, or is replaced: so few of them, or of the new ones of a trial,
# may be missing.
MISSING = 1 / 8
# What a new connection needs to come up to speed; longer ways show as a trial that fails, and is
# tried again.
SETTLE_SECONDS = 0.05
FIRST_REST, MIN_REST, MAX_REST = 1.0, 5.0, 60.0
# How often it is looked at where nothing can be done about connections that do not wait.
BUSY_REST = 1.0
# The same where connections wait for a processor, which a few bursts may look like.
QUEUE_REST = 0.5
# All connections hear of the same refusal.
ONE_REFUSAL_SECONDS = 1.0


class _Left(NamedTuple):
    """A number that was left, its mean in bytes per second, and whether nobody waited then."""

    connections: int
    rate: float
    was_busy: bool


class Concurrency:
    """The search for one host.

    Args:
        most: Never more connections than this.
        start: How many to begin with.
        processors: How many this process has.

    Attributes:
        target: How many connections to have now.
    """

    def __init__(self, most: int, start: int = START, processors: int = 2) -> None:
        self.target = self._best = max(1, min(start, most))
        self._most, self._processors = most, processors
        self._goodput, self._queue = Goodput(), Queue(processors)
        self._known: Goodput | None = None
        self._left: _Left | None = None  # until it is seen what the best number brings now
        # A number that was missed when it had been left for a busy machine: it is not again.
        self._least = 0
        # What the best number has brought.
        self._pace = 0.0
        self._calm_at: float | None = None
        # The open interval in which a better number may be; no upper end: nothing failed yet.
        self._floor, self._ceiling = 0, most + 1
        self._stride = 1.0
        self._is_doubling = self._is_eager = True
        self._rest, self._rest_until = MIN_REST, -inf
        self._deaf_until = -inf
        # The most that worked at once since the last refusal.
        self._served = 0

    def arrived(self, nbytes: int, connections: int, now: float, waited: float = inf) -> None:
        """Record that bytes came from the host.

        Args:
            nbytes: How many, over one of the connections.
            connections: How many connections are at work.
            now: Seconds, of any clock that does not go back.
            waited: Seconds for which that connection had nothing to do before; when unknown, it is
                taken for waiting.
        """
        self._served = max(self._served, connections)
        if now < self._rest_until:
            return
        if not self._enough <= connections <= self.target:
            self._measure_anew()
            return
        if self._calm_at is None:
            self._calm_at = now + SETTLE_SECONDS
        if now >= self._calm_at:
            self._goodput.add(nbytes, connections, now, waited, self._most_busy, self._processors)
            fewest = EAGER_WINDOWS if self._is_eager else MIN_WINDOWS
            if self._goodput.is_busy(self._pace, fewest):
                self._ease(now)
            elif len(self._goodput.rates) >= self._fewest_windows:
                self._compare(now)

    def refused(self, now: float) -> None:
        """Record that the host would not serve a connection: 429, 503, or an end without answer."""
        if now < self._deaf_until:
            return
        self._deaf_until, self._is_eager = now + ONE_REFUSAL_SECONDS, False
        fewer = self.target - max(1, self.target // 4)
        if self._served:
            fewer = max(self.target // 2, min(fewer, self._served))
        self._served, self._left, self._least = 0, None, 0
        self.target = self._best = max(1, fewer)
        self._look_around_later(now)

    @property
    def _most_busy(self) -> float:
        """Bytes per second from which this machine is not taken for the limit, whoever waits."""
        # A trial of what keeps all processors at work is measured, not judged by that.
        is_all = self.target == self._processors == self._best
        if not is_all and self.target <= self._processors:
            return 0.0
        if self._known is None or self.target <= self._best:
            return inf
        return self._known.rates[-1] * (1 + UNSURE)

    @property
    def _enough(self) -> float:
        """Connections at work that are as good as all that are wanted."""
        fresh = self.target - self._best
        return self.target - (fresh if fresh > 0 else self.target) * MISSING

    @property
    def _fewest_windows(self) -> int:
        is_trial = self._known is not None
        return EAGER_WINDOWS if self._is_eager or is_trial else MIN_WINDOWS

    def _ease(self, now: float) -> None:
        """Have fewer connections: nobody waits for the network."""
        if self.target > self._best:
            self._left = None
            self._take_back()
            # More than processors are no use, but nothing says that fewer than those would do.
            self._floor = self._best - 1
            self._ceiling = min(self._ceiling, max(self._best, self._processors) + 2)
            return
        if self._best > (fewest := max(self._processors, self._least)):
            rates = self._goodput.rates + self._goodput.busy
            self._left = _Left(self.target, mean(rates), was_busy=True)
            # Smaller steps from what a trial has won: something spoke for it.
            self._best = max(fewest, self._best // (2 if self._pace else 4))
        else:
            self._left, self._rest_until = None, now + BUSY_REST
        self._known, self._pace = None, 0.0
        self._settle_for(self._best)

    def _compare(self, now: float) -> None:
        is_queue: bool | None = False
        if self._known is None:
            if len(self._goodput.rates) == EAGER_WINDOWS and self._goodput.begins_with_burst:
                return  # one window more, since the first will not count
            self._known = self._goodput.settled()
            if self._tries_again(self._known):
                return
            if (is_queue := self._queue.seen(self._goodput)) is None:
                self._known = None
        else:
            is_more = self.target > self._best
            outcome = has_won(self._goodput, self._known, is_more=is_more, is_eager=self._is_eager)
            if outcome is None:
                return
            if outcome:
                # What is back since it was missed beside a busy machine needs no more at once.
                is_back = self.target == self._least
                is_queue = is_back and self._queue.seen(self._goodput) is not False
                self._take()
            else:
                self._left = _Left(self.target, self._goodput.mean, was_busy=False)
                self._take_back()
        if self._known is not None:
            self._try_another(now, may_be_more=not is_queue)

    def _take(self) -> None:
        if self.target > self._best:
            # A quick win does not prove that fewer are worse.
            self._floor = 0 if self._is_eager else self._best
        else:
            # How few would be too few is open again.
            self._floor, self._ceiling, self._is_doubling = 0, self._best, False
            self._least = 0
        self._best, self._known = self.target, self._goodput.settled()
        self._pace = self._known.mean
        self._stride, self._rest = 1.0, MIN_REST

    def _take_back(self) -> None:
        self._is_eager = False
        if self.target > self._best:
            self._ceiling, self._is_doubling = self.target, False
        else:
            self._floor = self.target
        # Its goodput is measured again before the next trial: it may have changed meanwhile.
        self._settle_for(self._best)
        self._known = None

    def _tries_again(self, known: Goodput) -> bool:
        """Try what was left once more, where it is missed; return whether it is."""
        left, self._left = self._left, None
        if left is None or left.connections <= self._best or left.rate < known.mean * CLEAR:
            return False
        if left.was_busy:
            self._least = left.connections
        self._floor, self._ceiling, self._is_doubling = 0, self._most + 1, True
        self._stride, self._rest = 1.0, MIN_REST
        self._settle_for(left.connections)
        return True

    def _try_another(self, now: float, *, may_be_more: bool) -> None:
        if self._is_eager and self._best == self._most:
            # So quick a win may have been the first seconds of anything: fewer are tried soon.
            self._is_eager, self._rest = False, FIRST_REST
            self._look_around_later(now)
            return
        # Where twice as many did not help, and nothing has, fewer are the larger chance.
        is_too_many = self._ceiling <= self._most and not self._floor
        above, below = self._above() if may_be_more else None, self._below()
        candidate = (below or above) if is_too_many else (above or below)
        if candidate is not None:
            self._settle_for(candidate)
        elif may_be_more:
            self._look_around_later(now)
        else:
            self._rest_until, self._known = now + QUEUE_REST, None
            self._measure_anew()

    def _above(self) -> int | None:
        step = (self._ceiling - self._best) // 2
        if self._is_doubling:
            step = max(1, int(self._best * self._stride))
        candidate = min(self._best + step, self._ceiling - 1)
        return candidate if candidate > self._best else None

    def _below(self) -> int | None:
        if self._is_doubling and self._best < self._most:
            return None  # nothing says that fewer could be better, and most likely they are slower
        candidate = self._best - max(1, int(self._best * self._stride / 2))
        return candidate if candidate > self._floor else None

    def _look_around_later(self, now: float) -> None:
        near = max(1, self._best // 4)
        self._floor, self._ceiling = max(0, self._best - near - 1), self._most + 1
        self._stride, self._is_doubling = 0.25, True
        self._rest_until, self._rest = now + self._rest, min(2 * self._rest, MAX_REST)
        self._known = None
        self._measure_anew()

    def _settle_for(self, connections: int) -> None:
        self.target = connections
        self._measure_anew()

    def _measure_anew(self) -> None:
        self._goodput, self._calm_at = Goodput(), None
