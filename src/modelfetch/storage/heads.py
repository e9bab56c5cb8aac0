"""The heads of GGUF files that are complete on disk."""

from __future__ import annotations

from pathlib import Path

from modelfetch.core.gguf import HeaderReader
from modelfetch.core.tensors import Header

__all__ = ["read_header"]

STRIDE = 1 << 20


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
