"""Statuses to many readers, none of whom can slow the transfer down.

Each reader has a list of what it has not taken. Progress merges into the newest status of the same
job and state, so the list is as long as the number of *changes* the reader missed, whatever it
sleeps. Jobs are told apart by a `source` object: their ids may be missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from modelfetch.status import JobStatus

__all__ = ["Broadcast", "Callback"]

_log = logging.getLogger(__name__)
Callback = Callable[[JobStatus], object]


class _Reader:
    def __init__(self) -> None:
        self.pending: dict[int, tuple[object, JobStatus]] = {}
        self.wake = asyncio.Event()
        self._newest: dict[object, int] = {}
        self._count = 0

    def offer(self, source: object, status: JobStatus) -> None:
        key = self._newest.get(source)
        if key is None or self.pending[key][1].state is not status.state:
            key = self._newest[source] = self._count
            self._count += 1
        self.pending[key] = source, status
        self.wake.set()

    def take(self) -> JobStatus:
        key = next(iter(self.pending))
        source, status = self.pending.pop(key)
        if self._newest[source] == key:
            del self._newest[source]
        return status


class Broadcast:
    """A channel of statuses; see `status` for the contract."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()
        self._callbacks: dict[object, Callback] = {}
        self._is_closed = False

    def publish(self, source: object, status: JobStatus) -> None:
        """Give `status` of the job `source` to every reader; never waits."""
        for reader in self._readers:
            reader.offer(source, status)
        for callback in tuple(self._callbacks.values()):
            _call(callback, status)

    def call(self, callback: Callback, *first: JobStatus) -> Callable[[], None]:
        """Call back with `first`, then with every status; return what ends that.

        An error of the callback is logged, and no concern of the job.
        """
        key = object()
        self._callbacks[key] = callback
        for status in first:
            _call(callback, status)

        def end() -> None:
            self._callbacks.pop(key, None)

        return end

    def close(self) -> None:
        """End every reader once it has taken what is there."""
        self._is_closed = True
        for reader in self._readers:
            reader.wake.set()

    async def read(self, *first: tuple[object, JobStatus]) -> AsyncGenerator[JobStatus, None]:
        """Yield `first`, then statuses from now on, until the channel is closed."""
        reader = _Reader()
        for source, status in first:
            reader.offer(source, status)
        self._readers.add(reader)
        try:
            while True:
                while reader.pending:
                    yield reader.take()
                if self._is_closed:
                    return
                reader.wake.clear()
                await reader.wake.wait()
        finally:
            self._readers.discard(reader)


def _call(callback: Callback, status: JobStatus) -> None:
    try:
        callback(status)
    except Exception:
        _log.exception("a callback for the status of a job failed")
