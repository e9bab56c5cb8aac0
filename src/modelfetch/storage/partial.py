"""The file being filled, and its journal: the only writer of both.

Order is everything here (`core.journal` says why):

* `write`: the data first, then its record, both in one call of one thread;
* `flush`: note how many records there are, make the data durable, only then say so in the journal;
* `publish`: data durable, rename to the final name, folder durable, then the journal becomes the
  list of the finished file's checksums.

Methods block and may run in several threads at once; the caller keeps `close`, `publish` and
`reject` for when no other call runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from modelfetch.core.journal import Encoder, Header, Piece, decode
from modelfetch.core.pieces import PIECE_SIZE, SpanSet
from modelfetch.errors import StorageError
from modelfetch.storage import disk
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.layout import BlobPaths
from modelfetch.storage.records import fsync_folder
from modelfetch.storage.verify import Hasher
from modelfetch.types import RemoteFile, Span

__all__ = ["PartialFile"]

_FLAGS = os.O_RDWR | os.O_CREAT | disk.BINARY | disk.NO_FOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | disk.BINARY | disk.NO_FOLLOW
_APPEND = os.O_WRONLY | os.O_APPEND | disk.BINARY | disk.NO_FOLLOW


class PartialFile:
    """One blob on its way; opening it takes over what an earlier process left.

    Args:
        paths: Where it and its journal are.
        file: What it will be.
        durable: Whether to flush at all.

    Attributes:
        done: The bytes found on disk at opening; the caller's to keep from then on.
        unflushed_bytes: Bytes written since the last flush began.
    """

    def __init__(self, paths: BlobPaths, file: RemoteFile, *, durable: bool = True) -> None:
        self._paths, self._durable = paths, durable
        self._size = file.size_bytes
        self._header = Header(file.blob_name, file.size_bytes, None)
        self._lock = threading.Lock()
        self._buffer: memoryview | None = None
        self._journal_is_sound = True
        self._encoder = Encoder()
        self._fd = self._journal_fd = -1
        self.unflushed_bytes = 0
        self.done = SpanSet()

    def open(self) -> None:
        """Open or make the file, reserve its space, and find out what is in it.

        Raises:
            StorageError: The file system refused; `InsufficientSpace` when there is no room for it.
        """
        with storage_errors(self._paths.partial):
            self._paths.partial.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._paths.partial, _FLAGS, 0o666)
            disk.allocate(self._fd, self._size)
            self._header = replace(self._header, boot_id=disk.boot_id())
            durable, written = self._recovered()
            self._begin_journal(durable, written)
        self.done = SpanSet(piece.span for piece in (*durable, *written))

    def write(self, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        """Put `parts`, together at most one piece, at `offset`, and journal them.

        Raises:
            StorageError: The file system refused; what is on disk is not journalled.
        """
        size, crc32 = 0, 0
        for part in parts:
            size += len(part)
            crc32 = zlib.crc32(part, crc32)
        with storage_errors(self._paths.partial):
            disk.write_at(self._fd, parts, offset)
            with self._lock:
                self._append(self._encoder.piece(Piece(Span(offset, offset + size), crc32)))
                self.unflushed_bytes += size

    def flush(self) -> None:
        """Make durable what has been written, and journal that it is.

        Raises:
            StorageError: The file system refused, or the disk failed.
        """
        with self._lock:
            count, flushing = self._encoder.pieces, self.unflushed_bytes
        if not flushing or self._fd < 0 or not self._journal_is_sound:
            return  # where a record could not be written, that error tells more
        with storage_errors(self._paths.partial):
            self._must_be_there()
            if self._durable:
                disk.flush(self._fd)
                with self._lock:
                    self._append(self._encoder.flushed(count))
                disk.flush(self._journal_fd)
            with self._lock:
                self.unflushed_bytes -= flushing

    def hash_into(self, hasher: Hasher, span: Span) -> None:
        """Feed the bytes of `span`, read back from the file, to `hasher`.

        Raises:
            StorageError: They are not there, or cannot be read.
        """
        if self._buffer is None:
            self._buffer = memoryview(bytearray(PIECE_SIZE))
        offset = span.start
        with storage_errors(self._paths.partial):
            while offset < span.stop:
                window = self._buffer[: min(PIECE_SIZE, span.stop - offset)]
                count = disk.read_at(self._fd, window, offset)
                if count == 0:
                    path = str(self._paths.partial)
                    raise StorageError(f"{path} was cut short by somebody.", path=path)
                hasher.update(window[:count])
                offset += count

    def damaged(self) -> list[Span]:
        """Return the pieces whose bytes on disk are not those that were written."""
        spans = []
        with storage_errors(self._paths.partial):
            # Of two records of one span, the later tells what is there.
            latest = {piece.span: piece for piece in self._read_pieces()[0]}
            for piece in latest.values():
                data = memoryview(bytearray(piece.span.size))
                count = disk.read_at(self._fd, data, piece.span.start)
                if zlib.crc32(data[:count]) != piece.crc32:
                    spans.append(piece.span)
        return spans

    def forget(self, spans: Iterable[Span]) -> None:
        """Take back what the journal says of `spans`: they will be fetched again."""
        lost = SpanSet(spans)
        with storage_errors(self._paths.journal), self._lock:
            kept = [
                piece
                for piece in self._read_pieces()[0]
                if sum(gap.size for gap in lost.gaps(piece.span)) == piece.span.size
            ]
            os.close(self._journal_fd)
            self._journal_fd = -1
            self._begin_journal((), kept)

    def publish(self) -> None:
        """Give the file its final name, durably. Its bytes must have been verified.

        Raises:
            StorageError: The file system refused; the partial is as it was.
        """
        with storage_errors(self._paths.final):
            size = os.fstat(self._fd).st_size
            if size != self._size:
                path = str(self._paths.partial)
                raise StorageError(f"{path} has {size} bytes, not {self._size}.", path=path)
            if self._durable:
                disk.flush(self._fd)
            if os.name == "nt":  # pragma: no cover
                self._close_both()  # an open file cannot be renamed there
            self._paths.partial.replace(self._paths.final)
            if self._durable:
                fsync_folder(self._paths.final.parent)
            self._close_both()
            with contextlib.suppress(OSError):  # a convenience: the file has its name already
                self._paths.journal.replace(self._paths.sums)

    def reject(self) -> Path:
        """Put the partial aside, out of the way of the next attempt; return where it is."""
        with storage_errors(self._paths.rejected):
            self._close_both()
            self._paths.partial.replace(self._paths.rejected)
            self._paths.journal.unlink(missing_ok=True)
        return self._paths.rejected

    def close(self) -> None:
        """Flush and close the files; what they hold stays for the next time. Harmless when closed.

        Raises:
            StorageError: Flushing failed; the files are closed.
        """
        try:
            self.flush()
        finally:
            self._close_both()

    def _close_both(self) -> None:
        for fd in (self._fd, self._journal_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._journal_fd = -1

    def _must_be_there(self) -> None:
        # A clean-up of the cache takes incomplete files: better to hear of it now than at the end.
        if os.name != "nt" and os.fstat(self._fd).st_nlink == 0:
            path = str(self._paths.partial)
            raise StorageError(
                f"{path} was removed by somebody.", hint="Ask again to start it anew.", path=path
            )

    def _recovered(self) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        pieces, flushed = self._read_pieces()
        end = os.fstat(self._fd).st_size
        durable = tuple(piece for piece in pieces[:flushed] if piece.span.stop <= end)
        written = tuple(piece for piece in pieces[flushed:] if piece.span.stop <= end)
        return durable, written

    def _read_pieces(self) -> tuple[tuple[Piece, ...], int]:
        try:
            data = self._paths.journal.read_bytes()
        except FileNotFoundError:
            return (), 0
        journal = decode(data)
        if journal is None:
            return (), 0
        trusted = journal.trusted(self._header)
        return trusted, min(journal.flushed, len(trusted))

    def _begin_journal(self, durable: Iterable[Piece], written: Iterable[Piece]) -> None:
        # Facts of another boot are restated in this one, and the log loses what it does not need.
        self._encoder = Encoder()
        draft = self._paths.journal.with_name(f"{self._paths.journal.name}.tmp")
        fd = os.open(draft, _NEW, 0o666)
        try:
            disk.write_at(fd, [self._encoder.whole(self._header, durable, written)], 0)
        finally:
            os.close(fd)
        draft.replace(self._paths.journal)
        self._journal_fd = os.open(self._paths.journal, _APPEND)
        self._journal_is_sound = True

    def _append(self, record: bytes) -> None:
        # A torn record hides all after it from the next reader, so nothing is put after one.
        if not self._journal_is_sound:
            path = str(self._paths.journal)
            raise StorageError(f"{path} could not be written before.", path=path)
        self._journal_is_sound = False
        written = os.write(self._journal_fd, record)
        if written == len(record):
            self._journal_is_sound = True
