"""Which repository is meant, and by whose word.

An id that a catalogue may know is looked up in this order, and the first that knows it decides:

1. the user's own catalogue (`Config.catalog`);
2. what LM Studio has written down on this machine;
3. the built-in table;
4. the Hub: the repository of exactly that name, if it has GGUF models; else the one repository of
   lmstudio-community that is called so. One, or none: of two that could be meant none is taken.

Whatever has a revision or a file, and what no catalogue could call a model, is a repository.

A repository without GGUF models has conversions: other repositories that say they are made from it
(the tag `base_model:quantized:`), or that are called exactly like it. They are ordered by
publisher. `planner` takes none of them unless it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelfetch.config import Config
from modelfetch.core.catalog import BUILT_IN, CatalogModel, same_model, same_name, search_word
from modelfetch.core.refs import ModelRef, is_catalog_id
from modelfetch.core.variants import has_models
from modelfetch.errors import HubUnavailable, InvalidConfiguration, ModelNotFound
from modelfetch.metadata import Listing, Metadata
from modelfetch.offload import Offload
from modelfetch.search import Found, Query
from modelfetch.storage.catalogs import find_in_lmstudio, find_in_own, lmstudio_home
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


@dataclass(frozen=True, slots=True)
class Resolved:
    """A repository, and how it was come by.

    Attributes:
        listing: What it holds.
        by: Who said that it is meant.
        reason: The same for people; `None` when nobody had to.
    """

    listing: Listing
    by: ResolvedBy = ResolvedBy.REPOSITORY
    reason: str | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The repository's files."""
        return self.listing.snapshot


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
        model, by, repos = await self._catalogued(ref.repo)
        if by is not None and repos:
            return await self._first_with_models(ref.repo, by, repos)
        if not is_catalog_id(model) or model.endswith("-gguf"):
            return _renamed(Resolved(await self._metadata.listing(model)), ref.repo, by)
        return _renamed(await self._on_hub(model), ref.repo, by)

    async def conversions(self, repo: str) -> list[str]:
        """Return the repositories that have the model of `repo` as GGUF, best publisher first.

        Raises:
            HubUnavailable: The Hub could not be asked.
        """
        name = repo.partition("/")[2]
        relation = f"base_model:quantized:{repo}"
        declared, _ = await self._search(repo, Query(("gguf", relation)))
        called, _ = await self._search(repo, Query(("gguf",), word=name))
        found = {it.repo: it for it in called if same_name(repo, it.repo)}
        found |= {it.repo: it for it in declared}
        found.pop(repo, None)
        return [it.repo for it in self._by_publisher(repo, list(found.values()))]

    async def _catalogued(self, model: str) -> tuple[str, ResolvedBy | None, tuple[str, ...]]:
        """Follow `model` through the catalogues.

        Returns:
            The last id, the catalogue that knew the first one, and the last one's repositories.
        """
        seen, first = [model], None
        while len(seen) <= MAX_CHAIN:
            entry, by = await self._look_up(seen[-1])
            first = first or by
            if entry is None:
                return seen[-1], first, ()
            if entry.base is None:
                return seen[-1], first, entry.repos
            seen.append(entry.base)
            if entry.base in seen[:-1]:
                break
        raise InvalidConfiguration(
            f"The catalogue goes in circles: {' -> '.join(seen)}.",
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
        home = self._config.lmstudio_home
        if home is None:
            home = await self._offload(lmstudio_home)
        entry = await self._offload(find_in_lmstudio, home, model)
        if entry is not None:
            return entry, ResolvedBy.LM_STUDIO
        if model in BUILT_IN:
            return CatalogModel(model, repos=(BUILT_IN[model],)), ResolvedBy.BUILT_IN
        return None, None

    async def _first_with_models(
        self, model: str, by: ResolvedBy, repos: Sequence[str]
    ) -> Resolved:
        for repo in repos:
            try:
                listing = await self._metadata.listing(repo)
            except ModelNotFound:
                continue
            if has_models(listing.snapshot.files):
                return Resolved(listing, by, f"{model} is {repo} by {_WHO[by]}")
            if listing.unavailable is not None:
                raise listing.unavailable
        raise ModelNotFound(
            f"{model} is {' or '.join(repos)} by {_WHO[by]}, and none of that is on the Hub with "
            "GGUF files, for this token.",
            hint="Name a repository of the Hub instead.",
        )

    async def _on_hub(self, model: str) -> Resolved:
        refusal: ModelNotFound | None = None
        exact: Listing | None = None
        try:
            exact = await self._metadata.listing(model)
            if has_models(exact.snapshot.files):
                return Resolved(exact)
        except ModelNotFound as error:
            refusal = error
        except HubUnavailable:
            cached = await self._cached_of_community(model)
            if len(cached) != 1:
                raise
            return await self._first_with_models(model, ResolvedBy.HUB_SEARCH, cached)
        candidates = await self._of_community(model)
        if len(candidates) == 1:
            return await self._first_with_models(model, ResolvedBy.HUB_SEARCH, candidates)
        if exact is not None:
            return Resolved(exact)
        raise _unknown(model, candidates, self._config, refusal)

    async def _of_community(self, model: str) -> list[str]:
        query = Query(("gguf",), author=COMMUNITY, word=search_word(model))
        found, is_all = await self._search(model, query)
        # Whether a name is the only one of its kind cannot be told from a part of the answer.
        return [it.repo for it in found if same_model(model, it.repo)] if is_all else []

    async def _cached_of_community(self, model: str) -> list[str]:
        cached = await self._metadata.cached()
        return [r for r in cached if r.startswith(f"{COMMUNITY}/") and same_model(model, r)]

    async def _search(self, about: str, query: Query) -> tuple[list[Found], bool]:
        try:
            return await self._metadata.search(about, query)
        except ModelNotFound:
            return [], True  # a mirror without a search

    def _by_publisher(self, repo: str, found: list[Found]) -> list[Found]:
        owner = repo.partition("/")[0]
        order = [name.replace("{owner}", owner).lower() for name in self._config.publishers]

        def rank(it: Found) -> tuple[int, int, str]:
            publisher = it.repo.partition("/")[0].lower()
            place = order.index(publisher) if publisher in order else len(order)
            return place, -it.downloads, it.repo

        return sorted(found, key=rank)


def _renamed(found: Resolved, asked: str, by: ResolvedBy | None) -> Resolved:
    """Let a catalogue that led to a repository in the end be named for it."""
    if by is None:
        return found
    return Resolved(found.listing, by, f"{asked} is {found.snapshot.repo} by {_WHO[by]}")


def _unknown(
    model: str, candidates: Sequence[str], config: Config, refusal: ModelNotFound | None
) -> ModelNotFound:
    own = "the user's catalogue, " if config.catalog is not None else ""
    several = f" (which has several: {', '.join(candidates)})" if candidates else ""
    return ModelNotFound(
        f"There is no model {model} on the Hub or in a catalogue, or it is private.",
        hint=f"Asked were {own}LM Studio's catalogue on this machine, the built-in table, the Hub "
        f"for a repository of that name, and a search of {COMMUNITY}{several}. Name a repository "
        "that has GGUF files, such as lmstudio-community/Qwen3-8B-GGUF.",
        host=refusal.host if refusal else None,
        status=refusal.status if refusal else None,
        request_id=refusal.request_id if refusal else None,
    )
