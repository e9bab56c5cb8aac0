"""One file, from wherever it is to its final name in the cache.

    lock -> look again -> open the partial -> workers, hash and flushes at once -> publish

The hash follows the contiguous front of the file while its rest arrives, reading back from the page
cache, so that the verdict is there a moment after the last byte. It reads what is on the disk, not
what came over the network: a write that went wrong is found too.

A wrong hash is repaired: pieces that the disk did not keep are fetched again; if the disk kept all,
or that was not all, the server sent wrong bytes, and everything is fetched again, once. After that
it is an error, and the partial is put aside. What the inspector doubts is fetched again before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from modelfetch.config import Config
from modelfetch.core.retry import Budget
from modelfetch.core.transfer import Transfer
from modelfetch.crew import Crew
from modelfetch.errors import IntegrityError, UnusableModel
from modelfetch.hub import Source
from modelfetch.inspector import Doubt, Inspector
from modelfetch.shared import Bell, FileProgress, Shared, Signer
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.layout import BlobPaths
from modelfetch.storage.partial import PartialFile
from modelfetch.storage.verify import new_block, new_hasher
from modelfetch.types import RemoteFile, Span
from modelfetch.waiting import blob_lock
from modelfetch.worker import Worker

__all__ = ["FileFetcher"]

# At most this much is hashed in one call of a thread, so that cancelling stays quick; and at least
# so much but at the end, since a call costs about as much as the hash of 100 kB.
HASH_STRIDE, HASH_LEAST = 32 << 20, 16 << 20
# Publishing flushes what is left, which costs nobody anything where it is less than this.
LAST_FLUSH_BYTES = 16 << 20
# A connection for less than this costs more than it brings.
MIN_BYTES_PER_WORKER = 1 << 20


class FileFetcher:
    """Fetches one file.

    Args:
        shared: The engine's resources.
        file: What to fetch.
        paths: Where it goes.
        locate: Asks the Hub where the bytes are.
        config: How many connections, and how durable.
        progress: What the job sees.
        inspector: Looks at its first bytes.
        is_new: Whether the cache had no partial of it when the job began.
    """

    def __init__(
        self,
        shared: Shared,
        file: RemoteFile,
        paths: BlobPaths,
        locate: Callable[[], Awaitable[Source]],
        config: Config,
        progress: FileProgress,
        inspector: Inspector,
        *,
        is_new: bool = False,
    ) -> None:
        self._shared, self._file, self._paths = shared, file, paths
        self._signer = Signer(locate)
        self._config, self._progress = config, progress
        self._inspector, self._is_new = inspector, is_new
        self._bell = Bell()
        self._was_mended = self._was_fetched_again = False

    async def run(self) -> None:
        """Return once the file is verified and in the cache, whoever put it there.

        Cancelling stops at once and keeps, flushed and journalled, all that came.

        Raises:
            ModelFetchError: It cannot be had; what came is kept.
        """
        offload = self._shared.offload
        async with blob_lock(offload, self._paths, self._file, self._progress) as lock:
            if not await offload(self._is_published):
                await self._fetch(lock.is_exclusive)
        self._progress.landed = self._file.size_bytes
        self._progress.verified = True

    async def _fetch(self, is_alone: bool) -> None:
        durable, is_new = self._config.durable, is_alone and self._is_new
        partial = PartialFile(
            self._paths, self._file, durable=durable, alone=is_alone, is_new=is_new
        )
        try:
            await self._shared.offload(partial.open)
            await self._fill(partial)
        except UnusableModel:
            # Nobody will go on with it, and it may hold the space of the whole.
            await self._shared.offload(partial.discard)
            raise
        finally:
            await self._shared.offload(partial.close)

    async def _fill(self, partial: PartialFile) -> None:
        transfer = Transfer(self._file.size_bytes, partial.done)
        self._progress.landed = max(self._progress.landed, transfer.done.size)
        while (digest := await self._transfer(partial, transfer)) != self._file.blob_name:
            wrong = self._inspector.suspects() or await self._wrong(partial)
            if not wrong:
                raise await self._rejected(partial, digest)
            await self._shared.offload(partial.forget, wrong)
            transfer.lose(wrong)
        await self._shared.offload(partial.publish)

    async def _wrong(self, partial: PartialFile) -> list[Span]:
        """Return what to fetch again: what the disk lost, then all of it, then nothing."""
        if not self._was_mended:
            self._was_mended = True
            damaged = await self._shared.offload(partial.damaged)
            if damaged:
                return list(damaged)
        if self._was_fetched_again:
            return []
        self._was_fetched_again = True
        self._signer.distrust()
        return [Span(0, self._file.size_bytes)]

    async def _rejected(self, partial: PartialFile, digest: str) -> IntegrityError:
        kept = await self._shared.offload(partial.reject)
        source = self._signer.source
        error = IntegrityError(
            f"{self._file.path} does not have the published hash, fetched twice.",
            hint="The server or a proxy before it sends wrong bytes; "
            f"what came is in {kept.name} beside the cache's blobs.",
            host=None if source is None else source.host,
            path=str(kept),
        )
        error.expected, error.actual = self._file.blob_name, digest
        return error

    async def _transfer(self, partial: PartialFile, transfer: Transfer) -> str:
        await self._inspector.begin(transfer)
        crew = Crew(
            self._shared, transfer, partial, self._signer, self._progress, self._bell,
            Budget(self._config.retry),
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                flushing = group.create_task(self._flush(partial, transfer))
                group.create_task(self._inspector.run(partial, transfer, self._bell))
                for _ in range(self._workers_for(transfer)):
                    group.create_task(Worker(crew).run())
                digest = await self._hash(partial, transfer)
                crew.disband()
                flushing.cancel()
                # The last bytes came faster than they may.
                await self._shared.pay(self._shared.owed())
        except BaseExceptionGroup as failures:
            error = _first(failures)
            if isinstance(error, Doubt):
                return ""
            raise error from None
        return digest

    def _workers_for(self, transfer: Transfer) -> int:
        missing = transfer.size_bytes - transfer.done.size
        useful = -(-missing // MIN_BYTES_PER_WORKER)
        return min(self._config.connections, useful)

    async def _hash(self, partial: PartialFile, transfer: Transfer) -> str:
        hasher, block = new_hasher(self._file), new_block(transfer.size_bytes)
        position = 0
        while position < transfer.size_bytes:
            stop = min(transfer.done.frontier, position + HASH_STRIDE)
            if stop < min(position + HASH_LEAST, transfer.size_bytes):
                await self._bell.wait()
                continue
            with self._shared.cores.hashing():
                await self._shared.offload(partial.hash_into, hasher, Span(position, stop), block)
            position = stop
        return hasher.hexdigest()

    async def _flush(self, partial: PartialFile, transfer: Transfer) -> None:
        """Flush now and then, and when all has come: the hash may have a while to go."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.flush_seconds):
                    while partial.unflushed_bytes < self._worth_flushing(transfer):
                        await self._bell.wait()
            await self._shared.offload(partial.flush)

    def _worth_flushing(self, transfer: Transfer) -> int:
        most = self._config.flush_bytes
        return min(most, LAST_FLUSH_BYTES) if transfer.is_complete else most

    def _is_published(self) -> bool:
        final = self._paths.final
        with storage_errors(final):
            return final.is_file() and final.stat().st_size == self._file.size_bytes


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what went wrong first; the other tasks of a group end because of it."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
