from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.core.line import Rank, moved

LINE = [Rank(-1, 5, "a"), Rank(0, 1, "b"), Rank(0, 2, "c"), Rank(0, 7, "d")]


@pytest.mark.parametrize(
    ("name", "position", "order"),
    [
        ("d", 0, "dabc"),
        ("d", 1, "adbc"),
        ("a", 99, "bcda"),
        ("b", 2, "acbd"),
        ("c", 2, "abcd"),
    ],
)
def test_who_is_moved_stands_there(name: str, position: int, order: str) -> None:
    assert "".join(rank.name for rank in sorted(moved(LINE, name, position))) == order


def test_a_place_before_the_first_is_none() -> None:
    with pytest.raises(ValueError, match="next"):
        moved(LINE, "a", -1)


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 4)), min_size=1, max_size=8),
    st.data(),
)
def test_the_others_keep_their_order(ranks: list[tuple[int, int]], data: st.DataObject) -> None:
    line = [Rank(*rank, name=str(number)) for number, rank in enumerate(ranks)]
    mover = data.draw(st.sampled_from(line)).name
    position = data.draw(st.integers(0, len(line)))
    others = [rank.name for rank in sorted(line) if rank.name != mover]
    result = sorted(moved(line, mover, position))
    assert [rank.name for rank in result if rank.name != mover] == others
    assert [rank.name for rank in result].index(mover) == min(position, len(others))
