"""What files of the FakeHub hold: real bytes, files on disk, or bytes that tell their position."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

__all__ = ["BytesContent", "Content", "FileContent", "Joined", "PositionCoded", "as_content"]

_STRIDE = 1 << 20
_WORD = 8
_MASK = (1 << 64) - 1
_CYCLE = 1 << 16  # words after which the two low bytes of the counter begin again


class Content(Protocol):
    """Bytes of a known size, readable at any place."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    @property
    def sha256(self) -> str:
        """SHA-256 of all of them, in hex: the Hub's id of a large file."""

    @property
    def git_oid(self) -> str:
        """Git's blob id of them, in hex: the Hub's id of any other file."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`."""


class _Hashed:
    """Hashes by reading, each at first use."""

    @property
    def size(self) -> int:
        raise NotImplementedError

    def read(self, start: int, stop: int) -> bytes:
        raise NotImplementedError

    @cached_property
    def sha256(self) -> str:
        return self._digest("sha256", b"")

    @cached_property
    def git_oid(self) -> str:
        return self._digest("sha1", b"blob %d\0" % self.size)

    def _digest(self, algorithm: str, head: bytes) -> str:
        hasher = hashlib.new(algorithm, head, usedforsecurity=False)
        for start in range(0, self.size, _STRIDE):
            hasher.update(self.read(start, min(self.size, start + _STRIDE)))
        return hasher.hexdigest()


class BytesContent(_Hashed):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self._data)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`."""
        return self._data[start:stop]


class FileContent(_Hashed):
    """A file on disk, which must not change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`."""
        with self._path.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)


class PositionCoded(_Hashed):
    """Bytes computed from their position: every aligned 8-byte word is different.

    A byte at a wrong offset shows. Nothing is stored, so a file may be larger than any disk; the
    SHA-256 of such a file is given, because computing it would take days.

    Args:
        size: Number of bytes.
        seed: Files of different seeds have no word in common, within 2^40 words.
        sha256: Declared instead of computed.
    """

    def __init__(self, size: int, seed: int = 0, *, sha256: str | None = None) -> None:
        self._size = size
        self._base = (seed * 0x9E3779B97F4A7C15 & _MASK) >> 1 & ~((1 << 40) - 1)
        if sha256 is not None:
            self.__dict__["sha256"] = sha256

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`."""
        stop = min(stop, self._size)
        if start >= stop:
            return b""
        first, last = start // _WORD, -(-stop // _WORD)
        data = b"".join(self._words(first, last))
        return data[start - first * _WORD : stop - first * _WORD]

    def _words(self, first: int, last: int) -> Iterator[bytes]:
        while first < last:
            high, low = divmod(self._base + first, _CYCLE)
            stop = min(_CYCLE, low + last - first)
            yield _run(high, low, stop)
            first += stop - low


@cache
def _cycle() -> bytes:
    return struct.pack(f">{_CYCLE}Q", *range(_CYCLE))


def _run(high: int, low: int, stop: int) -> bytes:
    # Big-endian, so that a dump reads as a counter. Writing the six high bytes, the same in all
    # words, over a copy of the low ones is several times faster than making each integer.
    words = bytearray(_cycle()[low * _WORD : stop * _WORD])
    for place, byte in enumerate(high.to_bytes(6)):
        if byte:
            words[place::_WORD] = bytes((byte,)) * (stop - low)
    return bytes(words)


class Joined(_Hashed):
    """One content after the other."""

    def __init__(self, *parts: Content) -> None:
        self._parts = parts

    @property
    def size(self) -> int:
        """Number of bytes."""
        return sum(part.size for part in self._parts)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`."""
        found, offset = [], 0
        for part in self._parts:
            low, high = max(start - offset, 0), min(stop - offset, part.size)
            if low < high:
                found.append(part.read(low, high))
            offset += part.size
        return b"".join(found)


def as_content(value: Content | bytes | Path | str) -> Content:
    """Return `value` as a content: bytes, the text of a string, or the file at a path."""
    if isinstance(value, bytes):
        return BytesContent(value)
    if isinstance(value, str):
        return BytesContent(value.encode())
    return FileContent(value) if isinstance(value, Path) else value
