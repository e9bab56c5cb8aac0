"""A loop in a thread of its own, where an engine's transfers run.

A transfer at full speed has something to do on its loop every few microseconds: decrypt a record,
hand over a piece. In the host's own loop everything else of the host would wait behind that. So the
transfers have a loop of their own, and the host's sees a job start and end; what is left to share
is the interpreter lock, which Python hands over every few milliseconds.

What runs here is waited for, cancelled and answered from the host's loop as if it ran there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from modelfetch.offload import Offload, settled

__all__ = ["Background"]

_T = TypeVar("_T")


class Background:
    """The loop and its thread, begun at first use; of one engine.

    Args:
        offload: Waits for the thread's end, off the host's loop.
    """

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_begun(self) -> bool:
        """Whether anything has run here since it was made, or closed."""
        return self._loop is not None

    async def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run `work()` in the background and return what it returns.

        Cancelling cancels it there, waits for its end, and passes on.
        """
        loop = self._started()
        answer: Future[_T] = Future()
        tasks: list[asyncio.Task[_T]] = []

        def begin() -> None:
            tasks.append(loop.create_task(work()))
            # Not a step of the task: one that is cancelled before its first step has none.
            tasks[0].add_done_callback(partial(_tell, answer))

        loop.call_soon_threadsafe(begin)
        waiting = asyncio.wrap_future(answer)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            await settled(waiting)
            raise

    async def close(self) -> None:
        """End the loop and its thread; what ran there must have ended. Harmless when closed."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            await self._offload(thread.join)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop,), name="modelfetch-transfers", daemon=True
            )
            self._thread.start()
        return self._loop


def _tell(answer: Future[_T], task: asyncio.Task[_T]) -> None:
    if task.cancelled():
        answer.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
