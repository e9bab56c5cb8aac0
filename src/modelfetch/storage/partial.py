"""The file being filled, and its journal: the only writer of both.

Order is everything here (`core.journal` says why):

* `write`: the data first, then its record, both in one call of one thread;
* `flush`: note how many records there are, make the data durable, only then say so in the journal;
* `publish`: data durable, rename to the final name, folder durable, then the journal becomes the
  list of the finished file's checksums.

The file is nobody else's while it is open (`storage.claims`), so what is published is written no
more.

Methods block. Several may run at once, but for `close`, `publish` and `reject`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from modelfetch.core.journal import Header, Piece, compact
from modelfetch.core.pieces import PIECE_SIZE, SpanSet
from modelfetch.errors import StorageError
from modelfetch.storage import claims, disk
from modelfetch.storage.checksums import crc32
from modelfetch.storage.faults import cut_short, storage_errors
from modelfetch.storage.journals import JournalFile
from modelfetch.storage.layout import BlobPaths
from modelfetch.storage.records import fsync_folder
from modelfetch.storage.recovery import header_now, holds, proved, recovered
from modelfetch.storage.verify import Hasher, hash_span, is_content
from modelfetch.types import RemoteFile, Span

__all__ = ["PartialFile"]

# Records after which a journal is written anew without those it does not need. A slow connection
# makes one every quarter of a second, so that two days of eight of them would make 100 MB.
LONG_JOURNAL = 100_000


class PartialFile:
    """One blob on its way; opening it takes over what an earlier process left.

    Args:
        paths: Where it and its journal are.
        file: What it will be.
        durable: Whether to flush at all.
        alone: Whether a lock keeps everybody else from this blob.
        is_new: Whether nobody has left anything of it under another name.

    Attributes:
        done: The bytes found on disk at opening; the caller's to keep from then on.
    """

    def __init__(
        self, paths: BlobPaths, file: RemoteFile, *,
        durable: bool = True, alone: bool = False, is_new: bool = False,
    ) -> None:  # fmt: skip
        self._paths, self._is_new = paths, is_new
        self._file, self._durable, self._alone = file, durable, alone
        self._lock = threading.Lock()
        self._header = Header(file.blob_name, file.size_bytes, None)
        self._journal = JournalFile(paths.journal, durable=durable)
        self._tails: dict[int, Piece] = {}
        self._long = LONG_JOURNAL
        self._fd = -1
        self._unflushed = SpanSet()
        self._failure: OSError | None = None
        self.done = SpanSet()

    @property
    def unflushed_bytes(self) -> int:
        """Bytes written since the last flush began."""
        return self._unflushed.size

    def open(self) -> None:
        """Open or make the file, reserve its space, and find out what is in it.

        Raises:
            StorageError: The file system refused; `InsufficientSpace` when there is no room for it.
        """
        with storage_errors(self._paths.partial):
            self._paths.partial.parent.mkdir(parents=True, exist_ok=True)
            self._header = header_now(self._file)
            alone, is_new = self._alone, self._is_new
            claimed = claims.claim(self._paths, self._header, alone=alone, is_new=is_new)
            self._paths, self._fd = claimed
            self._journal = JournalFile(self._paths.journal, durable=self._durable)
            disk.allocate(self._fd, self._file.size_bytes)
            durable, written = recovered(self._paths.journal, self._fd, self._header)
            self._begin_journal(durable, written)
        self.done = SpanSet(piece.span for piece in (*durable, *written))
        self._unflushed = SpanSet(piece.span for piece in written)

    def write(self, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        """Put `parts`, together at most one piece, at `offset`, and journal them.

        Raises:
            StorageError: The file system refused; what is on disk is not journalled.
        """
        with self._lock:
            # Of a piece that comes in parts, the last record tells the checksum of the whole.
            begun = self._tails.pop(offset, Piece(Span(offset, offset), 0))
        size, check = 0, begun.crc32
        for part in parts:
            size += len(part)
            check = crc32(part, check)
        piece = Piece(Span(begun.span.start, offset + size), check)
        with storage_errors(self._paths.partial):
            disk.write_at(self._fd, parts, offset)
            with self._lock:
                self._journal.piece(piece)
                self._unflushed.add(Span(offset, offset + size))
                if piece.span.stop % PIECE_SIZE:
                    self._tails[piece.span.stop] = piece

    def copy_from(self, source: Path, start: int, span: Span) -> None:
        """Put the bytes of another file from `start` on at `span`.

        They get no record: nobody vouches for them before the whole is verified.

        Raises:
            StorageError: The file system refused, or the other file is shorter.
        """
        with storage_errors(self._paths.partial):
            with source.open("rb") as stream:
                disk.copy_range(stream.fileno(), start, self._fd, span.start, span.size)
            with self._lock:
                self._unflushed.add(span)

    def flush(self) -> None:
        """Make durable what has been written, and journal that it is.

        Raises:
            StorageError: The file system refused, or the disk failed.
        """
        with storage_errors(self._paths.partial):
            if self._failure is not None:
                raise self._failure
        if self._fd < 0 or not self._journal.is_sound:
            return  # where a record could not be written, that error tells more
        with self._lock:
            count, flushing = self._journal.pieces, self._unflushed
            self._unflushed = SpanSet()
        with storage_errors(self._paths.partial):
            self._flush(count, flushing)

    def _flush(self, count: int, spans: SpanSet) -> None:
        if not spans and not self._alone:
            os.utime(self._fd)  # a sign of life, for other machines
        if not spans:
            return
        claims.must_be_ours(self._fd, self._paths.partial)
        if self._durable:
            self._make_durable(spans)
            with self._lock:
                self._journal.flushed(count)
            self._journal.flush()
        with self._lock:
            if self._journal.pieces > self._long:
                self._begin_journal(*proved(self._paths.journal, self._header))

    def hash_into(self, hasher: Hasher, span: Span, block: memoryview) -> None:
        """Feed the bytes of `span`, read back from the file into `block`, to `hasher`.

        Raises:
            StorageError: They are not there, or cannot be read.
        """
        with storage_errors(self._paths.partial):
            if hash_span(hasher, self._fd, span, block) < span.size:
                raise cut_short(self._paths.partial)

    def read(self, span: Span) -> bytes:
        """Return the bytes of `span`, which must have been written.

        Raises:
            StorageError: They are not there, or cannot be read.
        """
        data = memoryview(bytearray(span.size))
        with storage_errors(self._paths.partial):
            count = disk.read_at(self._fd, data, span.start)
        if count < span.size:
            raise cut_short(self._paths.partial)
        return bytes(data)

    def damaged(self) -> list[Span]:
        """Return the pieces whose bytes on disk are not those that were written."""
        with storage_errors(self._paths.partial):
            pieces = compact(chain(*proved(self._paths.journal, self._header)))
            return [piece.span for piece in pieces if not holds(self._fd, piece)]

    def forget(self, spans: Iterable[Span]) -> None:
        """Take back what the journal says of `spans`: they will be fetched again."""
        lost = SpanSet(spans)
        with storage_errors(self._paths.journal), self._lock:
            durable, written = (
                [piece for piece in pieces if not lost.overlaps(piece.span)]
                for pieces in proved(self._paths.journal, self._header)
            )
            self._tails.clear()
            self._begin_journal(durable, written)

    def publish(self) -> None:
        """Give the file its final name, durably. Its bytes must have been verified.

        Raises:
            StorageError: The file system refused, now or at a flush; the partial is as it was.
        """
        with storage_errors(self._paths.final):
            if self._failure is not None:
                raise self._failure
            if (size := os.fstat(self._fd).st_size) != self._file.size_bytes:
                path = str(self._paths.partial)
                text = f"{path} has {size} bytes, not {self._file.size_bytes}."
                raise StorageError(text, path=path)
            if self._durable:
                self._make_durable(self._unflushed)
            if os.name == "nt":  # pragma: no cover
                self._close_both()  # an open file cannot be renamed there
            self._take_final_name()
            if self._durable:
                fsync_folder(self._paths.final.parent)
            self._close_both()
            with contextlib.suppress(OSError):  # a convenience: the file has its name already
                self._paths.journal.replace(self._paths.sums)
            self._paths.unlink_partial()

    def _take_final_name(self) -> None:
        try:
            self._paths.partial.replace(self._paths.final)
        except (FileNotFoundError, PermissionError):
            # Removed by a clean-up; or, on Windows, somebody has the same file open already.
            if not is_content(self._paths.final, self._file):
                raise

    def reject(self) -> Path:
        """Put the partial aside, out of the way of the next attempt; return where it is."""
        with storage_errors(self._paths.rejected):
            self._close_both()
            self._paths.partial.replace(self._paths.rejected)
            self._paths.unlink_partial()
        return self._paths.rejected

    def discard(self) -> None:
        """Remove the partial: nobody will go on with it.

        Raises:
            StorageError: The file system refused.
        """
        with storage_errors(self._paths.partial):
            self._close_both()
            self._paths.unlink_partial()

    def close(self) -> None:
        """Flush and close the files; what they hold stays for the next time. Harmless when closed.

        Raises:
            StorageError: Flushing failed; the files are closed.
        """
        try:
            if self._failure is None:
                self.flush()
            if self._fd >= 0 and self._journal.is_sound:
                with storage_errors(self._paths.journal):
                    self._journal.closed()
        finally:
            is_worthless = self._fd >= 0 and not self._alone and os.fstat(self._fd).st_size == 0
            self._close_both()
            if is_worthless:  # and under this name nobody would find it
                self._paths.unlink_partial()

    def _close_both(self) -> None:
        self._journal.close()
        if self._fd >= 0:
            claims.close(self._fd)
            self._fd = -1

    def _make_durable(self, spans: SpanSet) -> None:
        try:
            disk.flush(self._fd, spans)
        except OSError as error:
            # A kernel tells once that data were lost: a second flush would prove nothing, nor what
            # is read from its cache. So what is not durable by now will be fetched again.
            with self._lock:
                self._failure = error
                self._tails.clear()
                try:
                    self._begin_journal(proved(self._paths.journal, self._header)[0], ())
                except OSError:
                    self._paths.journal.unlink(missing_ok=True)
            raise

    def _begin_journal(self, durable: Sequence[Piece], written: Sequence[Piece]) -> None:
        # Facts of another boot are restated in this one, and the log loses what it needs not.
        self._journal.begin(self._header, durable, written)
        self._long = max(LONG_JOURNAL, 2 * self._journal.pieces)
