"""A model that was published in pieces cut at some byte, made whole.

The parts are ordinary verified blobs by now. They are copied, in order, into a draft whose SHA-256
is taken on the way; the draft then gets that hash as its name, like any blob, and the snapshot a
link to it. Only then do the parts go: nobody can load them, and they are as large as the whole.

Each process has a draft of its own, so that no lock is needed for the bytes to be right; the lock
spares the others the work. A draft cannot be gone on with (its hash is in memory), so one that is
not written to any more is removed by the next process that joins the same parts.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from modelfetch.core.pieces import PIECE_SIZE
from modelfetch.errors import StorageError
from modelfetch.storage import disk
from modelfetch.storage.claims import is_quiet
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.layout import Layout
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.pointers import point
from modelfetch.storage.records import fsync_folder
from modelfetch.storage.snapshots import joined_size
from modelfetch.types import FileRole, Plan

__all__ = ["Joining"]

# At most this much is copied in one call, so that cancelling stays quick.
STRIDE = 64 << 20
# A draft is written to all the time, until it is done.
FORGOTTEN_SECONDS = 3600.0


class Joining:
    """The joining of one plan's parts; methods block.

    Args:
        layout: The cache.
        plan: A plan with a `joined_path`.
        durable: Whether to flush before the file gets its name.
    """

    def __init__(self, layout: Layout, plan: Plan, *, durable: bool) -> None:
        if plan.joined_path is None:
            raise ValueError("the plan has nothing to join")
        self._layout, self._plan, self._durable = layout, plan, durable
        parts = [file for file in plan.files if file.role is FileRole.BYTE_PART]
        self._parts = [layout.blob(plan.repo, part.blob_name).final for part in parts]
        self._names = [layout.snapshot(plan.repo, plan.commit, part.path) for part in parts]
        first = layout.blob(plan.repo, parts[0].blob_name)
        self._first, self._draft = first, first.draft(secrets.token_hex(4))
        self.lock = BlobLock(first.lock.with_name(f"{first.final.name}.join.lock"))
        self._pointer = layout.snapshot(plan.repo, plan.commit, plan.joined_path)
        self._hasher = hashlib.sha256()
        self._fd = -1
        self._part, self._offset, self._written = 0, 0, 0

    def open(self) -> None:
        """Begin. Whoever holds the lock may be sure that older drafts are nobody's.

        Raises:
            StorageError: The file system refused; `InsufficientSpace` when there is no room.
        """
        with storage_errors(self._draft):
            for draft in self._first.drafts():
                if self.lock.is_exclusive or is_quiet(draft, FORGOTTEN_SECONDS):
                    draft.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | disk.BINARY | disk.NO_FOLLOW
            self._fd = os.open(self._draft, flags, 0o666)
            disk.allocate(self._fd, joined_size(self._plan))

    def step(self) -> bool:
        """Copy at most `STRIDE` bytes; return whether there are more.

        Raises:
            StorageError: A part cannot be read, or the draft not be written.
        """
        with storage_errors(self._draft), self._parts[self._part].open("rb") as part:
            part.seek(self._offset)
            for _ in range(STRIDE // PIECE_SIZE):
                data = part.read(PIECE_SIZE)
                if not data:
                    self._part, self._offset = self._part + 1, 0
                    return self._part < len(self._parts)
                disk.write_at(self._fd, [data], self._written)
                self._hasher.update(data)
                self._offset += len(data)
                self._written += len(data)
        return True

    def publish(self) -> None:
        """Give the whole its name and its place in the snapshot.

        Raises:
            StorageError: The file system refused; the parts are still there.
        """
        with storage_errors(self._draft):
            size = os.fstat(self._fd).st_size
            if size != joined_size(self._plan):
                path = str(self._draft)
                raise StorageError(f"{path} has {size} bytes; a part was changed.", path=path)
            final = self._layout.blob(self._plan.repo, self._hasher.hexdigest()).final
            if self._durable:
                disk.flush(self._fd)
            os.close(self._fd)  # before renaming, for Windows
            self._fd = -1
            self._draft.replace(final)
            if self._durable:
                fsync_folder(final.parent)
            point(self._pointer, final, self._layout)

    def remove_parts(self) -> None:
        """Remove the parts of what was joined, by whomever.

        Raises:
            StorageError: The file system refused.
        """
        folder = self._layout.repo(self._plan.repo)
        with storage_errors(folder):
            shown = _link_targets(folder / "snapshots")
            for blob, name in zip(self._parts, self._names, strict=True):
                # Another program, or another commit, may show its users the part.
                if blob.name not in shown and not name.exists():
                    blob.unlink(missing_ok=True)
                    self._layout.blob(self._plan.repo, blob.name).sums.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the draft, if it was not published. Harmless when closed.

        Raises:
            StorageError: The file system refused.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with storage_errors(self._draft):
                self._draft.unlink(missing_ok=True)


def _link_targets(folder: Path) -> set[str]:
    links = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {link.readlink().name for link in links if link.is_symlink()}
