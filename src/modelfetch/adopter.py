"""One plan's files, looked for on this machine before they are fetched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from modelfetch.config import Config
from modelfetch.core.adoption import Place, PlaceKind, downloads_folder, known_places
from modelfetch.offload import Offload
from modelfetch.shared import FileProgress
from modelfetch.storage.adoption import Adoption, Finder
from modelfetch.storage.catalogs import lmstudio_home
from modelfetch.storage.copying import Method
from modelfetch.storage.hashes import HashMemory
from modelfetch.storage.layout import Layout
from modelfetch.storage.pointers import has_size
from modelfetch.storage.records import read_text
from modelfetch.types import Plan, RemoteFile
from modelfetch.waiting import blob_lock

__all__ = ["Adopter"]


class Adopter:
    """Takes what other programs have.

    Args:
        offload: Threads for what blocks.
        layout: The cache.
        config: Whether to look, where, and how files may come into the cache.
        plan: The files.
    """

    def __init__(self, offload: Offload, layout: Layout, config: Config, plan: Plan) -> None:
        self._offload, self._layout, self._config = offload, layout, config
        self._plan = plan
        self._finder: Finder | None = None

    async def adopt(self, file: RemoteFile, progress: FileProgress) -> bool:
        """Return whether a file is in the cache now, because it was somewhere on this machine."""
        if not self._config.adopt or file.sha256 is None or not file.size_bytes:
            return False
        paths = self._layout.blob(self._plan.repo, file.sha256)
        async with blob_lock(self._offload, paths, file, progress) as lock:
            if await self._offload(has_size, paths.final, file.size_bytes):
                return False
            adoption = Adoption(
                await self._found(),
                HashMemory(self._config.state_dir / "hashes.json"),
                paths,
                file,
                methods=[Method(word) for word in self._config.adopt_by],
                durable=self._config.durable,
                alone=lock.is_exclusive,
            )
            try:
                while await self._offload(adoption.step):
                    pass
            finally:
                await self._offload(adoption.close)
        if adoption.source is None:
            return False
        progress.landed, progress.verified = file.size_bytes, True
        progress.adopted_from = str(adoption.source)
        return True

    async def _found(self) -> Finder:
        if self._finder is None:
            self._finder = Finder(await self._offload(_places, self._config))
        return self._finder


def _places(config: Config) -> list[Place]:
    lmstudio = config.lmstudio_home or lmstudio_home()
    named = downloads_folder(read_text(lmstudio / "settings.json"))
    home = str(Path.home())
    theirs = known_places(os.environ, home, named or str(lmstudio / "models"), sys.platform)
    own = [Place(kind, str(f)) for f in config.adopt_from for kind in _ANY]
    # Last, for it may be the user's whole home, and files are listed up to a number.
    published = [Place(PlaceKind.FOLDER, str(config.local_dir))] if config.local_dir else []
    return [Place(PlaceKind.HUB, str(config.cache_dir)), *own, *theirs, *published]


# A folder that the user names may be any of them.
_ANY = (PlaceKind.HUB, PlaceKind.OLLAMA, PlaceKind.FOLDER)
