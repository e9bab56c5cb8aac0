"""Taking things out of the cache: names first, then what they led to, folders last.

So a reader never finds a name that leads nowhere, and whatever is interrupted leaves orphans, which
the next clean-up takes. A blob goes only under its lock, so not while somebody fills it, and never
through a link: what leads out of the cache is removed as a link.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from modelfetch.core.leftovers import Kind, is_draft
from modelfetch.inventory import Removal, RemovedItem
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.layout import Layout
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.scan import (
    Entry,
    Pointer,
    RepoScan,
    disk_bytes,
    files_below,
    folders_below,
    scan,
    scan_all,
)
from modelfetch.storage.stock import is_busy, lock_of, moved

__all__ = ["busy_locks", "prune", "remove_pointers", "remove_repo"]

_ELSEWHERE = "{}: its folder is a link to elsewhere; nothing is removed through it."
_MAX_NAME = 255  # bytes
_FILLING = "{}: it is being downloaded."


def busy_locks(scan: RepoScan) -> list[Path]:
    """Return the locks of a repository that running processes hold.

    Raises:
        StorageError: A lock cannot be tried.
    """
    folder = lock_of(scan, "x").parent
    return [lock for lock in sorted(folder.glob("*.lock")) if is_busy(lock)]


def remove_repo(layout: Layout, found: RepoScan) -> Removal:
    """Remove all of a repository but what a running process is filling.

    Raises:
        StorageError: The file system refused.
    """
    with storage_errors(found.folder):
        sweep = _Sweep(layout, found, dry_run=False)
        for pointer in found.pointers:
            sweep.pointer(pointer, "removed")
        for path in files_below(found.folder):
            if path.parent != found.folder / "blobs":
                sweep.file(path, "removed")
        for entry in found.entries:
            sweep.entry(entry, "removed")
        sweep.empty_folders()
    return sweep.removal


def remove_pointers(layout: Layout, found: RepoScan, pointers: Iterable[Pointer]) -> Removal:
    """Remove names from snapshots, and the blobs that no other name leads to.

    Raises:
        StorageError: The file system refused.
    """
    going = set(pointers)
    with storage_errors(found.folder):
        sweep = _Sweep(layout, found, dry_run=False)
        for pointer in found.pointers:
            if pointer in going:
                sweep.pointer(pointer, "removed")
        # Looked at again: a download may have ended meanwhile, and its names count.
        before = moved(found)
        freed = {before.get(pointer.place, pointer.blob) for pointer in going} - sweep.named()
        for entry in found.of(Kind.BLOB, Kind.SUMS):
            if entry.blob in freed:
                sweep.entry(entry, "removed")
        sweep.revisions({pointer.commit for pointer in going})
        sweep.empty_folders()
    return sweep.removal


def prune(layout: Layout, *, older_than: float, dry_run: bool) -> Removal:
    """Remove what no model needs: see `Cache.prune`.

    Raises:
        StorageError: The file system refused.
    """
    items: list[RemovedItem] = []
    kept: list[str] = []
    before = time.time() - older_than
    for found in scan_all(layout):
        with storage_errors(found.folder):
            if not found.is_plain:
                kept.append(_ELSEWHERE.format(found.repo))
            elif busy_locks(found):
                # A download that runs has finished blobs that no snapshot names yet.
                kept.append(_FILLING.format(found.repo))
            else:
                sweep = _Sweep(layout, found, dry_run=dry_run)
                _prune(sweep, found, before)
                items.extend(sweep.removal.items)
                kept.extend(sweep.removal.kept)
    return Removal(tuple(items), tuple(kept), dry_run)


def _prune(sweep: _Sweep, found: RepoScan, before: float) -> None:
    named = set(found.refs.values())
    quiet = {commit for commit, changed in found.commits.items() if changed < before}
    gone = quiet - named
    for pointer in found.pointers:
        if pointer.commit in gone:
            sweep.pointer(pointer, "no branch or tag names its revision")
        elif pointer.is_broken or (is_draft(pointer.place.name) and pointer.commit in quiet):
            sweep.pointer(pointer, "a link that leads nowhere")
    for commit in gone:
        sweep.file(found.folder / "trees" / f"{commit}.json", "its revision is gone")
    for ref, commit in found.refs.items():
        if commit not in found.commits:
            sweep.file(found.folder.joinpath("refs", *ref.split("/")), "it names no snapshot")
    needed = {p.blob for p in found.pointers if p.commit not in gone and not p.is_broken}
    own = set(moved(found).values())  # whose names are in snapshots, and which are no blobs
    needed |= own
    blobs = {entry.blob for entry in found.of(Kind.BLOB)} | own
    partials = {entry.blob for entry in found.of(Kind.PARTIAL) if entry.changed >= before}
    for entry in found.entries:
        reason = _why(entry, needed, blobs, partials)
        if reason is not None and entry.changed < before:
            sweep.entry(entry, reason)
    if found.entries or found.pointers or found.commits:
        sweep.empty_folders(keep=found.commits.keys() - gone)


def _why(entry: Entry, needed: set[str | None], blobs: set[str], fresh: set[str]) -> str | None:
    if entry.kind is Kind.BLOB:
        return None if entry.blob in needed else "no snapshot has it"
    if entry.kind is Kind.PARTIAL:
        return "an unfinished download"
    if entry.kind is Kind.SUMS:
        return None if entry.blob in needed & blobs else "the file that it is about is gone"
    # A journal goes with its partial, not before.
    return None if entry.blob in fresh else "left by an unfinished download"


class _Sweep:
    """One clean-up of one repository: does it, or only says it."""

    def __init__(self, layout: Layout, found: RepoScan, *, dry_run: bool) -> None:
        self._layout, self._found, self._dry_run = layout, found, dry_run
        self._items: list[RemovedItem] = []
        self._kept: list[str] = []
        self._names: dict[tuple[int, int], int] = {}  # how many a file will have left

    @property
    def removal(self) -> Removal:
        """What was done so far."""
        return Removal(tuple(self._items), tuple(self._kept), self._dry_run)

    def pointer(self, pointer: Pointer, reason: str) -> None:
        """Remove a name from a snapshot."""
        self.file(pointer.place, reason, is_content=True)

    def file(self, path: Path, reason: str, *, is_content: bool = False) -> None:
        """Remove a file, or a link as such; what is no content is not counted."""
        if path.is_file() or path.is_symlink():
            freed = self._freed(path) if is_content else 0
            if not self._dry_run:
                path.unlink(missing_ok=True)
            self._items.append(RemovedItem(self._found.repo, path, reason, freed))

    def _freed(self, path: Path) -> int:
        """Return what the disk gets back: all of a file, with the last of its names."""
        try:
            about = path.lstat()
        except FileNotFoundError:
            return 0
        if stat.S_ISLNK(about.st_mode):
            return 0
        identity = (about.st_dev, about.st_ino)
        self._names[identity] = self._names.get(identity, about.st_nlink) - 1
        return 0 if self._names[identity] else disk_bytes(about)

    def entry(self, entry: Entry, reason: str) -> None:
        """Remove a file from `blobs/`, under the lock of its blob."""
        if self._dry_run:
            self.file(entry.path, reason, is_content=True)
            return
        with _locked(lock_of(self._found, entry.blob)) as is_ours:
            if not is_ours:
                self._kept.append(_FILLING.format(f"{self._found.repo}, {entry.path.name}"))
                return
            if entry.kind in (Kind.BLOB, Kind.SUMS) and entry.blob in self.named():
                return  # a download has found it, and given it a name meanwhile
            shared = _target(entry.path) if entry.is_link else None
            self.file(entry.path, reason, is_content=True)
        if shared is not None:
            freed = _swept_bytes(shared, self._layout.root)
            if freed:
                self._items.append(RemovedItem(self._found.repo, shared, reason, freed))

    def named(self) -> set[str | None]:
        """Return the blobs that names in snapshots lead to now."""
        now = scan(self._layout, self._found.repo)
        return {pointer.blob for pointer in now.pointers} | set(moved(now).values())

    def revisions(self, commits: Iterable[str]) -> None:
        """Remove the refs of those revisions of which there is no file any more."""
        left = {pointer.commit for pointer in scan(self._layout, self._found.repo).pointers}
        gone = set(commits) - left
        for ref, commit in self._found.refs.items():
            if commit in gone:
                self.file(self._found.folder.joinpath("refs", *ref.split("/")), "removed")
        for commit in gone:
            self.file(self._found.folder / "trees" / f"{commit}.json", "removed")

    def empty_folders(self, keep: Iterable[str] = ()) -> None:
        """Remove folders that are empty now: of snapshots; and all, when there is nothing else."""
        if self._dry_run:
            return
        root = self._found.folder
        snapshots = root / "snapshots"
        kept = {snapshots / commit for commit in keep}
        self._remove_empty(path for path in folders_below(snapshots) if path not in kept)
        if not files_below(root) and not folders_below(snapshots):
            self._remove_empty([*folders_below(root), root])

    def _remove_empty(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    if len(path.name.encode("utf-8", "surrogatepass")) > _MAX_NAME:
        yield True  # no such file can be, so nobody has it
        return
    lock = BlobLock(path)
    try:
        yield lock.try_acquire()
    finally:
        lock.release()


def _target(link: Path) -> Path:
    return Path(os.path.normpath(link.parent / link.readlink()))


def _swept_bytes(payload: Path, root: Path) -> int:
    """Let huggingface_hub remove a file of its shared store that nobody refers to any more."""
    sweep: Callable[..., int]
    try:
        # Theirs to decide, by their locks and lists; version 1 has no such store.
        from huggingface_hub.utils._shared_blobs import sweep_shared_blob as sweep
    except ImportError:
        return 0
    return sweep(payload, cache_dir=root)
