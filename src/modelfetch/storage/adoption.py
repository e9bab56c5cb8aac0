"""Taking files that other programs have on this machine, in place of fetching them.

Programs that name files by their SHA-256 are asked by name; in other folders files of the right
size are hashed. What is found is shared or copied into the cache under a draft name, and what is
there then is hashed: neither another program's names nor our memory are trusted. The other
program's file is only ever read.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from modelfetch.core.adoption import Place, PlaceKind
from modelfetch.storage.claims import is_quiet
from modelfetch.storage.copying import Duplicate, Method
from modelfetch.storage.hashes import HashMemory, hashed
from modelfetch.storage.layout import BlobPaths
from modelfetch.storage.records import fsync_folder
from modelfetch.types import RemoteFile

__all__ = ["Adoption", "Finder"]

_MAX_FILES = 100_000  # in all folders whose files have any name
# A draft is written to all the time, until it is done.
_FORGOTTEN_SECONDS = 3600.0


class Finder:
    """Looks for files; one for each plan, since folders are listed once. Methods block.

    Args:
        places: Where to look, best first.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._sizes: dict[int, list[Path]] | None = None

    def named(self, sha256: str) -> Iterator[Path]:
        """Yield files whose names say that they are it."""
        for place in self._places:
            folder = Path(place.folder)
            if place.kind is PlaceKind.OLLAMA:
                yield from _if_there(folder / "blobs" / f"sha256-{sha256}")
            elif place.kind is PlaceKind.HUB:
                for repo in _children(folder):
                    if repo.name.startswith("models--"):
                        yield from _if_there(repo / "blobs" / sha256)

    def of_size(self, size_bytes: int) -> list[Path]:
        """Return files that may be it, for their names do not tell."""
        if self._sizes is None:
            self._sizes = self._listed()
        return self._sizes.get(size_bytes, [])

    def _listed(self) -> dict[int, list[Path]]:
        sizes: dict[int, list[Path]] = {}
        files = (path for place in dict.fromkeys(self._places) for path in _unnamed(place))
        for path in islice(files, _MAX_FILES):
            about = _stat(path)
            if about is not None and stat.S_ISREG(about.st_mode):
                sizes.setdefault(about.st_size, []).append(path)
        return sizes


class Adoption:
    """The attempt to find one file on this machine; to be closed. Methods block.

    Args:
        finder: Where to look.
        memory: Hashes of files that were looked at before.
        paths: The blob, whose lock is held.
        file: The file; one with a SHA-256.
        methods: How it may come into the cache.
        durable: Whether to flush before it gets its name.
        alone: Whether the lock keeps everybody else from this blob.

    Attributes:
        source: Where it was found, once it is in the cache.
    """

    def __init__(
        self,
        finder: Finder,
        memory: HashMemory,
        paths: BlobPaths,
        file: RemoteFile,
        *,
        methods: Sequence[Method],
        durable: bool,
        alone: bool,
    ) -> None:
        self._finder, self._memory = finder, memory
        self._paths, self._file = paths, file
        self._methods, self._durable, self._alone = methods, durable, alone
        self._draft = paths.draft(secrets.token_hex(4), "adopt")
        self._work = self._steps()
        self.source: Path | None = None

    def step(self) -> bool:
        """Go on; return whether there is more to do."""
        return next(self._work, None) is not None

    def close(self) -> None:
        """Remove what is not finished."""
        self._work.close()

    def _steps(self) -> Generator[bool, None, None]:
        sha256 = self._file.sha256
        if sha256 is None:
            return
        for path in self._finder.named(sha256):
            yield from self._adopt(path)
            if self.source is not None:
                return
        for path in self._finder.of_size(self._file.size_bytes):
            yield from self._adopt_if_it_is(path)
            if self.source is not None:
                return

    def _adopt_if_it_is(self, path: Path) -> Generator[bool, None, None]:
        about = _stat(path)
        if about is None:
            return
        sha256 = self._memory.find(about)
        if sha256 is None:
            try:
                sha256 = yield from hashed(path)
            except OSError:
                return  # of another user, perhaps
            self._memory.note(about, sha256)
        if sha256 == self._file.sha256:
            yield from self._adopt(path)

    def _adopt(self, path: Path) -> Generator[bool, None, None]:
        about = _stat(path)
        if about is None or about.st_size != self._file.size_bytes:
            return
        self._paths.final.parent.mkdir(parents=True, exist_ok=True)
        for draft in self._paths.drafts("adopt"):
            if self._alone or is_quiet(draft, _FORGOTTEN_SECONDS):
                draft.unlink(missing_ok=True)
        duplicate = Duplicate(path, self._draft, self._methods_for(path))
        try:
            while duplicate.step():
                yield True
            duplicate.flush(durable=self._durable)
            sha256 = yield from hashed(self._draft)
            if sha256 == self._file.sha256:
                duplicate.publish(self._paths.final)
                if self._durable:
                    fsync_folder(self._paths.final.parent)
                self._paths.unlink_partial()
                self.source = path
        except OSError:
            return  # no room, or it cannot be read: then it is fetched
        finally:
            duplicate.close()

    def _methods_for(self, path: Path) -> Sequence[Method]:
        # Nobody writes to a blob of this cache again, so another name of it is as good as a copy.
        cache = self._paths.final.parents[2].resolve()
        is_ours = path.resolve().is_relative_to(cache) and not path.is_symlink()
        return tuple(Method) if is_ours else self._methods


def _unnamed(place: Place) -> Iterator[Path]:
    """Yield the files of a place of which the names do not tell the hash."""
    if place.kind is PlaceKind.FOLDER:
        yield from _files_below(Path(place.folder))
    elif place.kind is PlaceKind.HUB:
        # Where it can make no links (Windows), a file is in the snapshot itself, and no blob.
        for repo in _children(Path(place.folder)):
            if repo.name.startswith("models--"):
                below = _files_below(repo / "snapshots")
                yield from (path for path in below if not path.is_symlink())


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _if_there(path: Path) -> Iterator[Path]:
    if _stat(path) is not None:
        yield path


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
