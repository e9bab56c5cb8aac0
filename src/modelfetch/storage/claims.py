"""Whose a partial is: nobody ever writes to one that somebody else may have open.

Under a lock that keeps everybody else out, there is one partial, for whoever has the lock. Anywhere
else each writer has a partial with a name of its own, and what is fetched twice is the price.

A partial is taken over only when it is *idle*: its journal ends in "closed", or names a writer that
has surely ended. It is taken over by renaming it, which succeeds for one; the journal is copied
before, so that there is no moment in which a kill would part the two.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from pathlib import Path

from modelfetch.core.journal import Header
from modelfetch.errors import StorageError
from modelfetch.storage import disk, machine
from modelfetch.storage.disk import allocated_bytes
from modelfetch.storage.journals import JournalFile, read_journal
from modelfetch.storage.layout import BlobPaths

__all__ = ["claim", "close", "is_quiet", "must_be_ours", "sweep"]

# A writer touches its partial every second or so, even when nothing comes. A machine that has been
# silent for this long has most likely ended; should it wake, its first flush tells it that the
# partial is another's.
QUIET_SECONDS = 15 * 60.0
# What cannot be proved to be nobody's is removed, and never taken over, after this.
FORGOTTEN_SECONDS = 24 * 3600.0

_FLAGS = os.O_RDWR | os.O_CREAT | disk.BINARY | disk.NO_FOLLOW

# The partials that this process has open, by device and inode.
_open: set[tuple[int, int]] = set()
_claiming = threading.Lock()


def claim(
    paths: BlobPaths, header: Header, *, alone: bool, is_new: bool = False
) -> tuple[BlobPaths, int]:
    """Open a partial that nobody else has open, with what an idle one holds.

    Args:
        paths: Those of the blob.
        header: The journal's, from now on.
        alone: Whether a lock keeps everybody else out.
        is_new: Whether no partial is looked for: a look takes as long as the folder has names.

    Returns:
        Its paths, and its file descriptor, which is for `close`.

    Raises:
        OSError: The file system refused.
    """
    target = paths if alone else paths.private(secrets.token_hex(4))
    with _claiming:
        if not (is_new or (alone and paths.partial.exists())):
            idle = [one for one in paths.partials() if _is_idle(one, header)]
            idle.sort(key=lambda one: allocated_bytes(one.partial), reverse=True)
            any(_take_over(one, target, header) for one in idle)
        fd = _opened(target.partial)
        _open.add(_identity(os.fstat(fd)))
    return target, fd


def _opened(path: Path) -> int:
    fd = os.open(path, _FLAGS, 0o666)
    if os.fstat(fd).st_nlink > 1:
        # It has another name, maybe outside the cache: it is not for us to write to.
        os.close(fd)
        path.unlink()
        fd = os.open(path, _FLAGS | os.O_EXCL, 0o666)
    return fd


def close(fd: int) -> None:
    """Close a partial that was opened by `claim`."""
    _open.discard(_identity(os.fstat(fd)))
    os.close(fd)


def sweep(paths: BlobPaths, header: Header, *, alone: bool) -> None:
    """Remove the partials of a blob that are nobody's, and what was put aside.

    Args:
        paths: Those of the blob.
        header: What the journal of this process would say.
        alone: Whether a lock keeps everybody else out.

    Raises:
        OSError: The file system refused.
    """
    for one in paths.partials():
        is_mine = alone and one.partial == paths.partial
        if is_mine or _is_idle(one, header) or is_quiet(one.partial, FORGOTTEN_SECONDS):
            one.unlink_partial()
    paths.rejected.unlink(missing_ok=True)
    for stray in paths.journal.parent.glob(f"{paths.final.name}.*modelfetch.journal*"):
        stem = stray.name.partition(".journal")[0]
        if not stray.with_name(f"{stem}.incomplete").exists() and is_quiet(stray, QUIET_SECONDS):
            stray.unlink(missing_ok=True)


def is_quiet(path: Path, seconds: float) -> bool:
    """Return whether a file was not written to for that long."""
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:
        return False


def _is_idle(paths: BlobPaths, now: Header) -> bool:
    journal = read_journal(paths.journal)
    if journal is None or journal.is_closed:
        return journal is not None
    if now.boot_id is None or journal.header.boot_id is None:
        return False
    if journal.header.boot_id != now.boot_id:
        return is_quiet(paths.partial, QUIET_SECONDS)
    if journal.header.writer is not None and journal.header.writer == now.writer:
        with contextlib.suppress(OSError):
            return _identity(paths.partial.stat()) not in _open
    return machine.is_gone(journal.header.writer)


def must_be_ours(fd: int, path: Path) -> None:
    """Raise a `StorageError` where an open partial is not what is at its path any more.

    A clean-up of the cache takes incomplete files: better to hear of it now than at the end. And
    what looked forgotten, because this machine slept, may be another's by now.
    """
    if os.name == "nt":  # pragma: no cover
        return
    try:
        is_ours = os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        is_ours = False
    if not is_ours:
        text, hint = f"{path} was removed by somebody.", "Ask again to start it anew."
        raise StorageError(text, hint=hint, path=str(path))


def _take_over(source: BlobPaths, target: BlobPaths, header: Header) -> bool:
    journal = read_journal(source.journal)
    if journal is None:
        return False
    pieces = journal.trusted(header)
    copy = JournalFile(target.journal, durable=False)
    try:
        copy.begin(header, pieces[: journal.flushed], pieces[journal.flushed :])
    finally:
        copy.close()
    try:
        source.partial.rename(target.partial)
    except (FileNotFoundError, PermissionError):  # another was faster; or it is another user's
        target.journal.unlink(missing_ok=True)
        return False
    source.journal.unlink(missing_ok=True)
    return True


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino
