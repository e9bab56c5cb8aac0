"""Waiting for a blob that somebody else is filling, and showing how far that is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from modelfetch.offload import Offload, held
from modelfetch.shared import FileProgress
from modelfetch.storage.holdings import proved_bytes
from modelfetch.storage.layout import BlobPaths
from modelfetch.storage.locks import BlobLock
from modelfetch.types import RemoteFile

__all__ = ["blob_lock"]


@contextlib.asynccontextmanager
async def blob_lock(
    offload: Offload, paths: BlobPaths, file: RemoteFile, progress: FileProgress
) -> AsyncIterator[BlobLock]:
    """Hold the lock of a blob inside the `async with`.

    Whoever has it before may be another process, with jobs of its own: what its journal says is the
    progress of who waits.

    Args:
        offload: Threads for the disk.
        paths: The blob's.
        file: What it will be.
        progress: Shows the bytes that there are.
    """
    lock = BlobLock(paths.lock)

    async def look() -> None:
        progress.landed = max(progress.landed, await offload(proved_bytes, paths, file))

    async with held(offload, lock, look):
        yield lock
