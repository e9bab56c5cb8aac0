"""A model in a folder of the user's, beside the cache: plain files, fetched and stored once.

<dir>/<file>                               the names that they have in the repository
<dir>/<owner>/<repository>/<file>          the tree of LM Studio's models folder
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modelfetch.core.paths import parts_of
from modelfetch.errors import StorageError
from modelfetch.storage import fence
from modelfetch.storage.copying import Duplicate, Method, draft_for
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.verify import new_hasher
from modelfetch.types import LocalFile, LocalModel, RemoteFile

__all__ = ["Publication"]

_BLOCK = 1 << 20


class Publication:
    """One model on its way into a folder; methods block.

    Args:
        model: A model in the cache.
        snapshot: The folder of its snapshot.
        folder: Where it goes.
        lmstudio: Whether in LM Studio's tree.
        methods: How files may get there.
    """

    def __init__(
        self,
        model: LocalModel,
        snapshot: Path,
        folder: Path,
        *,
        lmstudio: bool,
        methods: Sequence[Method] = tuple(Method),
    ) -> None:
        self._model, self._folder, self._methods = model, folder, methods
        base = folder.joinpath(*parts_of(model.repo)) if lmstudio else folder
        self._targets = [
            base.joinpath(*parts_of(file.path.relative_to(snapshot).as_posix()))
            for file in model.files
        ]
        self._at = 0
        self._duplicate: Duplicate | None = None

    @property
    def model(self) -> LocalModel:
        """The model, with the paths of its files in the folder."""
        pairs = zip(self._model.files, self._targets, strict=True)
        return replace(self._model, files=tuple(replace(f, path=path) for f, path in pairs))

    def step(self) -> bool:
        """Go on, for at most a second or so; return whether there is more to do.

        Raises:
            StorageError: The file system refused; or the disk takes the name for another file's.
        """
        target, file = self._targets[self._at], self._model.files[self._at]
        with storage_errors(target):
            if self._duplicate is None:
                fence.check_folders(self._folder, [target.parent])
                if not _is_there(self._folder, target, file):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._duplicate = Duplicate(file.path, draft_for(target), self._methods)
            if self._duplicate is not None:
                if self._duplicate.step():
                    return True
                self._duplicate.publish(target)
                self._duplicate = None
        self._at += 1
        return self._at < len(self._targets)

    def close(self) -> None:
        """Remove what is not finished."""
        if self._duplicate is not None:
            self._duplicate.close()
            self._duplicate = None


def _is_there(root: Path, target: Path, file: LocalFile) -> bool:
    if not (target.exists() or target.is_symlink()):
        return False
    if not fence.has_own_name(root, target, exactly=True):
        raise StorageError(
            f"This disk takes {target.name} for another file that is there: their names differ "
            "only in case, or in their Unicode form.",
            path=str(target),
        )
    if target.is_symlink() or not target.is_file():
        return False  # replaced, and not written through
    if target.samefile(file.path):
        return True
    own, cached = target.stat(), file.path.stat()
    if own.st_size != cached.st_size:
        return False
    # A copy of ours has the time stamp of what it was copied from; of others the hash tells.
    return own.st_mtime_ns == cached.st_mtime_ns or _has_hash(target, file)


def _has_hash(target: Path, file: LocalFile) -> bool:
    if file.sha256 is None:
        return False
    hasher = new_hasher(RemoteFile(target.name, file.size_bytes, file.sha256))
    buffer = memoryview(bytearray(_BLOCK))
    with target.open("rb") as stream:
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.hexdigest() == file.sha256
