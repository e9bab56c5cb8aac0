"""All that a repository offers, at once: what `choose` and `auto` would take, and what fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelfetch.core.auto import best, needs
from modelfetch.core.fit import bits_per_weight, judge
from modelfetch.core.projectors import Projectors
from modelfetch.core.quants import AUTO, joined_path, no_models, pick
from modelfetch.core.select import default
from modelfetch.core.variants import Build, Entry, group, read_listing
from modelfetch.errors import ModelFetchError
from modelfetch.offers import ModelVariants, Sidecar, VariantInfo
from modelfetch.types import FileRole, RemoteFile, Snapshot

__all__ = ["survey"]

_UNKNOWN_MEMORY = "It is not known how much memory there is."


def survey(
    snapshot: Snapshot, memory_bytes: int | None, *, include_mmproj: bool = True
) -> ModelVariants:
    """Return what a repository offers, as far as its listing tells; nothing of it is on disk.

    Args:
        snapshot: The repository's files.
        memory_bytes: Memory that a model may use; `None` when it is not known.
        include_mmproj: Whether a multimodal model's projector belongs to the model.

    Raises:
        ModelNotFound: The repository has no GGUF models.
    """
    entries = read_listing(snapshot.files)
    builds = group(entries)
    if not builds:
        raise no_models(entries, None)
    projectors = Projectors(entries if include_mmproj else ())
    needed = needs(builds, projectors)
    default_, default_rule = _default(builds)
    auto, auto_rule = _auto(builds, needed, memory_bytes)
    variants = []
    for build in builds:
        info = _described(build, projectors.of(build), needed[build.selector], memory_bytes)
        variants.append(replace(info, is_default=build is default_, is_auto=build is auto))
    return ModelVariants(
        repo=snapshot.repo,
        revision=snapshot.revision,
        commit=snapshot.commit,
        variants=tuple(variants),
        default_rule=default_rule,
        auto_rule=auto_rule,
        memory_bytes=memory_bytes,
        others=_others(entries),
        from_cache=snapshot.from_cache,
    )


def _default(builds: Sequence[Build]) -> tuple[Build | None, str]:
    try:
        match = default(builds)
        return pick(match, None), match.rule
    except ModelFetchError as error:
        return None, error.message


def _auto(
    builds: Sequence[Build], needed: dict[str, int], memory_bytes: int | None
) -> tuple[Build | None, str]:
    if memory_bytes is None:
        return None, _UNKNOWN_MEMORY
    try:
        match = best(builds, needed, memory_bytes)
        return pick(match, AUTO), match.rule
    except ModelFetchError as error:
        return None, error.message


def _described(
    build: Build, projector: RemoteFile | None, needed: int, memory_bytes: int | None
) -> VariantInfo:
    is_whole = build.complete
    return VariantInfo(
        selector=build.selector,
        quantization=None if build.quantization is None else str(build.quantization),
        size_bytes=build.size_bytes,
        paths=tuple(file.path for file in build.files),
        missing=build.missing,
        joined_path=joined_path(build) if build.byte_split else None,
        bits_per_weight=bits_per_weight(build.quantization),
        sidecars=() if projector is None else (_sidecar(projector, FileRole.MMPROJ),),
        needed_bytes=needed if is_whole else None,
        fit=judge(needed, memory_bytes) if is_whole and memory_bytes is not None else None,
    )


def _sidecar(file: RemoteFile, role: FileRole) -> Sidecar:
    return Sidecar(file.path, role, file.size_bytes)


def _others(entries: Sequence[Entry]) -> tuple[Sidecar, ...]:
    shown = (FileRole.MODEL, FileRole.BYTE_PART, FileRole.MMPROJ)
    return tuple(_sidecar(file, name.role) for name, file in entries if name.role not in shown)
