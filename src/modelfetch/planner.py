"""From what the user typed to the files, bytes and commit that it means."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from urllib.parse import urlsplit

from modelfetch.chooser import choose_here
from modelfetch.config import Config
from modelfetch.core.quants import combine
from modelfetch.core.refs import ModelRef, parse
from modelfetch.core.retry import RetryPolicy
from modelfetch.errors import (
    HubUnavailable,
    InvalidReference,
    ModelFetchError,
    Offline,
    RateLimited,
)
from modelfetch.hub import find_token, list_files
from modelfetch.offload import Offload
from modelfetch.storage.layout import Layout
from modelfetch.storage.snapshots import local_snapshot
from modelfetch.types import Plan, Snapshot

__all__ = ["Planner"]

# A person waits for a plan; a transfer is the place for patience.
_POLICY = RetryPolicy(attempts=4, base_seconds=0.5, max_seconds=4.0)
_MAX_WAIT = 10.0


class Planner:
    """Makes plans for one engine.

    Args:
        config: Endpoint, token, what to include.
        offload: Threads for the Hub client, which blocks.
        layout: The cache, which answers when the Hub does not.
    """

    def __init__(self, config: Config, offload: Offload, layout: Layout) -> None:
        self._config, self._offload, self._layout = config, offload, layout
        self._token_lock = asyncio.Lock()
        self._token: str | None = None
        self._has_looked = False

    async def token(self) -> str | None:
        """Return the access token, looked up once."""
        async with self._token_lock:
            if not self._has_looked:
                self._token = await self._offload(find_token, self._config)
                self._has_looked = True
        return self._token

    async def plan(
        self,
        model: str,
        quantization: str | None = None,
        *,
        revision: str | None = None,
        include_mmproj: bool | None = None,
    ) -> Plan:
        """Return what a request comes down to; see `Engine.plan`."""
        ref, request = self._understood(model, quantization, revision)
        with_mmproj = self._config.include_mmproj if include_mmproj is None else include_mmproj
        snapshot, unavailable = await self._snapshot(ref.repo, ref.revision or "main")
        try:
            choice = await self._offload(
                choose_here, self._config, snapshot.files, request, with_mmproj
            )
        except ModelFetchError:
            # What the cache lacks may well be on the Hub: the cause is that nobody could ask.
            if unavailable is not None:
                raise unavailable from None
            raise
        return Plan(
            repo=snapshot.repo,
            revision=snapshot.revision,
            commit=snapshot.commit,
            quantization=choice.quantization,
            rule=choice.rule + (" (from the cache; the Hub was not asked)" if unavailable else ""),
            files=choice.files,
            joined_path=choice.joined_path,
        )

    async def listing(self, model: str, revision: str | None) -> Snapshot:
        """Return all files of the repository that `model` is in; see `Engine.variants`."""
        ref, _ = self._understood(model, None, revision)
        return (await self._snapshot(ref.repo, ref.revision or "main"))[0]

    def _understood(
        self, model: str, quantization: str | None, revision: str | None
    ) -> tuple[ModelRef, str | None]:
        ref = parse(model, hosts=(urlsplit(self._config.endpoint).netloc,))
        if ref.catalog:
            raise InvalidReference(
                f"{ref.repo} is an id of LM Studio's catalogue, which is not read yet.",
                hint="Name the repository on the Hub, such as lmstudio-community/Qwen3-4B-GGUF.",
            )
        wanted = _agreed("quantization", ref.quantization, quantization)
        revised = replace(ref, revision=_agreed("revision", ref.revision, revision))
        return revised, combine(ref.file, wanted)

    async def _snapshot(self, repo: str, revision: str) -> tuple[Snapshot, HubUnavailable | None]:
        try:
            return await self._listed(repo, revision), None
        except HubUnavailable as error:
            local = await self._offload(local_snapshot, self._layout, repo, revision)
            if local is None:
                raise
            return local, error

    async def _listed(self, repo: str, revision: str) -> Snapshot:
        token = None if self._config.offline else await self.token()
        attempt = 0
        while True:
            try:
                return await self._offload(list_files, self._config, token, repo, revision)
            except HubUnavailable as error:
                attempt += 1
                wait = _patience(error, attempt)
                if wait is None:
                    raise
            await asyncio.sleep(wait)


def _patience(error: HubUnavailable, attempt: int) -> float | None:
    """Return the seconds to wait before asking again, `None` to give up."""
    if attempt >= _POLICY.attempts or isinstance(error, Offline):
        return None
    if isinstance(error, RateLimited):
        wait = error.retry_after
        return wait if wait is not None and wait <= _MAX_WAIT else None
    # A Hub that cannot be reached at all is not asked again: the cache may have the answer.
    if error.status is None:
        return None
    return _POLICY.delay(attempt, random.random())


def _agreed(what: str, in_text: str | None, beside: str | None) -> str | None:
    if in_text is not None and beside is not None and in_text.lower() != beside.lower():
        raise InvalidReference(
            f"The reference names the {what} {in_text!r}, and {beside!r} is asked for beside it.",
            hint="Give it once.",
        )
    return in_text or beside
