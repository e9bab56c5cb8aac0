"""From what the user typed to the files, bytes and commit that it means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from modelfetch.chooser import choose_here, survey_here
from modelfetch.config import Config
from modelfetch.core.labels import parse_label
from modelfetch.core.names import read_name
from modelfetch.core.quants import Choice, combine, no_models, parts_of
from modelfetch.core.refs import ModelRef, parse
from modelfetch.core.variants import read_listing
from modelfetch.errors import (
    AccessDenied,
    HubUnavailable,
    IncompleteModel,
    InsufficientMemory,
    InvalidReference,
    ModelFetchError,
    ModelNotFound,
    QuantizationNotFound,
)
from modelfetch.metadata import Metadata
from modelfetch.offers import ModelVariants
from modelfetch.offload import Lookups, Offload
from modelfetch.repositories import Repositories, Resolved
from modelfetch.storage.layout import Layout
from modelfetch.types import FileRole, Plan, PlannedFile, ResolvedBy

__all__ = ["Planner"]

_ELSE = "Name a repository that has GGUF files."
# Conversions that are looked into; each is a question to the Hub.
MAX_TRIED = 8
# For these the next conversion is looked into: they say that this one has not what was asked for.
_NOT_THERE = (
    ModelNotFound, AccessDenied, QuantizationNotFound, IncompleteModel, InsufficientMemory,
)  # fmt: skip


class Planner:
    """Makes plans for one engine.

    Args:
        config: Endpoint, token, what to include.
        offload: Threads for the disk.
        lookups: Threads for the Hub client, which blocks.
        layout: The cache, which answers when the Hub does not.
    """

    def __init__(self, config: Config, offload: Offload, lookups: Lookups, layout: Layout) -> None:
        self._layout = layout
        self._config, self._offload = config, offload
        self._metadata = Metadata(config, offload, lookups, layout)
        self._searched: dict[str, str] = {}
        self._repositories = Repositories(config, offload, self._metadata)

    async def token(self) -> str | None:
        """Return the access token, looked up once."""
        return await self._metadata.token()

    async def plan(
        self,
        model: str,
        quantization: str | None = None,
        *,
        revision: str | None = None,
        include_mmproj: bool | None = None,
        allow_conversions: bool | None = None,
    ) -> Plan:
        """Return what a request comes down to; see `Engine.plan`."""
        ref, request = self._understood(model, quantization, revision)
        with_mmproj = self._config.include_mmproj if include_mmproj is None else include_mmproj
        resolved = await self._repositories.find(ref)
        if ref.file is not None or await self._repositories.has_models(resolved):
            plan = await self._planned(resolved, request, with_mmproj)
            if plan.resolved_by is ResolvedBy.HUB_SEARCH:
                self._searched[plan.repo] = ref.repo
            return plan
        error: ModelFetchError | None = None
        for repo in await self._conversions(ref, request, resolved, allow_conversions):
            try:
                found = await self._converted(ref, repo)
                return await self._planned(found, request, with_mmproj)
            except ModelFetchError as failure:
                error = error or _about(repo, failure)
                if not isinstance(failure, _NOT_THERE):
                    raise
        raise error or _no_models(resolved)

    async def remember(self, plan: Plan) -> None:
        """Write down what a search has found, once the cache has a place for it."""
        model = self._searched.pop(plan.repo, None)
        if model is not None:
            await self._metadata.remember(plan.repo, model)

    async def variants(
        self,
        model: str,
        revision: str | None,
        memory_bytes: int | None,
        allow_conversions: bool | None,
    ) -> ModelVariants:
        """Return what the repository that `model` is in offers; see `Engine.variants`."""
        found = await self._listing(model, revision, allow_conversions)
        offered = await self._offload(
            survey_here, self._config, self._layout, found.snapshot, memory_bytes
        )
        return replace(offered, resolution=found.reason)

    async def _listing(
        self, model: str, revision: str | None, allow_conversions: bool | None
    ) -> Resolved:
        ref, _ = self._understood(model, None, revision)
        resolved = await self._repositories.find(ref)
        if await self._repositories.has_models(resolved):
            return resolved
        for repo in await self._conversions(ref, None, resolved, allow_conversions):
            found = await self._converted(ref, repo)
            if await self._repositories.has_models(found):
                return found
        raise _no_models(resolved)

    async def restoring(self, repo: str, commit: str, paths: Collection[str]) -> Plan:
        """Return a plan of files of a repository by their names; see `Engine.restore`."""
        listing = await self._metadata.listing(repo, commit)
        if listing.unavailable is not None:
            raise listing.unavailable
        files = tuple(
            PlannedFile(file.path, file.size_bytes, file.sha256, file.git_oid, _role(file.path))
            for file in listing.snapshot.files
            if file.path in paths
        )
        gone = sorted(set(paths) - {file.path for file in files})
        joined = gone[0] if len(gone) == 1 else None
        if joined is not None and (parts := parts_of(listing.snapshot.files, joined)):
            files += parts
        elif gone:
            text = f"{repo} at {commit} has no {', '.join(gone)}"
            raise IncompleteModel(text, missing=gone)
        rule = "files by their names"
        return Plan(repo, commit, listing.snapshot.commit, None, rule, files, joined)

    def _understood(
        self, model: str, quantization: str | None, revision: str | None
    ) -> tuple[ModelRef, str | None]:
        endpoints = (self._config.endpoint, *self._config.endpoints)
        ref = parse(model, hosts=tuple(urlsplit(it).netloc for it in endpoints))
        wanted = _agreed("quantization", ref.quantization, quantization, _build)
        revised = replace(ref, revision=_agreed("revision", ref.revision, revision, str))
        return revised, combine(ref.file, wanted)

    async def _planned(self, found: Resolved, request: str | None, with_mmproj: bool) -> Plan:
        snapshot, unavailable = found.snapshot, found.listing.unavailable
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
            rule=_rule(choice, found),
            files=choice.files,
            joined_path=choice.joined_path,
            resolved_by=found.by,
            metadata=snapshot.metadata,
        )

    async def _conversions(
        self, ref: ModelRef, request: str | None, found: Resolved, is_allowed: bool | None
    ) -> list[str]:
        """Return the conversions to look into.

        Raises:
            ModelNotFound: They may not be taken; it names them.
        """
        if found.listing.unavailable is not None:
            raise found.listing.unavailable
        is_allowed = self._config.allow_conversions if is_allowed is None else is_allowed
        try:
            conversions = await self._repositories.conversions(found.snapshot)
        except HubUnavailable:
            if is_allowed:
                raise
            raise _no_models(
                found, hint=f"{_ELSE} The Hub could not be searched for one."
            ) from None
        if is_allowed and ref.revision is None:
            return conversions[:MAX_TRIED]
        raise _no_models(found, conversions, request)

    async def _converted(self, ref: ModelRef, repo: str) -> Resolved:
        listing = await self._metadata.listing(repo)
        reason = (
            f"{ref.repo} has no GGUF files itself, and this is its conversion by {_owner(repo)}"
        )
        return Resolved(listing, ResolvedBy.CONVERSION, reason)


def _role(path: str) -> FileRole:
    role = read_name(path).role
    # By its own name it is asked for as it is.
    return FileRole.OTHER if role is FileRole.BYTE_PART else role


def _rule(choice: Choice, found: Resolved) -> str:
    cached = " (from the cache; the Hub was not asked)" if found.listing.unavailable else ""
    reason = f"; {found.reason}" if found.reason else ""
    by = f" ({found.listing.by.strip(' .')})" if found.listing.by else ""
    return f"{choice.rule}{reason}{cached}{by}"


def _about(repo: str, error: ModelFetchError) -> ModelFetchError:
    """Let an error about a repository that nobody named say which one that is."""
    error.message = f"{repo}, the first conversion that was tried: {error.message}"
    return error


def _owner(repo: str) -> str:
    return repo.partition("/")[0]


def _no_models(
    found: Resolved, conversions: Sequence[str] = (), request: str | None = None, hint: str = _ELSE
) -> ModelNotFound:
    if found.rivals:
        hint = f"It may be one of {', '.join(found.rivals)}: name the one that is meant."
    if conversions:
        commands = [f"modelfetch get {_typed(name, request)}" for name in conversions[:MAX_TRIED]]
        hint = (
            f"Others have converted it: {', '.join(commands)}. Or take the first of them that has "
            "what you ask for: --any-publisher, allow_conversions=True."
        )
    nothing = no_models(read_listing(found.snapshot.files), None, found.snapshot.repo)
    error = ModelNotFound(nothing.message, hint=hint)
    error.conversions = tuple(conversions)
    return error


def _typed(repo: str, request: str | None) -> str:
    """Return what to type for a repository; a command is copied into a shell."""
    try:
        return str(ModelRef(repo, quantization=request))
    except InvalidReference:
        return repo


def _agreed(
    what: str, in_text: str | None, beside: str | None, key: Callable[[str], object]
) -> str | None:
    """Return what is said in the reference or beside it; said twice, it must be the same thing."""
    if in_text is not None and beside is not None and key(in_text) != key(beside):
        raise InvalidReference(
            f"The reference names the {what} {in_text!r}, and {beside!r} is asked for beside it.",
            hint="Give it once.",
        )
    return in_text or beside


def _build(quantization: str) -> object:
    """Return something that is equal for two ways to write one quantization."""
    return parse_label(quantization) or quantization.casefold()
