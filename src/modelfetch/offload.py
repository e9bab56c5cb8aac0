"""Blocking calls, off the event loop.

A thread cannot be stopped. So when a task that waits for one is cancelled, it depends on the call:

* one that touches the disk is waited for before the cancellation goes on (`Offload`): nobody closes
  a file under a running write, and no write is left behind;
* one that only asks somebody else is left to itself (`Lookups`): a Hub that is silent for half a
  minute holds up nobody who has lost interest, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar, TypeVarTuple

from aiofiles.os import wrap

__all__ = ["Lock", "Lookups", "Offload", "carried_out", "held", "settled"]

# How often a lock that somebody else has is tried: he may end at any moment, or be at it for hours.
LOCK_POLL_SECONDS = 0.1
_POLLS_BETWEEN_LOOKS = 10

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@wrap
def _called(call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    return call(*args)


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
        return await carried_out(asyncio.ensure_future(_called(call, *args, executor=self._pool)))

    def begun(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> Future[_T]:
        """Have `call(*args)` in a thread, as soon as one is free."""
        return self._pool.submit(call, *args)

    def close(self) -> None:
        """End the threads; calls must have ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Lookups:
    """Threads for calls that leave nothing behind when nobody waits for them any more.

    The threads are daemons: the interpreter does not wait for them at its end either.

    Args:
        threads: How many calls may run at once, abandoned ones included; more wait their turn.
    """

    def __init__(self, threads: int) -> None:
        self._turns = asyncio.Semaphore(threads)

    async def __call__(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Run `call(*args)` in a thread and return what it returns; cancelling abandons it."""
        await self._turns.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def deliver(result: Callable[[], None]) -> None:
            self._turns.release()
            if not answer.done():
                result()

        def work() -> None:
            result: Callable[[], None]
            try:
                result = partial(answer.set_result, call(*args))
            except BaseException as error:
                result = partial(answer.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so is who asked
                loop.call_soon_threadsafe(deliver, result)

        threading.Thread(target=work, name="modelfetch-lookup", daemon=True).start()
        return await answer


class Lock(Protocol):
    """What can be taken by one at a time, among processes too."""

    def try_acquire(self) -> bool:
        """Take it if it is free; return whether it is ours."""

    def release(self) -> None:
        """Give it back; harmless when it is not ours."""


@contextlib.asynccontextmanager
async def held(
    offload: Offload, lock: Lock, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Hold `lock` inside the `async with`; wait for it before, as long as it takes.

    Args:
        offload: Threads for trying it.
        lock: What to hold.
        meanwhile: Called every second or so while somebody else has it.
    """
    polls = itertools.count()
    try:
        while not await offload(lock.try_acquire):
            if meanwhile is not None and next(polls) % _POLLS_BETWEEN_LOOKS == 0:
                await meanwhile()
            # Another process gives no signal that it is done.
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        lock.release()


async def carried_out(task: asyncio.Future[_T]) -> _T:
    """Return what `task` returns; cancelling waits for it to end, then passes on."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await settled(task)
        raise


async def settled(task: asyncio.Future[_T]) -> None:
    """Wait until `task` is over, however often the caller is cancelled meanwhile."""
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # Cancelled again: the work goes on, and the first cancellation will be raised.
            continue
    if not task.cancelled():
        task.exception()  # marked as seen; the cancellation matters more
