"""That what we write stays in the cache, and under the name that was meant.

Names from a repository are judged as text (`core.paths`). This is about the disk: a folder of the
cache may have been replaced by a link to elsewhere, and the disk may take two names for one, in
another case or another Unicode form.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from modelfetch.errors import StorageError

__all__ = ["check_folders", "has_own_name", "is_inside", "names_in"]


def is_inside(root: Path, folder: Path) -> bool:
    """Return whether a folder, or where it will be, is below `root` and reached without links."""
    return folder.resolve() == root.resolve() / folder.relative_to(root)


def check_folders(root: Path, folders: Iterable[Path]) -> None:
    """See that writing in `folders` writes below `root`.

    Raises:
        StorageError: A link is in the way.
    """
    for folder in dict.fromkeys(folders):
        if not is_inside(root, folder):
            raise StorageError(
                f"A link to elsewhere is in the place of {folder}, or of a folder above it.",
                hint="Nothing is written through links: remove it, or choose another cache folder.",
                path=str(folder),
            )


def has_own_name(root: Path, path: Path, *, exactly: bool) -> bool:
    """Return whether what is at `path` was given that name, and not one that the disk takes for it.

    Args:
        root: A folder above it, whose own name does not matter.
        path: Where something is.
        exactly: Whether another Unicode form is another name; some disks change the form.
    """
    parent = root
    for part in path.relative_to(root).parts:
        names = names_in(parent)
        if part not in names and (exactly or _composed(part) not in map(_composed, names)):
            return False
        parent /= part
    return True


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, as they were given."""
    return [path.name for path in folder.iterdir()]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
