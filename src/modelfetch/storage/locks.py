"""One writer for each blob, among tasks and processes.

A lock spares work; it never stands for correctness (on some network disks it succeeds for
everybody). The lock files are where huggingface_hub has its own, and like those they stay:
unlinking a lock file splits its waiters over two inodes.

The lock is tried, not waited for: a blocking `flock` could not be cancelled. The kernel frees it
when its process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from modelfetch.storage import disk
from modelfetch.storage.faults import storage_errors

__all__ = ["BlobLock"]

# As huggingface_hub has it, whatever the umask: a group that shares a cache shares its locks.
_MODE = 0o664
_BUSY = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})


class BlobLock:
    """An exclusive lock on a file; every instance excludes every other, in one process too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it is ours.

        Raises:
            StorageError: The lock file cannot be made.
        """
        with storage_errors(self._path):
            return self._try_acquire()

    def _try_acquire(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | disk.NO_FOLLOW, _MODE)
        if hasattr(os, "fchmod"):
            with contextlib.suppress(PermissionError):  # somebody else's, who has seen to it
                os.fchmod(fd, _MODE)
        try:
            _lock(fd)
        except OSError as error:
            os.close(fd)
            if error.errno in _BUSY:
                return False
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd is not None:
            os.close(self._fd)  # which unlocks
            self._fd = None


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            # No locks here: go on without, at the price of fetching twice at worst.
