"""Getting damaged files right again: what `modelfetch verify --repair` does after marking them."""

from __future__ import annotations

from collections.abc import Iterable

from modelfetch.engine import Engine
from modelfetch.errors import ModelFetchError
from modelfetch.inventory import DamagedFile

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
    wanted: dict[tuple[str, str], set[str]] = {}
    for file in damaged:
        for commit, path in file.names if file.marked else ():
            wanted.setdefault((file.repo, commit), set()).add(path)
    for (repo, commit), paths in wanted.items():
        try:
            await (await engine.restore(repo, commit, paths)).result()
        except ModelFetchError as error:
            failed[repo] = error
    return failed
