"""What the operating system says about files, in words that help."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from modelfetch.errors import InsufficientSpace, StorageError

__all__ = ["storage_errors"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HINTS = {
    errno.EACCES: "Give this user write access, or choose another cache folder.",
    errno.EPERM: "Give this user write access, or choose another cache folder.",
    errno.EROFS: "The file system is read-only; choose another cache folder.",
    errno.ENOTDIR: "A file is in the way of a folder; remove it, or choose another cache folder.",
    errno.EEXIST: "A file is in the way of a folder; remove it, or choose another cache folder.",
    errno.EFBIG: "The file system does not take files of this size.",
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
        if error.errno in _FULL:
            hint = _HINTS.get(error.errno, "Free some space, then resume: nothing is lost.")
            raise InsufficientSpace(
                f"No room for {where}: {text}.", hint=hint, path=where
            ) from error
        raise StorageError(
            f"Cannot use {where}: {text}.", hint=_HINTS.get(error.errno or 0), path=where
        ) from error
