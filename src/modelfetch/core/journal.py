r"""The journal's format: which pieces of a partial are on disk, and how sure we are.

Theory
------
The journal is a log beside the partial file, only ever appended to. It states facts, in order:

    header      blob name, size, the boot in which the log was begun, and who writes it
    PIECE       bytes [start, start+length) were written, and their CRC-32 is so
    FLUSHED n   the data of the first n PIECE records has reached the disk (fdatasync returned)
    CLOSED      as the last record: nobody has the partial open, so anybody may take it over

A piece is written to the partial *before* its record is appended, so after `kill -9` the page cache
holds all that the journal names: within one boot every PIECE is true. A power cut may keep a record
and lose its data (or keep both halves of neither), so in another boot only pieces covered by a
FLUSHED are true: that record was appended after the data was durable.

Every record ends in a CRC-32 chained over all before it, seeded by the header's. A torn tail, a bit
flip, a record taken from another file or a missing middle breaks the chain there, and what follows
is not read. So any prefix and any corruption decodes to a subset of the truth: bytes may be fetched
again, wrong bytes are never trusted. (The final SHA-256 would catch those, at a higher price.)

In another boot the other pieces are in doubt, and their checksums can still prove them.

All integers are little-endian. A record is 21 bytes; at 1 MiB a piece, 64 GiB need 1.4 MB of log.
A piece that trickles in has several records, each of all that is there of it, so that the last one
says it all, and the log can be written anew without the others.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from modelfetch.core.pieces import PIECE_SIZE, SpanSet
from modelfetch.types import Span

__all__ = ["Encoder", "Header", "Journal", "Piece", "compact", "decode"]

_MAGIC = b"modelfetch journal 1\n"
_HEADER_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<BQII")
_CHECK = struct.Struct("<I")
_PIECE = 1
_FLUSHED = 2
_CLOSED = 3
_MAX_HEADER = 4096


class Piece(NamedTuple):
    """One span that was written.

    Attributes:
        span: The bytes; at most `PIECE_SIZE`, within one piece.
        crc32: `zlib.crc32` of them.
    """

    span: Span
    crc32: int


class Header(NamedTuple):
    """What a journal is about.

    Attributes:
        blob: Name of the blob: its published hash.
        size_bytes: Its size.
        boot_id: The boot in which the log was begun; `None` where the system does not tell.
        writer: The process that writes it, as `storage.machine` names it; `None` likewise.
    """

    blob: str
    size_bytes: int
    boot_id: str | None
    writer: str | None = None


class Journal(NamedTuple):
    """What was read from a journal.

    Attributes:
        header: Its first record.
        pieces: The PIECE records, oldest first.
        flushed: How many of them, from the first on, are durable.
        is_closed: Whether its writer has said that it is done with the partial.
    """

    header: Header
    pieces: tuple[Piece, ...]
    flushed: int
    is_closed: bool = False

    def trusted(self, now: Header) -> tuple[Piece, ...]:
        """Return the pieces that are surely on disk.

        Args:
            now: The blob that is wanted, its size, and the present boot.
        """
        if (self.header.blob, self.header.size_bytes) != (now.blob, now.size_bytes):
            return ()
        if now.boot_id is not None and self.header.boot_id == now.boot_id:
            return self.pieces
        return self.pieces[: self.flushed]

    def doubtful(self, now: Header) -> tuple[Piece, ...]:
        """Return the pieces that may be on disk: each is for its checksum to prove.

        Args:
            now: As for `trusted`.
        """
        if (self.header.blob, self.header.size_bytes) != (now.blob, now.size_bytes):
            return ()
        return self.pieces[len(self.trusted(now)) :]


class Encoder:
    """Produce the bytes of a journal, record by record.

    Attributes:
        pieces: PIECE records produced so far.
    """

    __slots__ = ("_check", "pieces")

    def __init__(self) -> None:
        self._check = 0
        self.pieces = 0

    def header(self, header: Header) -> bytes:
        """Return the head of the file; to be called first and once."""
        fields = {
            "blob": header.blob,
            "size": header.size_bytes,
            "boot": header.boot_id,
            "writer": header.writer,
        }
        body = json.dumps(fields).encode()
        record = _MAGIC + _HEADER_LENGTH.pack(len(body)) + body
        return record + self._seal(record)

    def piece(self, piece: Piece) -> bytes:
        """Return the record of a piece whose data has been written."""
        self.pieces += 1
        return self._record(_PIECE, piece.span.start, piece.span.size, piece.crc32)

    def flushed(self, count: int) -> bytes:
        """Return the record that the data of the first `count` pieces is durable."""
        return self._record(_FLUSHED, count, 0, 0)

    def closed(self) -> bytes:
        """Return the record that the partial is open no more."""
        return self._record(_CLOSED, 0, 0, 0)

    def whole(self, header: Header, durable: Iterable[Piece], written: Iterable[Piece]) -> bytes:
        """Return a complete journal: `durable` pieces, their FLUSHED, then `written` ones."""
        parts = [self.header(header), *(self.piece(piece) for piece in durable)]
        parts.append(self.flushed(self.pieces))
        parts.extend(self.piece(piece) for piece in written)
        return b"".join(parts)

    def _record(self, kind: int, start: int, length: int, crc32: int) -> bytes:
        payload = _RECORD.pack(kind, start, length, crc32)
        return payload + self._seal(payload)

    def _seal(self, payload: bytes) -> bytes:
        self._check = zlib.crc32(payload, self._check)
        return _CHECK.pack(self._check)


def compact(pieces: Iterable[Piece]) -> list[Piece]:
    """Return `pieces` without those that a later one covers.

    A piece that comes slowly is written in parts, each with a record of all that is there of it.
    """
    later = SpanSet()
    kept = []
    for piece in reversed(tuple(pieces)):
        if not later.covers(piece.span):
            kept.append(piece)
            later.add(piece.span)
    return kept[::-1]


def decode(data: bytes) -> Journal | None:
    """Return what `data` says, as far as its chain of checks holds.

    Total: no input raises. Returns `None` when not even the header is sound.
    """
    parsed = _decode_header(data)
    if parsed is None:
        return None
    header, offset, check = parsed
    pieces: list[Piece] = []
    flushed, is_closed = 0, False
    step = _RECORD.size + _CHECK.size
    for at in range(offset, len(data) - step + 1, step):
        payload = data[at : at + _RECORD.size]
        check = zlib.crc32(payload, check)
        if _CHECK.unpack_from(data, at + _RECORD.size)[0] != check:
            break
        kind, start, length, crc32 = _RECORD.unpack(payload)
        if kind == _PIECE and _fits(start, length, header.size_bytes):
            pieces.append(Piece(Span(start, start + length), crc32))
        elif kind == _FLUSHED and flushed <= start <= len(pieces):
            flushed = start
        elif kind != _CLOSED:
            break
        is_closed = kind == _CLOSED and at + step == len(data)
    return Journal(header, tuple(pieces), flushed, is_closed)


def _fits(start: int, length: int, size_bytes: int) -> bool:
    within_piece = start % PIECE_SIZE + length <= PIECE_SIZE
    return length > 0 and within_piece and start + length <= size_bytes


def _decode_header(data: bytes) -> tuple[Header, int, int] | None:
    body_at = len(_MAGIC) + _HEADER_LENGTH.size
    if not data.startswith(_MAGIC) or len(data) < body_at:
        return None
    (length,) = _HEADER_LENGTH.unpack_from(data, len(_MAGIC))
    end = body_at + length
    if length > _MAX_HEADER or len(data) < end + _CHECK.size:
        return None
    check = zlib.crc32(data[:end])
    if _CHECK.unpack_from(data, end)[0] != check:
        return None
    try:
        fields = json.loads(data[body_at:end])
        blob, size, boot = fields["blob"], fields["size"], fields["boot"]
        writer = fields.get("writer")
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    well_formed = isinstance(blob, str) and isinstance(size, int) and size >= 0
    if not well_formed or not all(isinstance(name, str | None) for name in (boot, writer)):
        return None
    return Header(blob, size, boot, writer), end + _CHECK.size, check
