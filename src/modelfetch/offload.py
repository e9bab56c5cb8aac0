"""Blocking calls, off the event loop.

A thread cannot be stopped. So when a call's task is cancelled, the call is waited for before the
cancellation goes on: nobody closes a file under a running write, and no write is left behind.

Questions to the Hub are another matter. They touch nothing, and a Hub that is silent may keep one
for half a minute. They have threads of their own, so that they take none from writes, and are left
alone when nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar, TypeVarTuple

from aiofiles.os import wrap

__all__ = ["Abandonable", "Lock", "Offload", "held", "settled"]

# How often a lock that somebody else has is tried: he may end at any moment, or be at it for hours.
LOCK_POLL_SECONDS = 0.1

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Offload:
    """The threads of one engine.

    Args:
        threads: How many calls may run at once; more wait their turn.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="modelfetch")

    async def __call__(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Run `call(*args)` in a thread and return what it returns.

        Cancelling waits for the call to end, then passes on.
        """
        task = asyncio.ensure_future(wrap(call)(*args, executor=self._pool))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await settled(task)
            raise

    def close(self) -> None:
        """End the threads; calls must have ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Abandonable:
    """Threads for calls that change nothing; of one loop.

    Args:
        threads: How many calls may run at once, those that were abandoned included; more wait.
    """

    def __init__(self, threads: int) -> None:
        self._turns = asyncio.Semaphore(threads)

    async def __call__(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Run `call(*args)` in a thread and return what it returns; cancelling does not wait."""
        await self._turns.acquire()
        loop, answer = asyncio.get_running_loop(), Future[_T]()

        def work() -> None:
            try:
                answer.set_result(call(*args))
            except BaseException as error:  # somebody waits for it, whatever it is
                answer.set_exception(error)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(self._turns.release)

        answer.set_running_or_notify_cancel()
        # A daemon: the end of the program does not wait for a Hub either.
        threading.Thread(target=work, name="modelfetch-hub", daemon=True).start()
        return await asyncio.wrap_future(answer)


class Lock(Protocol):
    """What can be taken by one at a time, among processes too."""

    def try_acquire(self) -> bool:
        """Take it if it is free; return whether it is ours."""

    def release(self) -> None:
        """Give it back; harmless when it is not ours."""


@contextlib.asynccontextmanager
async def held(offload: Offload, lock: Lock) -> AsyncIterator[None]:
    """Hold `lock` inside the `async with`; wait for it before, as long as it takes."""
    try:
        while not await offload(lock.try_acquire):  # noqa: ASYNC110
            # Another process gives no signal that it is done.
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        lock.release()


async def settled(task: asyncio.Future[_T]) -> None:
    """Wait until `task` is over, however often the caller is cancelled meanwhile."""
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # Cancelled again: the thread is still at work, and the first cancellation will be
            # raised.
            continue
    if not task.cancelled():
        task.exception()  # marked as seen; the cancellation matters more
