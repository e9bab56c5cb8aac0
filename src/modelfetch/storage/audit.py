"""Whether finished files are still what their names promise; and how to get damaged ones right.

The journal of a file that we fetched is kept when it is finished. Where the whole hash is wrong, it
tells which pieces are: the file becomes a partial again, with all its other pieces in its journal,
and the next download fetches the damaged ones only. Files that others fetched have no such list,
and are fetched again in whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelfetch.core.journal import Encoder, Header, Journal, Piece, decode
from modelfetch.core.leftovers import Kind
from modelfetch.core.pieces import SpanSet
from modelfetch.inventory import DamagedFile
from modelfetch.storage import disk
from modelfetch.storage.checksums import crc32
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.layout import BlobPaths, Layout
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.records import read_text
from modelfetch.storage.scan import Entry, Pointer, RepoScan, entry_of
from modelfetch.storage.stock import moved
from modelfetch.storage.verify import Hasher, hash_span
from modelfetch.types import Span

__all__ = ["Damage", "check", "checkable", "mark"]

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_STRIDE = 1 << 20
_MAX_SUMS = 64 << 20
# Never waiting for the other end of a pipe that somebody put there.
_READ = os.O_RDONLY | disk.BINARY | getattr(os, "O_NONBLOCK", 0)
_NO_ATIME: int = getattr(os, "O_NOATIME", 0)


@dataclass(frozen=True, slots=True)
class Damage:
    """A file with a wrong hash.

    Attributes:
        entry: The file.
        size_bytes: The size that it should have; `None` when that is not known.
        sound: Its pieces that are as they were when it was finished.
    """

    entry: Entry
    size_bytes: int | None
    sound: tuple[Piece, ...]

    @property
    def damaged_bytes(self) -> int:
        """Bytes to fetch again."""
        size = self.entry.size_bytes if self.size_bytes is None else self.size_bytes
        return size - SpanSet(piece.span for piece in self.sound).size

    def described(self, found: RepoScan, *, marked: bool) -> DamagedFile:
        """Return what users see of it."""
        blob = self.entry.blob
        names = tuple((p.commit, p.path) for p in found.pointers if _leads(p, self.entry))
        path = self.entry.path
        return DamagedFile(found.repo, blob, path, names, self.damaged_bytes, marked)


def checkable(found: RepoScan) -> list[Entry]:
    """Return the finished files whose hash is known, by their names or by huggingface_hub's notes.

    Without links its files are in the snapshots themselves, and `trees/<commit>.json` lists what
    each should be; of ours the checksums tell.
    """
    blobs = [entry for entry in found.of(Kind.BLOB) if _HASH.fullmatch(entry.blob)]
    trees = {commit: _tree(found.folder / "trees" / f"{commit}.json") for commit in found.commits}
    ours = moved(found)
    for pointer in found.pointers:
        name = trees[pointer.commit].get(pointer.path) or ours.get(pointer.place)
        if pointer.blob is None and name is not None:
            with contextlib.suppress(FileNotFoundError):
                blobs.append(entry_of(pointer, name))
    return blobs


def _tree(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        files = json.loads(read_text(path) or "{}")["files"]
        named = {name: about.get("lfs_sha256") or about["blob_id"] for name, about in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: h for name, h in named.items() if isinstance(h, str) and _HASH.fullmatch(h)}


def check(
    layout: Layout, repo: str, entry: Entry, on_bytes: Callable[[int], None]
) -> Damage | None:
    """Hash a finished file; return what is wrong with it.

    Args:
        layout: The cache.
        repo: Its repository.
        entry: A file that is `checkable`.
        on_bytes: Told of bytes as they are read.

    Raises:
        StorageError: This user may not read it.
    """
    with storage_errors(entry.path):
        try:
            return _checked(layout.blob(repo, entry.blob), entry, on_bytes)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                raise
            # A link that leads nowhere, or a disk that does not give back what it was given.
            return Damage(entry, None, ())


def mark(layout: Layout, found: RepoScan, damage: Damage) -> bool:
    """Take a damaged file out of the snapshots, and keep what is sound of it as a partial.

    Returns:
        False when a running process has the file's lock; nothing is done then.

    Raises:
        StorageError: The file system refused.
    """
    paths = layout.blob(found.repo, damage.entry.blob)
    lock = BlobLock(paths.lock)
    with storage_errors(paths.final):
        try:
            if not lock.try_acquire():
                return False
            for pointer in found.pointers:
                if _leads(pointer, damage.entry) and pointer.place != damage.entry.path:
                    pointer.place.unlink(missing_ok=True)
            _demote(paths, damage)
        finally:
            lock.release()
    return True


def _leads(pointer: Pointer, entry: Entry) -> bool:
    return pointer.blob == entry.blob or pointer.place == entry.path


def _checked(paths: BlobPaths, entry: Entry, on_bytes: Callable[[int], None]) -> Damage | None:
    with _open(entry.path) as fd:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):  # a link to a device, which may have no end
            return Damage(entry, None, ())
        if _digest(fd, entry.blob, about.st_size, on_bytes) == entry.blob:
            return None
        sums = _sums(paths, entry.blob)
        if sums is None:
            return Damage(entry, None, ())
        return Damage(entry, sums.header.size_bytes, tuple(_sound(fd, sums)))


def _demote(paths: BlobPaths, damage: Damage) -> None:
    content = damage.entry.path
    paths.unlink_partial()
    if damage.sound and damage.size_bytes is not None and not damage.entry.is_link:
        # Not in place where the content has another name, or may be another program's.
        if content.stat().st_nlink > 1:
            shutil.copyfile(content, paths.partial)
            content.unlink()
        else:
            content.replace(paths.partial)
        paths.partial.chmod(paths.partial.stat().st_mode | 0o600)
        if paths.partial.stat().st_size > damage.size_bytes:
            os.truncate(paths.partial, damage.size_bytes)
        header = Header(damage.entry.blob, damage.size_bytes, disk.boot_id())
        encoder = Encoder()
        with paths.journal.open("xb") as journal:
            journal.write(encoder.whole(header, damage.sound, ()) + encoder.closed())
    else:
        content.unlink(missing_ok=True)
    paths.sums.unlink(missing_ok=True)


def _digest(fd: int, blob: str, size_bytes: int, on_bytes: Callable[[int], None]) -> str:
    hasher: Hasher
    if len(blob) == 64:
        hasher = hashlib.sha256()
    else:
        hasher = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    offset = 0
    while count := hash_span(hasher, fd, Span(offset, offset + _STRIDE)):
        offset += count
        on_bytes(count)
    return hasher.hexdigest()


def _sums(paths: BlobPaths, blob: str) -> Journal | None:
    if not paths.sums.is_file():
        return None
    with paths.sums.open("rb") as stream:
        journal = decode(stream.read(_MAX_SUMS))
    return journal if journal is not None and journal.header.blob == blob else None


def _sound(fd: int, sums: Journal) -> Iterator[Piece]:
    latest: dict[Span, Piece] = {piece.span: piece for piece in sums.pieces}
    for piece in latest.values():
        data = memoryview(bytearray(piece.span.size))
        count = disk.read_at(fd, data, piece.span.start)
        if count == piece.span.size and crc32(data) == piece.crc32:
            yield piece


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    try:
        # A check is no use: `ls` shows when a model was last used.
        fd = os.open(path, _READ | _NO_ATIME)
    except PermissionError:
        fd = os.open(path, _READ)
    try:
        yield fd
    finally:
        os.close(fd)
