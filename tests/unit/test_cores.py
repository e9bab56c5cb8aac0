"""Who keeps processors busy: never too many, the front first, nobody forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from tests.helpers import cancelled_at_random

from modelfetch import cores
from modelfetch.cores import Cores, Turn


@pytest.fixture(autouse=True)
def no_end_of_patience(monkeypatch):
    monkeypatch.setattr(cores, "PATIENCE_SECONDS", 600.0)


class Crowd:
    """Those who ask for turns, each until it is told to end."""

    def __init__(self, processors: int) -> None:
        self.cores = Cores(processors)
        self.shares: dict[str, float] = {}
        self.running: dict[str, Turn] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, share: float = 1.0, **ranks: int) -> None:
        for name, rank in ranks.items():
            self._stops[name], self.shares[name] = asyncio.Event(), share
            self._tasks.append(asyncio.ensure_future(self._work(name, rank)))
        await settle()

    async def leave(self, name: str) -> None:
        self._stops[name].set()
        await settle()

    async def _work(self, name: str, rank: int) -> None:
        async with self.cores.turn(lambda: rank, lambda: self.shares[name]) as turn:
            self.running[name] = turn
            await self._stops[name].wait()
            del self.running[name]

    def __str__(self) -> str:
        return "".join(sorted(self.running))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def crowd(processors: int):
    it = Crowd(processors)
    try:
        yield it
    finally:
        await it.end()


async def test_no_more_run_than_there_are_processors_and_the_nearest_to_the_front_are_next():
    async with crowd(2) as them:
        await them.come(a=1, b=2, d=4, c=3)
        assert str(them) == "ab"
        await them.leave("a")
        assert str(them) == "bc"
        await them.leave("c")
        assert str(them) == "bd"


@pytest.mark.parametrize(("processors", "beside"), [(1, "a"), (2, "a"), (3, "ab")])
async def test_a_hash_has_a_processor_and_the_others_have_one_all_the_same(processors, beside):
    async with crowd(processors) as them:
        with them.cores.hashing():
            await them.come(a=1, b=2, c=3)
            assert str(them) == beside
        await settle()
        assert str(them) == "abc"[:processors]


async def test_who_waits_for_the_network_leaves_room_for_others():
    async with crowd(2) as them:
        await them.come(0.5, a=1, b=2, c=3, d=4, e=5, f=6)
        assert str(them) == "abcde"
    async with crowd(2) as them:
        await them.come(0.02, a=1, b=2, c=3, d=4, e=5, f=6)
        assert str(them) == "abcdef"


async def test_when_it_shows_that_one_waits_for_the_network_another_begins():
    async with crowd(2) as them:
        await them.come(a=1, b=2, c=3, d=4)
        them.shares["a"] = 0.4
        assert not them.running["b"].is_over
        await settle()
        assert str(them) == "abc"


async def test_who_is_farther_from_the_front_is_to_end_for_one_that_is_nearer():
    async with crowd(1) as them:
        await them.come(b=2)
        assert not them.running["b"].is_over
        await them.come(c=3)
        assert not them.running["b"].is_over
        await them.come(a=1)
        assert them.running["b"].is_over
        assert str(them) == "b"
        await them.leave("b")
        assert str(them) == "a"


async def test_a_hash_that_begins_ends_nobody():
    async with crowd(2) as them:
        await them.come(a=1, b=2, c=3)
        with them.cores.hashing():
            assert not them.running["a"].is_over
            assert not them.running["b"].is_over
            await them.leave("a")
            assert str(them) == "b"


async def test_who_gives_a_turn_back_and_is_still_the_nearest_has_the_next():
    async with crowd(1) as them:
        async with them.cores.turn(lambda: 1, lambda: 1.0):
            await them.come(b=2)
        async with them.cores.turn(lambda: 1, lambda: 1.0):
            await settle()
            assert str(them) == ""
        await settle()
        assert str(them) == "b"


async def test_nobody_waits_for_long_but_then_he_has_no_more_than_a_moment(monkeypatch):
    monkeypatch.setattr(cores, "PATIENCE_SECONDS", 0.0)
    async with crowd(1) as them:
        await them.come(a=1)
        async with them.cores.turn(lambda: 2, lambda: 1.0) as turn:
            assert str(them) == "a"
            assert turn.is_over
            assert not them.running["a"].is_over
            await them.leave("a")
            assert not turn.is_over, "nobody is in the way any more"
            monkeypatch.setattr(cores, "PATIENCE_SECONDS", 600.0)
            await them.come(b=3)
            assert str(them) == "", "and now it has a turn as any other"


async def test_who_began_out_of_patience_is_in_nobodys_way(monkeypatch):
    async with crowd(2) as them:
        await them.come(a=1, c=3)
        monkeypatch.setattr(cores, "PATIENCE_SECONDS", 0.0)
        async with them.cores.turn(lambda: 4, lambda: 1.0):
            monkeypatch.setattr(cores, "PATIENCE_SECONDS", 600.0)
            await them.leave("a")
            await them.come(b=2)
            assert str(them) == "bc"


async def test_turns_survive_any_cancellation():
    dice, all_cores = random.Random(1), Cores(2)

    async def work(number: int) -> None:
        with all_cores.hashing() if number == 0 else contextlib.nullcontext():
            async with all_cores.turn(lambda: number, lambda: 1.0):
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)

    for _ in range(200):
        await cancelled_at_random(dice, work)
    async with crowd(2) as them:
        them.cores = all_cores
        await them.come(a=1, b=2, c=3)
        assert str(them) == "ab"
