"""How often a job that runs shows and writes down its numbers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from modelfetch import life
from modelfetch.life import Life


@pytest.mark.parametrize(
    ("cost", "pause"), [(0.0, life.TICK_SECONDS), (0.001, life.TICK_SECONDS), (0.07, 0.7)]
)
async def test_numbers_that_take_long_to_make_are_made_rarely(
    cost: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, pauses, events = 0.0, [], []

    def tick() -> None:
        nonlocal spent
        spent += cost
        events.append("tick")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 2 * life.TICKS_A_RECORD:
            raise asyncio.CancelledError

    async def write(record: Any) -> bool:
        events.append("record")
        return True

    board: Any = SimpleNamespace(job_id="job_0123456789", tick=tick, record=lambda: None)
    desk: Any = SimpleNamespace(scribe=SimpleNamespace(write=write))
    job = Life(board, desk)
    job.is_ours = True
    monkeypatch.setattr(life.time, "thread_time", lambda: spent)
    monkeypatch.setattr(life.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await job._tick()
    assert pauses[0] == life.TICK_SECONDS
    assert pauses[1:] == pytest.approx([pause] * (2 * life.TICKS_A_RECORD))
    assert events == [*["tick"] * life.TICKS_A_RECORD, "record"] * 2
