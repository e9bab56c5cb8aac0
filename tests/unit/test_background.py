"""Work in a loop and a thread of its own: answered, cancelled and ended from the caller's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from modelfetch.background import Background
from modelfetch.offload import Offload


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    offload = Offload(2)
    background = Background(offload)
    yield background
    await background.close()
    offload.close()
    assert "modelfetch-transfers" not in {thread.name for thread in threading.enumerate()}


async def test_it_runs_elsewhere_and_always_in_the_same_loop(background: Background) -> None:
    async def where() -> tuple[asyncio.AbstractEventLoop, str]:
        return asyncio.get_running_loop(), threading.current_thread().name

    first, second = await background.run(where), await background.run(where)
    assert first == second
    assert first[0] is not asyncio.get_running_loop()
    assert first[1] == "modelfetch-transfers"


async def test_no_thread_before_there_is_work() -> None:
    background = Background(Offload(1))
    assert "modelfetch-transfers" not in {thread.name for thread in threading.enumerate()}
    await background.close()


@pytest.mark.parametrize("error", [ValueError("x"), KeyError(1), asyncio.CancelledError()])
async def test_what_it_raises_is_raised(background: Background, error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await background.run(fail)
    assert not isinstance(error, Exception) or caught.value is error


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelling_waits_until_it_has_cleaned_up(background: Background, times: int) -> None:
    started, done = threading.Event(), []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0.001)
            done.append(True)

    task = asyncio.create_task(background.run(work))
    assert await asyncio.to_thread(started.wait, 5)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_cancelled_before_it_began(background: Background) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(background.run(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_at_once(background: Background) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    answers = await asyncio.gather(*(background.run(lambda n=n: double(n)) for n in range(50)))
    assert answers == [2 * n for n in range(50)]
