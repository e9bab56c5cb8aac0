"""Every path in the cache; no I/O but listing what belongs to a blob, and removing a partial.

    <root>/
      CACHEDIR.TAG
      .locks/models--owner--name/<blob>.lock      one writer for each blob
      models--owner--name/
        blobs/<blob>                              a verified file, named by its published hash
        blobs/<blob>.modelfetch.incomplete        the partial
        blobs/<blob>.modelfetch.journal           which pieces of it are there
        blobs/<blob>.modelfetch.sums              the journal of a finished file: checksums
        blobs/<blob>.<token>.modelfetch...        both, of a writer that no lock protects
        blobs/<blob>.modelfetch-bad.incomplete    one that failed its hash twice, for inspection
        blobs/<blob>.<token>.modelfetch-join.incomplete     byte parts being joined
        blobs/<blob>.<token>.modelfetch-adopt.incomplete    another program's file being copied
        snapshots/<commit>/<path>                 link to ../../blobs/<blob>
        refs/<revision>                           the commit, as text

This is the layout of huggingface_hub (version 1 and 2) and of llama.cpp, which read what is written
here. The names of partials end in `.incomplete`, so that `hf cache` counts them as such, and differ
from `<blob>.incomplete`, which huggingface_hub up to 1.17 would append to or take for complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from modelfetch.core.paths import parts_of

__all__ = ["BlobPaths", "Layout", "names_in"]


class BlobPaths(NamedTuple):
    """The files that belong to one blob."""

    final: Path
    partial: Path
    journal: Path
    rejected: Path
    lock: Path

    @property
    def sums(self) -> Path:
        """The journal of a finished file, kept to tell damaged pieces from sound ones."""
        return self.final.with_name(f"{self.final.name}.modelfetch.sums")

    def private(self, token: str) -> BlobPaths:
        """Return the same with a partial and a journal that nobody else has the names of."""
        stem = f"{self.final.name}.{token}"
        return self._replace(
            partial=self.partial.with_name(f"{stem}.modelfetch.incomplete"),
            journal=self.journal.with_name(f"{stem}.modelfetch.journal"),
        )

    def partials(self) -> list[BlobPaths]:
        """Return the paths for each partial of this blob there is on disk."""
        start, suffix = f"{self.final.name}.", ".modelfetch.incomplete"
        found = [it for it in names_in(self.partial.parent) if it.endswith(suffix)]
        tokens = [it[len(start) : -len(suffix)] for it in found if it.startswith(start)]
        shared = [self] if self.partial.name in found else []
        return [*shared, *(self.private(token) for token in tokens if token)]

    def draft(self, token: str, purpose: str = "join") -> Path:
        """Return where this part and others are joined; `*` gives the pattern of all.

        With `adopt` for `purpose`: where another program's file is copied to.
        """
        return self.partial.with_name(f"{self.final.name}.{token}.modelfetch-{purpose}.incomplete")

    def drafts(self, purpose: str = "join") -> list[Path]:
        """Return the drafts there are on disk."""
        return list(self.partial.parent.glob(self.draft("*", purpose).name))

    def unlink_partial(self) -> None:
        """Remove the partial and its journal; for whoever may."""
        self.partial.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


class Layout(NamedTuple):
    """Paths below one cache root.

    Attributes:
        root: The root.
        symlinks: Whether names in snapshots may be links.
    """

    root: Path
    symlinks: bool = True

    @property
    def tag(self) -> Path:
        """The marker that backup programs look for (https://bford.info/cachedir/)."""
        return self.root / "CACHEDIR.TAG"

    def repo(self, repo: str) -> Path:
        """Return the folder of a repository."""
        return self.root / _folder(repo)

    def blob(self, repo: str, name: str) -> BlobPaths:
        """Return the paths of the blob with the published hash `name`.

        Raises:
            ValueError: `name` is not hex, so it is no hash.
        """
        if not name or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"not a hash: {name!r}")
        blobs = self.repo(repo) / "blobs"
        return BlobPaths(
            final=blobs / name,
            partial=blobs / f"{name}.modelfetch.incomplete",
            journal=blobs / f"{name}.modelfetch.journal",
            rejected=blobs / f"{name}.modelfetch-bad.incomplete",
            lock=self.root / ".locks" / _folder(repo) / f"{name}.lock",
        )

    def unfinished(self, repo: str) -> set[str]:
        """Return the names of the blobs of which there is more than what is finished."""
        names = (it for it in names_in(self.repo(repo) / "blobs") if ".modelfetch" in it)
        return {it.partition(".")[0] for it in names if not it.endswith(".modelfetch.sums")}

    def snapshot(self, repo: str, commit: str, path: str = "") -> Path:
        """Return the path of a file of a snapshot, or of the snapshot's folder.

        Raises:
            ValueError: The name would leave the folder.
        """
        folder = self.repo(repo).joinpath("snapshots", *parts_of(commit))
        return folder.joinpath(*parts_of(path)) if path else folder

    def ref(self, repo: str, revision: str) -> Path:
        """Return the path of a ref.

        Raises:
            ValueError: The name would leave the folder.
        """
        return self.repo(repo).joinpath("refs", *parts_of(revision))


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none when it is not there."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def _folder(repo: str) -> str:
    name = "--".join(("models", *parts_of(repo)))
    if len(name) > 255:
        raise ValueError(f"not the name of a repository: {repo!r}")
    return name
