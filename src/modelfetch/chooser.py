"""Choosing on this machine: the pure choices of `core`, its memory and its disk. All of it blocks.

In a thread, then: a repository of 10,000 files takes a tenth of a second, which is too long for a
host's event loop.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelfetch.config import Config
from modelfetch.core.quants import Choice, choose, is_auto
from modelfetch.errors import InvalidConfiguration
from modelfetch.memory import free_memory
from modelfetch.offers import ModelVariants
from modelfetch.storage.holdings import with_holdings
from modelfetch.storage.layout import Layout
from modelfetch.types import RemoteFile, Snapshot

__all__ = ["choose_here", "survey_here"]


def choose_here(
    config: Config, files: Iterable[RemoteFile], request: str | None, include_mmproj: bool
) -> Choice:
    """Return the files that a request means, `auto` included.

    Raises:
        InvalidConfiguration: `auto` is asked, and the memory is not known.
        ModelFetchError: As `core.quants.choose` and `core.auto.choose_fitting`.
    """
    if not is_auto(request):
        return choose(files, request, include_mmproj=include_mmproj)
    from modelfetch.core.auto import choose_fitting

    memory_bytes = _memory(config)
    if memory_bytes is None:
        raise InvalidConfiguration(
            "This system does not tell how much memory is free, so auto cannot choose.",
            hint="Say how much a model may use: --memory 12G, or memory_bytes in the settings.",
        )
    return choose_fitting(files, memory_bytes, include_mmproj=include_mmproj)


def survey_here(
    config: Config, layout: Layout, snapshot: Snapshot, memory_bytes: int | None
) -> ModelVariants:
    """Return what a repository offers, what of it is on disk, and what fits.

    Args:
        config: What to include, and the memory if it is set.
        layout: The cache.
        snapshot: The repository's files.
        memory_bytes: Memory that a model may use, `None` for what is set or free.

    Raises:
        ModelNotFound: The repository has no GGUF models.
    """
    from modelfetch.core.survey import survey

    memory = _memory(config) if memory_bytes is None else memory_bytes
    offered = survey(snapshot, memory, include_mmproj=config.include_mmproj)
    return with_holdings(layout, snapshot, offered)


def _memory(config: Config) -> int | None:
    return free_memory() if config.memory_bytes is None else config.memory_bytes
