"""What other programs and older attempts left in the cache: used, or removed in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, assert_same, coded

from modelfetch import Engine, IntegrityError
from modelfetch.testing import FakeHub, Stall, WrongBytes

Settings = Callable[..., dict[str, Any]]
SHARDS = {f"m-Q4_K_M-0000{number}-of-00002.gguf": coded(2 * MiB, number) for number in (1, 2)}


def aside(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*.modelfetch-bad.incomplete"))


async def test_a_shard_that_lies_in_the_snapshot_itself_is_not_fetched_again(
    hub: FakeHub, settings_for: Settings
) -> None:
    """So huggingface_hub leaves it on Windows: a file where a link would be, and no blob."""
    hub.add(REPO, dict(SHARDS))
    async with Engine(**settings_for(hub)) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
    first, second = (file.path for file in model.files)
    first.resolve().rename(first)
    second.resolve().unlink()
    second.unlink()
    hub.reset_log()
    async with Engine(**settings_for(hub)) as engine:
        job = await engine.download(REPO, LABEL)
        model = await job.result()
    assert {name: hub.sent_bytes(name) for name in SHARDS} == {first.name: 0, second.name: 2 * MiB}
    assert job.status.downloaded_bytes == 4 * MiB
    assert all(file.verified for file in job.status.files)
    assert not first.is_symlink()
    for file in model.files:
        assert_same(file.path, SHARDS[file.path.name])


async def test_a_shard_whose_blob_is_there_is_linked(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, dict(SHARDS))
    async with Engine(**settings_for(hub)) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
    first, second = (file.path for file in model.files)
    first.unlink()
    second.resolve().unlink()
    hub.reset_log()
    async with Engine(**settings_for(hub)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    assert {name: hub.sent_bytes(name) for name in SHARDS} == {first.name: 0, second.name: 2 * MiB}
    assert_same(first, SHARDS[first.name])


async def fail(hub: FakeHub, engine: Engine) -> IntegrityError:
    hub.script(WrongBytes(at=5), times=None)
    with pytest.raises(IntegrityError) as caught:
        await (await engine.download(REPO, LABEL)).result()
    hub.unscript()
    return caught.value


async def test_one_partial_that_failed_is_kept_until_the_file_is_right(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    content = coded(2 * MiB)
    hub.add(REPO, {FILE: content})
    for _ in range(2):
        error = await fail(hub, engine)
        (name,) = aside(place)
        assert Path(error.path or "").name == name
        assert name in (error.hint or "")
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert aside(place) == []


async def test_it_goes_too_when_another_program_brought_the_file(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    content = coded(2 * MiB)
    hub.add(REPO, {FILE: content})
    await fail(hub, engine)
    blob = next(place.rglob("blobs")) / content.sha256
    blob.write_bytes(content.read(0, content.size))
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert aside(place) == []


async def test_it_goes_too_when_a_later_job_is_cancelled_and_deleted(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, {FILE: coded(2 * MiB)})
    await fail(hub, engine)
    hub.script(Stall(1000), times=None)
    job = await engine.download(REPO, LABEL)
    async for status in job.events():
        if status.connections:
            break
    await job.cancel(delete=True)
    assert list(place.rglob("blobs/*")) == []
