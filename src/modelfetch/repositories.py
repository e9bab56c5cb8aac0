"""Which repository is meant, and by whose word.

An id that a catalogue may know is looked up in this order, and the first that knows it decides:

1. the user's own catalogue (`Config.catalog`);
2. what LM Studio has written down on this machine;
3. the built-in table;
4. the Hub: the repository of exactly that name, if it has GGUF models; else the one repository of
   lmstudio-community that is called so. One, or none: of two that could be meant none is taken.
   When there is a repository of that name, without GGUF, "so" is "exactly so".

Whatever has a revision or a file, and what no catalogue could call a model, is a repository.

A repository without GGUF models has conversions: other repositories that say they are made from it
(the tag `base_model:quantized:`), or that are called exactly like it. They are ordered by
publisher. `planner` takes none of them unless it is told to.

Searches are asked for exactly that, and every answer is looked at again: a mirror may ignore what
it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modelfetch.config import Config
from modelfetch.core.catalog import BUILT_IN, CatalogModel, same_model, same_name, search_word
from modelfetch.core.refs import ModelRef, is_catalog_id
from modelfetch.core.variants import has_models
from modelfetch.errors import (
    AccessDenied,
    HubUnavailable,
    InvalidConfiguration,
    ModelFetchError,
    ModelNotFound,
)
from modelfetch.metadata import Listing, Metadata
from modelfetch.offload import Offload
from modelfetch.search import Answer, Found, Query
from modelfetch.storage.catalogs import find_in_lmstudio, find_in_own
from modelfetch.types import ResolvedBy, Snapshot

__all__ = ["Repositories", "Resolved"]

COMMUNITY = "lmstudio-community"
MAX_CHAIN = 10  # catalogue entries that stand for others

_WHO = {
    ResolvedBy.USER_CATALOG: "the user's catalogue",
    ResolvedBy.LM_STUDIO: "LM Studio's catalogue on this machine",
    ResolvedBy.BUILT_IN: "the built-in table",
    ResolvedBy.HUB_SEARCH: f"a search of {COMMUNITY}",
}


class Resolved(NamedTuple):
    """A repository, and how it was come by.

    Attributes:
        listing: What it holds.
        by: Who said that it is meant.
        reason: The same for people; `None` when nobody had to.
        rivals: Repositories of which one may be meant, when none could be told from the others.
    """

    listing: Listing
    by: ResolvedBy = ResolvedBy.REPOSITORY
    reason: str | None = None
    rivals: tuple[str, ...] = ()

    @property
    def snapshot(self) -> Snapshot:
        """The repository's files."""
        return self.listing.snapshot


class _Lead(NamedTuple):
    """Where the catalogues lead.

    Attributes:
        model: The last id, which is what was typed when no catalogue knows that.
        by: Who knew the one before it, or has the repositories; `None` when nobody did.
        repos: Repositories of it.
        reason: How it was come to, `None` when it is what was typed.
    """

    model: str
    by: ResolvedBy | None = None
    repos: tuple[str, ...] = ()
    reason: str | None = None


