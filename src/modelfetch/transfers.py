"""The transfers of an engine: its connections, and the loop that they run in."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping

from modelfetch.background import Background
from modelfetch.config import Config
from modelfetch.core.pace import TokenBucket
from modelfetch.gatherer import Gatherer, published
from modelfetch.hubcall import user_agent
from modelfetch.lanes import Lanes
from modelfetch.offload import Offload
from modelfetch.shared import FileProgress, Shared
from modelfetch.storage import snapshots
from modelfetch.storage.layout import Layout
from modelfetch.surroundings import trust_for
from modelfetch.transport import Transport
from modelfetch.types import LocalModel, Plan

__all__ = ["Transfers"]


class Transfers:
    """Fetches the files of plans for one engine.

    Attributes:
        bucket: The bound on the speed of all together.

    Args:
        config: Connections, speed, patience.
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
        self._lanes = Lanes(config.connections, adaptive=config.adaptive)
        self.bucket = TokenBucket(config.max_bytes_per_second)
        self._shared: Shared | None = None

    async def run(self, plan: Plan, progress: Mapping[str, FileProgress]) -> LocalModel:
        """Fetch all files of a plan and return the model.

        Args:
            plan: What to fetch.
            progress: Reported to, for each path of the plan.

        Raises:
            ModelFetchError: A file cannot be had; what came is kept.
        """
        token = await self._token()

        async def gather() -> LocalModel:
            trust = await self._offload(trust_for, self._config)
            shared = self._connected(token, trust)
            return await Gatherer(shared, self._layout, self._config, plan).run(progress)

        return await self._background.run(gather)

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
        if self._shared is not None:
            await self._background.run(self._shared.transport.close)
            self._shared = None
        await self._background.close()

    def _connected(self, token: str | None, trust: ssl.SSLContext | None) -> Shared:
        if self._shared is None:
            transport = Transport(self._config, token, user_agent(self._config), trust)
            self._shared = Shared(
                transport, self._offload, self._lanes, self.bucket, self._config.retry
            )
        return self._shared
