"""A file in a second place: sharing its blocks, as a second name of it, or as a copy.

A *reflink* shares blocks until one of the two is changed (btrfs, XFS, bcachefs, ZFS, APFS); it
costs nothing and endangers nothing. A *hard link* costs nothing too, but whoever writes to one of
the names changes both. A copy always works.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from modelfetch.storage import disk

__all__ = ["Duplicate", "Method"]

# At most this much is copied in one call, so that cancelling stays quick.
STRIDE = 64 << 20
_BLOCK = 1 << 20
_FICLONE = 0x40049409  # _IOW(0x94, 9, int) in linux/fs.h


class Method(StrEnum):
    """How a file came to its second place."""

    REFLINK = "reflink"
    HARDLINK = "hardlink"
    COPY = "copy"


class Duplicate:
    """One file on its way to a second place; methods block, and raise `OSError`.

    Args:
        source: The file; never changed, and links to it are followed.
        draft: Where it is put, until `publish`; in the folder of its place.
        methods: What may be tried, in this order.

    Attributes:
        method: What worked, once `step` has returned False.
    """

    def __init__(
        self, source: Path, draft: Path, methods: Sequence[Method] = tuple(Method)
    ) -> None:
        self._source, self._draft, self._methods = source.resolve(), draft, methods
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        self.method: Method | None = None

    def step(self) -> bool:
        """Go on; return whether there is more to do."""
        if self._files is None:
            for method in self._methods:
                if method is Method.COPY:
                    self._files = self._source.open("rb"), self._draft.open("xb")
                    return True
                if _ATTEMPTS[method](self._source, self._draft):
                    self.method = method
                    return False
            raise OSError(f"{self._source} cannot be put there by {', '.join(self._methods)}")
        source, draft = self._files
        for _ in range(STRIDE // _BLOCK):
            data = source.read(_BLOCK)
            if not data:
                self.method = Method.COPY
                return False
            draft.write(data)
        return True

    def flush(self, *, durable: bool) -> None:
        """End writing; make what was written durable, if it is to be."""
        if self._files is not None:
            self._files[1].flush()
            if durable:
                disk.flush(self._files[1].fileno())
        self._close()

    def publish(self, target: Path) -> None:
        """Give it its name, and the time stamp of what it is a copy of."""
        self._close()
        if self.method is not Method.HARDLINK:
            about = self._source.stat()
            os.utime(self._draft, ns=(about.st_atime_ns, about.st_mtime_ns))
        self._draft.replace(target)

    def close(self) -> None:
        """Remove what did not get its name. Harmless after `publish`."""
        self._close()
        self._draft.unlink(missing_ok=True)

    def _close(self) -> None:
        for file in self._files or ():
            file.close()
        self._files = None


def _hardlinked(source: Path, draft: Path) -> bool:
    try:
        draft.hardlink_to(source)
    except (OSError, NotImplementedError):
        return False  # another disk, or one without them, or too many
    return True


def _reflinked(source: Path, draft: Path) -> bool:
    try:
        return _clone(source, draft)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False


if sys.platform == "darwin":  # pragma: no cover

    def _clone(source: Path, draft: Path) -> bool:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.clonefile(os.fsencode(source), os.fsencode(draft), 0) == 0)

elif sys.platform == "linux":

    def _clone(source: Path, draft: Path) -> bool:
        import fcntl

        with source.open("rb") as file, draft.open("xb") as clone:
            fcntl.ioctl(clone.fileno(), _FICLONE, file.fileno())
        return True

else:  # pragma: no cover

    def _clone(source: Path, draft: Path) -> bool:
        return False


_ATTEMPTS = {Method.REFLINK: _reflinked, Method.HARDLINK: _hardlinked}
