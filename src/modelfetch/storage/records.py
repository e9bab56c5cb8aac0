"""Small documents: read whole, written at once or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

__all__ = ["fsync_folder", "read_text", "write_text"]

_MAX_SIZE = 1 << 20
# What SMB, some of FUSE and some of NFS answer: there, the server sees to it or nobody does.
_NOT_FOR_FOLDERS = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES}
)


def read_text(path: Path, most: int = _MAX_SIZE) -> str | None:
    """Return the text of a file; `None` when it is missing, has more than `most` bytes or no UTF-8.

    Args:
        path: The file.
        most: Bytes.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
        return data.decode() if len(data) <= most else None
    except (OSError, UnicodeDecodeError):
        return None


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path`: a reader sees the old document or the new one, nothing between.

    Raises:
        OSError: The file system refused; the old document is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(4)}.tmp")  # the name may have the greatest length
    try:
        with draft.open("xb") as stream:
            stream.write(text.encode())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable, where the system has a way to.

    Raises:
        OSError: The disk failed.
    """
    if os.name == "nt":
        return  # a folder cannot be opened there; NTFS logs renames
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # a folder that one may write to, and not list, cannot be opened
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(fd)
