"""What the cache shows to its readers: snapshots and refs, in huggingface_hub's layout."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from modelfetch.core.inspection import metadata_of
from modelfetch.core.paths import is_safe_path
from modelfetch.storage import fence
from modelfetch.storage.claims import sweep
from modelfetch.storage.disk import allocated_bytes
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.heads import read_header
from modelfetch.storage.layout import BlobPaths, Layout
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.pointers import has_size, place, shows
from modelfetch.storage.records import read_text, write_text
from modelfetch.storage.recovery import header_now
from modelfetch.storage.space import Reservation, check_room
from modelfetch.types import (
    FileRole,
    LocalFile,
    LocalModel,
    Plan,
    PlannedFile,
    RemoteFile,
    Snapshot,
)

__all__ = [
    "cached_repos",
    "check_space",
    "discard_partials",
    "is_joined",
    "is_present",
    "joined_size",
    "link",
    "local_model",
    "local_snapshot",
    "missing",
    "prepare",
    "room_for",
]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file marks a cache; its folder holds downloads that can be had again.\n"
)


def prepare(layout: Layout, plan: Plan) -> None:
    """Make the cache root, its marker, and the folder of the snapshot.

    The snapshot's folder comes before the first partial: without any, huggingface_hub takes the
    repository for corrupt.

    Raises:
        StorageError: The root is a file, or cannot be written.
    """
    with storage_errors(layout.root):
        layout.root.mkdir(parents=True, exist_ok=True)
        fence.check_folders(layout.root, _folders(layout, plan))
        if not layout.tag.exists():
            write_text(layout.tag, _TAG)
        layout.snapshot(plan.repo, plan.commit).mkdir(parents=True, exist_ok=True)


def is_present(layout: Layout, repo: str, commit: str, file: RemoteFile) -> bool:
    """Return whether a complete file is in the cache, as a blob or, without links, in the snapshot.

    A blob may be a link into the store that huggingface_hub 2 shares between repositories.
    """
    is_known = bool(file.sha256 or file.git_oid)
    if is_known and has_size(layout.blob(repo, file.blob_name).final, file.size_bytes):
        return True
    return shows(layout, layout.snapshot(repo, commit, file.path), file)


def missing(layout: Layout, plan: Plan) -> list[PlannedFile]:
    """Return the files of `plan` that are not in the cache, alone or joined."""
    needed = [file for file in plan.files if file.role is not FileRole.BYTE_PART]
    if not is_joined(layout, plan):
        needed = list(plan.files)
    return [f for f in needed if not is_present(layout, plan.repo, plan.commit, f)]


def is_joined(layout: Layout, plan: Plan) -> bool:
    """Return whether the byte parts of `plan` are in the cache as one file."""
    if plan.joined_path is None:
        return False
    path = layout.snapshot(plan.repo, plan.commit, plan.joined_path)
    return has_size(path, joined_size(plan))


def joined_size(plan: Plan) -> int:
    """Return the size of the byte parts of `plan`, joined."""
    return sum(file.size_bytes for file in plan.files if file.role is FileRole.BYTE_PART)


def check_space(layout: Layout, plan: Plan) -> None:
    """See that the disk has room for what `plan` still needs, before the first byte of it.

    Raises:
        InsufficientSpace: It has not.
        StorageError: The disk cannot be asked.
    """
    check_room(layout.root, partial(_needs, layout, plan))


def room_for(layout: Layout, plan: Plan) -> Reservation:
    """Return a reservation, to be taken, of what `plan` still needs."""
    return Reservation(layout.root, partial(_needs, layout, plan))


def _needs(layout: Layout, plan: Plan) -> dict[Path, int]:
    needs, begun = {}, layout.unfinished(plan.repo)
    for file in missing(layout, plan):
        paths = layout.blob(plan.repo, file.blob_name)
        partials = paths.partials() if file.blob_name in begun else []
        found = (allocated_bytes(one.partial) for one in partials)
        needs[paths.final] = max(0, file.size_bytes - max(found, default=0))
    if plan.joined_path is not None and not is_joined(layout, plan):
        # The parts are there until the whole is.
        first = next(file for file in plan.files if file.role is FileRole.BYTE_PART)
        found = (allocated_bytes(one) for one in layout.blob(plan.repo, first.blob_name).drafts())
        path = layout.snapshot(plan.repo, plan.commit, plan.joined_path)
        needs[path] = max(0, joined_size(plan) - max(found, default=0))
    return needs


def discard_partials(layout: Layout, plan: Plan) -> None:
    """Remove the partials of files of `plan`, but not one that somebody is filling.

    Raises:
        StorageError: The file system refused.
    """
    if not all(fence.is_inside(layout.root, folder) for folder in _folders(layout, plan)):
        return  # nothing of ours is there
    left = layout.unfinished(plan.repo)
    for file in plan.files:
        if (file.sha256 or file.git_oid) and file.blob_name in left:
            _discard_partials_of(layout.blob(plan.repo, file.blob_name), file)


def _discard_partials_of(paths: BlobPaths, file: RemoteFile) -> None:
    lock = BlobLock(paths.lock)
    with storage_errors(paths.partial):
        try:
            if lock.try_acquire():
                sweep(paths, header_now(file), alone=lock.is_exclusive)
        finally:
            lock.release()


def link(layout: Layout, plan: Plan) -> LocalModel:
    """Make the snapshot show the files of `plan`, all of which are in the cache; then set the ref.

    The ref comes last: whoever reads it finds the snapshot that it names.

    Raises:
        StorageError: The file system refused.
    """
    with storage_errors(layout.repo(plan.repo)):
        fence.check_folders(layout.root, _folders(layout, plan))
        try:
            _show(layout, plan)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # The model matters more than what would make its repair cheaper.
            for file in plan.files:
                if file.sha256 or file.git_oid:
                    layout.blob(plan.repo, file.blob_name).sums.unlink(missing_ok=True)
            _show(layout, plan)
    return local_model(layout, plan)


def _show(layout: Layout, plan: Plan) -> None:
    for file in plan.files:
        if file.role is FileRole.BYTE_PART:
            continue  # its place is in the joined file
        pointer = layout.snapshot(plan.repo, plan.commit, file.path)
        if not shows(layout, pointer, file):
            place(layout, plan, pointer, file)
    if is_safe_path(plan.revision):
        _set_ref(layout, plan)


def _set_ref(layout: Layout, plan: Plan) -> None:
    """Let the revision that was asked for name its commit.

    A commit has a ref too: what no ref names, a clean-up removes. It is found without one, so one
    that cannot be written, as in a cache that is only read, is no error.
    """
    ref = layout.ref(plan.repo, plan.revision)
    if read_text(ref) == plan.commit:
        return
    try:
        write_text(ref, plan.commit)
    except OSError:
        if plan.revision != plan.commit:
            raise


def local_model(layout: Layout, plan: Plan) -> LocalModel:
    """Return the model of `plan` as it is on disk."""
    files = [
        LocalFile(
            path=layout.snapshot(plan.repo, plan.commit, file.path),
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            role=file.role,
        )
        for file in plan.files
        if file.role is not FileRole.BYTE_PART
    ]
    if plan.joined_path is not None:
        folder = layout.snapshot(plan.repo, plan.commit)
        joined = _described(folder, layout.snapshot(plan.repo, plan.commit, plan.joined_path))
        path = folder.joinpath(joined.path)
        files.insert(0, LocalFile(path, joined.size_bytes, joined.sha256, FileRole.MODEL))
    heads = (read_header(file.path) for file in files if file.role is FileRole.MODEL)
    metadata = metadata_of(heads)
    return LocalModel(plan.repo, plan.commit, plan.quantization, tuple(files), metadata)


def cached_repos(layout: Layout) -> list[str]:
    """Return `owner/name` of the repositories that the cache has a folder for."""
    folders = sorted(path.name for path in layout.root.glob("models--*--*") if path.is_dir())
    return [name.removeprefix("models--").replace("--", "/", 1) for name in folders]


def local_snapshot(layout: Layout, repo: str, revision: str) -> Snapshot | None:
    """Return what the cache has of `repo` at `revision`; `None` when it has nothing of it."""
    commit: str | None = revision
    if not _COMMIT.fullmatch(revision):
        commit = read_text(layout.ref(repo, revision)) if is_safe_path(revision) else None
    if commit is None or not _COMMIT.fullmatch(commit.strip()):
        return None
    folder = layout.snapshot(repo, commit.strip())
    files = tuple(_described(folder, path) for path in _files_below(folder))
    return Snapshot(repo, revision, commit.strip(), files, from_cache=True) if files else None


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from sorted(path for name in names if (path := Path(parent, name)).is_file())


def _described(folder: Path, path: Path) -> RemoteFile:
    name = path.readlink().name if path.is_symlink() else ""
    return RemoteFile(
        path=path.relative_to(folder).as_posix(),
        size_bytes=path.stat().st_size,
        sha256=name if _SHA256.fullmatch(name) else None,
        git_oid=name if _COMMIT.fullmatch(name) else None,
    )


def _folders(layout: Layout, plan: Plan) -> list[Path]:
    """Return the folders that `plan` writes in."""
    repo = layout.repo(plan.repo)
    folders = [repo / "blobs", layout.root / ".locks" / repo.name]
    folders.extend(layout.snapshot(plan.repo, plan.commit, file.path).parent for file in plan.files)
    if is_safe_path(plan.revision):
        folders.append(layout.ref(plan.repo, plan.revision).parent)
    return folders
