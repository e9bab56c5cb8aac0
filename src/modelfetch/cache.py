"""Housekeeping of a cache: what is in it, whether it is sound, and how to make room."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from modelfetch.config import Config
from modelfetch.core.quants import combine
from modelfetch.core.refs import parse
from modelfetch.core.select import find
from modelfetch.core.variants import Build, variants
from modelfetch.errors import (
    AmbiguousQuantization,
    InvalidState,
    ModelNotFound,
    QuantizationNotFound,
    StorageError,
)
from modelfetch.inventory import CachedModel, DamagedFile, DiskUsage, Removal, Verification
from modelfetch.storage import audit, removal, stock
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.layout import Layout
from modelfetch.storage.scan import Entry, Pointer, RepoScan, scan, scan_all
from modelfetch.types import RemoteFile

__all__ = ["Cache"]

DEFAULT_AGE = 3600.0


class Cache:
    """The cache of one folder, whichever programs filled it.

    Its methods block; a program with an event loop calls them in a thread
    (`asyncio.to_thread(cache.models)`). None of them touches what a running process is filling.

    Args:
        cache_dir: Root of the cache; the one that `Config` says if `None`.
    """

    def __init__(self, cache_dir: str | os.PathLike[str] | None = None) -> None:
        config = Config() if cache_dir is None else Config(cache_dir=Path(cache_dir))
        self.cache_dir = config.cache_dir
        self._layout = Layout(config.cache_dir)

    def models(self) -> list[CachedModel]:
        """Return the repositories that the cache has anything of, in order of their names.

        Raises:
            StorageError: The cache cannot be read.
        """
        with storage_errors(self.cache_dir):
            return stock.models(self._layout)

    def disk_usage(self) -> DiskUsage:
        """Return what the cache takes of the disk.

        Raises:
            StorageError: The disk cannot be asked.
        """
        with storage_errors(self.cache_dir):
            return stock.disk_usage(self._layout)

    def verify(
        self,
        model: str | None = None,
        *,
        repair: bool = False,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> Verification:
        """Hash every finished file, and compare with the hash that it is named by.

        Args:
            model: `owner/name` of the one repository to look at; all if `None`.
            repair: Whether to take damaged files out of their snapshots. What is sound of them
                stays as a partial, so that the next download of the model fetches the damaged
                pieces only; all, where another program fetched the file.
            on_bytes: Told of bytes as they are read.

        Raises:
            ModelNotFound: The cache has nothing of `model`.
            StorageError: A file cannot be read, or not be marked.
        """
        repos = scan_all(self._layout) if model is None else iter([self._scan(parse(model).repo)])
        checked = checked_bytes = 0
        damaged: list[DamagedFile] = []
        broken: list[Path] = []
        unverifiable: list[Path] = []
        for found in repos:
            entries = audit.checkable(found)
            checked += len(entries)
            checked_bytes += sum(entry.size_bytes for entry in entries)
            damaged.extend(self._damaged(found, entries, repair, on_bytes))
            broken.extend(p.place for p in found.pointers if p.is_broken)
            known = {key for entry in entries for key in (entry.blob, entry.path)}
            unverifiable.extend(
                p.place
                for p in found.pointers
                if not (p.is_broken or p.blob in known or p.place in known)
            )
        return Verification(
            checked, checked_bytes, tuple(damaged), tuple(broken), tuple(unverifiable)
        )

    def remove(self, model: str, quantization: str | None = None) -> Removal:
        """Remove a repository, or one quantization of it; blobs only when nothing else needs them.

        Args:
            model: `owner/name`, `owner/name:QUANT`, `owner/name@revision`.
            quantization: As in `Engine.plan`; the whole repository if `None`.

        Raises:
            ModelNotFound: The cache has nothing of it.
            QuantizationNotFound: The cache has no such quantization of it.
            AmbiguousQuantization: Several fit.
            InvalidState: A running process is filling it.
            StorageError: The file system refused.
        """
        ref = parse(model)
        found = self._scan(ref.repo)
        if not found.is_plain:
            path = str(found.folder)
            raise StorageError(f"{path} is a link to elsewhere: remove it yourself.", path=path)
        busy = {lock.name.removesuffix(".lock") for lock in removal.busy_locks(found)}
        request = combine(ref.file, quantization or ref.quantization)
        if request is None and ref.revision is None:
            if busy:
                raise _busy(found.repo)
            return removal.remove_repo(self._layout, found)
        pointers = _chosen(found, request, ref.revision)
        if busy & {pointer.blob for pointer in pointers}:
            raise _busy(found.repo)
        return removal.remove_pointers(self._layout, found, pointers)

    def prune(self, *, dry_run: bool = True, older_than: float = DEFAULT_AGE) -> Removal:
        """Remove what no model needs.

        That is: unfinished downloads; files that no snapshot names, or of which the names lead
        nowhere; snapshots that no branch, tag or pull request names; and what interrupted programs
        left. A repository that is being downloaded is left alone.

        Args:
            dry_run: Whether only to say what would be removed.
            older_than: Seconds; what was changed since then stays. On disks on which locks do not
                work it is all that protects what runs.

        Raises:
            StorageError: The file system refused.
        """
        return removal.prune(self._layout, older_than=older_than, dry_run=dry_run)

    def _scan(self, repo: str) -> RepoScan:
        found = scan(self._layout, repo)
        if not (found.entries or found.commits or found.refs):
            names = [one.repo for one in scan_all(self._layout)]
            same = [name for name in names if name.lower() == repo.lower()]
            hint = f"It has {same[0]}." if same else "`modelfetch ls` lists what there is."
            raise ModelNotFound(f"{self.cache_dir} has nothing of {repo}.", hint=hint)
        return found

    def _damaged(
        self,
        found: RepoScan,
        entries: list[Entry],
        repair: bool,
        on_bytes: Callable[[int], None],
    ) -> Iterator[DamagedFile]:
        for entry in entries:
            damage = audit.check(self._layout, found.repo, entry, on_bytes)
            if damage is not None:
                is_marked = repair and found.is_plain and audit.mark(self._layout, found, damage)
                yield damage.described(found, marked=is_marked)


def _chosen(found: RepoScan, request: str | None, revision: str | None) -> list[Pointer]:
    """Return the names of the build that is meant, in every snapshot that has it."""
    commit = found.refs.get(revision or "", revision)
    names: dict[str, dict[str, Pointer]] = {}
    for pointer in found.pointers:
        if commit in (None, pointer.commit):
            names.setdefault(pointer.commit, {})[pointer.path] = pointer
    if not names:
        raise ModelNotFound(f"The cache has nothing of {found.repo} at {revision}.")
    if request is None:
        return [pointer for paths in names.values() for pointer in paths.values()]
    chosen: list[Pointer] = []
    offered: list[Build] = []
    for paths in names.values():
        builds = variants(RemoteFile(path, p.size_bytes, None) for path, p in paths.items())
        offered.extend(builds)
        match = find(builds, request)
        if match is not None and len(match.builds) > 1:
            candidates = [build.variant for build in match.builds]
            raise AmbiguousQuantization(request, candidates, f"{request} names several builds.")
        if match is not None:
            chosen.extend(paths[file.path] for file in match.builds[0].files)
        elif request in paths:
            chosen.append(paths[request])
    if not chosen:
        there = [build.variant for build in offered]
        text = f"The cache has no {request} of {found.repo}."
        raise QuantizationNotFound(request, there, text)
    return chosen


def _busy(repo: str) -> InvalidState:
    return InvalidState(
        f"{repo} is being downloaded by a running process.", hint="Cancel that download first."
    )
