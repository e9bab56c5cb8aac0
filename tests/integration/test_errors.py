"""What a caller can get wrong, and what the world can: each a typed error that says what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, failure

from modelfetch import (
    AccessDenied,
    Config,
    Engine,
    GatedModel,
    HubUnavailable,
    InsufficientSpace,
    InvalidConfiguration,
    InvalidReference,
    InvalidToken,
    JobState,
    ModelNotFound,
    Offline,
    QuantizationNotFound,
    RateLimited,
    RevisionNotFound,
    StorageError,
)
from modelfetch.testing import FakeHub, HtmlPage, PositionCoded, Stall, Status
from modelfetch.testing import RateLimited as TooMany

Settings = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "text", ["", "tiny", "a b/c", "https://example.com/a/b", "../../etc/passwd"]
)
async def test_what_is_not_a_reference(hub: FakeHub, engine: Engine, text: str) -> None:
    error = await failure(engine, text)
    assert isinstance(error, InvalidReference)
    assert error.hint
    assert error.to_dict()["param"] == "model"
    assert hub.log == []


async def test_a_contradiction_is_not_resolved_by_guessing(hub: FakeHub, engine: Engine) -> None:
    error = await failure(engine, f"{REPO}:Q4_K_M", "Q8_0")
    assert isinstance(error, InvalidReference)


async def test_a_repository_that_is_not_there(hub: FakeHub, engine: Engine) -> None:
    error = await failure(engine, "acme/nothing")
    assert isinstance(error, ModelNotFound)
    assert (error.status, bool(error.request_id)) == (401, True)
    assert error.host == hub.endpoint.removeprefix("http://")


async def test_a_revision_that_is_not_there(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: b"x"})
    error = await failure(engine, REPO, LABEL, revision="v9")
    assert isinstance(error, RevisionNotFound)
    assert "'v9'" in str(error)


async def test_a_gated_repository(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, {FILE: coded(10)}, gated=True, allowed=["hf_good"])
    hub.tokens.add("hf_other")
    for token, kind in ((False, GatedModel), ("hf_other", GatedModel), ("hf_bad", InvalidToken)):
        async with Engine(**settings_for(hub, token=token)) as engine:
            error = await failure(engine, REPO, LABEL)
            assert type(error) is kind
            assert error.hint
    async with Engine(**settings_for(hub, token="hf_good")) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), coded(10))


async def test_a_repository_that_is_shut(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: b"x"}, disabled=True)
    error = await failure(engine, REPO, LABEL)
    assert type(error) is AccessDenied
    assert "disabled" in str(error)


async def test_a_quantization_that_is_not_there_lists_those_that_are(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add(REPO, {FILE: coded(2000), "tiny-Q8_0.gguf": coded(4000)})
    error = await failure(engine, REPO, "Q5_K_M")
    assert isinstance(error, QuantizationNotFound)
    assert {(v.label, v.size_bytes) for v in error.available} == {("Q4_K_M", 2000), ("Q8_0", 4000)}
    assert "Q4_K_M (2 kB)" in str(error)


async def test_a_cache_dir_that_is_a_file(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    hub.add(REPO, {FILE: b"x"})
    place.write_text("in the way")
    async with Engine(**settings_for(hub)) as engine:
        error = await failure(engine, REPO, LABEL)
    assert type(error) is StorageError
    assert str(place) in str(error)
    assert place.read_text() == "in the way"
    assert hub.requests("cdn") == []


async def test_a_cache_dir_that_cannot_be_written(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, {FILE: b"x"})
    # Not even root may make a folder there.
    async with Engine(**settings_for(hub, cache_dir="/proc/self/modelfetch")) as engine:
        error = await failure(engine, REPO, LABEL)
    assert type(error) is StorageError
    assert hub.requests("cdn") == []


async def test_a_disk_without_room_is_seen_before_the_first_byte(
    hub: FakeHub, engine: Engine
) -> None:
    size = 1 << 60
    hub.add(REPO, {FILE: PositionCoded(size, sha256="ab" * 32)})
    error = await failure(engine, REPO, LABEL)
    assert isinstance(error, InsufficientSpace)
    assert error.needed_bytes == size
    assert error.free_bytes is not None
    assert hub.requests("cdn") == []


async def test_a_disk_that_fills_up_pauses_the_job_and_loses_nothing(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from modelfetch.storage import disk

    content = coded(6 * MiB)
    hub.add(REPO, {FILE: content})
    real, calls = disk.write_at, iter(range(1000))

    def full(fd: int, parts: Any, offset: int) -> None:
        if next(calls) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd, parts, offset)

    # The one fault that a socket cannot make; filling a real disk needs a disk.
    monkeypatch.setattr(disk, "write_at", full)
    job = await engine.download(REPO, LABEL)
    with pytest.raises(InsufficientSpace):
        await job.result()
    assert job.state is JobState.PAUSED
    assert job.status.pause_reason == "The disk is full; resume when there is room."
    monkeypatch.undo()
    await job.resume()
    assert_is(await job.result(), content)


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://hub",
        "hub.example",
        "",
        "http://",
        "https://u:p@hub",
        "https://hub?x=1",
        "http://h:x",
        "https://hub.exam\nple",
        "https://hub .example",
        "https://hub/a\x00",
        "https://hub/a\r\nX: y",
    ],
)
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"endpoint"):
        Config(endpoint=endpoint)


@pytest.mark.parametrize(
    "settings",
    [
        {"connections": 0},
        {"connections": 1000},
        {"max_bytes_per_second": 0},
        {"token": "hf_x\r\nX-Evil: 1"},
        {"token": "two words"},
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        Config(**settings)


@pytest.mark.parametrize("code", [200, 500, 503])
async def test_a_hub_that_answers_with_a_page(hub: FakeHub, engine: Engine, code: int) -> None:
    hub.add(REPO, {FILE: b"x"})
    hub.script(HtmlPage(code), on="api", times=None)
    error = await failure(engine, REPO, LABEL)
    assert type(error) is HubUnavailable
    assert error.hint


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"{}", b'{"sha": 5}', b'{"sha": "zz", "siblings": []}', b"\xff\xfe"]
)
async def test_a_hub_that_answers_with_nonsense(hub: FakeHub, engine: Engine, body: bytes) -> None:
    hub.add(REPO, {FILE: b"x"})
    hub.script(Status(200, body), on="api", times=None)
    assert type(await failure(engine, REPO, LABEL)) is HubUnavailable


async def test_a_hub_that_limits(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: b"x"})
    hub.script(TooMany(retry_after=None, reset=299), on="api", times=None)
    error = await failure(engine, REPO, LABEL)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 300.0


async def test_offline(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, {FILE: coded(10)})
    async with Engine(**settings_for(hub, offline=True)) as engine:
        assert type(await failure(engine, REPO, LABEL)) is Offline
    assert hub.log == []


async def test_a_hub_that_is_not_there(settings_for: Settings, hub: FakeHub) -> None:
    async with Engine(**settings_for(hub, endpoint="http://127.0.0.1:9")) as engine:
        error = await failure(engine, REPO, LABEL)
    assert type(error) is HubUnavailable
    assert error.host == "127.0.0.1:9"


async def test_hostile_names_are_not_there(hub: FakeHub, engine: Engine, tmp_path: Path) -> None:
    names = ["../../evil-Q4_K_M.gguf", "/abs-Q4_K_M.gguf", "a\\b-Q4_K_M.gguf", "x\n-Q4_K_M.gguf"]
    hub.add(REPO, {**{name: coded(10) for name in names}, "ok-Q8_0.gguf": coded(10)})
    error = await failure(engine, REPO, LABEL)
    assert isinstance(error, QuantizationNotFound)
    assert [v.label for v in error.available] == ["Q8_0"]


async def test_cancelling_the_caller_leaves_nothing_behind(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(8 * MiB)})
    hub.rate = MiB

    async def work() -> None:
        async with Engine(**settings_for(hub)) as engine:
            await (await engine.download(REPO, LABEL)).result()

    task = asyncio.create_task(work())
    while not hub.requests("cdn"):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    names = [t.get_name() for t in asyncio.all_tasks() if "modelfetch" in t.get_name()]
    assert names == []


async def test_a_folder_in_a_link_and_a_quantization_go_together(
    hub: FakeHub, engine: Engine
) -> None:
    files = {f"{folder}/m-{label}.gguf": b"x" for folder in "ab" for label in ("Q8_0", "Q4_0")}
    hub.add(REPO, files)
    plan = await engine.plan(f"https://huggingface.co/{REPO}/tree/main/b", "Q8_0")
    assert [file.path for file in plan.files] == ["b/m-Q8_0.gguf"]
    error = await failure(engine, f"https://huggingface.co/{REPO}/blob/main/b/m-Q8_0.gguf", "Q4_0")
    assert isinstance(error, InvalidReference)


async def test_plans_to_a_silent_hub_hold_up_neither_transfers_nor_whoever_gives_up(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.add("acme/silent-GGUF", {FILE: b"x"})
    hub.script(Stall(at=0), on="api", path="*silent*", times=None)
    hub.rate = 4 * MiB
    async with Engine(**settings_for(hub, hub_timeout=60.0)) as engine:
        job = await engine.download(REPO, LABEL)
        plans = [asyncio.create_task(engine.plan("acme/silent-GGUF")) for _ in range(16)]
        while len(hub.requests("hub")) < 5:
            await asyncio.sleep(0.01)
        hub.rate = None
        assert_is(await job.result(), coded(4 * MiB))
        for plan in plans:
            plan.cancel()
        ended = await asyncio.gather(*plans, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in ended)


async def test_no_error_carries_the_request_and_its_token(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]]
) -> None:
    token = "hf_" + "s3cret" * 6
    hub.add(REPO, {FILE: coded(100)})
    async with Engine(**settings_for(hub, token=token)) as engine:
        await hub.stop()
        for call in (engine.plan(REPO), engine.download(REPO), engine.variants(REPO)):
            with pytest.raises(HubUnavailable) as raised:
                await call
            chain: list[BaseException] = [raised.value]
            while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
                chain.append(inner)
            assert chain == [raised.value], "httpx's errors hold their request"
