"""Which names from a repository may become names on this disk."""

from __future__ import annotations

import re

__all__ = ["is_safe_path", "parts_of"]

_MAX_PART = 255  # bytes; the limit of ext4, APFS and NTFS
_MAX_PATH = 1024
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def is_safe_path(path: str) -> bool:
    """Return whether `path` is a relative name that stays below any folder, on any system.

    Judged by POSIX and Windows rules at once, as huggingface_hub does, because a cache may be
    shared: no empty, `.` or `..` part, no backslash, drive, colon or control character, no reserved
    name.
    """
    if not path.isprintable() or _FORBIDDEN.search(path):
        return False
    if len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH:
        return False
    return all(_is_safe_part(part) for part in path.split("/"))


def parts_of(path: str) -> tuple[str, ...]:
    """Return the parts of a safe path.

    Raises:
        ValueError: The path is not safe.
    """
    if not is_safe_path(path):
        raise ValueError(f"not a safe path: {path!r}")
    return tuple(path.split("/"))


def _is_safe_part(part: str) -> bool:
    if not part or part[-1] in ". " or _RESERVED.fullmatch(part):
        return False
    return len(part.encode("utf-8", "surrogatepass")) <= _MAX_PART
