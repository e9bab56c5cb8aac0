from __future__ import annotations

import pytest

from modelfetch.core.pace import SpeedWindow, TokenBucket, seconds_left


def test_the_speed_is_the_mean_of_the_window() -> None:
    window = SpeedWindow(seconds=4.0)
    for second in range(10):
        window.add(1000, float(second))
    assert window.speed(9.0) == pytest.approx(1000.0)


def test_the_speed_decays_to_zero_in_a_stall() -> None:
    window = SpeedWindow(seconds=4.0)
    window.add(0, 0.0)
    window.add(4000, 4.0)
    speeds = [window.speed(4.0 + t) for t in (0.0, 1.0, 3.0, 4.0, 100.0)]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-2:] == [0.0, 0.0]


def test_a_first_arrival_is_not_read_as_an_absurd_speed() -> None:
    window = SpeedWindow()
    assert window.speed(0.0) == 0.0
    window.add(1000, 0.0)
    assert window.speed(0.001) == 2000.0


def test_time_left() -> None:
    assert seconds_left(1000, 0.0) is None
    assert seconds_left(1000, 500.0) == 2.0


def test_a_bucket_makes_takers_wait_for_its_rate() -> None:
    bucket = TokenBucket(rate=1000.0)
    now, taken = 0.0, 0
    while now < 10.0:
        now += bucket.take(100, now) or 0.001
        taken += 100
    assert taken == pytest.approx(10_000, rel=0.05)


def test_a_bucket_does_not_save_up_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=1000.0, burst_seconds=0.1)
    bucket.take(0, 0.0)
    assert bucket.take(100, 3600.0) == 0.0
    assert bucket.take(100, 3600.0) == pytest.approx(0.1)


def test_a_bucket_without_rate_never_waits() -> None:
    assert TokenBucket().take(1 << 40, 0.0) == 0.0
