"""The FakeHub's repositories: commits, branches, files and who may read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelfetch.testing.content import Content

__all__ = ["Entry", "Repo", "is_large"]

# The Hub stores by .gitattributes; binary weights and anything above 10 MiB are in large-file
# storage.
_LARGE = 10 << 20
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
POINTER_SIZE = 134


def is_large(path: str, content: Content) -> bool:
    """Return whether the Hub would keep the file in large-file storage."""
    return ".gguf" in path or path.endswith((".safetensors", ".bin")) or content.size > _LARGE


@dataclass(frozen=True)
class Entry:
    """One file of one commit."""

    path: str
    content: Content
    is_lfs: bool

    @property
    def git_oid(self) -> str:
        """Git's id: of the pointer for a large file, of the content for any other."""
        if not self.is_lfs:
            return self.content.git_oid
        pointer = _POINTER.format(self.content.sha256, self.content.size).encode()
        return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()

    @property
    def etag(self) -> str:
        """What the Hub calls the file: its SHA-256, or its git id."""
        return self.content.sha256 if self.is_lfs else self.git_oid

    @property
    def cdn_etag(self) -> str:
        """What the CDN calls it: 64 hex digits too, and not the SHA-256."""
        return hashlib.sha256(b"xet" + self.etag.encode()).hexdigest()

    def to_tree(self) -> dict[str, Any]:
        """Return the file as the tree route lists it."""
        listed: dict[str, Any] = {
            "type": "file",
            "oid": self.git_oid,
            "size": self.content.size,
            "path": self.path,
        }
        if self.is_lfs:
            size = self.content.size
            listed["lfs"] = {"oid": self.etag, "size": size, "pointerSize": POINTER_SIZE}
        return listed

    def to_sibling(self, *, blobs: bool) -> dict[str, Any]:
        """Return the file as the info route lists it."""
        if not blobs:
            return {"rfilename": self.path}
        sibling: dict[str, Any] = {
            "rfilename": self.path,
            "blobId": self.git_oid,
            "size": self.content.size,
        }
        if self.is_lfs:
            size = self.content.size
            sibling["lfs"] = {"sha256": self.etag, "size": size, "pointerSize": POINTER_SIZE}
        return sibling


@dataclass
class Repo:
    """A model repository.

    Attributes:
        gated: Whether its files need a token that was let in.
        private: Whether it is hidden from everybody else.
        disabled: Whether the Hub's staff has shut it.
        allowed: Tokens that were let in.
        card_tags: Tags from its card, such as `base_model:quantized:Qwen/Qwen3-4B`.
        downloads: In the last 30 days.
        gguf: What the Hub read in the head of a GGUF file: `total` (parameters), `architecture`,
            `context_length`; `None` for nothing.
    """

    repo_id: str
    gated: bool = False
    private: bool = False
    disabled: bool = False
    allowed: frozenset[str] = frozenset()
    card_tags: tuple[str, ...] = ()
    downloads: int = 0
    gguf: Mapping[str, Any] | None = None
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def push(
        self,
        files: Mapping[str, Content],
        branch: str,
        lfs: Callable[[str, Content], bool],
    ) -> str:
        """Add a commit that holds `files` and nothing else; return its id."""
        entries = {path: Entry(path, item, lfs(path, item)) for path, item in files.items()}
        named = "".join(f"{entry.path}\0{entry.etag}\0" for entry in entries.values())
        seed = f"{self.repo_id}\0{branch}\0{len(self.commits)}\0{named}"
        commit = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[commit] = entries
        self.branches[branch] = commit
        return commit

    @property
    def tags(self) -> list[str]:
        """Tags: those that the Hub derives from the files, and those of the card."""
        files = self.commits.get(self.branches.get("main", ""), {})
        derived = ["gguf"] if any(path.endswith(".gguf") for path in files) else []
        return [*derived, *self.card_tags]

    def commit_of(self, revision: str) -> str | None:
        """Return the commit that a branch, pull request or commit id names."""
        return revision if revision in self.commits else self.branches.get(revision)
