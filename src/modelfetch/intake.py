"""The body of one response on its way to the disk, for a thread that waits.

Bytes are collected to a piece, and a full piece is written at once, in the same thread: from the
socket to the journal without a turn of the loop. The loop says how far to go, and which bytes are
nobody else's to write; it hears what has come each `LINGER_SECONDS`, and may let the thread go
further meanwhile. So a connection at full speed costs it a step for some megabytes, and never waits
for it; and a slow one costs a step for each moment in which something came.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from modelfetch.core.pieces import PIECE_SIZE, piece_end
from modelfetch.storage.partial import PartialFile
from modelfetch.types import Span

__all__ = ["LINGER_SECONDS", "Intake"]

# What is shown of the speed, and the search for a number of connections, are no finer than that.
LINGER_SECONDS = 0.02
# A write that does nothing for less than this may have waited for a processor as well.
TELLING_SECONDS = 0.01


class Intake:
    """What has come of a body. One thread at a time; the loop looks at it meanwhile.

    Args:
        receive: Puts bytes into a buffer and returns how many: 0 when nothing came for so many
            seconds, or nothing more will; waits so many seconds more for the buffer to fill.
        partial: Where bytes go.
        span: What the body holds.

    Attributes:
        start, stop: What came and is not on disk is `[start, stop)`.
        until: Offset before which to end. It may be moved, either way, while `take` goes on.
        landed: What was written; whoever notes that takes it out, from the left.
        blocked: Seconds for which writes have waited for the disk, as far as it shows.
    """

    def __init__(
        self,
        receive: Callable[[memoryview, float | None, float], int],
        partial: PartialFile,
        span: Span,
    ) -> None:
        self._receive, self._partial = receive, partial
        self._buffer = memoryview(bytearray(min(span.size, PIECE_SIZE)))
        self._last = span.stop
        self.start = self.stop = self.until = span.start
        self.landed: deque[Span] = deque()
        self.blocked = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether all that came is on disk."""
        return self.start == self.stop

    def take(
        self, seconds: float | None, gaps: Sequence[Span] | None, tell: Callable[[], object]
    ) -> None:
        """Receive up to `until`, or until nothing comes for a moment.

        Args:
            seconds: How long to wait for the first byte; `None` for as long as patience is left.
            gaps: What may be written, held bytes included: full pieces are. It may grow meanwhile.
                `None`: nothing, and `until` is not beyond the piece.
            tell: Called after each moment in which something came.

        Raises:
            StorageError: The file system refused.
            Exception: What `receive` raises.
        """
        ends_at = None
        while True:
            if ends_at is not None and time.monotonic() >= ends_at:
                tell()
                ends_at, seconds = None, LINGER_SECONDS
            if (until := self.until) <= self.stop:
                return
            end = piece_end(self.stop, until)
            room = self._buffer[self.stop - self.start : end - self.start]
            if ends_at is None:
                count = self._receive(room, seconds, LINGER_SECONDS)
                ends_at = time.monotonic() + LINGER_SECONDS
            else:
                left = max(0.0, ends_at - time.monotonic())
                count = self._receive(room, LINGER_SECONDS, left)
            if not count:
                return
            self.stop += count
            if gaps is not None and (self.stop % PIECE_SIZE == 0 or self.stop == self._last):
                self.put_away(gaps)

    def put_away(self, gaps: Sequence[Span]) -> None:
        """Write what is held, as far as it lies in `gaps`.

        Raises:
            StorageError: The file system refused.
        """
        begun, self.start = self.start, self.stop
        since, used = time.monotonic(), time.thread_time()
        for gap in gaps:
            start, stop = max(gap.start, begun), min(gap.stop, self.stop)
            if start < stop:
                self._partial.write(start, [self._buffer[start - begun : stop - begun]])
                self.landed.append(Span(start, stop))
        idle = time.monotonic() - since - (time.thread_time() - used)
        self.blocked += idle if idle >= TELLING_SECONDS else 0.0
