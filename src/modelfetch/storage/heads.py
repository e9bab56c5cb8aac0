"""The heads of GGUF files that are complete on disk, and earlier versions of a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from modelfetch.core.gguf import HeaderReader
from modelfetch.core.tensors import Header
from modelfetch.storage.layout import Layout
from modelfetch.types import RemoteFile

__all__ = ["Earlier", "earlier_version", "read_header"]

STRIDE = 1 << 20


class Earlier(NamedTuple):
    """A file that another commit has under the same name.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        header: Its head.
    """

    path: Path
    size_bytes: int
    header: Header


def earlier_version(layout: Layout, repo: str, commit: str, file: RemoteFile) -> Earlier | None:
    """Return the newest other version of `file` that is in the cache, if it has tensors."""
    for path in _versions(layout, repo, commit, file):
        header = read_header(path)
        if header is not None and header.tensors:
            return Earlier(path, path.stat().st_size, header)
    return None


def _versions(layout: Layout, repo: str, commit: str, file: RemoteFile) -> list[Path]:
    own = layout.snapshot(repo, commit)
    try:
        others = [folder for folder in own.parent.iterdir() if folder.name != own.name]
        named = [layout.snapshot(repo, folder.name, file.path) for folder in others]
        paths = {path.resolve(strict=True) for path in named if path.is_file()}
        return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    except (OSError, ValueError):
        return []


def read_header(path: Path) -> Header | None:
    """Return the head of a file; `None` when it has none that we read, or cannot be read."""
    try:
        with path.open("rb") as stream:
            reader = HeaderReader(path.stat().st_size)
            while not reader.is_done and (data := stream.read(STRIDE)):
                reader.feed(data)
    except OSError:
        return None
    return reader.header
