"""What a cache holds, and what housekeeping found or did: values, no I/O.

Times are seconds since the epoch. Sizes are those of the content, unless they say *on disk*.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfetch.status import iso_time

__all__ = [
    "CachedBuild",
    "CachedModel",
    "CachedPartial",
    "DamagedFile",
    "DiskUsage",
    "Removal",
    "RemovedItem",
    "Verification",
]


@dataclass(frozen=True, slots=True)
class CachedBuild:
    """A GGUF model in the cache: one file, or a set of shards.

    Attributes:
        selector: What to type to get exactly this one: `Q4_K_M`, or the path of a file.
        commit: The commit of the repository that it is from.
        refs: Branches, tags and pull requests that name this commit, as far as the cache knows.
        paths: Its files, in order of their shards.
        missing: Shards that should be there and are not.
        size_bytes: Sum over its files.
        last_used: When one of its files was last read or written.
    """

    selector: str
    commit: str
    refs: tuple[str, ...]
    paths: tuple[str, ...]
    missing: tuple[str, ...]
    size_bytes: int
    last_used: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "quantization": self.selector,
            "commit": self.commit,
            "refs": list(self.refs),
            "paths": list(self.paths),
            "missing": list(self.missing),
            "size_bytes": self.size_bytes,
            "last_used": iso_time(self.last_used),
        }


@dataclass(frozen=True, slots=True)
class CachedPartial:
    """A download that is not finished, by whichever program.

    Attributes:
        path: The file.
        blob: Published hash of what it will be.
        held_bytes: Bytes of it that are there.
        size_bytes: Bytes that it will have; `None` where the program that fills it does not tell.
        modified: When it was last written to.
        in_use: Whether a running process is filling it.
    """

    path: Path
    blob: str
    held_bytes: int
    size_bytes: int | None
    modified: float
    in_use: bool

    @property
    def percent(self) -> int | None:
        """How much is there, rounded down; `None` when the whole size is not known."""
        if self.size_bytes is None:
            return None
        return 100 * self.held_bytes // self.size_bytes if self.size_bytes else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "path": str(self.path),
            "blob": self.blob,
            "held_bytes": self.held_bytes,
            "size_bytes": self.size_bytes,
            "percent": self.percent,
            "modified": iso_time(self.modified),
            "in_use": self.in_use,
        }


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A repository of the Hub, as far as the cache has it.

    Attributes:
        repo: `owner/name`.
        builds: Its GGUF models, of every commit that is there; best quality first.
        others: Paths of other files, such as projectors and configurations.
        partials: Unfinished downloads of it.
        size_bytes: Bytes on disk, a file that several commits share counted once.
        last_used: When a finished file of it was last read or written; `None` without any.
    """

    repo: str
    builds: tuple[CachedBuild, ...]
    others: tuple[str, ...]
    partials: tuple[CachedPartial, ...]
    size_bytes: int
    last_used: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `modelfetch ls --json` prints."""
        return {
            "repo": self.repo,
            "size_bytes": self.size_bytes,
            "last_used": None if self.last_used is None else iso_time(self.last_used),
            "builds": [build.to_dict() for build in self.builds],
            "others": list(self.others),
            "partials": [partial.to_dict() for partial in self.partials],
        }


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A finished file whose bytes are not those that its name promises.

    Attributes:
        repo: `owner/name`.
        blob: Its published hash.
        path: The file on disk.
        names: `(commit, path)` of the places in snapshots that lead to it.
        damaged_bytes: Bytes to fetch again: all, where no checksums of its pieces were kept.
        marked: Whether it was taken out of the snapshots, so that the next download repairs it.
    """

    repo: str
    blob: str
    path: Path
    names: tuple[tuple[str, str], ...]
    damaged_bytes: int
    marked: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "repo": self.repo,
            "blob": self.blob,
            "path": str(self.path),
            "names": [{"commit": commit, "path": path} for commit, path in self.names],
            "damaged_bytes": self.damaged_bytes,
            "marked": self.marked,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """What `Cache.verify` found.

    Attributes:
        checked_files: Files whose hash was computed.
        checked_bytes: Their bytes.
        damaged: Those whose hash is wrong.
        broken_links: Names in snapshots that lead nowhere.
        unverifiable: Files of which no hash is known: other programs put them there without links.
    """

    checked_files: int
    checked_bytes: int
    damaged: tuple[DamagedFile, ...]
    broken_links: tuple[Path, ...]
    unverifiable: tuple[Path, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong, as far as that can be told."""
        return not (self.damaged or self.broken_links)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `modelfetch verify --json` prints."""
        return {
            "checked_files": self.checked_files,
            "checked_bytes": self.checked_bytes,
            "damaged": [file.to_dict() for file in self.damaged],
            "broken_links": [str(path) for path in self.broken_links],
            "unverifiable": [str(path) for path in self.unverifiable],
        }


@dataclass(frozen=True, slots=True)
class RemovedItem:
    """One file that was removed, or would be.

    Attributes:
        repo: `owner/name`.
        path: The file.
        reason: Why, in words.
        freed_bytes: Bytes on disk that this frees.
    """

    repo: str
    path: Path
    reason: str
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What `Cache.remove` and `Cache.prune` did, or would do.

    Attributes:
        items: The files.
        kept: What was left alone although it was asked for, and why.
        dry_run: Whether nothing was touched.
    """

    items: tuple[RemovedItem, ...]
    kept: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def freed_bytes(self) -> int:
        """Sum over all items."""
        return sum(item.freed_bytes for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `modelfetch rm --json` and `prune --json` print."""
        return {
            "dry_run": self.dry_run,
            "freed_bytes": self.freed_bytes,
            "removed": [
                {
                    "repo": item.repo,
                    "path": str(item.path),
                    "reason": item.reason,
                    "freed_bytes": item.freed_bytes,
                }
                for item in self.items
            ],
            "kept": list(self.kept),
        }


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes on disk of a cache; a file with several names counts once.

    Attributes:
        repos: `(repo, bytes)` of each repository, largest first.
        partial_bytes: Unfinished downloads among them.
        shared_bytes: The store that huggingface_hub 2 shares between repositories.
        other_bytes: Everything else: data sets, other programs' files, locks.
        free_bytes: What this user may still write; `None` where the disk does not tell.
    """

    repos: tuple[tuple[str, int], ...]
    partial_bytes: int
    shared_bytes: int
    other_bytes: int
    free_bytes: int | None

    @property
    def total_bytes(self) -> int:
        """All of the cache."""
        return sum(size for _, size in self.repos) + self.shared_bytes + self.other_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `modelfetch du --json` prints."""
        return {
            "total_bytes": self.total_bytes,
            "repos": [{"repo": repo, "size_bytes": size} for repo, size in self.repos],
            "partial_bytes": self.partial_bytes,
            "shared_bytes": self.shared_bytes,
            "other_bytes": self.other_bytes,
            "free_bytes": self.free_bytes,
        }
