"""The names in snapshots: what they lead to, and how they are made to."""

from __future__ import annotations

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
    if not blob.exists():
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
    point(pointer, blob)


def point(pointer: Path, blob: Path) -> None:
    """Let a name in a snapshot lead to a blob, by the best kind of link there is."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    draft = pointer.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        _first_that_works(draft, blob)
        draft.replace(pointer)
    finally:
        draft.unlink(missing_ok=True)


def _first_that_works(draft: Path, blob: Path) -> None:
    try:
        draft.symlink_to(os.path.relpath(blob, draft.parent))
    except OSError:
        # No links for this user or on this disk (Windows without developer mode, FAT).
        try:
            draft.hardlink_to(blob)
        except OSError:
            shutil.copyfile(blob, draft)
