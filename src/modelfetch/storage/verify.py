"""Hashes of files: the Hub's SHA-256 for large files, git's SHA-1 for the others."""

from __future__ import annotations

import hashlib
from typing import Protocol

from modelfetch.types import RemoteFile

__all__ = ["Hasher", "new_hasher"]


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
