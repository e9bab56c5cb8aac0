"""Which endpoint a file is taken from."""

from __future__ import annotations

from modelfetch.core.contest import Contest


def test_the_first_keeps_it_while_it_is_fast_enough() -> None:
    contest = Contest(("a", "b"), 100.0)
    assert contest.measured("a", 100.0) == "a"
    assert contest.measured("a", 99.0) == "b"


def test_of_slow_ones_the_fastest_is_taken_once_all_were_tried() -> None:
    contest = Contest(("a", "b", "c"), 100.0)
    assert contest.measured("a", 50.0) == "b"
    assert contest.measured("b", 20.0) == "c"
    assert contest.measured("c", 30.0) == "a"
    assert contest.measured("a", 45.0) == "a"
    assert contest.measured("a", 23.0) == "c", "which has shown more, by a quarter and more"
    assert contest.measured("c", 20.0) == "c", "a little less is no reason to go"


def test_who_failed_is_the_last_that_is_thought_of() -> None:
    contest = Contest(("a", "b", "c"), 100.0)
    contest.failed("b")
    assert contest.measured("a", 50.0) == "c"
    assert contest.measured("c", 1.0) == "a"
    contest.failed("a")
    contest.failed("c")
    assert contest.measured("b", 0.0) == "b"
