"""Carries plans out, in whichever loop and process it is called."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from modelfetch.config import Config
from modelfetch.core.pace import TokenBucket
from modelfetch.cores import Cores
from modelfetch.gatherer import Gatherer
from modelfetch.hubcall import user_agent
from modelfetch.lanes import Lanes
from modelfetch.memory import processors
from modelfetch.offload import Offload
from modelfetch.shared import FileProgress, Shared
from modelfetch.storage.layout import Layout
from modelfetch.surroundings import trust_for
from modelfetch.transport import Transport
from modelfetch.types import LocalModel, Plan

__all__ = ["Carrier"]


class Carrier:
    """The connections of an engine; of one loop.

    Args:
        config: Connections, speed, patience.
        offload: Threads for the disk.
        layout: The cache.

    Attributes:
        bucket: The bound on the speed of all together.
    """

    def __init__(self, config: Config, offload: Offload, layout: Layout) -> None:
        self._config, self._offload, self._layout = config, offload, layout
        self._lanes = Lanes(config.connections, adaptive=config.adaptive, processors=processors())
        self._cores = Cores(processors())
        self.bucket = TokenBucket(config.max_bytes_per_second)
        self._shared: Shared | None = None

    async def run(
        self,
        plan: Plan,
        progress: Mapping[str, FileProgress],
        token: str | None,
        bucket: TokenBucket,
    ) -> LocalModel:
        """Fetch all files of a plan and return the model.

        Args:
            plan: What to fetch.
            progress: Reported to, for each path of the plan.
            token: Access token for the Hub; that of the first call counts.
            bucket: The bound on the speed of this alone.

        Raises:
            ModelFetchError: A file cannot be had; what came is kept.
        """
        shared = self._shared
        if shared is None:
            shared = self._begun(token, await self._offload(trust_for, self._config))
        return await Gatherer(shared, self._layout, self._config, plan, bucket).run(progress)

    def _begun(self, token: str | None, trust: ssl.SSLContext | None) -> Shared:
        if self._shared is None:
            transport = Transport(self._config, token, user_agent(self._config), trust)
            self._shared = Shared(transport, self._offload, self._lanes, self._cores, self.bucket)
        return self._shared

    async def close(self) -> None:
        """Close all connections; nothing may be running. Harmless when closed."""
        if self._shared is not None:
            await self._shared.transport.close()
            self._shared = None
