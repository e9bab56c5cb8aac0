"""Reads and writes the records of jobs for an engine; a disk that refuses is no reason to stop.

Jobs are worth more than what is written of them: an engine whose state folder cannot be used runs
them all the same, and they end with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Set
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar, TypeVarTuple

from modelfetch.core.record import JobRecord
from modelfetch.errors import JobNotFound, StorageError
from modelfetch.offload import Lock, Offload, held
from modelfetch.storage.ledger import Ask, Ledger, Mark, News

__all__ = ["Scribe"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Scribe:
    """The ledger, off the loop.

    Args:
        ledger: Where records are.
        offload: Threads for it.

    Attributes:
        is_open: Whether the ledger can be used; without it every job is this engine's.
    """

    def __init__(self, ledger: Ledger, offload: Offload) -> None:
        self._ledger, self._offload = ledger, offload
        self._locks: dict[str, Lock] = {}
        self._has_warned = False
        self.is_open = False

    async def open(self) -> None:
        """Make the folder, or warn that there is none."""
        try:
            await self._offload(self._ledger.open)
            self.is_open = True
        except StorageError as error:
            _log.warning("jobs are not written down, and end with this engine: %s", error)

    async def claim(self, job_id: str) -> bool:
        """Take the lock of a job; return whether it is ours."""
        if not self.is_open or job_id in self._locks:
            return True
        lock = self._ledger.lock(job_id)
        try:
            is_ours = await self._tried(True, lock.try_acquire)
        except BaseException:
            lock.release()
            raise
        if is_ours:
            self._locks[job_id] = lock
        return is_ours

    def release(self, job_id: str) -> None:
        """Give the lock of a job back; harmless when it is not ours."""
        lock = self._locks.pop(job_id, None)
        if lock is not None:
            lock.release()

    async def read(self, job_id: str) -> JobRecord | None:
        """Return the record of a job, `None` when there is none."""
        return await self._tried(None, self._ledger.read, job_id)

    async def is_forgotten(self, job_id: str) -> bool:
        """Return whether a job that had a record has none any more."""
        return await self._tried(False, self._ledger.is_forgotten, job_id)

    async def must_be_known(self, job_id: str) -> None:
        """See that a job that had a record still has one; for whoever holds its lock.

        Raises:
            JobNotFound: Another engine has forgotten it.
        """
        if await self.is_forgotten(job_id):
            await self.remove(job_id)  # the lock's file is new
            raise JobNotFound(f"{job_id} has been forgotten.")

    async def write(self, record: JobRecord) -> bool:
        """Put a record in place of the last one; return whether it is there."""
        return await self._tried(False, self._ledger.write, record)

    async def remove(self, job_id: str) -> None:
        """Remove all that there is of a job that is ours, and give its lock back.

        Raises:
            StorageError: The file system refused.
        """
        try:
            if self.is_open:
                await self._offload(self._ledger.remove, job_id)
        finally:
            self.release(job_id)

    def door(self) -> AbstractAsyncContextManager[None]:
        """Be the only engine that makes jobs, inside the `async with`."""
        return held(self._offload, _Willing(self._ledger.door())) if self.is_open else nullcontext()

    async def news(self, known: Mapping[str, Mark], settled: Set[str]) -> News | None:
        """Return what `Ledger.news` does; `None` when that cannot be read."""
        return await self._tried(None, self._ledger.news, known, settled)

    async def orphans(self, job_ids: Collection[str]) -> list[str]:
        """Return those that are said to run, and whose lock is free all the same."""
        return await self._tried([], self._ledger.orphans, job_ids)

    async def take_asks(self, job_ids: Collection[str]) -> dict[str, Ask]:
        """Take the notes that others left for these jobs."""
        return await self._tried({}, self._ledger.take_asks, job_ids)

    async def ask(self, job_id: str, ask: Ask) -> None:
        """Leave a note for the engine in which a job runs."""
        await self._tried(None, self._ledger.ask, job_id, ask)

    async def is_asked(self, job_id: str) -> bool:
        """Return whether the note has not been taken."""
        return await self._tried(False, self._ledger.is_asked, job_id)

    async def withdraw(self, job_id: str) -> None:
        """Remove the note."""
        await self._tried(None, self._ledger.withdraw, job_id)

    async def _tried(self, otherwise: _T, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        if not self.is_open:
            return otherwise
        try:
            return await self._offload(call, *args)
        except StorageError as error:
            if not self._has_warned:
                _log.warning("jobs cannot be written down or read: %s", error)
                self._has_warned = True
            return otherwise


class _Willing:
    """A lock that is taken for granted where the disk refuses it."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def try_acquire(self) -> bool:
        try:
            return self._lock.try_acquire()
        except StorageError:
            return True

    def release(self) -> None:
        self._lock.release()
