"""What several test modules say to themselves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from modelfetch import Engine, LocalModel, ModelFetchError
from modelfetch.testing import Content, PositionCoded

REPO, FILE, LABEL = "acme/tiny-GGUF", "tiny-Q4_K_M.gguf", "Q4_K_M"
MiB = 1 << 20


def coded(size: int, seed: int = 1) -> PositionCoded:
    """Content in which a byte at a wrong offset shows."""
    return PositionCoded(size, seed)


def assert_same(path: Path, content: Content) -> None:
    """Compare a file with what it should hold, and say where it first differs."""
    data, wanted = path.read_bytes(), content.read(0, content.size)
    if data == wanted:
        return
    where = next((i for i, (a, b) in enumerate(zip(data, wanted, strict=False)) if a != b), None)
    raise AssertionError(f"{len(data)} bytes, not {len(wanted)}; first difference at {where}")


def assert_is(model: LocalModel, content: Content) -> None:
    """Check that a model of one file is `content`."""
    assert len(model.files) == 1
    assert_same(model.path, content)


def final_names(cache: Path) -> list[str]:
    """Everything in a cache that a reader would take for a finished file."""
    kept = (".incomplete", ".journal", ".sums", ".lock", ".tmp")
    return sorted(
        str(path.relative_to(cache))
        for path in cache.rglob("*")
        if path.is_file() and not path.name.endswith(kept) and path.name != "CACHEDIR.TAG"
    )


async def failure(engine: Engine, *request: str, **more: Any) -> ModelFetchError:
    with pytest.raises(ModelFetchError) as caught:
        await (await engine.download(*request, **more)).result()
    assert caught.value.message
    return caught.value


async def until(events: Any, is_reached: Callable[[Any], bool]) -> None:
    """Read the events of a job until one is what is waited for."""
    async for status in events:
        if is_reached(status):
            await events.aclose()
            return
    raise AssertionError("the job ended before")


async def cancelled_at_random(dice: random.Random, work: Callable[[int], Awaitable[None]]) -> None:
    """Have six at work, cancel some of them at any moment, and wait for all."""
    tasks = [asyncio.ensure_future(work(number)) for number in range(6)]
    for _ in range(dice.randrange(8)):
        dice.choice(tasks).cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
