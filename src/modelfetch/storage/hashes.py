"""What the files of other programs hash to, so that they are not read again and again.

A file is known by its device, inode, size, and when it was changed: its content (mtime, which
programs set) and anything about it (ctime, which they cannot; on Windows, when it was made). The
memory spares work: what is adopted is hashed once more, in the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Generator
from pathlib import Path

from modelfetch.storage import disk
from modelfetch.storage.records import read_text, write_text
from modelfetch.storage.verify import hash_span
from modelfetch.types import Span

__all__ = ["HashMemory", "hashed"]

# At most this much is hashed in one step, so that cancelling stays quick.
STRIDE = 64 << 20
_READ = os.O_RDONLY | disk.BINARY | getattr(os, "O_NONBLOCK", 0)
_MOST = 5000  # entries of 130 bytes or so


class HashMemory:
    """Hashes of files, in a small file; methods block.

    Args:
        path: Where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, about: os.stat_result) -> str | None:
        """Return the SHA-256 of a file that has not changed since it was noted."""
        return self._read().get(_key(about))

    def note(self, about: os.stat_result, sha256: str) -> None:
        """Remember the SHA-256 of a file. What cannot be written is not remembered."""
        known = self._read()
        known[_key(about)] = sha256
        latest = dict(list(known.items())[-_MOST:])
        with contextlib.suppress(OSError):
            write_text(self._path, json.dumps(latest))

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(read_text(self._path) or "{}")
        except (ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {key: value for key, value in found.items() if isinstance(value, str)}


def hashed(path: Path) -> Generator[bool, None, str]:
    """Return the SHA-256 of a file, yielding now and then on the way.

    Raises:
        OSError: It cannot be read.
    """
    hasher, offset = hashlib.sha256(), 0
    fd = os.open(path, _READ)
    try:
        while count := hash_span(hasher, fd, Span(offset, offset + STRIDE)):
            offset += count
            yield True
    finally:
        os.close(fd)
    return hasher.hexdigest()


def _key(about: os.stat_result) -> str:
    changed = f"{about.st_mtime_ns}:{about.st_ctime_ns}"
    return f"{about.st_dev}:{about.st_ino}:{about.st_size}:{changed}"
