"""For programs without an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from modelfetch.config import Config
from modelfetch.status import JobState, JobStatus
from modelfetch.types import LocalModel

__all__ = ["by_itself", "fetch"]


def fetch(
    model: str,
    quantization: str | None = None,
    *,
    revision: str | None = None,
    on_status: Callable[[JobStatus], None] | None = None,
    **config: Any,
) -> LocalModel:
    """Download a model, or find it in the cache, and return it; blocks.

    Works where an event loop is running too, as in a notebook: the work then has a thread of its
    own. Ctrl-C stops it there too, with all that came flushed to the disk.

    Args:
        model: `owner/name`, `owner/name:QUANT`, `owner/name@revision`, a link to the Hub, or an id
            of LM Studio's catalogue.
        quantization: Label such as `Q4_K_M`; `auto` for the best that fits in the memory; `None`
            for the default order.
        revision: Branch, tag, `refs/pr/N` or commit; `None` for `main`.
        on_status: Called with each status, up to ten times a second; must not block.
        **config: Fields of `Config`.

    Raises:
        ModelFetchError: As `Engine.download` and `Job.result`. What came is kept for the next call.
    """
    # Half of the start of a command line, which imports this module for `--help` too.
    from modelfetch.engine import Engine

    async def work() -> LocalModel:
        async with Engine(by_itself(Config(**config))) as engine:
            job = await engine.download(model, quantization, revision=revision)
            if on_status is not None:
                async for status in job.events():
                    on_status(status)
                    if status.state is not JobState.DOWNLOADING:
                        break
            return await job.result()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    return _run_in_thread(work)


def _run_in_thread(work: Callable[[], Coroutine[Any, Any, LocalModel]]) -> LocalModel:
    stop = _Stop()

    async def stoppable() -> LocalModel:
        stop.begin()
        return await work()

    with ThreadPoolExecutor(1, thread_name_prefix="modelfetch") as pool:
        result = pool.submit(lambda: asyncio.run(stoppable()))
        try:
            return result.result()
        except BaseException:
            # KeyboardInterrupt, or what the host raises from a signal: the pool waits for the
            # thread, so the work has to end first. An error of the work itself has ended it.
            stop.set()
            raise


def by_itself(config: Config) -> Config:
    """Return the settings for a program that waits for a download and does nothing else meanwhile.

    There is nobody whom the transfers could disturb, and no reason to start a process for them; and
    what others left unfinished is not its business.
    """
    isolation = "thread" if config.isolation == "auto" else config.isolation
    return replace(config, isolation=isolation, resume_on_start=False)


class _Stop:
    """Cancels a task of another thread's loop, whichever of the two comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._cancel: Callable[[], object] | None = None

    def begin(self) -> None:
        """Be the task that is cancelled; called in it."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        with self._lock:
            self._cancel = partial(loop.call_soon_threadsafe, task.cancel)
            if self._is_set:
                task.cancel()

    def set(self) -> None:
        """Cancel the task now, or when it begins; harmless when it has ended."""
        with self._lock:
            self._is_set = True
            if self._cancel is not None:
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    self._cancel()
