"""An engine that closes while something is under way, and what its calls and jobs then say."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, until

from modelfetch import Engine, InvalidState, JobState
from modelfetch.testing import FakeHub, Stall

Settings = Callable[..., dict[str, Any]]


def open_files(place: Path) -> list[str]:
    """Files below `place` that this process has open."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            links.append(str(fd.readlink()))
    return [link for link in links if link.startswith(str(place))]


async def threads_ended() -> None:
    while any(thread.name.startswith("modelfetch_") for thread in threading.enumerate()):
        await asyncio.sleep(0.01)


async def running(hub: FakeHub, engine: Engine) -> Any:
    """Return a job of which some bytes came, and the rest is slow."""
    hub.add(REPO, {FILE: coded(8 * MiB)})
    hub.rate = MiB // 4
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.downloaded_bytes > 0)
    return job


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("again", [False, True])
async def test_cancelling_who_closes_leaves_nothing_open(
    hub: FakeHub, settings_for: Settings, place: Path, steps: int, again: bool
) -> None:
    engine = await Engine(**settings_for(hub, connections=2)).__aenter__()
    job = await running(hub, engine)
    closing = asyncio.ensure_future(engine.close())
    for _ in range(steps):
        await asyncio.sleep(0)
    closing.cancel()
    while again and not closing.done():
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert job.state is JobState.PAUSED
    assert open_files(place) == []
    await threads_ended()


async def test_whoever_closes_second_waits_for_the_first(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    engine = await Engine(**settings_for(hub)).__aenter__()
    job = await running(hub, engine)
    first = asyncio.ensure_future(engine.close())
    await asyncio.sleep(0)
    await engine.close()
    assert first.done()
    assert job.state is JobState.PAUSED
    assert open_files(place) == []


@pytest.mark.parametrize("connections", [1, 8])
async def test_calls_under_way_end_with_a_clear_error(
    hub: FakeHub, settings_for: Settings, connections: int
) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    hub.script(Stall(0), on="api", times=None)
    async with Engine(**settings_for(hub, connections=connections)) as engine:
        calls = [
            *(engine.plan(REPO, LABEL) for _ in range(8)),
            *(engine.download(REPO, LABEL) for _ in range(3)),
            engine.variants(REPO),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while not hub.log:
            await asyncio.sleep(0.01)
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, InvalidState)
        assert "closed" in str(error)


@pytest.mark.parametrize("name", ["missing", "prepare", "check_space"])
async def test_a_download_that_looks_at_the_disk_ends_with_a_clear_error(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from modelfetch.storage import snapshots

    hub.add(REPO, {FILE: coded(MiB)})
    original = getattr(snapshots, name)
    is_in, may_go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        is_in.set()
        may_go_on.wait(30)
        return original(*args)

    monkeypatch.setattr(snapshots, name, slow)
    async with Engine(**settings_for(hub)) as engine:
        download = asyncio.ensure_future(engine.download(REPO, LABEL))
        while not is_in.is_set():
            await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(engine.close())
        await asyncio.sleep(0)
        may_go_on.set()
        await closing
        assert download.done(), "nothing of a call goes on after the closing"
        with pytest.raises(InvalidState, match="closed"):
            await download
        assert engine.jobs() == []


async def test_a_cancelled_caller_is_cancelled_though_the_engine_closes_too(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    hub.script(Stall(0), on="api", times=None)
    async with Engine(**settings_for(hub)) as engine:
        plan = asyncio.ensure_future(engine.plan(REPO, LABEL))
        while not hub.log:
            await asyncio.sleep(0.01)
        plan.cancel()
        await engine.close()
        with pytest.raises(asyncio.CancelledError):
            await plan


async def test_an_engine_that_is_entered_again_goes_on_with_a_paused_download(
    hub: FakeHub, settings_for: Settings
) -> None:
    engine = Engine(**settings_for(hub))
    async with engine:
        with pytest.raises(InvalidState, match="open already"):
            await engine.__aenter__()
        old = await running(hub, engine)
        await old.pause()
        before = old.status.downloaded_bytes
    hub.rate = None
    async with engine:
        job = await engine.download(REPO, LABEL)
        assert_is(await job.result(), coded(8 * MiB))
    assert before > 0
    assert hub.bytes_sent_twice(FILE) < MiB


async def test_controls_of_a_closed_engine_are_refused(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        job = await running(hub, engine)
    for control in (job.resume(), job.cancel(), job.cancel(delete=True)):
        with pytest.raises(InvalidState, match="engine is closed"):
            await control
    await job.pause()
    assert job.state is JobState.PAUSED
    assert list(place.rglob("*.incomplete"))
    with pytest.raises(InvalidState, match="not open"):
        await anext(engine.events())


async def test_closing_waits_for_a_cancel_that_deletes(
    hub: FakeHub, settings_for: Settings, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelfetch.storage import snapshots

    original = snapshots.discard_partials
    is_in, may_go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> None:
        is_in.set()
        may_go_on.wait(30)
        original(*args)

    monkeypatch.setattr(snapshots, "discard_partials", slow)
    async with Engine(**settings_for(hub)) as engine:
        job = await running(hub, engine)
        cancelling = asyncio.ensure_future(job.cancel(delete=True))
        while not is_in.is_set():
            await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(engine.close())
        cancelling.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        await closing
    assert job.status.to_dict()["error"]["type"] == "cancelled"
    assert not list(place.rglob("*.incomplete"))
    with pytest.raises(asyncio.CancelledError):
        await cancelling


@pytest.mark.parametrize("delete", [False, True])
async def test_a_download_while_its_job_is_being_cancelled_is_a_new_job(
    hub: FakeHub, engine: Engine, delete: bool
) -> None:
    old = await running(hub, engine)
    hub.rate = None
    plan = old.plan

    async def known(*args: Any, **kwargs: Any) -> Any:
        return plan

    engine.plan = known  # type: ignore[method-assign]
    cancelling = asyncio.ensure_future(old.cancel(delete=delete))
    await asyncio.sleep(0)
    pausing = asyncio.ensure_future(old.pause())
    job = await engine.download(REPO, LABEL)
    assert job is not old
    assert_is(await job.result(), coded(8 * MiB))
    await cancelling
    await asyncio.gather(pausing, return_exceptions=True)
    assert old.status.to_dict()["error"]["type"] == "cancelled"


async def test_a_plan_can_be_cancelled_while_the_hub_is_silent(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    hub.script(Stall(0), on="api", times=None)
    plan = asyncio.ensure_future(engine.plan(REPO, LABEL))
    while not hub.log:
        await asyncio.sleep(0.01)
    plan.cancel()
    # The Hub may be silent for half a minute; a second is for a slow machine.
    done, _ = await asyncio.wait({plan}, timeout=5)
    assert done
    assert plan.cancelled()


async def test_writes_go_on_while_plans_wait_for_the_hub(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(8 * MiB)
    async with Engine(**settings_for(hub, connections=2)) as engine:
        job = await running(hub, engine)
        hub.script(Stall(0), on="api", times=None)
        plans = [asyncio.ensure_future(engine.plan(REPO, LABEL)) for _ in range(12)]
        while len(hub.log) < 5:
            await asyncio.sleep(0.01)
        hub.rate = None
        assert_is(await job.result(), content)
        assert not any(plan.done() for plan in plans)
    await asyncio.gather(*plans, return_exceptions=True)
