"""Turns are neither lost nor given twice, whoever is cancelled."""

from __future__ import annotations

import asyncio
import random

from tests.helpers import cancelled_at_random

from modelfetch.core.line import Rank
from modelfetch.turns import Turns


async def test_turns_survive_any_cancellation() -> None:
    dice, turns, running, most = random.Random(1), Turns(2), 0, 0

    async def work(number: int) -> None:
        nonlocal running, most
        async with turns.turn(lambda: Rank(0, number, str(number))):
            running += 1
            most = max(most, running)
            try:
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                running -= 1

    for _ in range(200):
        await cancelled_at_random(dice, work)
        assert turns.waiting() == []
    assert (running, most) == (0, 2)
