"""What there is in the folder of one repository, whichever program put it there. Read only.

Nothing here follows a link further than to say where it leads: links are what hostile caches are
made of.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelfetch.core.leftovers import Kind, is_draft, read_blob_name
from modelfetch.core.paths import is_safe_path
from modelfetch.storage.fence import is_inside
from modelfetch.storage.layout import Layout
from modelfetch.storage.records import read_text

__all__ = [
    "Entry",
    "Pointer",
    "RepoScan",
    "disk_bytes",
    "entry_of",
    "files_below",
    "folders_below",
    "scan",
    "scan_all",
]

_PREFIX = "models--"
_Identity = tuple[int, int]
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in `blobs/`.

    Attributes:
        path: Where it is.
        kind: What it is for.
        blob: The blob that it belongs to.
        size_bytes: Size of its content, behind a link too.
        disk_bytes: Bytes on disk that removing it frees, unless it has another name.
        used: When it was last read or written.
        changed: When it was last written, or given its name.
        identity: Device and inode of the content.
        is_link: Whether it is a link, such as those into huggingface_hub's shared store.
    """

    path: Path
    kind: Kind
    blob: str
    size_bytes: int
    disk_bytes: int
    used: float
    changed: float
    identity: _Identity
    is_link: bool


@dataclass(frozen=True, slots=True)
class Pointer:
    """A name in a snapshot.

    Attributes:
        place: Where it is on disk.
        commit: The snapshot's commit.
        path: The name of the file in the repository.
        blob: The blob that it leads to; `None` for a file that is there itself.
        size_bytes: Size of the content.
        disk_bytes: Bytes on disk of a file that is there itself.
        used: When the content was last read or written.
        is_broken: Whether it is a link that leads nowhere.
    """

    place: Path
    commit: str
    path: str
    blob: str | None
    size_bytes: int
    disk_bytes: int
    used: float
    is_broken: bool


@dataclass(frozen=True, slots=True)
class RepoScan:
    """One repository's folder.

    Attributes:
        repo: `owner/name`, or one word for the Hub's oldest.
        folder: Its folder.
        is_plain: Whether neither it nor a folder in it is a link to elsewhere, nor that of its
            locks.
        entries: The files in `blobs/`.
        pointers: The names in snapshots.
        commits: The folders in `snapshots/`, and when anything in each was last changed.
        refs: Branches, tags and pull requests, and the commit that each names.
    """

    repo: str
    folder: Path
    is_plain: bool
    entries: tuple[Entry, ...] = ()
    pointers: tuple[Pointer, ...] = ()
    commits: dict[str, float] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def of(self, *kinds: Kind) -> list[Entry]:
        """Return the files of some kinds."""
        return [entry for entry in self.entries if entry.kind in kinds]


def scan_all(layout: Layout) -> Iterator[RepoScan]:
    """Yield what there is of each model repository, in order of their names."""
    for path, _ in _children(layout.root):
        repo = path.name.removeprefix(_PREFIX).replace("--", "/", 1)
        if path.name.startswith(_PREFIX) and is_safe_path(repo) and path.is_dir():
            yield scan(layout, repo)


def scan(layout: Layout, repo: str) -> RepoScan:
    """Return what there is of one repository.

    Raises:
        ValueError: `repo` is no name of a repository.
    """
    folder = layout.repo(repo)
    folders = [*(folder / name for name in ("blobs", "snapshots", "refs", "trees", ".no_exist"))]
    folders.append(layout.root / ".locks" / folder.name)
    entries = tuple(_entries(folder / "blobs"))
    blobs = {entry.identity: entry.blob for entry in entries if entry.kind is Kind.BLOB}
    snapshots = [
        (root, own) for root, own in _children(folder / "snapshots") if stat.S_ISDIR(own.st_mode)
    ]
    return RepoScan(
        repo=repo,
        folder=folder,
        is_plain=all(is_inside(layout.root, path) for path in folders),
        entries=entries,
        pointers=tuple(
            pointer
            for root, _ in snapshots
            for place, own in _places(root)
            if (pointer := _pointer(folder, root, place, own, blobs)) is not None
        ),
        commits={
            root.name: max([about.st_mtime, *(own.st_ctime for _, own in _places(root))])
            for root, about in snapshots
        },
        refs=dict(_refs(folder / "refs")),
    )


