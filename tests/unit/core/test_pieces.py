from __future__ import annotations

import pytest

from modelfetch.core.pieces import PIECE_SIZE, SpanSet, piece_end
from modelfetch.types import Span


def test_a_piece_ends_at_the_next_multiple_or_at_the_stop() -> None:
    assert piece_end(0, 10 * PIECE_SIZE) == PIECE_SIZE
    assert piece_end(PIECE_SIZE - 1, 10 * PIECE_SIZE) == PIECE_SIZE
    assert piece_end(PIECE_SIZE, 10 * PIECE_SIZE) == 2 * PIECE_SIZE
    assert piece_end(PIECE_SIZE + 7, PIECE_SIZE + 9) == PIECE_SIZE + 9


def test_touching_spans_become_one() -> None:
    spans = SpanSet([Span(0, 4), Span(8, 12), Span(4, 8)])
    assert list(spans) == [Span(0, 12)]
    assert spans.size == spans.frontier == 12


def test_add_says_what_was_new() -> None:
    spans = SpanSet([Span(2, 4), Span(6, 8)])
    assert spans.add(Span(0, 10)) == 6
    assert spans.add(Span(0, 10)) == 0
    assert spans.add(Span(5, 5)) == 0


def test_the_frontier_begins_at_zero() -> None:
    assert SpanSet([Span(1, 9)]).frontier == 0
    assert SpanSet([Span(0, 3), Span(4, 9)]).frontier == 3


def test_gaps_are_cut_to_what_was_asked() -> None:
    spans = SpanSet([Span(2, 4), Span(6, 8)])
    assert list(spans.gaps(Span(0, 10))) == [Span(0, 2), Span(4, 6), Span(8, 10)]
    assert list(spans.gaps(Span(3, 7))) == [Span(4, 6)]
    assert list(spans.gaps(Span(2, 4))) == []
    assert list(spans.gaps(Span(5, 5))) == []


def test_remove_splits() -> None:
    spans = SpanSet([Span(0, 10)])
    assert spans.remove(Span(4, 6)) == 2
    assert list(spans) == [Span(0, 4), Span(6, 10)]
    assert spans.remove(Span(20, 30)) == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2)])
def test_a_span_is_ordered_and_not_negative(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a span"):
        Span(start, stop)
