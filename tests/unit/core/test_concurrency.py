"""The search against servers that are functions: connections in, bytes per second out."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from math import inf

import pytest

from modelfetch.core.concurrency import START, Concurrency
from modelfetch.core.goodput import Goodput

MB = 1_000_000
STEP = 0.01
RAMP = 0.1
"""Seconds until the connections at work are those that are wanted."""
Server = Callable[[int], float]


class Simulation:
    """A download of `size` bytes from `server`, with noise; `fixed` connections or as found."""

    def __init__(
        self, server: Server, size: float, seed: int = 0, fixed: int | None = None
    ) -> None:
        self.found = Concurrency(16)
        self.now = self.arrived = 0.0
        noise, active, wanted_since, left = random.Random(seed), 0, 0.0, 0.0
        while self.arrived < size:
            target = fixed or self.found.target
            if active == target:
                wanted_since = self.now
            elif self.now - wanted_since >= RAMP:
                active = target
            left += server(active) * STEP * max(0.0, noise.gauss(1, 0.25)) if active else 0
            chunk = 16 << 10 if server(4) < 20 * MB else 128 << 10
            while left >= chunk:
                left -= chunk
                self.arrived += chunk
                self.found.arrived(chunk, active, self.now)
            self.now += STEP


def best_fixed(server: Server, size: float) -> float:
    return min(Simulation(server, size, fixed=number).now for number in range(1, 17))


def slowed_beyond(limit: int) -> Server:
    return lambda n: 20 * MB * n if n <= limit else 20 * MB * limit * (limit / n) ** 2


SERVERS: dict[str, tuple[Server, float]] = {
    "a full line": (lambda n: min(n * 60, 100) * MB, 1500 * MB),
    "a slow full line": (lambda n: min(n * 0.5, 1.5) * MB, 30 * MB),
    "a share for each": (lambda n: n * 20 * MB, 2000 * MB),
    "a small share for each": (lambda n: n * 0.5 * MB, 80 * MB),
    "slower beyond 6": (slowed_beyond(6), 1200 * MB),
    "slower beyond 2": (slowed_beyond(2), 1200 * MB),
    "slower beyond 1": (lambda n: 80 / n**0.5 * MB, 2000 * MB),
    "ten at most": (lambda n: min(n, 10) * 20 * MB, 2000 * MB),
}


@pytest.mark.parametrize("name", SERVERS)
def test_it_is_nearly_as_fast_as_the_best_fixed_number(name: str) -> None:
    server, size = SERVERS[name]
    best = best_fixed(server, size)
    times = sorted(Simulation(server, size, seed).now for seed in range(5))
    assert times[2] <= 1.15 * best, (times, best)


def in_bursts(
    seed: int, takes: tuple[float, float], jitter: float, most: int = 16, gift: int = 0
) -> float:
    """Return the seconds that 2 GB take where each connection gets 2 MB and a pause, as nginx does.

    Args:
        seed: Of the phases and pauses.
        takes: The least and the most seconds that a burst takes.
        jitter: What a pause may be longer than the 0.1 s that make 20 MB/s of bursts.
        most: Connections, at most.
        gift: Bursts without a pause that a new connection gets: its first requests are small.
    """
    chance, found, parts = random.Random(seed), Concurrency(most), 8
    now, arrived, opened = 0.0, 0, 0
    coming: list[tuple[float, int, int]] = []
    working: set[int] = set()
    gifts: dict[int, int] = {}
    while arrived < 2000 * MB:
        while len(working) < found.target:
            opened += 1
            working.add(opened)
            heapq.heappush(coming, (now + chance.uniform(0.002, 0.006), opened, 0))
        now, connection, part = heapq.heappop(coming)
        if part == 0 and len(working) > found.target:
            working.discard(connection)
            continue
        arrived += 2 * MB // parts
        found.arrived(2 * MB // parts, len(working), now)
        pause = chance.uniform(*takes) / parts
        if part == parts - 1:
            gifts[connection] = gifts.get(connection, 0) + 1
        if part == parts - 1 and gifts[connection] > gift:
            pause = 0.1 + chance.uniform(0, jitter)
        heapq.heappush(coming, (now + pause, connection, (part + 1) % parts))
    return now


@pytest.mark.parametrize(
    ("takes", "jitter"),
    [((0.005, 0.03), 0.003), ((0.005, 0.1), 0.003), ((0.005, 0.03), 0.1), ((0.01, 0.2), 0.3)],
    ids=["even", "slow", "uneven", "wild"],
)
def test_a_limit_that_works_by_bursts_hides_nothing(takes, jitter) -> None:
    burst = sum(takes) / 2 + 0.1 + jitter / 2
    ideal = 2000 / (16 * 2 / burst)
    times = sorted(in_bursts(seed, takes, jitter) for seed in range(9))
    assert times[4] <= 1.2 * ideal, (times, ideal)
    assert times[-2] <= 1.4 * ideal, (times, ideal)  # on the wildest, one in nine is unlucky


@pytest.mark.parametrize(
    ("takes", "jitter", "gift"),
    [((0.005, 0.1), 0.003, 3), ((0.01, 0.06), 0.03, 3), ((0.01, 0.2), 0.3, 1)],
    ids=["slow", "uneven", "wild"],
)
def test_the_speed_of_the_first_moment_is_not_what_more_connections_are_held_to(
    takes, jitter, gift
) -> None:
    """Small requests, as the first ones are, get all that they ask for at once."""
    ideal = 2000 / (32 * 2 / (sum(takes) / 2 + 0.1 + jitter / 2))
    times = sorted(in_bursts(seed, takes, jitter, 32, gift) for seed in range(9))
    assert times[4] <= 1.1 * ideal, (times, ideal)
    assert times[-1] <= 1.2 * ideal, (times, ideal)


class Windows:
    """A search that is fed a window at a time."""

    def __init__(self, most: int, processors: int = 2) -> None:
        self.found, self.now = Concurrency(most, processors=processors), 0.0
        self.seen = [self.found.target]

    def bring(self, megabytes_per_second: int, waited: float = inf) -> None:
        """Let that come for as long as a window takes, by connections that wait so long for it."""
        for _ in range(10):
            self.now += 0.008
            count = self.found.target
            self.found.arrived(megabytes_per_second * 8000, count, self.now, waited)
        if self.found.target != self.seen[-1]:
            self.seen.append(self.found.target)


@pytest.mark.parametrize("most", [16, 32])
def test_what_failed_beside_a_burst_is_tried_again_when_the_burst_is_over(most: int) -> None:
    windows = Windows(most)
    while windows.seen != [8, 16, 8]:
        windows.bring(320)  # a burst; and 16 bring what they should
    while windows.now < 6.0 and windows.seen[3:] != [16, 32][: most // 16]:
        windows.bring(20 * windows.found.target)
    assert windows.seen == [8, 16, 8, 16, 32][: 3 + most // 16]
    for _ in range(4):
        windows.bring(20 * windows.found.target)
    assert windows.found.target == most


def test_a_burst_of_new_connections_is_not_taken_for_a_busy_machine() -> None:
    windows = Windows(32)
    while windows.found.target < 32:
        windows.bring(20 * windows.found.target)
    for rate in (420, 460, 500):
        windows.bring(rate, 0.0)  # it comes at once, and nobody waits
    for _ in range(6):
        windows.bring(640)
    assert windows.seen == [8, 16, 32]


def test_a_trial_that_keeps_a_busy_machine_busy_ends_soon() -> None:
    windows = Windows(32)
    while windows.found.target < 32:
        windows.bring(20 * windows.found.target)
    for _ in range(3):
        windows.bring(330, 0.0)
    assert windows.seen == [8, 16, 32, 16]


def test_what_a_busy_moment_took_is_back_when_it_is_missed() -> None:
    windows = Windows(32)
    while windows.found.target < 32:
        windows.bring(20 * windows.found.target)
    while windows.found.target == 32:
        windows.bring(640, 0.0)
    for _ in range(6):
        windows.bring(20 * windows.found.target)
    assert windows.seen == [8, 16, 32, 16, 32]


@pytest.mark.parametrize(("limit", "most"), [(250, 32), (300, 16), (300, 64), (500, 32), (500, 64)])
def test_a_machine_that_takes_less_than_the_server_gives_is_settled_for(limit, most) -> None:
    """What fits is between two numbers of connections, and the larger one is busy."""
    windows, came = Windows(most), 0.0
    while windows.now < 30.0:
        megabytes = min(limit, 20 * windows.found.target)
        windows.bring(megabytes, 0.0 if megabytes == limit else inf)
        came += 0.08 * megabytes
    assert len(windows.seen) < 12, windows.seen
    assert came / windows.now > 0.97 * limit


def test_a_busy_first_moment_of_as_many_as_processors_costs_nothing() -> None:
    windows = Windows(32, processors=8)
    while windows.now < 0.4:
        windows.bring(400, 0.0)
    while windows.now < 3.0:
        windows.bring(20 * windows.found.target)
    assert windows.seen == [8, 16, 32]


def test_a_line_that_gets_slower_beside_a_trial_gets_no_more_connections() -> None:
    windows = Windows(32)
    while windows.seen != [8, 16, 8]:
        windows.bring(100)
    while windows.now < 8.0:
        windows.bring(60)
    assert max(windows.seen) == 16
    assert windows.found.target <= 8


def test_one_window_after_a_burst_is_not_what_more_connections_are_compared_with() -> None:
    windows = Windows(32)
    for rate in (50, 50, 27):
        windows.bring(rate)
    while windows.now < 3.0:
        windows.bring(40)
    assert max(windows.seen) == 16
    assert windows.found.target <= 8


def test_a_slow_start_is_not_what_doubling_is_compared_with() -> None:
    windows = Windows(32)
    windows.bring(20)
    windows.bring(40)
    while windows.found.target == 8:
        windows.bring(100)
    for _ in range(5):
        windows.bring(100)
    assert windows.seen == [8, 16]  # it is still on trial


def test_what_failed_before_a_refusal_is_not_taken_after_it() -> None:
    windows = Windows(32)
    while windows.seen != [8, 16, 8]:
        windows.bring(320)
    windows.found.refused(windows.now)
    while windows.now < 12.0:
        windows.bring(160)
    assert max(windows.seen[3:]) < 12


def test_a_full_line_gets_few_connections() -> None:
    server, size = SERVERS["a full line"]
    targets = sorted(Simulation(server, size, seed).found.target for seed in range(20))
    assert targets[10] <= START, targets
    assert targets[-1] <= START + 2, targets


def test_a_network_that_changes_is_followed() -> None:
    found = Simulation(lambda n: min(n * 20, 40) * MB, 400 * MB).found
    assert found.target <= 6
    now, left = 100.0, 0.0
    while now < 140.0:
        left += found.target * 20 * MB * STEP
        while left >= 128 << 10:
            left -= 128 << 10
            found.arrived(128 << 10, found.target, now)
        now += STEP
    assert found.target >= 14


def test_a_refusal_takes_back_a_quarter_once() -> None:
    found = Concurrency(16, 16)
    for _ in range(10):
        found.refused(5.0)
    assert found.target == 12
    found.refused(6.5)
    assert found.target == 9


def test_one_connection_is_always_left() -> None:
    found = Concurrency(16)
    for second in range(20):
        found.refused(2.0 * second)
    assert found.target == 1
    assert Concurrency(1).target == 1


def test_what_cannot_be_compared_is_not() -> None:
    found = Concurrency(16)
    for tick in range(2000):
        found.arrived(1 << 20, START - 2, tick / 100)  # fewer than wanted: there is no more work
    assert found.target == START


def targets_of(
    found: Concurrency,
    share: float,
    seconds: float,
    connections: int = 99,
    begin: float = 0.0,
    most: int = 99,
) -> set[int]:
    """Return the numbers that are wanted while 100 MB/s come over each connection.

    Args:
        found: The search.
        share: Of their time in which connections wait for the network.
        seconds: How long.
        connections: How many there are at most, whatever is wanted.
        begin: The time.
        most: How many connections' worth this machine can take.
    """
    seen = set()
    for tick in range(int(begin * 100), int((begin + seconds) * 100)):
        working = min(found.target, connections)
        for _ in range(working):
            found.arrived(MB * min(working, most) // working, working, tick / 100, share / 100)
        seen.add(found.target)
    return seen


@pytest.mark.parametrize(
    ("share", "processors", "expected"),
    [
        (0.02, 2, {START, 2}),
        (0.02, 6, {START, 6}),
        (0.02, 8, {START}),
        (0.02, 9, {START, 16, 9, 10}),  # whether there is an idle one is tried
        (0.7, 2, {START, 16}),
        (0.5, 2, {START}),  # four of them at work: two wait for a processor
        (0.5, 4, {START, 16}),
        (0.06, 2, {START}),  # who waits for so much has not all that it could read
        (0.06, 6, {START, 6}),  # and of so few, beside so many processors, it is no matter
        (0.06, 8, {START}),
    ],
)
def test_more_connections_than_processors_are_for_waiting(
    share: float, processors: int, expected: set[int]
) -> None:
    found = Concurrency(16, processors=processors)
    most = processors if share < 0.1 else 99
    assert targets_of(found, share, 1.5, most=most) == expected


def test_a_disk_that_is_behind_for_a_moment_takes_no_connections_away() -> None:
    found = Concurrency(32)
    targets_of(found, 0.9, 2.5)
    before, now = found.target, 2.5
    assert before > 20
    while now < 3.3:  # nobody waits for the network, and half as much comes
        now += 0.02
        for _ in range(found.target):
            found.arrived(MB, found.target, now, 0.0)
    assert found.target >= before - 4
    while now < 6.0:  # and so it stays: it is this machine
        now += 0.02
        for _ in range(found.target):
            found.arrived(MB, found.target, now, 0.0)
    assert found.target <= 8


def test_who_is_busy_from_the_first_moment_on_has_fewer_soon() -> None:
    found = Concurrency(32)
    assert targets_of(found, 0.0, 0.26) == {START, 2}


@pytest.mark.parametrize(("processors", "start"), [(2, 1), (8, 4), (16, 8)])
def test_a_trial_of_as_many_as_processors_is_measured(processors: int, start: int) -> None:
    """Nobody waits for the network, and each processor brings its part."""
    found = Concurrency(16, start, processors)
    for tick in range(1500):
        for _ in range(found.target):
            nbytes = MB * min(found.target, processors) // found.target
            found.arrived(nbytes, found.target, tick / 100, 0.0)
    assert found.target == processors


def test_a_busy_first_moment_is_made_good_soon() -> None:
    found = Concurrency(32)
    assert targets_of(found, 0.0, 0.3) == {START, 2}
    targets_of(found, 0.9, 1.2, begin=0.3)
    assert found.target == 32


def test_who_queues_for_processors_gets_no_more_until_that_is_over() -> None:
    found = Concurrency(32)
    assert targets_of(found, 0.6, 2.0) == {START}
    assert targets_of(found, 0.9, 1.5, begin=2.0) >= {START, 16, 32}


def test_what_is_back_after_a_busy_moment_is_not_doubled_beside_a_queue() -> None:
    found = Concurrency(32)
    assert targets_of(found, 0.0, 0.3) == {START, 2}
    assert max(targets_of(found, 0.5, 1.5, begin=0.3)) == START == found.target


def test_a_queue_is_believed_for_a_few_looks() -> None:
    """What looks like one may be waiting for a disk that is far away, or a burst at each look."""
    found = Concurrency(32)
    assert targets_of(found, 0.4, 2.0) == {START}
    targets_of(found, 0.4, 2.0, begin=2.0)
    assert found.target == 32


def test_bursts_in_step_with_the_looks_do_not_hold_up_the_search() -> None:
    windows = Windows(32)
    while windows.now < 8.0:
        is_burst = windows.now + 0.08 >= windows.found._rest_until
        target = windows.found.target
        windows.bring(50 * target if is_burst else 0, 0.02 if is_burst else inf)
    assert max(windows.seen) == 32


def test_two_windows_are_no_queue_yet() -> None:
    windows = Windows(32)
    for _ in range(3):  # the first ones are for getting up to speed
        windows.bring(100, 0.02)
    while windows.now < 0.8:
        windows.bring(100)
    assert windows.seen[:2] == [8, 16]


def test_one_window_without_it_is_no_queue() -> None:
    windows = Windows(32)
    for waited in (0.02, 0.02, 0.05, 0.02, 0.05):
        windows.bring(100, waited)
    assert windows.seen == [8, 16]


def test_fewer_are_tried_while_there_is_a_queue() -> None:
    windows = Windows(16)
    while windows.seen != [8, 16, 8]:
        windows.bring(100)
    since = windows.now
    while windows.now < since + 0.5:
        windows.bring(100, 0.02)
    assert windows.seen[3:] == [4]


def test_who_begins_to_wait_gets_more() -> None:
    found = Concurrency(16)
    assert targets_of(found, 0.0, 3.0) == {START, 2}
    assert max(targets_of(found, 0.9, 2.0, begin=3.0)) > START


def test_doubling_is_quick_while_it_is_clear_that_it_helps() -> None:
    found = Concurrency(32)
    targets_of(found, 0.9, 0.7)
    assert found.target == 32


def test_a_connection_that_is_replaced_does_not_hold_up_the_search() -> None:
    found = Concurrency(32)
    targets_of(found, 0.9, 0.5, connections=START - 1)
    assert found.target == 2 * START


def test_a_gain_is_not_seen_before_the_new_connections_work() -> None:
    found = Concurrency(32)
    found._best = 16
    found._settle_for(18)
    found._known = Goodput()
    targets_of(found, 0.9, 2.0, connections=16)
    assert found.target == 18, "it was judged without one of the two"


def test_where_the_first_seconds_were_slow_many_are_not_kept() -> None:
    """The line comes up to speed within a second, whatever the number, and more than 8 cost."""

    def total(now: float, connections: int) -> float:
        return 100 * MB * min(1.0, 0.2 + now) * min(1.0, (8 / connections) ** 0.5)

    found, seen, left = Concurrency(32), [], 0.0
    for tick in range(1200):
        now = tick / 100
        left += total(now, found.target) / 100
        while left >= 128 << 10:
            left -= 128 << 10
            found.arrived(128 << 10, found.target, now)
        seen.append(found.target)
    assert max(seen) > 8, "the first seconds look like a gain"
    assert found.target <= 12


def test_who_finds_more_connections_busy_has_fewer_at_once() -> None:
    found = Concurrency(32)
    targets_of(found, 0.9, 0.7)
    assert found.target == 32
    assert targets_of(found, 0.0, 3.5, begin=0.7) >= {32, 16, 4, 2}
    assert found.target == 2


def test_after_a_refusal_there_are_as_many_as_were_served_since_the_last() -> None:
    found = Concurrency(32)
    found.arrived(1, 5, 0.0)
    found.arrived(1, 2, 0.1)
    found.refused(0.5)
    assert found.target == 5
    found.arrived(1, 1, 1.0)
    found.refused(2.0)
    assert found.target == 2, "half at most: the others may only have begun"
    found.refused(4.0)
    assert found.target == 1
