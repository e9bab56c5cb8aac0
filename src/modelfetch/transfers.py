"""The transfers of an engine, and where they run: a thread of this process, or one of their own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from modelfetch.background import Background
from modelfetch.carrier import Carrier
from modelfetch.config import Config
from modelfetch.core.pace import TokenBucket
from modelfetch.gatherer import published
from modelfetch.offload import Offload
from modelfetch.shared import FileProgress
from modelfetch.storage import snapshots
from modelfetch.storage.layout import Layout
from modelfetch.types import LocalModel, Plan

if TYPE_CHECKING:
    from modelfetch.beside import Beside

__all__ = ["Transfers"]

_log = logging.getLogger(__name__)


class Transfers:
    """Fetches the files of plans for one engine.

    Args:
        config: Connections, speed, patience, and where transfers run.
        offload: Threads for the disk.
        layout: The cache.
        token: Returns the access token for the Hub; that of the first call counts.
    """

    def __init__(
        self,
        config: Config,
        offload: Offload,
        layout: Layout,
        token: Callable[[], Awaitable[str | None]],
    ) -> None:
        self._config, self._offload, self._layout = config, offload, layout
        self._token = token
        self._background = Background(offload)
        self._carrier = Carrier(config, offload, layout)
        self._beside = _process_for(config, offload)

    async def run(
        self, plan: Plan, progress: Mapping[str, FileProgress], bucket: TokenBucket
    ) -> LocalModel:
        """Fetch all files of a plan and return the model.

        Args:
            plan: What to fetch.
            progress: Reported to, for each path of the plan.
            bucket: The bound on the speed of this alone; it may be changed meanwhile.

        Raises:
            ModelFetchError: A file cannot be had; what came is kept.
        """
        token = await self._token()
        if self._beside is not None:
            from modelfetch.beside import NoProcess

            try:
                return await self._beside.run(plan, progress, token, bucket)
            except NoProcess as error:
                if self._config.isolation == "process":
                    raise
                _log.warning("%s It is a thread, then.", error.message)
        return await self._background.run(lambda: self._carrier.run(plan, progress, token, bucket))

    def set_rate(self, bytes_per_second: float | None) -> None:
        """Change the bound on the speed of all together; `None` for no bound."""
        self._carrier.bucket.rate = bytes_per_second
        if self._beside is not None:
            self._beside.set_rate(bytes_per_second)

    async def prepare(self, plan: Plan, *, is_new: bool) -> None:
        """Make the folders of a plan, and for a new one see that it has room.

        Raises:
            StorageError: The cache cannot be written.
            InsufficientSpace: There is no room.
        """
        await self._offload(snapshots.prepare, self._layout, plan)
        if is_new:
            await self._offload(snapshots.check_space, self._layout, plan)

    async def discard(self, plan: Plan) -> None:
        """Remove the partials of a plan; see `snapshots.discard_partials`."""
        await self._offload(snapshots.discard_partials, self._layout, plan)

    async def find(self, plan: Plan) -> LocalModel | None:
        """Return the model of a plan if all of it is in the cache, shown as a fetched one is.

        Raises:
            StorageError: The user's folder cannot be written; the cache has the model.
        """
        if await self._offload(snapshots.missing, self._layout, plan):
            return None
        model = await self._offload(snapshots.link, self._layout, plan)
        await self.discard(plan)
        return await published(self._offload, self._layout, self._config, model)

    async def close(self) -> None:
        """Close all connections; nothing may be running. Harmless when closed."""
        if self._beside is not None:
            await self._beside.close()
        if self._background.is_begun:
            await self._background.run(self._carrier.close)
        await self._background.close()


def _process_for(config: Config, offload: Offload) -> Beside | None:
    """Return the process in which transfers run, `None` for a thread."""
    if config.isolation == "thread":
        return None  # as in a command, whose start does not load what it does not need
    from modelfetch.beside import Beside, can_have_processes

    if config.isolation == "auto" and not can_have_processes():
        return None
    return Beside(config, offload)
