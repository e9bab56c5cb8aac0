"""One plan, from its files on the Hub to a model in the cache."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from modelfetch.adopter import Adopter
from modelfetch.config import Config
from modelfetch.core.inspection import subject_of
from modelfetch.core.pace import TokenBucket
from modelfetch.errors import StorageError
from modelfetch.fetcher import FileFetcher
from modelfetch.hub import Locator
from modelfetch.inspector import Inspector
from modelfetch.offload import Offload, held
from modelfetch.reuse import Reuse
from modelfetch.shared import FileProgress, Shared
from modelfetch.storage import snapshots
from modelfetch.storage.hashes import HashMemory
from modelfetch.storage.heads import earlier_version
from modelfetch.storage.joining import Joining
from modelfetch.storage.layout import Layout
from modelfetch.storage.publishing import Publication
from modelfetch.types import LocalModel, Plan, PlannedFile

__all__ = ["Gatherer", "published"]

# A few files at once hide the hashing of one behind the transfer of another; more would only
# split the same connections further. Of small ones, which have one request each, a file is mostly
# waiting: for the Hub, for the CDN, for the disk.
FILES_AT_ONCE = 3
SMALL_AT_ONCE, SMALL_BYTES = 8, 1 << 20


class Gatherer:
    """Fetches all files of a plan, joins what must be joined, and shows the whole.

    Args:
        shared: The engine's resources.
        layout: The cache.
        config: How many connections, and how durable.
        plan: What to fetch.
        bucket: The bound on the speed of this alone.
    """

    def __init__(
        self, shared: Shared, layout: Layout, config: Config, plan: Plan, bucket: TokenBucket
    ) -> None:
        self._shared, self._layout = replace(shared, job=self, own=bucket), layout
        self._config, self._plan = config, plan
        if bucket.rate is not None:
            shared.lanes.narrow(self)
        self._adopter = Adopter(shared.offload, layout, config, plan)

    async def run(self, progress: Mapping[str, FileProgress]) -> LocalModel:
        """Return the model, complete and verified.

        Args:
            progress: One for each path of the plan.

        Raises:
            ModelFetchError: A file cannot be had; what came is kept.
            InsufficientSpace: There is no room for it beside the other downloads.
        """
        room = snapshots.room_for(self._layout, self._plan)
        try:
            await self._shared.offload(room.take)
            if self._plan.joined_path is None:
                await self._fetch(progress)
            else:
                await self._fetch_and_join(progress)
        finally:
            room.release()
        offload = self._shared.offload
        model = await offload(snapshots.link, self._layout, self._plan)
        with contextlib.suppress(StorageError):  # the model is there, whatever else is
            await offload(snapshots.discard_partials, self._layout, self._plan)
        return await published(offload, self._layout, self._config, model)

    async def _fetch(self, progress: Mapping[str, FileProgress]) -> None:
        # Another program may have put a file into the snapshot itself, where it could make no link.
        files = await self._shared.offload(snapshots.missing, self._layout, self._plan)
        missing = {file.path for file in files}
        begun = await self._shared.offload(self._layout.unfinished, self._plan.repo)
        for file in self._plan.files:
            if file.path not in missing:
                progress[file.path].landed = file.size_bytes
                progress[file.path].verified = True
        few, many = asyncio.Semaphore(FILES_AT_ONCE), asyncio.Semaphore(SMALL_AT_ONCE)

        async def fetch_one(file: PlannedFile) -> None:
            async with many if file.size_bytes <= SMALL_BYTES else few:
                if await self._adopter.adopt(file, progress[file.path]):
                    return
                is_new = file.blob_name not in begun
                await self._fetcher(file, progress[file.path], is_new=is_new).run()

        try:
            async with asyncio.TaskGroup() as group:
                for file in files:
                    group.create_task(fetch_one(file))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _fetch_and_join(self, progress: Mapping[str, FileProgress]) -> None:
        joining = Joining(self._layout, self._plan, durable=self._config.durable)
        offload = self._shared.offload
        # Held from before the first part: whoever waits finds the whole, and fetches no part again.
        async with held(offload, joining.lock):
            await self._fetch(progress)
            if not await self._is_joined():
                await self._join(joining)
            await offload(joining.remove_parts)

    async def _join(self, joining: Joining) -> None:
        offload = self._shared.offload
        try:
            await offload(joining.open)
            while await offload(joining.step):
                pass
            await offload(joining.publish)
        except StorageError:
            # Where no lock holds, another process may have joined the parts, and removed them.
            if not await self._is_joined():
                raise
        finally:
            await offload(joining.close)

    async def _is_joined(self) -> bool:
        return await self._shared.offload(snapshots.is_joined, self._layout, self._plan)

    def _fetcher(self, file: PlannedFile, progress: FileProgress, *, is_new: bool) -> FileFetcher:
        plan, transport = self._plan, self._shared.transport
        return FileFetcher(
            self._shared,
            file,
            self._layout.blob(plan.repo, file.blob_name),
            Locator(self._config, transport, plan.repo, plan.commit, file),
            self._config,
            progress,
            self._inspector(file, progress),
            is_new=is_new,
        )

    def _inspector(self, file: PlannedFile, progress: FileProgress) -> Inspector:
        plan = self._plan
        find = partial(earlier_version, self._layout, plan.repo, plan.commit, file)
        reuse = Reuse(self._shared, find, progress)
        check = self._config.check_gguf
        return Inspector(self._shared, subject_of(plan, file), progress, reuse, check=check)


async def published(
    offload: Offload, layout: Layout, config: Config, model: LocalModel
) -> LocalModel:
    """Put a model that is in the cache into the user's folder too, if one is set; return that.

    Raises:
        StorageError: The folder cannot be written; the cache has the model.
    """
    if config.local_dir is None:
        return model
    publication = Publication(
        model,
        layout.snapshot(model.repo, model.commit),
        config.local_dir,
        HashMemory(config.state_dir / "hashes.json"),
        lmstudio=config.layout == "lmstudio",
        durable=config.durable,
    )
    try:
        while await offload(publication.step):
            pass
        return publication.model
    finally:
        await offload(publication.close)
