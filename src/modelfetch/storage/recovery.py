"""What a journal and a partial prove together, before anything is written to either."""

from __future__ import annotations

import os
from pathlib import Path

from modelfetch.core.journal import Header, Piece, compact
from modelfetch.storage import disk, machine
from modelfetch.storage.checksums import crc32
from modelfetch.storage.journals import read_journal
from modelfetch.types import RemoteFile

__all__ = ["header_now", "holds", "proved", "recovered"]


def header_now(file: RemoteFile) -> Header:
    """Return what a journal of `file` that is begun now says of itself."""
    return Header(file.blob_name, file.size_bytes, disk.boot_id(), machine.writer_id())


def recovered(journal: Path, fd: int, header: Header) -> tuple[list[Piece], list[Piece]]:
    """Return what is on disk for sure: durable pieces, and others that are written.

    Pieces that no flush vouches for are read, and count when their checksum is right.

    Args:
        journal: The journal's path.
        fd: The partial, open.
        header: What the journal would say of itself if it were begun now.
    """
    durable, written = proved(journal, header)
    found = read_journal(journal)
    doubtful = () if found is None else found.doubtful(header)
    written += [piece for piece in compact(doubtful) if holds(fd, piece)]
    end = os.fstat(fd).st_size
    return (
        [piece for piece in durable if piece.span.stop <= end],
        [piece for piece in written if piece.span.stop <= end],
    )


def proved(journal: Path, header: Header) -> tuple[list[Piece], list[Piece]]:
    """Return what the journal alone proves: durable pieces, and others that are written."""
    found = read_journal(journal)
    if found is None:
        return [], []
    trusted = found.trusted(header)
    return compact(trusted[: found.flushed]), compact(trusted[found.flushed :])


def holds(fd: int, piece: Piece) -> bool:
    """Return whether an open partial has the bytes of a piece."""
    data = memoryview(bytearray(piece.span.size))
    try:
        count = disk.read_at(fd, data, piece.span.start)
    except OSError:
        return False  # a bad sector; writing it anew lets the drive replace it
    return crc32(data[:count]) == piece.crc32 and count == piece.span.size
