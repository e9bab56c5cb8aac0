"""Which bytes are where: sets of spans, and how a file is cut into pieces.

A *piece* is what one write and one journal record cover: at most `PIECE_SIZE` bytes, never across a
multiple of it. Cutting at fixed places keeps the checksums of two downloads of the same file
comparable, and one piece is all that a broken sector or a flipped bit costs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from modelfetch.types import Span

__all__ = ["PIECE_SIZE", "SpanSet", "piece_end"]

# One positioned write of 1 MiB costs about what its system call and thread hop cost in total;
# larger pieces measured no faster, and cost more memory for each connection.
PIECE_SIZE = 1 << 20


def piece_end(offset: int, stop: int) -> int:
    """Return where the piece that holds `offset` ends, but not beyond `stop`."""
    return min(stop, (offset // PIECE_SIZE + 1) * PIECE_SIZE)


class SpanSet:
    """A set of byte offsets, kept as sorted, disjoint, non-touching spans.

    Adding in ascending or descending order is cheap; the number of spans held is small in practice
    (one for each connection, and the frontier), so lists beat trees.
    """

    __slots__ = ("_size", "_starts", "_stops")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._size = 0
        for span in spans:
            self.add(span)

    @property
    def size(self) -> int:
        """Number of offsets in the set."""
        return self._size

    @property
    def frontier(self) -> int:
        """Number of offsets present without a gap from zero on."""
        return self._stops[0] if self._starts and self._starts[0] == 0 else 0

    def add(self, span: Span) -> int:
        """Add `span`; return how many of its offsets were new."""
        if span.size == 0:
            return 0
        first = bisect_left(self._stops, span.start)
        last = bisect_right(self._starts, span.stop)
        start = min(span.start, self._starts[first]) if first < last else span.start
        stop = max(span.stop, self._stops[last - 1]) if first < last else span.stop
        return self._replace(first, last, [(start, stop)])

    def remove(self, span: Span) -> int:
        """Remove `span`; return how many of its offsets were present."""
        if span.size == 0:
            return 0
        first = bisect_right(self._stops, span.start)
        last = bisect_left(self._starts, span.stop)
        if first >= last:
            return 0
        kept = [
            (low, high)
            for low, high in (
                (self._starts[first], span.start),
                (span.stop, self._stops[last - 1]),
            )
            if low < high
        ]
        return -self._replace(first, last, kept)

    def _replace(self, first: int, last: int, pairs: list[tuple[int, int]]) -> int:
        before = sum(self._stops[first:last]) - sum(self._starts[first:last])
        after = sum(high - low for low, high in pairs)
        self._starts[first:last] = [low for low, _ in pairs]
        self._stops[first:last] = [high for _, high in pairs]
        self._size += after - before
        return after - before

    def gaps(self, within: Span) -> Iterator[Span]:
        """Yield the parts of `within` that are not in the set, in ascending order."""
        offset = within.start
        index = bisect_right(self._stops, offset)
        while offset < within.stop:
            if index >= len(self._starts) or self._starts[index] >= within.stop:
                yield Span(offset, within.stop)
                return
            if self._starts[index] > offset:
                yield Span(offset, self._starts[index])
            offset = self._stops[index]
            index += 1

    def covers(self, span: Span) -> bool:
        """Return whether every offset of `span` is in the set."""
        return next(self.gaps(span), None) is None

    def copy(self) -> SpanSet:
        """Return an independent copy."""
        twin = SpanSet()
        twin._starts, twin._stops, twin._size = self._starts[:], self._stops[:], self._size
        return twin

    def overlaps(self, span: Span) -> bool:
        """Return whether any offset of `span` is in the set."""
        return sum(gap.size for gap in self.gaps(span)) < span.size

    def __iter__(self) -> Iterator[Span]:
        return (Span(low, high) for low, high in zip(self._starts, self._stops, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpanSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"SpanSet({', '.join(map(str, self))})"