class Repositories:
    """Finds repositories for one engine.

    Args:
        config: The catalogues, and whose conversions to prefer.
        offload: Threads for reading catalogues.
        metadata: The Hub.
    """

    def __init__(self, config: Config, offload: Offload, metadata: Metadata) -> None:
        self._config, self._offload, self._metadata = config, offload, metadata

    async def find(self, ref: ModelRef) -> Resolved:
        """Return the repository that a reference means; it may have no GGUF models.

        Raises:
            ModelNotFound: Nobody knows the model; the hint says who was asked.
            InvalidConfiguration: The user's catalogue cannot be used.
            RevisionNotFound, AccessDenied, HubUnavailable: As `Metadata.listing`.
        """
        if ref.revision is not None or ref.file is not None:
            return Resolved(await self._metadata.listing(ref.repo, ref.revision or "main"))
        lead = await self._followed(ref.repo)
        if lead.by is not None and lead.repos:
            return await self._first_with_models(lead.model, lead.by, lead.repos, lead.reason)
        if is_catalog_id(lead.model) and not lead.model.endswith("-gguf"):
            found = await self._on_hub(lead)
        else:
            found = Resolved(await self._metadata.listing(lead.model))
        if lead.by is None or found.by is not ResolvedBy.REPOSITORY:
            return found
        return Resolved(found.listing, lead.by, lead.reason, found.rivals)

    async def conversions(self, snapshot: Snapshot) -> list[str]:
        """Return the repositories that have the model of one as GGUF, best publisher first.

        Raises:
            HubUnavailable: The Hub could not be asked.
        """
        repo = snapshot.hub_id or snapshot.repo
        relation = f"base_model:quantized:{repo}"
        declared = await self._metadata.search(repo, Query(("gguf", relation)))
        called = await self._metadata.search(repo, Query(("gguf",), word=repo.partition("/")[2]))
        found = {it.repo: it for it in called.found if same_name(repo, it.repo)}
        found |= {it.repo: it for it in declared.found if relation in it.tags}
        others = [it for it in found.values() if it.repo not in (repo, snapshot.repo)]
        return [it.repo for it in self._by_publisher(repo, others)]

    async def has_models(self, found: Resolved) -> bool:
        """Return whether a repository has GGUF models; of a large one that takes a while."""
        return await self._offload(has_models, found.snapshot.files)

    async def _followed(self, model: str) -> _Lead:
        """Follow an id through the catalogues, from each that stands for another to that one."""
        seen, lead = [model], _Lead(model)
        while len(seen) <= MAX_CHAIN and lead.model not in seen[:-1]:
            entry, by = await self._look_up(lead.model)
            if entry is None or by is None:
                return lead
            if entry.base is None:
                return _Lead(lead.model, by, entry.repos, lead.reason)
            told = f"{lead.reason}, which" if lead.reason else model
            lead = _Lead(entry.base, by, (), f"{told} is {entry.base} by {_WHO[by]}")
            seen.append(entry.base)
        what = "goes in circles" if lead.model in seen[:-1] else "has too long a chain"
        raise InvalidConfiguration(
            f"The catalogue {what}: {' -> '.join(seen)}.",
            hint="Let the base of one of these model.yaml files name repositories.",
        )

    async def _look_up(self, model: str) -> tuple[CatalogModel | None, ResolvedBy | None]:
        own = self._config.catalog
        if own is not None:
            entry = await self._offload(find_in_own, own, model)
            if entry is not None:
                return entry, ResolvedBy.USER_CATALOG
        if not is_catalog_id(model):
            return None, None
        entry = await self._offload(find_in_lmstudio, self._config.lmstudio_home, model)
        if entry is not None:
            return entry, ResolvedBy.LM_STUDIO
        if model in BUILT_IN:
            return CatalogModel(model, repos=(BUILT_IN[model],)), ResolvedBy.BUILT_IN
        return None, None

    async def _first_with_models(
        self, model: str, by: ResolvedBy, repos: Sequence[str], lead: str | None = None
    ) -> Resolved:
        told = f"{lead}, which" if lead else model
        failure: ModelFetchError | None = None
        for repo in repos:
            try:
                listing = await self._metadata.listing(repo)
            except ModelNotFound:
                continue
            except (AccessDenied, HubUnavailable) as error:
                failure = failure or error
                continue
            found = Resolved(listing, by, f"{told} is {repo} by {_WHO[by]}")
            if await self.has_models(found):
                return found
            failure = failure or listing.unavailable
        raise failure or ModelNotFound(
            f"{told} is {' or '.join(repos)} by {_WHO[by]}, and none of that is on the Hub with "
            "GGUF files, for this token.",
            hint="Name a repository of the Hub instead.",
        )

    async def _on_hub(self, lead: _Lead) -> Resolved:
        model = lead.model
        refusal: ModelNotFound | None = None
        exact: Listing | None = None
        unavailable: HubUnavailable | None = None
        try:
            exact = await self._metadata.listing(model)
            unavailable = exact.unavailable
            if await self.has_models(Resolved(exact)):
                return Resolved(exact)
        except ModelNotFound as error:
            refusal = error
        except HubUnavailable as error:
            unavailable = error
        if unavailable is not None:
            searched = await self._metadata.searched(model)
            if len(searched) != 1:
                raise unavailable
            return await self._found(lead, searched[0])
        query = Query(("gguf",), author=COMMUNITY, word=search_word(model))
        answer = await self._metadata.search(model, query)
        candidates = _candidates(model, answer, is_exact=exact is not None)
        if len(candidates) == 1:
            return await self._found(lead, candidates[0])
        if exact is not None:
            return Resolved(exact, rivals=tuple(candidates))
        raise _unknown(lead, candidates, self._config, refusal, answer)

    async def _found(self, lead: _Lead, repo: str) -> Resolved:
        return await self._first_with_models(
            lead.model, ResolvedBy.HUB_SEARCH, (repo,), lead.reason
        )

    def _by_publisher(self, repo: str, found: list[Found]) -> list[Found]:
        owner = repo.partition("/")[0]
        order = [name.replace("{owner}", owner).lower() for name in self._config.publishers]

        def rank(it: Found) -> tuple[int, int, str]:
            publisher = it.repo.partition("/")[0].lower()
            place = order.index(publisher) if publisher in order else len(order)
            return place, -it.downloads, it.repo

        return sorted(found, key=rank)


def _candidates(model: str, answer: Answer, *, is_exact: bool) -> list[str]:
    # Whether a name is the only one of its kind cannot be told from a part of the answer.
    if not answer.is_all:
        return []
    fits = same_name if is_exact else same_model
    ours = (it.repo for it in answer.found if it.repo.startswith(f"{COMMUNITY}/"))
    return [repo for repo in ours if fits(model, repo)]


def _unknown(
    lead: _Lead,
    candidates: Sequence[str],
    config: Config,
    refusal: ModelNotFound | None,
    answer: Answer,
) -> ModelNotFound:
    own = "the user's catalogue, " if config.catalog is not None else ""
    several = f" (which has several: {', '.join(candidates)})" if candidates else ""
    search = f"a search of {COMMUNITY}{several}" if answer.is_possible else "no search: it has none"
    led = f"{lead.reason}. " if lead.reason else ""
    return ModelNotFound(
        f"{led}There is no model {lead.model} on the Hub or in a catalogue, or it is private.",
        hint=f"Asked were {own}LM Studio's catalogue on this machine, the built-in table, the Hub "
        f"for a repository of that name, and {search}. Name a repository that has GGUF files, "
        "such as lmstudio-community/Qwen3-8B-GGUF.",
        host=refusal.host if refusal else None,
        status=refusal.status if refusal else None,
        request_id=refusal.request_id if refusal else None,
    )
