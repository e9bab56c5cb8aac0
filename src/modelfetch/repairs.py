"""Getting damaged files right again: what `modelfetch verify --repair` does after marking them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelfetch.errors import ModelFetchError
from modelfetch.inventory import DamagedFile

if TYPE_CHECKING:
    from modelfetch.engine import Engine

__all__ = ["repair"]


async def repair(engine: Engine, damaged: Iterable[DamagedFile]) -> dict[str, ModelFetchError]:
    """Fetch what is damaged of files that were marked, and put them back into their snapshots.

    Args:
        engine: One on the same cache.
        damaged: What `Cache.verify(repair=True)` found.

    Returns:
        Why a repository could not be repaired; empty when all is well again.
    """
    failed: dict[str, ModelFetchError] = {}
    # Each by itself, so that one that cannot be had keeps no other.
    wanted = {(file.repo, *name): None for file in damaged if file.marked for name in file.names}
    for repo, commit, path in wanted:
        try:
            await (await engine.restore(repo, commit, {path})).result()
        except ModelFetchError as error:
            failed[repo] = error
    return failed
