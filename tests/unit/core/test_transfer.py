from __future__ import annotations

import pytest

from modelfetch.core.lease import (
    ALIGNMENT,
    MAX_LEASE,
    MIN_LEASE,
    MIN_SPLIT,
    Lease,
    Meter,
    busy_share,
    lease_size,
    mean_speed,
)
from modelfetch.core.pieces import SpanSet
from modelfetch.core.transfer import Transfer
from modelfetch.types import Span

MiB = 1 << 20
NOW = 100.0


def taken(transfer: Transfer, speed: float = 0.0, among: int = 1, now: float = NOW) -> Lease:
    """Take a lease for a connection with so much latency that it gets two seconds' worth."""
    lease = transfer.lease(now, speed, among, latency=0.1)
    assert lease is not None
    return lease


def test_leases_grow_with_speed_within_bounds() -> None:
    assert lease_size(0.0) == MIN_LEASE
    assert lease_size(20.0 * MiB) == 16 * MiB
    assert lease_size(1e12) == MAX_LEASE


def test_where_a_round_trip_takes_long_leases_do_too() -> None:
    assert lease_size(20.0 * MiB, latency=0.05) == 32 * MiB
    assert lease_size(20.0 * MiB, latency=10.0) == 64 * MiB


def test_a_first_burst_is_not_taken_for_the_speed() -> None:
    assert lease_size(100.0 * MiB, last=0) == 64 * MiB
    assert lease_size(100.0 * MiB, last=4 * MiB) == 8 * MiB
    assert lease_size(100.0 * MiB, last=32 * MiB) == 64 * MiB
    assert lease_size(100.0 * MiB, last=1) == MIN_LEASE


def test_a_time_in_which_nobody_looked_is_in_no_measure() -> None:
    meter = Meter(0, NOW)
    meter.skip(2.0)
    assert meter.speed(0.0, MiB, NOW + 2.5) == 2 * MiB
    lease = Lease(0, 10 * MiB, NOW, speed=2.0 * MiB)
    lease.paused(2.0)
    assert lease.seconds_left(NOW + 2.0) == 5.0
    lease.landed(MiB, NOW + 2.5)
    assert lease.pace(NOW + 2.5) == 2 * MiB


def test_who_waits_wants_a_processor_for_the_rest_of_the_time() -> None:
    share = busy_share(0.0, 0.02, 0.015)
    assert share == pytest.approx(0.25), "the first measure counts in full"
    assert 0.25 < busy_share(share, 0.02, 0.0) < 0.5, "a moment alone says little"
    for _ in range(50):
        share = busy_share(share, 0.02, 0.0)
    assert share == pytest.approx(1.0, abs=0.01)
    assert 0 < busy_share(0.0, 0.01, 0.02) < 0.01, "it had waited before; 0 is not known"