def entry_of(pointer: Pointer, blob: str) -> Entry:
    """Return a file that is in a snapshot itself as the blob that it is."""
    own = pointer.place.lstat()
    return _entry(pointer.place, own, Kind.BLOB, blob)


def folders_below(root: Path) -> list[Path]:
    """Return the folders below a folder, the deepest first; links to folders are none."""
    found, left = [], [root]
    while left:
        inner = [path for path, own in _children(left.pop()) if stat.S_ISDIR(own.st_mode)]
        found.extend(inner)
        left.extend(inner)
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def files_below(root: Path) -> list[Path]:
    """Return the files and links below a folder."""
    return [path for path, _ in _places(root)]


def disk_bytes(about: os.stat_result) -> int:
    """Return the bytes on disk that a file occupies."""
    blocks = getattr(about, "st_blocks", None)
    return about.st_size if blocks is None else int(blocks) * 512


def _entries(folder: Path) -> Iterator[Entry]:
    for path, own in _children(folder):
        is_link = stat.S_ISLNK(own.st_mode)
        if is_link or stat.S_ISREG(own.st_mode):
            yield _entry(path, own, *read_blob_name(path.name))


def _entry(path: Path, own: os.stat_result, kind: Kind, blob: str) -> Entry:
    is_link = stat.S_ISLNK(own.st_mode)
    about = (_target_of(path) if is_link else None) or own
    return Entry(
        path=path,
        kind=kind,
        blob=blob,
        size_bytes=about.st_size,
        disk_bytes=disk_bytes(own),
        used=max(about.st_atime, about.st_mtime),
        changed=max(own.st_mtime, own.st_ctime),
        identity=(about.st_dev, about.st_ino),
        is_link=is_link,
    )


def _places(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every file and link below a folder; links to folders are not gone into."""
    folders = [root]  # not a recursion: a hostile cache may be deeper than the stack
    while folders:
        for path, own in _children(folders.pop()):
            if stat.S_ISDIR(own.st_mode):
                folders.append(path)
            else:
                yield path, own


def _pointer(
    folder: Path, root: Path, place: Path, own: os.stat_result, blobs: Mapping[_Identity, str]
) -> Pointer | None:
    is_link = stat.S_ISLNK(own.st_mode)
    about = _target_of(place) if is_link else own
    blob = None if about is None else blobs.get((about.st_dev, about.st_ino))
    if is_link and blob is None:
        try:
            target = str(place.readlink()).removeprefix("\\\\?\\")
        except OSError:
            return (
                None  # gone meanwhile: a download makes links under other names, and renames them
            )
        leads_to = Path(os.path.normpath(place.parent / target))
        blob = leads_to.name if leads_to.parent == folder / "blobs" else None
    return Pointer(
        place=place,
        commit=root.name,
        path=place.relative_to(root).as_posix(),
        blob=blob,
        size_bytes=0 if about is None else about.st_size,
        disk_bytes=disk_bytes(own) if blob is None else 0,
        used=0.0 if about is None else max(about.st_atime, about.st_mtime),
        is_broken=about is None,
    )


def _refs(folder: Path) -> Iterator[tuple[str, str]]:
    for path, own in _places(folder):
        commit = (read_text(path) or "").strip() if stat.S_ISREG(own.st_mode) else ""
        if _COMMIT.fullmatch(commit) and not is_draft(path.name):
            yield path.relative_to(folder).as_posix(), commit


def _children(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Return what is in a folder; what goes away meanwhile is left out."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):
                found.append((path, path.lstat()))
    return found


def _target_of(link: Path) -> os.stat_result | None:
    try:
        return link.stat()
    except OSError:  # nothing there, or a loop
        return None
