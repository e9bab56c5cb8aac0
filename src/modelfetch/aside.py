"""What runs in a process of its own, beside the host's: the transfers of one engine.

It lives for as long as the other end of its socket does. When the host dies, by `kill -9` too, the
socket ends, and all that came is flushed and journalled as for a pause. A child that the host has
forked keeps the socket open; so it also looks whether its parent is still the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import logging.handlers
import os
import socket
from dataclasses import replace
from functools import partial

from modelfetch.carrier import Carrier
from modelfetch.core.pace import TokenBucket
from modelfetch.errors import ModelFetchError
from modelfetch.frames import (
    Begin,
    Cancel,
    Ended,
    Failed,
    Message,
    Noted,
    Progress,
    Rate,
    Ready,
    Run,
    receive,
    send,
)
from modelfetch.offload import Offload
from modelfetch.shared import FileProgress
from modelfetch.storage.layout import Layout

__all__ = ["main"]

TELL_SECONDS = 0.1
ORPHAN_SECONDS = 0.5
# Where the processor is short, the host goes first: measured, it then answers almost as if idle.
NICENESS = 10
_log = logging.getLogger(__name__)


def main(descriptor: int) -> None:
    """Serve the engine at the other end of a socket until it is gone."""
    os.nice(NICENESS)
    asyncio.run(_serve(descriptor))


async def _serve(descriptor: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    begin = await receive(reader)
    if not isinstance(begin, Begin):
        return
    logger = logging.getLogger("modelfetch")
    logger.addHandler(_Messenger(writer))
    logger.propagate = False
    offload = Offload(begin.config.connections + 4)
    layout = Layout(begin.config.cache_dir, begin.config.use_symlinks)
    carrier = Carrier(begin.config, offload, layout)
    send(writer, Ready())
    watching = asyncio.create_task(_end_with_parent(reader))
    try:
        await _Service(carrier, writer).serve(reader)
    finally:
        watching.cancel()
        await carrier.close()
        offload.close()


async def _end_with_parent(reader: asyncio.StreamReader) -> None:
    host = os.getppid()
    while os.getppid() == host:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(ORPHAN_SECONDS)
    reader.feed_eof()


class _Service:
    def __init__(self, carrier: Carrier, writer: asyncio.StreamWriter) -> None:
        self._carrier, self._writer = carrier, writer
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._buckets: dict[int, TokenBucket] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        while (message := await receive(reader)) is not None:
            self._take(message)
        for task in self._tasks.values():
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _take(self, message: Message) -> None:
        if isinstance(message, Run):
            task = asyncio.create_task(self._run(message))
            self._tasks[message.number] = task
            task.add_done_callback(partial(self._ended, message.number))
        elif isinstance(message, Cancel) and message.number in self._tasks:
            self._tasks[message.number].cancel()
        elif isinstance(message, Rate):
            bucket = self._carrier.bucket
            if message.number is not None:
                bucket = self._buckets.get(message.number, TokenBucket())
            bucket.rate = message.bytes_per_second

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if task.cancelled():  # before its first step, so that it could not answer itself
            send(self._writer, Ended(number, None))

    async def _run(self, run: Run) -> None:
        telling = asyncio.create_task(self._tell(run))
        bucket = self._buckets[run.number] = TokenBucket(run.bytes_per_second)
        answer: Message = Ended(run.number, None)
        try:
            model = await self._carrier.run(run.plan, run.progress, run.token, bucket)
            answer = Ended(run.number, model)
        except asyncio.CancelledError:
            pass  # somebody asked for it, and waits for the answer
        except ModelFetchError as error:
            answer = Failed(run.number, error)
        except Exception as error:
            _log.exception("a transfer failed for a reason that nobody foresaw")
            answer = Failed(run.number, RuntimeError(repr(error)))
        del self._buckets[run.number]
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):  # the host may be gone
            await telling
        send(self._writer, Progress(run.number, run.progress))
        send(self._writer, answer)

    async def _tell(self, run: Run) -> None:
        told: dict[str, FileProgress] = {}
        while True:
            await asyncio.sleep(TELL_SECONDS)
            news = {p: f for p, f in run.progress.items() if told.get(p) != f}
            if news:
                # A head may be megabytes of names: once is enough.
                known = {p for p in news if p in told and told[p].header is not None}
                told |= {path: copy.copy(file) for path, file in news.items()}
                lean = {p: replace(f, header=None) if p in known else f for p, f in news.items()}
                send(self._writer, Progress(run.number, lean))
                await self._writer.drain()


class _Messenger(logging.handlers.QueueHandler):
    """Gives the log of this process to the host's."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._writer, self._loop = writer, asyncio.get_running_loop()

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(send, self._writer, Noted(record))