def test_the_speed_is_a_mean_that_follows() -> None:
    first = mean_speed(0.0, MiB, 0.5)
    assert first == 2 * MiB
    assert MiB < mean_speed(first, MiB // 10, 0.1) < 1.5 * MiB
    # A quarter of a second of a slow connection outweighs what a fast one brought before.
    assert mean_speed(20.0 * MiB, MiB // 4, 0.25) < 3 * MiB
    # Bursts with waits in between: the mean of both, not that of the bursts.
    speed = 20.0 * MiB
    for _ in range(20):
        speed = mean_speed(mean_speed(speed, MiB, 0.001), MiB, 0.099)
    assert 15 * MiB < speed < 25 * MiB


def test_a_few_bytes_at_once_tell_no_speed() -> None:
    assert mean_speed(0.0, 1, 0.001) == 0.0
    assert mean_speed(5.0 * MiB, 17, 0.001) == 5.0 * MiB
    assert mean_speed(0.0, 1000, 0.25) == 4000, "a trickle is slow"


def test_the_lowest_missing_offset_comes_first() -> None:
    transfer = Transfer(100 * MiB, SpanSet([Span(0, 8 * MiB)]))
    first, second = taken(transfer), taken(transfer)
    assert (first.position, second.position) == (8 * MiB, first.stop)


def test_leases_end_on_slices() -> None:
    transfer = Transfer(1000 * MiB, SpanSet([Span(0, 3 * MiB + 17)]))
    assert taken(transfer, 5.0 * MiB).stop % ALIGNMENT == 0


def test_a_failed_lease_keeps_its_prefix() -> None:
    transfer = Transfer(100 * MiB, SpanSet())
    lease = taken(transfer)
    transfer.landed(lease, Span(0, 1000), NOW)
    transfer.release(lease)
    assert taken(transfer).position == 1000


def test_in_the_tail_the_lease_that_takes_longest_is_split() -> None:
    transfer = Transfer(16 * MiB, SpanSet())
    slow, fast = taken(transfer, 3.0 * MiB, 2), taken(transfer, 100.0 * MiB)
    assert (slow.remaining, fast.remaining) == (8 * MiB, 8 * MiB)
    helper = taken(transfer)
    assert (helper.position, helper.stop, slow.stop) == (4 * MiB, 8 * MiB, 4 * MiB)
    assert fast.remaining == 8 * MiB


def test_what_will_be_there_in_a_moment_is_not_split() -> None:
    transfer = Transfer(8 * MiB, SpanSet())
    taken(transfer, 100.0 * MiB)
    assert transfer.lease(NOW) is None


def test_a_split_has_to_save_more_than_a_few_round_trips() -> None:
    transfer = Transfer(16 * MiB, SpanSet())
    taken(transfer, 20.0 * MiB)  # 0.8 s
    assert transfer.lease(NOW, 20.0 * MiB, latency=0.21) is None
    assert transfer.lease(NOW, 20.0 * MiB, latency=0.19) is not None


def test_one_late_answer_does_not_keep_the_tail_from_being_shared() -> None:
    transfer = Transfer(8 * MiB, SpanSet())
    taken(transfer, 2.0 * MiB)  # 4 s
    assert transfer.lease(NOW, 2.0 * MiB, latency=30.0) is not None


def test_both_parts_of_a_split_end_at_once() -> None:
    transfer = Transfer(8 * MiB, SpanSet())
    slow = taken(transfer, 4.0 * MiB)
    helper = taken(transfer, 12.0 * MiB)
    assert (slow.stop, helper.position, helper.stop) == (2 * MiB, 2 * MiB, 8 * MiB)


def test_what_has_arrived_is_not_given_to_another() -> None:
    transfer = Transfer(8 * MiB, SpanSet())
    lease = taken(transfer, 4.0 * MiB)
    lease.arrived(5 * MiB, NOW)
    helper = taken(transfer, 4.0 * MiB)
    assert lease.stop == helper.position == 6 * MiB
    lease.arrived(6 * MiB, NOW)
    transfer.release(lease)
    assert taken(transfer, 4.0 * MiB).position == 0, "it was not written after all"


def test_what_has_arrived_from_a_silent_connection_is_not_fetched_again() -> None:
    transfer = Transfer(8 * MiB, SpanSet())
    lease = taken(transfer, 4.0 * MiB)
    lease.arrived(5 * MiB, NOW)
    helper = taken(transfer, 4.0 * MiB, now=NOW + 10)
    assert lease.is_dropped
    assert (lease.stop, helper.position) == (5 * MiB, 5 * MiB)


@pytest.mark.parametrize("speed", [0.0, 5.0 * MiB, 50.0 * MiB])
def test_who_only_waits_for_the_disk_has_nothing_to_share(speed: float) -> None:
    """However long it waits: another connection would be given no byte at all."""
    transfer = Transfer(MiB, SpanSet())
    lease = taken(transfer, speed)
    transfer.reserve(Span(0, MiB))
    lease.arrived(MiB, NOW + 5)
    for seconds in (5.1, 6.0, 9.0, 60.0):
        assert transfer.lease(NOW + seconds, 50.0 * MiB, 2) is None
    assert not lease.is_dropped


def test_who_is_very_slow_keeps_the_least_there_is() -> None:
    transfer = Transfer(2 * MiB, SpanSet())
    slow = taken(transfer, 0.5 * MiB)
    helper = taken(transfer, 100.0 * MiB)
    assert slow.stop == helper.position == MIN_SPLIT


def test_a_lease_of_unknown_speed_is_split_when_it_brings_nothing() -> None:
    transfer = Transfer(4 * MiB, SpanSet())
    taken(transfer)
    assert transfer.lease(NOW + 0.9) is None
    assert transfer.lease(NOW + 1.1) is not None


def test_small_change_is_not_split() -> None:
    transfer = Transfer(MiB // 2, SpanSet())
    lease = taken(transfer)
    transfer.landed(lease, Span(0, 100), NOW + 59)
    assert transfer.lease(NOW + 61) is None


def test_a_silent_lease_is_taken_over_whatever_is_left_of_it() -> None:
    transfer = Transfer(MiB // 2, SpanSet())
    silent = taken(transfer)
    transfer.landed(silent, Span(0, 100), NOW)
    assert transfer.lease(NOW + 2.9) is None
    heir = taken(transfer, now=NOW + 3)
    assert (heir.position, heir.stop) == (100, MiB // 2)
    assert silent.is_dropped
    assert not silent.remaining


def test_the_small_rest_of_a_slow_lease_is_taken_over_by_a_fast_one() -> None:
    transfer = Transfer(MiB // 2, SpanSet())
    slow = taken(transfer)
    transfer.landed(slow, Span(0, 1000), NOW + 5)
    slow.speed = 200.0
    assert transfer.lease(NOW + 5, 700.0) is None
    assert transfer.lease(NOW + 5, 900.0) is not None
    assert slow.is_dropped


def test_one_that_is_far_slower_is_shared_for_less() -> None:
    transfer = Transfer(MiB, SpanSet())
    slow = taken(transfer, 4.0 * MiB)
    transfer.landed(slow, Span(0, MiB // 4), NOW)
    slow.began = NOW - 1
    assert transfer.lease(NOW, 15.0 * MiB) is None
    assert transfer.lease(NOW, 17.0 * MiB) is not None


def outlasting() -> tuple[Transfer, Lease]:
    """Three quarters of a file are there; what one lease still has takes longer than the rest."""
    transfer = Transfer(64 * MiB, SpanSet([Span(4 * MiB, 48 * MiB)]))
    laggard, other = taken(transfer), taken(transfer, 20.0 * MiB, 4)
    transfer.landed(laggard, Span(0, MiB), NOW + 1)
    transfer.landed(other, Span(other.position, other.position + MiB), NOW + 1)
    laggard.speed = 1.0 * MiB
    return transfer, laggard


def test_who_would_outlast_the_rest_of_the_file_is_taken_over_before_its_end() -> None:
    transfer, laggard = outlasting()
    heir = taken(transfer, 20.0 * MiB, now=NOW + 1)
    assert laggard.is_dropped
    assert (heir.position, heir.stop) == (MiB, 4 * MiB)
    assert taken(transfer, 20.0 * MiB, now=NOW + 1).position > 48 * MiB


@pytest.mark.parametrize("about", ["it is young", "it was faster before", "the heir is as slow"])
def test_who_may_yet_catch_up_is_left_alone(about: str) -> None:
    transfer, laggard = outlasting()
    speed = 20.0 * MiB
    if about == "it is young":
        laggard.began = NOW + 0.8
    elif about == "it was faster before":
        laggard.start = laggard.position - 10 * MiB
    else:
        speed = 2.0 * MiB
    taken(transfer, speed, now=NOW + 1)
    assert not laggard.is_dropped


def test_who_is_far_too_slow_for_the_little_that_is_left_gets_none_of_it() -> None:
    transfer = Transfer(64 * MiB, SpanSet([Span(0, 56 * MiB)]))
    taken(transfer, 20.0 * MiB, 4)
    assert transfer.lease(NOW, 0.5 * MiB, 4) is None
    assert transfer.lease(NOW, 2.0 * MiB, 4) is not None


def test_what_a_silent_connection_once_did_keeps_nobody_from_working() -> None:
    transfer = Transfer(64 * MiB, SpanSet([Span(0, 56 * MiB)]))
    taken(transfer, 50.0 * MiB, 4)
    assert transfer.lease(NOW + 0.9, 1.0 * MiB, 4) is None
    assert transfer.lease(NOW + 1.1, 1.0 * MiB, 4) is not None


def test_a_small_gap_is_judged_by_its_size() -> None:
    transfer = Transfer(64 * MiB, SpanSet([Span(0, 61 * MiB), Span(61 * MiB + 100_000, 62 * MiB)]))
    gap = taken(transfer, 10.0 * MiB)
    taken(transfer, 10.0 * MiB)
    transfer.release(gap)
    assert transfer.lease(NOW, 1.0 * MiB) is not None


@pytest.mark.parametrize(("latency", "is_worth_it"), [(0.8, False), (0.7, True)])
def test_a_take_over_has_to_save_more_than_a_few_round_trips(
    latency: float, is_worth_it: bool
) -> None:
    transfer, laggard = outlasting()  # it has three seconds to go
    transfer.lease(NOW + 1, 20.0 * MiB, latency=latency)
    assert laggard.is_dropped == is_worth_it


def test_a_new_connection_gets_nothing_of_what_will_be_there_in_a_moment() -> None:
    transfer = Transfer(64 * MiB, SpanSet([Span(0, 56 * MiB)]))
    lease = taken(transfer, 40.0 * MiB, 4)
    assert transfer.lease(NOW, 0.0, 4) is None
    transfer.release(lease)
    assert transfer.lease(NOW, 0.0, 4) is not None, "nobody else is at it"


def slow_among_others(pace: float) -> tuple[Transfer, Lease]:
    """Three leases at a megabyte a second, and one at `pace` times that; six seconds old."""
    transfer = Transfer(400 * MiB, SpanSet())
    leases = [taken(transfer, 20.0 * MiB) for _ in range(4)]
    for lease, factor in zip(leases, (1, pace, 1, 1), strict=True):
        start = lease.position
        lease.speed = factor * MiB
        transfer.landed(lease, Span(start, start + int(6 * factor * MiB)), NOW + 6)
    return transfer, leases[1]


def test_a_connection_far_slower_than_the_others_is_dropped() -> None:
    transfer, slow = slow_among_others(0.2)
    transfer.drop_slow(NOW + 6)
    assert [lease.is_dropped for lease in transfer.active].count(True) == 1
    assert slow.is_dropped
    transfer.release(slow)
    assert taken(transfer).position == slow.position


def test_a_connection_that_is_only_slower_is_kept() -> None:
    transfer, _ = slow_among_others(0.3)
    transfer.drop_slow(NOW + 6)
    assert not any(lease.is_dropped for lease in transfer.active)


def test_when_all_are_silent_nobody_is_to_blame() -> None:
    transfer, _ = slow_among_others(0.2)
    transfer.drop_slow(NOW + 60)
    assert not any(lease.is_dropped for lease in transfer.active)


def test_the_young_are_not_judged() -> None:
    transfer, slow = slow_among_others(0.2)
    slow.began = NOW + 5
    transfer.drop_slow(NOW + 6)
    assert not slow.is_dropped


def test_a_stream_takes_everything_and_ends_the_others() -> None:
    transfer = Transfer(100 * MiB, SpanSet([Span(0, MiB)]))
    stream, other = taken(transfer), taken(transfer)
    assert transfer.begin_stream(stream)
    assert not transfer.begin_stream(other)
    assert (stream.position, stream.stop, other.remaining) == (0, 100 * MiB, 0)
    assert transfer.lease(NOW) is None
    transfer.release(other)
    assert transfer.lease(NOW) is None


def test_after_a_broken_stream_the_rest_can_be_leased_again() -> None:
    transfer = Transfer(100 * MiB, SpanSet())
    stream, other = taken(transfer), taken(transfer)
    transfer.begin_stream(stream)
    transfer.release(other)
    transfer.landed(stream, Span(0, 5 * MiB), NOW)
    transfer.release(stream)
    assert taken(transfer).position == 5 * MiB


def test_bytes_that_come_again_are_not_new() -> None:
    transfer = Transfer(10, SpanSet([Span(0, 4)]))
    lease = taken(transfer)
    transfer.begin_stream(lease)
    assert transfer.landed(lease, Span(0, 6), NOW) == 2
    assert transfer.received == 2


def test_lost_bytes_are_leased_again() -> None:
    transfer = Transfer(10, SpanSet([Span(0, 10)]))
    assert transfer.is_complete
    transfer.lose([Span(3, 5)])
    lease = taken(transfer)
    assert (lease.position, lease.stop) == (3, 5)


def test_an_empty_file_is_complete() -> None:
    transfer = Transfer(0, SpanSet())
    assert transfer.is_complete
    assert transfer.lease(NOW) is None


def test_what_is_written_or_being_written_is_not_written_again() -> None:
    transfer = Transfer(100, SpanSet([Span(0, 10)]))
    assert transfer.reserve(Span(5, 30)) == [Span(10, 30)]
    assert transfer.reserve(Span(0, 40)) == [Span(30, 40)]
    assert transfer.reserve(Span(0, 40)) == []
    transfer.lose([Span(5, 8)])
    assert transfer.reserve(Span(0, 10)) == [Span(5, 8)]


def test_what_could_not_be_written_is_leased_and_written_again() -> None:
    transfer = Transfer(100, SpanSet())
    lease = transfer.lease(0.0)
    assert lease is not None
    gaps = transfer.reserve(Span(0, 60))
    transfer.landed(lease, Span(0, 20), 0.0)
    transfer.unreserve(gaps)
    transfer.landed(lease, Span(60, 100), 0.0)  # who fetched the rest too left it to that write
    assert lease.remaining == 0
    transfer.release(lease)
    again = transfer.lease(0.0)
    assert again is not None
    assert (again.position, again.stop) == (20, 60)
    assert transfer.reserve(Span(0, 60)) == [Span(20, 60)]


def test_while_confined_only_those_spans_are_leased() -> None:
    transfer = Transfer(64 * MiB, SpanSet([Span(0, 10)]))
    transfer.confine(Span(0, 100), Span(50 * MiB, 50 * MiB + 7))
    leases = [transfer.lease(0.0) for _ in range(3)]
    assert [le and (le.position, le.stop) for le in leases] == [
        (10, 100),
        (50 * MiB, 50 * MiB + 7),
        None,
    ]
    transfer.confine()
    lease = transfer.lease(0.0)
    assert lease is not None
    assert lease.position == 100


def test_what_is_promised_is_not_leased_and_counts_once_it_is_there() -> None:
    transfer = Transfer(100, SpanSet())
    transfer.promise(Span(10, 100))
    lease = transfer.lease(0.0)
    assert lease is not None
    assert (lease.position, lease.stop) == (0, 10)
    assert transfer.lease(0.0) is None
    assert transfer.reserve(Span(10, 100)) == [Span(10, 100)]
    assert transfer.filled(Span(10, 100)) == 90
    assert transfer.reserve(Span(5, 50)) == [Span(5, 10)]
    transfer.release(lease)
    transfer.lose([Span(10, 100)])
    again = transfer.lease(0.0)
    assert again is not None
    assert (again.position, again.stop) == (0, 100)
