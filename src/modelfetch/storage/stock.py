"""What a cache holds, put in words: models and their builds, unfinished downloads, disk usage."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from modelfetch.core.leftovers import Kind
from modelfetch.core.pieces import SpanSet
from modelfetch.core.variants import variants
from modelfetch.inventory import CachedBuild, CachedModel, CachedPartial, DiskUsage
from modelfetch.storage.disk import free_bytes
from modelfetch.storage.journals import read_journal
from modelfetch.storage.layout import Layout
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.scan import Entry, Pointer, RepoScan, disk_bytes, scan_all
from modelfetch.types import RemoteFile

__all__ = ["builds_in", "disk_usage", "is_busy", "lock_of", "models", "moved"]


def models(layout: Layout) -> list[CachedModel]:
    """Return what the cache has; folders in which there is nothing are left out."""
    found = [_model(one) for one in scan_all(layout)]
    return [model for model in found if model.builds or model.others or model.partials]


def builds_in(scan: RepoScan, commit: str) -> list[tuple[CachedBuild, tuple[Pointer, ...]]]:
    """Return the builds of one snapshot, best quality first, with the names of their files."""
    here = {p.path: p for p in scan.pointers if p.commit == commit and not p.is_broken}
    refs = tuple(sorted(ref for ref, named in scan.refs.items() if named == commit))
    result = []
    for build in variants(RemoteFile(path, p.size_bytes, None) for path, p in here.items()):
        pointers = tuple(here[file.path] for file in build.files)
        described = CachedBuild(
            selector=build.selector,
            commit=commit,
            refs=refs,
            paths=tuple(file.path for file in build.files),
            missing=build.missing,
            size_bytes=build.size_bytes,
            last_used=max(pointer.used for pointer in pointers),
        )
        result.append((described, pointers))
    return result


def lock_of(scan: RepoScan, blob: str) -> Path:
    """Return the lock of a blob, whatever its name: another program's may be no hash."""
    return scan.folder.parent / ".locks" / scan.folder.name / f"{blob}.lock"


def moved(scan: RepoScan) -> dict[Path, str]:
    """Return which blobs the files in snapshots are that moved there, for want of links.

    The checksums of their pieces have stayed behind, and tell the size of each; where several have
    the same size, nothing does.
    """
    there, sizes = {entry.blob for entry in scan.of(Kind.BLOB)}, dict[int, list[str]]()
    for entry in scan.of(Kind.SUMS):
        said = None if entry.blob in there else read_journal(entry.path)
        if said is not None and said.header.blob == entry.blob:
            sizes.setdefault(said.header.size_bytes, []).append(entry.blob)
    alone = {size: blobs[0] for size, blobs in sizes.items() if len(blobs) == 1}
    return {
        pointer.place: alone[pointer.size_bytes]
        for pointer in scan.pointers
        if pointer.blob is None and not pointer.is_broken and pointer.size_bytes in alone
    }


def is_busy(lock: Path) -> bool:
    """Return whether a running process holds a lock."""
    if not lock.exists():
        return False
    probe = BlobLock(lock)
    try:
        return not probe.try_acquire()
    finally:
        probe.release()


def disk_usage(layout: Layout) -> DiskUsage:
    """Return what the cache takes of the disk.

    Raises:
        OSError: The disk cannot be asked.
    """
    seen: set[tuple[int, int]] = set()
    repos = {one.folder.name: one.repo for one in scan_all(layout)}
    sizes = dict.fromkeys(repos, 0)
    shared = other = partial = 0
    for parent, _, names in os.walk(layout.root):
        top = Path(parent).relative_to(layout.root).parts[:1]
        for name in names:
            size = _once(Path(parent, name), seen)
            if top and top[0] in repos:
                sizes[top[0]] += size
                if name.endswith(".incomplete"):
                    partial += size
            elif top == ("blobs",):
                shared += size
            else:
                other += size
    listed = sorted(((repos[name], size) for name, size in sizes.items()), key=_largest_first)
    return DiskUsage(tuple(listed), partial, shared, other, free_bytes(layout.root))


def _largest_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _once(path: Path, seen: set[tuple[int, int]]) -> int:
    try:
        about = path.lstat()
    except OSError:
        return 0
    if (about.st_dev, about.st_ino) in seen:
        return 0
    seen.add((about.st_dev, about.st_ino))
    return disk_bytes(about)


def _model(scan: RepoScan) -> CachedModel:
    builds = [build for commit in scan.commits for build, _ in builds_in(scan, commit)]
    of_builds = {(build.commit, path) for build in builds for path in build.paths}
    alive = [pointer for pointer in scan.pointers if not pointer.is_broken]
    others = {p.path for p in alive if (p.commit, p.path) not in of_builds}
    return CachedModel(
        repo=scan.repo,
        builds=tuple(builds),
        others=tuple(sorted(others)),
        partials=tuple(_partial(scan, entry) for entry in scan.of(Kind.PARTIAL)),
        size_bytes=_size(scan),
        last_used=max((pointer.used for pointer in alive), default=None),
    )


def _size(scan: RepoScan) -> int:
    # A link into the shared store is counted with what it leads to: that is what the user sees.
    blobs: Iterable[Entry] = scan.of(Kind.BLOB)
    sizes = {e.identity: e.size_bytes if e.is_link else e.disk_bytes for e in blobs}
    partials = sum(entry.disk_bytes for entry in scan.of(Kind.PARTIAL))
    return sum(sizes.values()) + partials + sum(p.disk_bytes for p in scan.pointers)


def _partial(scan: RepoScan, entry: Entry) -> CachedPartial:
    held, size = entry.size_bytes, None
    journal = entry.path.with_name(entry.path.name.removesuffix("incomplete") + "journal")
    said = read_journal(journal)
    if said is not None:
        spans = (piece.span for piece in said.pieces)
        held = SpanSet(span for span in spans if span.stop <= entry.size_bytes).size
        size = said.header.size_bytes
    return CachedPartial(
        path=entry.path,
        blob=entry.blob,
        held_bytes=held,
        size_bytes=size,
        modified=entry.changed,
        in_use=is_busy(lock_of(scan, entry.blob)),
    )
