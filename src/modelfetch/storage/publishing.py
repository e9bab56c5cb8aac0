"""A model in a folder of the user's, beside the cache: plain files, fetched and stored once.

<dir>/<file>                               the names that they have in the repository
<dir>/<owner>/<repository>/<file>          the tree of LM Studio's models folder
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from modelfetch.core.paths import parts_of
from modelfetch.errors import StorageError
from modelfetch.storage import fence
from modelfetch.storage.claims import is_quiet
from modelfetch.storage.copying import Duplicate, Method
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.hashes import HashMemory, hashed
from modelfetch.storage.records import fsync_folder
from modelfetch.types import LocalFile, LocalModel

__all__ = ["Publication"]

_DRAFT = ".{}.modelfetch.tmp"
# A draft is written to all the time, until it is done.
_FORGOTTEN_SECONDS = 3600.0


class Publication:
    """One model on its way into a folder; methods block.

    Args:
        model: A model in the cache.
        snapshot: The folder of its snapshot.
        folder: Where it goes.
        memory: Hashes of files that were looked at, or copied there, before.
        lmstudio: Whether in LM Studio's tree.
        durable: Whether to flush a copy before it gets its name.
        methods: How files may get there.
    """

    def __init__(
        self,
        model: LocalModel,
        snapshot: Path,
        folder: Path,
        memory: HashMemory,
        *,
        lmstudio: bool,
        durable: bool,
        methods: Sequence[Method] = tuple(Method),
    ) -> None:
        self._model, self._folder, self._memory = model, folder, memory
        self._durable, self._methods = durable, methods
        base = folder.joinpath(*parts_of(model.repo)) if lmstudio else folder
        self._targets = [
            base.joinpath(*parts_of(file.path.relative_to(snapshot).as_posix()))
            for file in model.files
        ]
        self._work = self._steps()

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
        return next(self._work, None) is not None

    def close(self) -> None:
        """Remove what is not finished."""
        self._work.close()

    def _steps(self) -> Generator[bool, None, None]:
        for target, file in zip(self._targets, self._model.files, strict=True):
            with storage_errors(target):
                fence.check_folders(self._folder, [target.parent])
                _sweep(target.parent)
                if not (yield from self._is_there(target, file)):
                    yield from self._put(target, file)

    def _put(self, target: Path, file: LocalFile) -> Generator[bool, None, None]:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(_DRAFT.format(secrets.token_hex(4)))
        duplicate = Duplicate(file.path, draft, self._methods)
        try:
            while duplicate.step():
                yield True
            duplicate.flush(durable=self._durable)
            duplicate.publish(target)
        finally:
            duplicate.close()
        if self._durable:
            fsync_folder(target.parent)
        if file.sha256 is not None and duplicate.method is not Method.HARDLINK:
            self._memory.note(target.stat(), file.sha256)

    def _is_there(self, target: Path, file: LocalFile) -> Generator[bool, None, bool]:
        if not (target.exists() or target.is_symlink()):
            return False
        if not fence.has_own_name(self._folder, target, exactly=True):
            raise StorageError(
                f"This disk takes {target.name} for another file that is there: their names differ "
                "only in case, or in their Unicode form.",
                path=str(target),
            )
        if target.is_symlink() or not target.is_file():
            return False  # replaced, and not written through
        if target.samefile(file.path):
            return True
        if target.stat().st_size != file.size_bytes:
            return False
        wanted = file.sha256 or (yield from self._hash_of(file.path))
        return wanted == (yield from self._hash_of(target))

    def _hash_of(self, path: Path) -> Generator[bool, None, str]:
        about = path.stat()
        sha256 = self._memory.find(about)
        if sha256 is None:
            sha256 = yield from hashed(path)
            self._memory.note(about, sha256)
        return sha256


def _sweep(folder: Path) -> None:
    """Remove what a process left that was killed; it may be as large as a model."""
    for draft in folder.glob(_DRAFT.format("*")):
        if is_quiet(draft, _FORGOTTEN_SECONDS):
            draft.unlink(missing_ok=True)
