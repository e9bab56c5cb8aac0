"""Which names from a repository may become names on this disk."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["is_safe_path", "parts_of"]

_MAX_PART = 255  # bytes; the limit of ext4, APFS and NTFS
_MAX_PATH = 1024
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')
# Windows' devices; it ignores what follows a dot, and blanks before that. (Naming Files, Paths, and
# Namespaces, learn.microsoft.com: the digits may be superscripts.)
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE
)


def is_safe_path(path: str) -> bool:
    """Return whether `path` is a relative name that stays below any folder, on any system.

    Judged by POSIX and Windows rules at once, as huggingface_hub does, because a cache may be
    shared: no empty, `.` or `..` part, no backslash, drive, colon or control character, no reserved
    name; nor what would be one if Unicode's look-alikes were taken for what they look like.
    """
    if not path.isprintable() or _FORBIDDEN.search(path):
        return False
    if len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH:
        return False
    if not all(_is_safe_part(part) for part in path.split("/")):
        return False
    # What looks like another name must not be one that would lead elsewhere if it were taken so.
    plain = unicodedata.normalize("NFKC", path)
    parts = re.split(r"[/\\]", plain)
    return len(parts) == path.count("/") + 1 and not any(map(_leads_elsewhere, parts))


def parts_of(path: str) -> tuple[str, ...]:
    """Return the parts of a safe path.

    Raises:
        ValueError: The path is not safe.
    """
    if not is_safe_path(path):
        raise ValueError(f"not a safe path: {path!r}")
    return tuple(path.split("/"))


def _is_safe_part(part: str) -> bool:
    if not part or part[-1] in ". " or _leads_elsewhere(part):
        return False
    return len(part.encode("utf-8", "surrogatepass")) <= _MAX_PART


def _leads_elsewhere(part: str) -> bool:
    return part in (".", "..") or _RESERVED.fullmatch(part) is not None
