"""Hashes of files: the Hub's SHA-256 for large files, git's SHA-1 for the others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from modelfetch.types import RemoteFile

__all__ = ["Hasher", "is_content", "new_hasher"]

_BLOCK = 1 << 20


class Hasher(Protocol):
    """What `hashlib` gives out."""

    def update(self, data: memoryview, /) -> None:
        """Go on with `data`; releases the GIL for more than 2 KiB."""

    def hexdigest(self) -> str:
        """Return the hash of all so far."""


def new_hasher(file: RemoteFile) -> Hasher:
    """Return a hasher whose digest of the file's content is `file.blob_name`."""
    if file.sha256 is not None:
        return hashlib.sha256()
    # Git's id of a blob covers a header before the content; it guards against accident, not malice.
    hasher = hashlib.sha1(usedforsecurity=False)
    hasher.update(b"blob %d\0" % file.size_bytes)
    return hasher


def is_content(path: Path, file: RemoteFile) -> bool:
    """Return whether what is at `path` is `file`, by its size and by its hash.

    Raises:
        OSError: It is there, and cannot be read.
    """
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    hasher = new_hasher(file)
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.hexdigest() == file.blob_name
