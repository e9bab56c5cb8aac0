"""Positioned reads and writes, allocation and flushing: the same calls on every system."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from modelfetch.types import Span

__all__ = [
    "allocate",
    "allocated_bytes",
    "boot_id",
    "copy_range",
    "device",
    "flush",
    "free_bytes",
    "is_nice",
    "read_at",
    "step_aside",
    "write_at",
]

# Nothing of ours is ever a link: one in its place was planted, and may lead anywhere.
NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
BINARY: int = getattr(os, "O_BINARY", 0)
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE in linux/falloc.h
_MAX_PARTS = 512  # half of Linux's IOV_MAX; arrivals of 64 KiB fill a piece with 16
_NOT_HERE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV})
_FULL_FSYNC = 51 if sys.platform == "darwin" else None  # F_FULLFSYNC in sys/fcntl.h
_COPY_SIZE = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2  # in linux/fs.h
_WRITING_SIZE = 1 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_seek_lock = threading.Lock()


def write_at(fd: int, parts: Sequence[bytes | memoryview], offset: int) -> None:
    """Write all of `parts`, one after the other, from `offset` on.

    Raises:
        OSError: The file system refused; some of the bytes may be written.
    """
    if not hasattr(os, "pwritev"):
        return _seek_and_write(fd, parts, offset)
    for first in range(0, len(parts), _MAX_PARTS):
        batch = parts[first : first + _MAX_PARTS]
        wanted = sum(map(len, batch))
        written = os.pwritev(fd, batch, offset)
        if written < wanted:
            rest = memoryview(b"".join(batch))
            while written < wanted:
                written += os.pwrite(fd, rest[written:], offset + written)
        offset += wanted
    return None


def _seek_and_write(fd: int, parts: Sequence[bytes | memoryview], offset: int) -> None:
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(fd, rest) :]


def read_at(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from `offset` on; return how many bytes there were (less at the file's end)."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [buffer], offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, len(buffer))
    buffer[: len(data)] = data
    return len(data)


@cache
def _linux(name: str, *arguments: Any) -> ctypes._NamedFuncPointer | None:
    """Return a call of Linux's that Python has no name for; `None` where there is none."""
    if sys.platform != "linux":
        return None
    try:
        call: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    call.argtypes = arguments
    return call


def allocate(fd: int, size_bytes: int) -> None:
    """Reserve disk blocks for a file without changing its size; a hint where there is no such call.

    Writing into reserved blocks costs half of writing into a growing file. The size stays what has
    been written, so that nobody takes the file for complete; that is why this is not Python's
    `os.posix_fallocate`, which also writes zeros where the file system cannot reserve.

    Raises:
        OSError: There is no room.
    """
    call = _linux("fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if call is None or size_bytes == 0:
        return
    while call(fd, _KEEP_SIZE, 0, size_bytes) != 0:
        code = ctypes.get_errno()
        if code in _NOT_HERE:
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def copy_range(source: int, start: int, target: int, offset: int, size_bytes: int) -> None:
    """Copy bytes of one open file into another, inside the kernel where that is possible.

    File systems that can share blocks between files do so then (FICLONERANGE, by way of
    copy_file_range(2)).

    Raises:
        OSError: The file system refused; `EIO` when the source ends before.
    """
    in_kernel = getattr(os, "copy_file_range", None)
    while size_bytes > 0:
        count = 0
        if in_kernel is not None:
            try:
                count = in_kernel(source, target, size_bytes, start, offset)
            except OSError as error:
                if error.errno not in _NOT_HERE | {errno.EXDEV, errno.EPERM}:
                    raise
        if count == 0:
            in_kernel = None
            buffer = memoryview(bytearray(min(size_bytes, _COPY_SIZE)))
            count = read_at(source, buffer, start)
            if count == 0:
                raise OSError(errno.EIO, "a file was cut short by somebody")
            write_at(target, [buffer[:count]], offset)
        start, offset, size_bytes = start + count, offset + count, size_bytes - count


@cache
def is_nice() -> bool:
    """Return whether this process has been told to leave the processors to others (nice(2))."""
    try:
        return hasattr(os, "getpriority") and os.getpriority(os.PRIO_PROCESS, 0) > 0
    except OSError:  # a sandbox may keep it to itself
        return False


def step_aside() -> None:
    """In a nice process, let whoever waits for this processor have it.

    A kernel looks only some hundred times a second whether somebody else's turn has come.
    """
    if is_nice() and hasattr(os, "sched_yield"):
        os.sched_yield()


def _begin_writing(fd: int, spans: Iterable[Span]) -> None:
    """In a nice process, have what these spans hold written to the disk, little by little.

    A flush that finds it all to do keeps its processor for milliseconds, in which many kernels let
    nobody else have it. Errors are for what follows to tell.
    """
    if not is_nice():
        return
    call = _linux("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    if call is None:
        return
    for span in spans:
        for start in range(span.start, span.stop, _WRITING_SIZE):
            size = min(_WRITING_SIZE, span.stop - start)
            if call(fd, start, size, _SYNC_FILE_RANGE_WRITE) != 0:
                return


def flush(fd: int, spans: Iterable[Span] = ()) -> None:
    """Return once the file's data, and what is needed to find it, are on the disk.

    Args:
        fd: The file.
        spans: Where it has been written since the last time, as far as that is known.

    Raises:
        OSError: The disk failed.
    """
    _begin_writing(fd, spans)
    if _FULL_FSYNC is not None:
        import fcntl

        # fsync there leaves data in the drive's cache. Network and foreign file systems refuse
        # this call, and have no better one.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _FULL_FSYNC)
            return
        os.fsync(fd)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:  # pragma: no cover
        os.fsync(fd)


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that this user may still write where `folder` is, or will be.

    `None` where the file system does not tell, as some network ones do.

    Raises:
        OSError: No existing folder above it can be looked at.
    """
    import shutil

    usage = shutil.disk_usage(_existing(folder))
    return usage.free if usage.total > 0 else None


def device(folder: Path) -> int:
    """Return the number of the disk where `folder` is, or will be. Raises: as `free_bytes`."""
    return _existing(folder).stat().st_dev


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def allocated_bytes(path: Path) -> int:
    """Return the bytes of disk that a file occupies; 0 when it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return 0
    return int(getattr(stat, "st_blocks", 0)) * 512 or stat.st_size


def boot_id() -> str | None:
    """Return an id of this run of the system; `None` where it has none to give."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
