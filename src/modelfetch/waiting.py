"""Waiting for a blob that somebody else is filling, and showing how far that is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from modelfetch.offload import Offload, held
from modelfetch.shared import FileProgress
from modelfetch.storage.holdings import proved_bytes
from modelfetch.storage.layout import BlobPaths
from modelfetch.storage.locks import BlobLock
from modelfetch.types import RemoteFile

__all__ = ["blob_lock"]

# A look at a long journal takes a tenth of a second; so many times as long it is let be then.
_PAUSE = 20


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
    lock, due = BlobLock(paths.lock), 0.0

    async def look() -> None:
        nonlocal due
        began = time.monotonic()
        if began >= due:
            progress.landed = max(progress.landed, await offload(proved_bytes, paths, file))
            now = time.monotonic()
            due = now + _PAUSE * (now - began)

    async with held(offload, lock, look):
        yield lock
