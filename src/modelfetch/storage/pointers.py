"""The names in snapshots: what they lead to, and how they are made to."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

from modelfetch.errors import StorageError
from modelfetch.storage import fence
from modelfetch.storage.layout import Layout
from modelfetch.types import Plan, RemoteFile

__all__ = ["has_size", "place", "point", "shows"]

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def has_size(path: Path, size_bytes: int) -> bool:
    """Return whether there is a file of that size."""
    try:
        return path.is_file() and path.stat().st_size == size_bytes
    except OSError:
        return False


def shows(layout: Layout, pointer: Path, file: RemoteFile) -> bool:
    """Return whether a name in a snapshot leads to `file`, as far as that is told without reading.

    A link tells by the hash that it names; a file has only its name, which a disk that does not
    tell cases apart has for others too.
    """
    if not has_size(pointer, file.size_bytes):
        return False
    if not pointer.is_symlink():
        return fence.has_own_name(layout.root, pointer, exactly=False)
    name = pointer.readlink().name
    known = [hash for hash in (file.sha256, file.git_oid) if hash is not None]
    return not known or name in known or not _HASH.fullmatch(name)


def place(layout: Layout, plan: Plan, pointer: Path, file: RemoteFile) -> None:
    """Let a name in a snapshot lead to its blob.

    Raises:
        StorageError: The blob is gone, or the disk has that name for another file.
        OSError: The file system refused.
    """
    blob = layout.blob(plan.repo, file.blob_name).final
    content = blob if blob.exists() else _same_content(layout, plan, file)
    if content is None:
        text, hint = f"{blob} was removed by somebody.", "Ask again to fetch it anew."
        raise StorageError(text, hint=hint, path=str(blob))
    is_there = pointer.exists() or pointer.is_symlink()
    if is_there and not fence.has_own_name(layout.root, pointer, exactly=True):
        raise StorageError(
            f"This disk takes {file.path} for another file of {plan.repo}: their names differ only "
            "in case, or in their Unicode form.",
            hint="Choose a cache folder on a disk that tells them apart.",
            path=str(pointer),
        )
    point(pointer, content, layout)


def point(pointer: Path, content: Path, layout: Layout) -> None:
    """Let a name in a snapshot lead to a blob, by the best kind of link there is."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    draft = pointer.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        if not _is_linked(draft, content, layout.symlinks):
            if content.parent.name == "blobs" and not content.is_symlink():
                # A disk without links of any kind: one copy is enough, and readers look here.
                content.replace(pointer)
                return
            shutil.copyfile(content, draft)
        draft.replace(pointer)
    finally:
        draft.unlink(missing_ok=True)


def _is_linked(draft: Path, content: Path, symlinks: bool) -> bool:
    if symlinks and content.parent.name == "blobs":
        # Where links are not for this user or on this disk (Windows without developer mode, FAT),
        # the errors are of all kinds.
        with contextlib.suppress(OSError, NotImplementedError):
            draft.symlink_to(os.path.relpath(content, draft.parent))
            return True
    with contextlib.suppress(OSError, NotImplementedError):
        draft.hardlink_to(content.resolve())
        return True
    return False


def _same_content(layout: Layout, plan: Plan, file: RemoteFile) -> Path | None:
    """Return another name of the plan that has the content: where there are no links, it moved."""
    same = (other for other in plan.files if other.blob_name == file.blob_name)
    paths = (layout.snapshot(plan.repo, plan.commit, other.path) for other in same)
    return next((path for path in paths if has_size(path, file.size_bytes)), None)
