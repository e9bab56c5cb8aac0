"""A call in a thread that somebody waits for: it is ended, and waited for, when he is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from modelfetch.connector import abortable
from modelfetch.offload import Offload

FAR = 30.0


@pytest.fixture
async def threads():
    threads = Offload(1)
    yield threads
    threads.close()


async def test_what_it_returns_or_raises_is_passed_on(threads):
    assert await abortable(threads, pytest.fail, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await abortable(threads, pytest.fail, divmod, 7, 0)


async def test_who_is_cancelled_ends_the_call_and_waits_for_its_end(threads):
    began, aborted, goes_on, ended = (threading.Event() for _ in range(4))

    def call():
        began.set()
        assert aborted.wait(FAR)
        goes_on.wait(FAR)
        ended.set()
        raise ConnectionAbortedError

    task = asyncio.ensure_future(abortable(threads, aborted.set, call))
    await asyncio.to_thread(began.wait, FAR)
    task.cancel()
    await asyncio.to_thread(aborted.wait, FAR)
    assert not task.done()
    task.cancel()  # once more: it is waited for all the same
    await asyncio.sleep(0)
    assert not task.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_call_that_has_not_begun_never_does(threads):
    first, ran = threading.Event(), []
    busy = asyncio.ensure_future(abortable(threads, first.set, first.wait, FAR))
    task = asyncio.ensure_future(abortable(threads, pytest.fail, ran.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first.set()
    assert await busy
    assert not ran
