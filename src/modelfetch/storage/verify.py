"""Hashes of files: the Hub's SHA-256 for large files, git's SHA-1 for the others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from modelfetch.storage import disk
from modelfetch.types import RemoteFile, Span

__all__ = ["Hasher", "hash_span", "is_content", "new_block", "new_hasher"]

# What is read at once. Each costs a turn of the interpreter's lock. One of the larger kind is to be
# kept: once such a one was freed, the C library keeps smaller ones, too.
_BLOCK, _LARGE_BLOCK = 1 << 20, 4 << 20
_NICE_BLOCK = 1 << 18  # hashed in a fifth of a millisecond


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


def new_block(most: int) -> memoryview:
    """Return memory for who calls `hash_span` many times, for spans of at most so many bytes."""
    size = _NICE_BLOCK if disk.is_nice() else _LARGE_BLOCK
    return memoryview(bytearray(min(size, most)))


def hash_span(hasher: Hasher, fd: int, span: Span, block: memoryview | None = None) -> int:
    """Feed the bytes of `span` of an open file to `hasher`; return how many there were.

    Args:
        hasher: What is fed.
        fd: The file.
        span: Which bytes.
        block: Where they are read to, from `new_block`; `None` for memory of its own.

    Raises:
        OSError: They cannot be read.
    """
    size = _NICE_BLOCK if disk.is_nice() else _BLOCK
    buffer = block or memoryview(bytearray(min(size, span.size)))
    offset = span.start
    while offset < span.stop:
        count = disk.read_at(fd, buffer[: span.stop - offset], offset)
        if not count:
            break
        hasher.update(buffer[:count])
        offset += count
        disk.step_aside()  # hashing never waits for anything
    return offset - span.start


def is_content(path: Path, file: RemoteFile) -> bool:
    """Return whether what is at `path` is `file`, by its size and by its hash.

    Raises:
        OSError: It is there, and cannot be read.
    """
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    hasher = new_hasher(file)
    with path.open("rb", buffering=0) as stream:
        hash_span(hasher, stream.fileno(), Span(0, file.size_bytes))
        if os.fstat(stream.fileno()).st_size != file.size_bytes:
            return False  # somebody writes to it
    return hasher.hexdigest() == file.blob_name
