"""A journal as a file: begun whole, then only appended to (`core.journal` has the format).

One that says nothing yet, of a blob that had none, has nothing to lose in a power cut: it becomes
durable, with its name, at the first flush. A file that is fetched within a second never needs that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from modelfetch.core.journal import Encoder, Header, Journal, Piece, decode
from modelfetch.errors import StorageError
from modelfetch.storage import disk
from modelfetch.storage.records import fsync_folder

__all__ = ["JournalFile", "read_journal"]

_READ = os.O_RDONLY | disk.BINARY | disk.NO_FOLLOW | getattr(os, "O_NONBLOCK", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | disk.BINARY | disk.NO_FOLLOW
_APPEND = os.O_WRONLY | os.O_APPEND | disk.BINARY | disk.NO_FOLLOW
# A million and a half records; of a longer one the beginning is as true as the whole.
_MAX_SIZE = 32 << 20


def read_journal(path: Path) -> Journal | None:
    """Return what a journal says; `None` when there is none that can be read, or it is unsound."""
    try:
        fd = os.open(path, _READ)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            return None
        data = memoryview(bytearray(min(about.st_size, _MAX_SIZE)))
        return decode(bytes(data[: disk.read_at(fd, data, 0)]))
    except OSError:
        return None
    finally:
        os.close(fd)


class JournalFile:
    """The writer of one journal; not for several threads at once.

    Args:
        path: Where it is.
        durable: Whether what it says, and that it is there, is to survive a power cut.

    Attributes:
        pieces: Pieces that it names.
        is_sound: Whether it was begun, and all that was appended is in it.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path, self._durable = path, durable
        self._encoder = Encoder()
        self._fd = -1
        self._has_durable_name = True
        self._failure: OSError | None = None
        self.is_sound = False

    @property
    def pieces(self) -> int:
        """How many pieces it names."""
        return self._encoder.pieces

    def begin(self, header: Header, durable: Sequence[Piece], written: Sequence[Piece]) -> None:
        """Replace the file by one that says this; a reader sees the old one or the new.

        Raises:
            OSError: The file system refused; the old one is untouched.
        """
        self.close()
        self.is_sound, self._failure = False, None
        self._encoder = Encoder()
        draft = self._path.with_name(f"{self._path.name}.tmp")
        # An older one must not come back: it may vouch for what is being replaced.
        says_something = bool(durable or written) or os.path.lexists(self._path)
        try:
            with contextlib.suppress(FileNotFoundError):
                if draft.lstat().st_nlink > 1:
                    draft.unlink()  # what has another name is not for us to write to
            fd = os.open(draft, _NEW, 0o666)
            try:
                disk.write_at(fd, [self._encoder.whole(header, durable, written)], 0)
                if self._durable and says_something:
                    disk.flush(fd)
            finally:
                os.close(fd)
            draft.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        if self._durable and says_something:
            fsync_folder(self._path.parent)
        self._has_durable_name = says_something
        self._fd = os.open(self._path, _APPEND)
        self.is_sound = True

    def piece(self, piece: Piece) -> None:
        """Append that the data of `piece` has been written.

        Raises:
            StorageError: An earlier record could not be written.
            OSError: This one could not.
        """
        self._append(self._encoder.piece(piece))

    def flushed(self, count: int) -> None:
        """Append that the data of the first `count` pieces is durable. Raises: as `piece`."""
        self._append(self._encoder.flushed(count))

    def closed(self) -> None:
        """Append that nobody has the partial open. Raises: as `piece`."""
        self._append(self._encoder.closed())

    def flush(self) -> None:
        """Make durable what it says, and its name.

        Raises:
            OSError: The disk failed.
        """
        if not self._has_durable_name:
            fsync_folder(self._path.parent)
            self._has_durable_name = True
        disk.flush(self._fd)

    def close(self) -> None:
        """Close the file. Harmless when closed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, record: bytes) -> None:
        # A torn record hides all after it from the next reader, so nothing is put after one.
        if not self.is_sound:
            if self._failure is not None:
                raise OSError(self._failure.errno, self._failure.strerror)
            path = str(self._path)
            raise StorageError(f"{path} could not be written before.", path=path)
        self.is_sound = False
        try:
            # A disk that becomes full takes a part of it without an error, and tells at the next.
            while record:
                count = os.write(self._fd, record)
                if not count:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                record = record[count:]
        except OSError as error:
            self._failure = error
            raise
        self.is_sound = True
