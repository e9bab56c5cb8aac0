"""What the operating system says about files, in words that help."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from modelfetch.errors import InsufficientSpace, StorageError

__all__ = ["cut_short", "storage_errors"]

_WINDOWS = os.name == "nt"
_LONGEST_THERE = 259  # characters, unless the system is told to take more
_TOO_LONG = (
    "Windows takes no longer paths until they are enabled (LongPathsEnabled, see Microsoft's "
    '"Maximum Path Length Limitation"); or choose a cache folder with a shorter name.'
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ACCESS = "Give this user write access, or choose another cache folder."
_IN_THE_WAY = "A file is in the way of a folder; remove it, or choose another cache folder."
_AWAY = "The disk or the network share does not answer; see to it, then ask again to go on."
_HINTS = {
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: "The file system is read-only; choose another cache folder.",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.EISDIR: "A folder is in the way of a file; remove it, or choose another cache folder.",
    errno.ENOENT: "Somebody removed it; ask again to make it anew.",
    errno.ELOOP: "A link is in the place of a file of ours; remove it.",
    errno.EMFILE: "This process has too many files open; raise its limit (ulimit -n).",
    errno.EFBIG: "The file system does not take files of this size (FAT: 4 GiB).",
    errno.ENOSPC: "Free some space, then resume: nothing is lost.",
    errno.EDQUOT: "This user's quota is used up. Free some space, then resume: nothing is lost.",
    errno.EIO: _AWAY,
    errno.ENODEV: _AWAY,
    errno.ENXIO: _AWAY,
    errno.ESTALE: _AWAY,
    errno.ENOTCONN: _AWAY,
    errno.ETIMEDOUT: _AWAY,
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn each `OSError` inside into a `StorageError`; `InsufficientSpace` on a full disk."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        where = str(error.filename or path)
        text = error.strerror or type(error).__name__
        hint = _HINTS.get(error.errno or 0)
        if _WINDOWS and len(where) > _LONGEST_THERE:
            hint = _TOO_LONG  # which it calls a file that is not there
        if error.errno in _FULL:
            raise InsufficientSpace(
                f"No room for {where}: {text}.", hint=hint, path=where
            ) from error
        raise StorageError(f"Cannot use {where}: {text}.", hint=hint, path=where) from error


def cut_short(path: Path) -> StorageError:
    """Return the error that a file has less than was written to it."""
    return StorageError(f"{path} was cut short by somebody.", path=str(path))
