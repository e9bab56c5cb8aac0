"""The Hub's metadata for the loop: asked again while that makes sense, else from the cache."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar, TypeVarTuple

from modelfetch.config import Config
from modelfetch.core.failover import Failure, in_words, leads_on, outcome
from modelfetch.core.retry import RetryPolicy
from modelfetch.errors import HubUnavailable, ModelFetchError, Offline, RateLimited
from modelfetch.hub import list_files
from modelfetch.hubtoken import find_token
from modelfetch.offload import Lookups, Offload
from modelfetch.search import Answer, Query, search_models
from modelfetch.storage.catalogs import recall, remember
from modelfetch.storage.layout import Layout
from modelfetch.storage.snapshots import cached_repos, local_snapshot
from modelfetch.surroundings import Place, places_of
from modelfetch.types import Snapshot

__all__ = ["Listing", "Metadata"]

# A person waits for a plan; a transfer is the place for patience.
_POLICY = RetryPolicy(attempts=4, base_seconds=0.5, max_seconds=4.0)
_MAX_WAIT = 10.0
# An endpoint that gave no answer is asked after the others for that long.
DOWN_SECONDS = 60.0
# Listings of commits that are kept, for an engine's life; a larger one is asked for again.
KEPT = 64
KEPT_FILES = 1000

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Listing(NamedTuple):
    """What a repository holds.

    Attributes:
        snapshot: Its files.
        unavailable: Why the Hub could not be asked, when `snapshot` is what the cache has.
        by: Which endpoint has answered, and what those before it said; `None` for the first.
    """

    snapshot: Snapshot
    unavailable: HubUnavailable | None = None
    by: str | None = None


class Metadata:
    """Questions to the Hub for one engine.

    Args:
        config: Endpoint, token, what to include.
        offload: Threads for the cache.
        lookups: Threads for the Hub client, which blocks.
        layout: The cache, which answers when the Hub does not.
    """

    def __init__(self, config: Config, offload: Offload, lookups: Lookups, layout: Layout) -> None:
        self._config, self._offload, self._layout = config, offload, layout
        self._lookups = lookups
        self._places = places_of(config)
        self._down: dict[str, float] = {}
        self._kept: dict[tuple[str, str], Snapshot] = {}
        self._token_lock = asyncio.Lock()
        self._token: str | None = None
        self._has_looked = False

    async def token(self) -> str | None:
        """Return the access token, looked up once."""
        async with self._token_lock:
            if not self._has_looked:
                self._token = await self._lookups(find_token, self._config)
                self._has_looked = True
        return self._token

    async def listing(self, repo: str, revision: str = "main") -> Listing:
        """Return the files of a repository, pinned to a commit.

        What a commit holds never changes, so one that was listed before is not asked for again.

        Raises:
            ModelNotFound, RevisionNotFound, AccessDenied: The Hub said so.
            HubUnavailable: It gave no usable answer, and the cache has nothing of that revision.
        """
        if (repo, revision) in self._kept:
            return Listing(self._kept[repo, revision])
        try:
            snapshot, by = await self._asked(_is_answer, list_files, repo, revision)
            self._keep(snapshot)
            return Listing(snapshot, by=by)
        except HubUnavailable as error:
            local = await self._offload(local_snapshot, self._layout, repo, revision)
            if local is None:
                raise
            return Listing(local, error)

    def _keep(self, snapshot: Snapshot) -> None:
        if len(snapshot.files) <= KEPT_FILES:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[snapshot.repo, snapshot.commit] = replace(snapshot, revision=snapshot.commit)

    async def search(self, about: str, query: Query) -> Answer:
        """Return what `search.search_models` does, which also says what is raised."""
        answer, _ = await self._asked(_is_possible, search_models, about, query)
        return answer

    async def searched(self, model: str) -> list[str]:
        """Return what is in the cache of what a search has found for an id before."""
        cached = await self._offload(cached_repos, self._layout)
        return await self._offload(recall, self._layout, cached, model)

    async def remember(self, repo: str, model: str) -> None:
        """Write down that a search has found `repo`, which the cache has, for an id."""
        await self._offload(remember, self._layout, repo, model)

    async def _asked(
        self,
        is_answer: Callable[[_T], bool],
        call: Callable[[Config, str | None, *_Ts], _T],
        *args: *_Ts,
    ) -> tuple[_T, str | None]:
        """Return what the first endpoint that helps says, and which that is if not the first."""
        failures: list[Failure] = []
        unhelpful: _T | None = None
        for place in sorted(self._places, key=self._is_down):
            try:
                found = await self._patiently(place, call, *args)
            except ModelFetchError as error:
                failures.append(Failure(place.host, place.is_hub, error))
                if not leads_on(failures[-1]):
                    break
                if isinstance(error, HubUnavailable):
                    self._down[place.host] = asyncio.get_running_loop().time() + DOWN_SECONDS
                continue
            if is_answer(found):
                is_first = place is self._places[0]
                return found, None if is_first else f"from {place.host}. {in_words(failures)}"
            unhelpful = found
        if failures:
            raise outcome(failures)
        assert unhelpful is not None
        return unhelpful, None

    def _is_down(self, place: Place) -> bool:
        return asyncio.get_running_loop().time() < self._down.get(place.host, 0.0)

    async def _patiently(
        self, place: Place, call: Callable[[Config, str | None, *_Ts], _T], *args: *_Ts
    ) -> _T:
        token = None if self._config.offline or not place.is_hub else await self.token()
        attempt = 0
        while True:
            try:
                return await self._lookups(call, place.config, token, *args)
            except HubUnavailable as error:
                attempt += 1
                wait = _patience(error, attempt)
                if wait is None:
                    raise
            await asyncio.sleep(wait)


def _is_answer(found: Snapshot) -> bool:
    del found
    return True


def _is_possible(answer: Answer) -> bool:
    return answer.is_possible


def _patience(error: HubUnavailable, attempt: int) -> float | None:
    """Return the seconds to wait before asking again, `None` to give up."""
    if attempt >= _POLICY.attempts or isinstance(error, Offline) or error.is_final:
        return None
    if isinstance(error, RateLimited):
        wait = error.retry_after
        return wait if wait is not None and wait <= _MAX_WAIT else None
    # A Hub that cannot be reached at all is not asked again: the cache may have the answer.
    if error.status is None:
        return None
    return _POLICY.delay(attempt, random.random())
