"""Questions that nobody waits for any more are left alone; calls that change something are not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from modelfetch.offload import Lookups, Offload


async def test_an_abandoned_question_is_not_waited_for() -> None:
    ask, asked, answered = Lookups(1), threading.Event(), threading.Event()

    def question() -> None:
        asked.set()
        answered.wait(10)

    task = asyncio.create_task(ask(question))
    assert await asyncio.to_thread(asked.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # It still counts: a Hub that is silent must not get ever more threads.
    second = asyncio.create_task(ask(lambda: "second"))
    await asyncio.sleep(0)
    assert not second.done()
    answered.set()
    assert await second == "second"


async def test_what_a_question_raises_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Lookups(1)(fail)


async def test_a_call_that_changes_something_is_waited_for() -> None:
    offload, began, may_end, ended = Offload(1), threading.Event(), threading.Event(), []

    def write() -> None:
        began.set()
        may_end.wait(5)
        ended.append(True)

    task = asyncio.create_task(offload(write))
    assert await asyncio.to_thread(began.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    offload.close()
