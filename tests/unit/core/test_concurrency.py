"""The search against servers that are functions: connections in, bytes per second out."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from modelfetch.core.concurrency import Concurrency

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


def test_a_full_line_gets_few_connections() -> None:
    server, size = SERVERS["a full line"]
    assert sorted(Simulation(server, size, seed).found.target for seed in range(5))[2] <= 6


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
        found.arrived(1 << 20, 3, tick / 100)  # fewer connections than wanted: no more work
    assert found.target == 4
