"""Time that a test moves."""

from __future__ import annotations

import pytest

from modelfetch.testing.clock import ManualClock


def test_both_clocks_stand_still_and_move_together() -> None:
    clock = ManualClock(time=100.0, monotonic=5.0)
    assert (clock.time(), clock.monotonic()) == (clock.time(), clock.monotonic()) == (100.0, 5.0)
    clock.advance(2.5)
    clock.advance(0)
    assert (clock.time(), clock.monotonic()) == (102.5, 7.5)


def test_the_wall_clock_alone_may_be_set_in_either_direction() -> None:
    clock = ManualClock(time=100.0)
    clock.set_time(7.0)
    assert (clock.time(), clock.monotonic()) == (7.0, 0.0)


def test_time_does_not_go_back() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
