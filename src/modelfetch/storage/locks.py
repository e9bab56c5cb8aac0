"""One writer for each blob, among tasks and processes.

A lock spares work; it never stands for correctness. On some disks there are none, on some they
succeed for everybody, and on network disks they may hold among the processes of one machine only;
so a lock tells whether it is known to keep everybody else out.

The lock files are where huggingface_hub has its own, and like those they stay: unlinking a lock
file splits its waiters over two inodes.

The lock is tried, not waited for: a blocking `flock` could not be cancelled. The kernel frees it
when its process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from modelfetch.storage import disk, machine
from modelfetch.storage.faults import storage_errors

__all__ = ["BlobLock"]

# As huggingface_hub has it, whatever the umask: a group that shares a cache shares its locks.
_MODE = 0o664
_BUSY = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})


class BlobLock:
    """An exclusive lock on a file; every instance excludes every other, in one process too.

    Attributes:
        is_exclusive: Whether, held, it is known to keep everybody else out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self.is_exclusive = False

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it is ours.

        Raises:
            StorageError: The lock file cannot be made.
        """
        with storage_errors(self._path):
            return self._try_acquire()

    def _try_acquire(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = self._opened()
        try:
            if not self._is_ours(fd):
                os.close(fd)
                return False
            self.is_exclusive = not machine.is_network(os.fstat(fd).st_dev) and self._excludes()
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def _opened(self) -> int:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | disk.NO_FOLLOW, _MODE)
        if hasattr(os, "fchmod") and os.fstat(fd).st_nlink == 1:
            with contextlib.suppress(PermissionError):  # somebody else's, who has seen to it
                os.fchmod(fd, _MODE)
        return fd

    def _is_ours(self, fd: int) -> bool:
        try:
            _lock(fd)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        # Where somebody removed the file meanwhile, another process may hold the one of that name.
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), self._path.stat())
        return False

    def _excludes(self) -> bool:
        """Return whether the lock, tried once more while it is held, is found taken."""
        second = self._opened()
        try:
            return not self._is_ours(second)
        finally:
            os.close(second)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd is not None:
            # A child that was forked meanwhile has it too, so that closing ours unlocks nothing.
            with contextlib.suppress(OSError):
                _unlock(self._fd)
            os.close(self._fd)
            self._fd, self.is_exclusive = None, False


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            # No locks here: go on without, at the price of fetching twice at worst.

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
