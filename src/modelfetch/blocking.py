"""For programs without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelfetch.engine import Engine
from modelfetch.status import JobState, JobStatus
from modelfetch.types import LocalModel

__all__ = ["fetch"]


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
    own.

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

    async def work() -> LocalModel:
        async with Engine(**config) as engine:
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
    with ThreadPoolExecutor(1, thread_name_prefix="modelfetch") as pool:
        return pool.submit(asyncio.run, work()).result()
