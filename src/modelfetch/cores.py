"""Who keeps the processors busy: no more than they can do, and the front of a file before the rest.

Theory
------
A connection that never waits for the network wants a processor for itself, and so does a hash. Are
there more of them than processors, the system shares those out evenly, and that is the worst of
all: the file grows in as many places as there are connections, so its front, which the hash
follows, comes slowly; and the hash has its part of a processor like everybody else. When the last
byte is there half of the file may be left to hash, on one processor, with the others idle.

So while a file is hashed as it comes, one processor is left to that, where there is more than one,
and the rest go to those who are nearest to the front of their files: a hash that begins stops
nobody, but nobody begins beside it who is too many. Who is not at work has his part in the kernel's
buffers meanwhile, and after `PATIENCE_SECONDS` he has a moment whoever is in his way. Who
waits for the network, or for the disk, for a part of his time wants no more than the other part of
a processor: where those are what limits, nobody waits for a turn for longer than it takes to see.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

__all__ = ["Cores", "Turn"]

# Far below what a server or `core.transfer` takes for silence.
PATIENCE_SECONDS = 0.2
# What is wanted of processors is not known better than that, and one that is idle costs more.
SLACK = 0.5


@dataclass(slots=True, eq=False)
class Turn:
    """The right to keep a processor busy."""

    _rank: Callable[[], int]
    _share: Callable[[], float]
    _cores: Cores
    _begins: asyncio.Future[None]
    _is_extra: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it is to be given back, and asked for again.

        So it is when others wait who are first, and after a moment for who began out of patience.
        To be asked each moment: what everybody wants changes, and somebody may begin for it.
        """
        return self._cores.is_over(self)


class Cores:
    """The processors of this process, for one loop.

    Args:
        processors: How many there are.
    """

    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._hashing = 0
        self._running: list[Turn] = []
        self._waiting: list[Turn] = []

    @contextlib.contextmanager
    def hashing(self) -> Iterator[None]:
        """Keep a processor for a hash inside the `with`; the others have one all the same."""
        self._hashing += 1
        try:
            yield
        finally:
            self._hashing -= 1
            self._admit_soon()

    @contextlib.asynccontextmanager
    async def turn(
        self, rank: Callable[[], int], share: Callable[[], float]
    ) -> AsyncIterator[Turn]:
        """Wait until there is room, but not for long, and keep processors busy in the `async with`.

        Args:
            rank: Bytes between the front of its file and what it brings; fewer go first. Asked for
                whenever somebody may go, as is the other.
            share: The part of its time for which it wants a processor.
        """
        turn = Turn(rank, share, self, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        try:
            self._admit()
            if turn in self._waiting:
                await asyncio.wait({turn._begins}, timeout=PATIENCE_SECONDS)
            if turn in self._waiting:
                turn._is_extra = True
                self._begin(turn)
            yield turn
        finally:
            (self._waiting if turn in self._waiting else self._running).remove(turn)
            self._admit_soon()

    def is_over(self, turn: Turn) -> bool:
        """Return whether `turn`, which runs, is to end for one that waits."""
        self._admit()
        first = self._fitting([], [*self._running, *self._waiting])
        if turn in first:
            turn._is_extra = False
            return False
        return turn._is_extra or any(it in first for it in self._waiting)

    def _fitting(self, there: list[Turn], others: list[Turn]) -> list[Turn]:
        """Return for which of `others` there is room beside those who are there; always for one."""
        room = max(1, self._processors - self._hashing) + SLACK
        room -= sum(turn._share() for turn in there)
        fitting: list[Turn] = []
        for turn in sorted(others, key=lambda turn: turn._rank()):
            room -= turn._share()
            if room < 0 and (there or fitting):
                break
            fitting.append(turn)
        return fitting

    def _admit_soon(self) -> None:
        # Who gave a turn back may be about to ask for the next, and a hash to go on.
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        # Who has but a moment keeps nobody waiting.
        lasting = [turn for turn in self._running if not turn._is_extra]
        for turn in self._fitting(lasting, self._waiting):
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        self._waiting.remove(turn)
        self._running.append(turn)
        turn._begins.set_result(None)
