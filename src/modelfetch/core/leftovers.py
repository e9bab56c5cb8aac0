"""What a file in a repository's `blobs/` is, by its name alone."""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Kind", "is_draft", "read_blob_name"]

# `<blob>.incomplete` and `<blob>.<8 hex>.incomplete` are huggingface_hub's; ours name modelfetch,
# and may have a token of their own after the blob.
_PARTIAL = re.compile(r"(?P<blob>.+?)(?:\.[0-9a-f]{8})?(?:\.modelfetch(?:-[a-z]+)?)?\.incomplete")
_COMPANION = re.compile(
    r"(?P<blob>.+?)(?:\.[0-9a-f]{8})?\.modelfetch\.(?P<kind>journal|sums)(?P<draft>\.tmp)?"
)
_DRAFT = re.compile(r"(?P<blob>.*)\.[0-9a-f]{8}\.(?:tmp|shared)")


class Kind(StrEnum):
    """What a file in `blobs/` is for."""

    BLOB = "blob"
    """A finished file."""
    PARTIAL = "partial"
    """A download that is not finished."""
    JOURNAL = "journal"
    """What is in a partial."""
    SUMS = "sums"
    """Checksums of the pieces of a finished file."""
    DRAFT = "draft"
    """A small file on its way to its name."""


def read_blob_name(name: str) -> tuple[Kind, str]:
    """Return what a file is for, and the blob that it belongs to.

    A name that fits no pattern is a blob's: servers may call their files anything.
    """
    if match := _PARTIAL.fullmatch(name):
        return Kind.PARTIAL, match["blob"]
    if match := _COMPANION.fullmatch(name):
        return Kind.DRAFT if match["draft"] else Kind(match["kind"]), match["blob"]
    if match := _DRAFT.fullmatch(name):
        return Kind.DRAFT, match["blob"].removeprefix(".")
    return Kind.BLOB, name


def is_draft(name: str) -> bool:
    """Return whether a file is a small one that had not got its name when its writer ended."""
    return _DRAFT.fullmatch(name) is not None
