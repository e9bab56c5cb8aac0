"""The engine against a Hub on loopback, when all goes well."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, assert_same, coded, final_names, until

from modelfetch import (
    Engine,
    FileRole,
    HubUnavailable,
    InvalidState,
    JobCancelled,
    JobNotFound,
    JobState,
    ModelFetchError,
    StorageError,
    metadata,
)
from modelfetch.core.retry import RetryPolicy
from modelfetch.storage import layout
from modelfetch.storage.partial import PartialFile
from modelfetch.storage.verify import Hasher
from modelfetch.testing import BytesContent, FakeHub, PositionCoded, Stall, Status, build_gguf
from modelfetch.types import Span

Settings = Callable[..., dict[str, Any]]


async def test_a_plan_says_everything_and_downloads_nothing(hub: FakeHub, engine: Engine) -> None:
    content = coded(5000)
    commit = hub.add(REPO, {FILE: content, "README.md": "hello", "tiny-Q8_0.gguf": coded(9)})
    plan = await engine.plan(REPO, "q4_k_m")
    assert json.loads(json.dumps(plan.to_dict())) == {
        "repo": REPO,
        "commit": commit,
        "quantization": "Q4_K_M",
        "rule": plan.rule,
        "total_size_bytes": 5000,
        "files": [
            {"path": FILE, "size_bytes": 5000, "sha256": content.sha256, "role": "model"},
        ],
    }
    assert [r.path for r in hub.log] == [f"/api/models/{REPO}/revision/main"]


@pytest.mark.parametrize("size", [0, 1, 2, 4095, MiB - 1, MiB, MiB + 1, 9 * MiB + 7])
async def test_files_of_any_size(hub: FakeHub, engine: Engine, size: int) -> None:
    content = coded(size)
    hub.add(REPO, {FILE: content})
    job = await engine.download(REPO, LABEL)
    assert_is(await job.result(), content)
    assert job.status.downloaded_bytes == size


async def test_a_plain_git_file_is_checked_by_its_git_hash(hub: FakeHub, engine: Engine) -> None:
    content = build_gguf(size_bytes=2000)
    hub.add(REPO, {FILE: content}, lfs=lambda path, content: False)
    plan = await engine.plan(REPO, LABEL)
    assert plan.files[0].sha256 is None
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_split_model_and_its_projector_are_one_job(hub: FakeHub, engine: Engine) -> None:
    shards = {
        f"Q8_0/m-Q8_0-0000{n}-of-00003.gguf": build_gguf(size_bytes=MiB + n, split=(n - 1, 3))
        for n in (1, 2, 3)
    }
    projector = coded(MiB // 2)
    hub.add(REPO, {**shards, "mmproj-F16.gguf": projector, "m-Q4_K_M.gguf": coded(10)})
    job = await engine.download(REPO, "Q8_0")
    model = await job.result()
    assert model.path.name == "m-Q8_0-00001-of-00003.gguf"
    assert model.mmproj is not None
    assert_same(model.mmproj, projector)
    assert [file.role for file in model.files] == [FileRole.MODEL] * 3 + [FileRole.MMPROJ]
    for file, content in zip(model.files, shards.values(), strict=False):
        assert_same(file.path, content)
    assert job.status.total_size_bytes == model.total_size_bytes == 3 * MiB + 6 + MiB // 2


def split(count: int, size_bytes: int = 2000) -> dict[str, BytesContent]:
    return {
        f"m-Q8_0-{n:05}-of-{count:05}.gguf": build_gguf(size_bytes=size_bytes, split=(n - 1, count))
        for n in range(1, count + 1)
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("size", "at_once"), [(2000, 8), (2 * MiB, 3)])
async def test_of_small_files_more_are_fetched_at_once(
    hub: FakeHub, settings_for: Settings, size: int, at_once: int
) -> None:
    hub.add(REPO, split(12, size))
    hub.script(Stall(0), times=None)

    def located() -> int:
        return len({request.file for request in hub.requests("hub") if request.file})

    async with Engine(**settings_for(hub, read_timeout=60.0)) as engine:
        job = await engine.download(REPO, "Q8_0")
        while located() < at_once:
            await asyncio.sleep(0.001)
        assert located() == at_once
        await job.cancel()


async def test_the_cache_is_not_searched_for_each_file(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search takes as long as there are files, so that many would take the square of it."""
    searched: list[Path] = []

    def names_in(folder: Path) -> list[str]:
        searched.append(folder)
        return layout_names_in(folder)

    layout_names_in = layout.names_in
    monkeypatch.setattr(layout, "names_in", names_in)
    counts = []
    for count in (2, 12):
        hub.add(REPO, split(count))
        searched.clear()
        async with Engine(**settings_for(hub, isolation="thread")) as engine:
            await (await engine.download(REPO, "Q8_0")).result()
        counts.append(len(searched))
    assert counts[0] == counts[1] > 0


async def test_a_second_request_finds_it_and_asks_the_cdn_for_nothing(
    hub: FakeHub, engine: Engine
) -> None:
    content = coded(MiB)
    hub.add(REPO, {FILE: content})
    await (await engine.download(REPO, LABEL)).result()
    hub.reset_log()
    job = await engine.download(REPO, LABEL)
    assert job.state is JobState.ALREADY_DOWNLOADED
    assert job.status.to_dict() == {"status": "already_downloaded"}
    assert_is(await job.result(), content)
    assert [status.state async for status in job.events()] == [JobState.ALREADY_DOWNLOADED]
    assert [r.server for r in hub.log] == ["hub"]


async def test_what_a_commit_holds_is_asked_once_and_what_a_branch_names_each_time(
    hub: FakeHub, engine: Engine
) -> None:
    content = coded(5000)
    commit = hub.add(REPO, {FILE: content, "tiny-Q8_0.gguf": coded(9)})
    await (await engine.download(REPO, LABEL)).result()
    hub.reset_log()
    for _ in range(3):
        job = await engine.download(REPO, LABEL, revision=commit)
        assert job.state is JobState.ALREADY_DOWNLOADED
        assert job.plan.revision == job.plan.commit == commit
        assert_is(await job.result(), content)
    assert hub.log == []
    hub.add(REPO, {FILE: coded(6000)})
    assert (await engine.plan(REPO, LABEL)).total_size_bytes == 6000
    assert len(hub.log) == 1
    hub.add("acme/other-GGUF", {FILE: content})
    with pytest.raises(ModelFetchError):
        await engine.plan("acme/other-GGUF", LABEL, revision=commit)
    assert len(hub.log) == 2


async def test_only_so_many_listings_are_kept_and_none_that_is_large(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "KEPT", 2)
    monkeypatch.setattr(metadata, "KEPT_FILES", 2)
    commits = {f"acme/{n}-GGUF": hub.add(f"acme/{n}-GGUF", {FILE: coded(n)}) for n in (1, 2, 3)}
    large = {f"tiny-{label}.gguf": coded(5) for label in ("Q2_K", LABEL, "Q8_0")}
    commits["acme/large-GGUF"] = hub.add("acme/large-GGUF", large)
    for repo in commits:
        await engine.plan(repo, LABEL)
    asked = []
    for repo, commit in [*commits.items(), *reversed(commits.items())]:
        hub.reset_log()
        await engine.plan(repo, LABEL, revision=commit)
        asked.append(len(hub.log))
    # Of three that alternate two are kept; the large one is asked for each time.
    assert asked == [1, 1, 1, 1, 1, 0, 0, 1]


async def test_without_the_hub_a_complete_model_is_still_there(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(MiB)
    commit = hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    await hub.stop()
    # An engine that has listed nothing yet.
    async with Engine(**settings_for(hub)) as engine:
        for revision in (None, commit):
            job = await engine.download(REPO, LABEL, revision=revision)
            assert_is(await job.result(), content)
            assert "cache" in job.plan.rule
        with pytest.raises(HubUnavailable, match="gives no answer"):
            await engine.plan(REPO, "Q8_0")
        with pytest.raises(HubUnavailable):
            await engine.plan("acme/other", LABEL)


async def test_the_same_files_are_one_job(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.rate = 4 * MiB
    first, second = await asyncio.gather(
        engine.download(REPO, LABEL), engine.download(f"{REPO}:{LABEL.lower()}")
    )
    assert first is second
    await first.result()
    assert hub.bytes_sent_twice(FILE) == 0
    assert engine.jobs() == [first]
    assert first.id is not None
    assert engine.job(first.id) is first
    with pytest.raises(JobNotFound, match="job_0000000000"):
        engine.job("job_0000000000")


async def test_two_engines_on_one_cache_fetch_a_blob_once(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(6 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 4 * MiB
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as other:
        jobs = [await engine.download(REPO, LABEL) for engine in (one, other)]
        for job in jobs:
            assert_is(await job.result(), content)
            assert job.state is JobState.COMPLETED
    assert hub.bytes_sent_twice(FILE) == 0


@pytest.mark.parametrize("adopt", [False, True])
async def test_who_waits_for_a_blob_shows_how_far_its_owner_is(
    hub: FakeHub, settings_for: Settings, tmp_path: Path, adopt: bool
) -> None:
    """Another process, with jobs of its own, and then it gives up."""
    content = coded(6 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Stall(3 * MiB))
    owner = settings_for(hub, state_dir=tmp_path / "1", connections=1, read_timeout=60)
    waiter = settings_for(hub, state_dir=tmp_path / "2", adopt=adopt)
    async with Engine(**owner) as one, Engine(**waiter) as other:
        first = await one.download(REPO, LABEL)
        await until(first.events(), lambda status: status.downloaded_bytes >= 3 * MiB)
        second = await other.download(REPO, LABEL)
        await until(second.events(), lambda status: status.downloaded_bytes >= 3 * MiB)
        assert len(hub.requests("cdn", FILE)) == 1
        await first.cancel()
        assert_is(await second.result(), content)
    assert hub.bytes_sent_twice(FILE) == 0


async def test_pause_keeps_the_bytes_and_resume_goes_on(hub: FakeHub, engine: Engine) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = MiB // 2
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.downloaded_bytes > 2 * MiB)
    await job.pause()
    await job.pause()
    paused = job.status
    assert (paused.state, paused.connections) == (JobState.PAUSED, 0)
    assert paused.pause_reason is not None
    assert "bytes_per_second" not in paused.to_dict()
    hub.rate = None
    await job.resume()
    await job.resume()
    seen = [status.downloaded_bytes async for status in job.events()]
    assert_is(await job.result(), content)
    assert seen == sorted(seen)
    assert seen[0] >= paused.downloaded_bytes
    # Only what was on the wire at the pause comes again.
    assert hub.bytes_sent_twice(FILE) < MiB
    with pytest.raises(InvalidState):
        await job.pause()


async def test_a_request_for_a_paused_job_resumes_it(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.script(Stall(100_000), times=None)
    job = await engine.download(REPO, LABEL)
    await job.pause()
    hub.unscript()
    assert await engine.download(REPO, LABEL) is job
    assert (await job.wait()).state is JobState.COMPLETED


@pytest.mark.parametrize("delete", [False, True])
async def test_cancel_ends_the_job_and_keeps_the_partial_unless_told(
    hub: FakeHub, engine: Engine, place: Path, delete: bool
) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = MiB // 2
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.downloaded_bytes > 2 * MiB)
    await job.cancel(delete=delete)
    await job.cancel(delete=delete)
    assert job.state is JobState.FAILED
    assert job.status.to_dict()["error"]["type"] == "cancelled"
    with pytest.raises(JobCancelled):
        await job.result()
    assert bool(list(place.rglob("*.incomplete"))) is not delete
    assert final_names(place) == []
    hub.rate = None
    again = await engine.download(REPO, LABEL)
    assert again is not job
    assert_is(await again.result(), content)
    assert (hub.bytes_sent_twice(FILE) < MiB) is not delete


async def test_leaving_the_engine_pauses_and_another_goes_on(
    hub: FakeHub, settings_for: Settings
) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = MiB // 2
    async with Engine(**settings_for(hub)) as engine:
        job = await engine.download(REPO, LABEL)
        waiting = asyncio.ensure_future(job.result())
        await until(job.events(), lambda status: status.downloaded_bytes > 2 * MiB)
    assert job.state is JobState.PAUSED
    with pytest.raises(InvalidState, match="closed"):
        await waiting
    with pytest.raises(InvalidState, match="closed"):
        await job.resume()
    with pytest.raises(InvalidState, match="async with"):
        await engine.plan(REPO)
    before = job.status.downloaded_bytes
    hub.rate = None
    async with Engine(**settings_for(hub)) as engine:
        job = await engine.download(REPO, LABEL)
        assert_is(await job.result(), content)
    assert hub.sent_bytes() <= content.size + MiB
    assert before > 2 * MiB


async def test_events_are_in_order_and_end_once(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.rate = 2 * MiB
    job = await engine.download(REPO, LABEL)
    everything = asyncio.ensure_future(take_terminal(engine))
    seen = [status async for status in job.events()]
    assert [s.sequence for s in seen] == sorted({s.sequence for s in seen})
    assert [s.state.is_terminal for s in seen].count(True) == 1
    assert seen[-1].state is JobState.COMPLETED
    running = [s for s in seen if s.state is JobState.DOWNLOADING]
    assert any(s.bytes_per_second > 0 and s.estimated_completion for s in running)
    assert seen[-1].bytes_per_second == 0
    assert "completed_at" in seen[-1].to_dict()
    assert (await everything).job_id == job.id


async def test_a_reader_that_does_not_read_costs_nothing(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(2 * MiB)})
    job = await engine.download(REPO, LABEL)
    lazy = job.events()
    first = await anext(lazy)
    await job.result()
    rest = [status async for status in lazy]
    assert not first.state.is_terminal
    assert len(rest) <= 2, "progress was merged"
    assert rest[-1].state is JobState.COMPLETED


async def test_the_rate_is_bounded(hub: FakeHub, settings_for: Settings) -> None:
    content = coded(3 * MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub, max_bytes_per_second=2.0 * MiB)) as engine:
        job = await engine.download(REPO, LABEL)
        assert_is(await job.result(), content)
    status = job.status
    assert status.started_at is not None
    assert status.completed_at is not None
    # It may take longer than 1.5 seconds on any machine, and no less on none but for a burst.
    assert status.completed_at - status.started_at > 1.2


async def test_durability_can_be_left_out(hub: FakeHub, settings_for: Settings) -> None:
    content = coded(5 * MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub, durable=False, flush_bytes=1)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_partial_that_a_clean_up_removes_is_noticed_and_begun_anew(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    content = coded(5 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = MiB // 2
    async with Engine(**settings_for(hub, flush_seconds=0.05)) as engine:
        job = await engine.download(REPO, LABEL)
        await until(job.events(), lambda status: status.downloaded_bytes > MiB)
        for partial in place.rglob("*.incomplete"):
            partial.unlink()
        with pytest.raises(StorageError, match="removed by somebody"):
            await job.result()
        hub.rate = None
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_read_only_cache_that_has_the_model_will_do(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    content = coded(MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub)) as engine:
        await (await engine.download(REPO, LABEL)).result()
        before = sorted((p, p.lstat().st_mtime_ns) for p in place.rglob("*"))
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
        assert sorted((p, p.lstat().st_mtime_ns) for p in place.rglob("*")) == before


async def test_a_push_between_two_calls_does_not_mix_files(hub: FakeHub, engine: Engine) -> None:
    old, new = coded(MiB, seed=1), coded(MiB, seed=2)
    commit = hub.add(REPO, {FILE: old})

    def push(record: Any) -> bool:
        if len(hub.repos[REPO].commits) == 1:
            hub.add(REPO, {FILE: new})
        return False

    hub.script(Status(500), on="resolve", when=push)
    job = await engine.download(REPO, LABEL)
    assert_is(await job.result(), old)
    assert job.plan.commit == commit
    assert_is(await (await engine.download(REPO, LABEL)).result(), new)


async def test_revisions(hub: FakeHub, engine: Engine) -> None:
    first = hub.add(REPO, {FILE: coded(100, seed=1)})
    hub.add(REPO, {FILE: coded(100, seed=2)}, branch="refs/pr/1")
    for revision, seed in ((first, 1), ("main", 1), ("refs/pr/1", 2)):
        job = await engine.download(REPO, LABEL, revision=revision)
        assert_is(await job.result(), PositionCoded(100, seed))
    assert (await engine.plan(f"{REPO}@refs/pr/1:{LABEL}")).revision == "refs/pr/1"


async def test_listings_that_leave_sizes_out_are_completed_by_the_tree(
    hub: FakeHub, engine: Engine
) -> None:
    hub.lists_sizes, hub.page_size = False, 2
    files = {f"m-{label}.gguf": coded(50, n) for n, label in enumerate(("Q8_0", "F16", "Q4_K_M"))}
    hub.add(REPO, {**files, "README.md": "x", "a/b.txt": "y"})
    assert_is(await (await engine.download(REPO, "Q4_K_M")).result(), files["m-Q4_K_M.gguf"])
    assert len([r for r in hub.log if "/tree/" in r.path]) == 3


async def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: FakeHub, settings_for: Settings, caplog: pytest.LogCaptureFixture, place: Path
) -> None:
    token = "hf_" + "s3cret" * 6
    hub.lists_sizes = False
    hub.add(REPO, {FILE: coded(MiB), "a": "1"}, gated=True, allowed=[token])
    hub.page_size = 1
    caplog.set_level("DEBUG")
    async with Engine(**settings_for(hub, token=token)) as engine:
        job = await engine.download(REPO, LABEL)
        model = await job.result()
        said = f"{engine!r} {engine.config!r} {job!r} {job.status!r} {job.plan!r} {model!r}"
    assert all(r.has_token for r in hub.requests("hub"))
    assert not any(r.has_token for r in hub.requests("cdn"))
    assert token not in said
    assert token not in caplog.text
    stored = b"".join(p.read_bytes() for p in place.rglob("*") if p.is_file())
    assert token.encode() not in stored


async def take_terminal(engine: Engine) -> Any:
    async for status in engine.events():
        if status.state.is_terminal:
            return status
    raise AssertionError("the engine closed before")


async def test_a_resume_wins_over_a_pause_that_nobody_waits_for(
    hub: FakeHub, engine: Engine
) -> None:
    content = coded(4 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 2 * MiB
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.connections > 0)
    pausing = asyncio.ensure_future(job.pause())
    await asyncio.sleep(0)
    pausing.cancel()
    await job.resume()
    assert_is(await job.result(), content)


async def test_a_cancel_wins_over_a_pause_under_way(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.rate = MiB // 2
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.connections > 0)
    await asyncio.gather(job.pause(), job.cancel())
    assert job.status.to_dict()["error"]["type"] == "cancelled"


async def test_pauses_and_resumes_at_once_leave_no_task_behind(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.rate = MiB // 2
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.connections > 0)
    await asyncio.gather(job.pause(), job.resume(), job.pause(), return_exceptions=True)
    running = [t for t in asyncio.all_tasks() if t.get_name() == f"modelfetch {job.id}"]
    assert (job.state is JobState.DOWNLOADING) == bool(running)


async def test_transfers_do_not_run_in_the_loop_of_the_host(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB)})
    hub.rate = 2 * MiB
    job = await engine.download(REPO, LABEL)
    async with contextlib.aclosing(job.events()) as statuses:
        async for status in statuses:
            if status.downloaded_bytes:
                break
    assert "modelfetch-transfers" in {thread.name for thread in threading.enumerate()}
    coroutines = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}
    assert not any("Worker" in name or "FileFetcher" in name for name in coroutines)
    hub.rate = None
    await job.result()
    await engine.close()
    assert "modelfetch-transfers" not in {thread.name for thread in threading.enumerate()}


async def test_jobs_that_are_over_are_forgotten(hub: FakeHub, settings_for: Settings) -> None:
    async with Engine(**settings_for(hub, finished_jobs=2)) as engine:
        jobs = []
        for number in range(4):
            hub.add(f"acme/m{number}-GGUF", {FILE: coded(1000, number)})
            jobs.append(await engine.download(f"acme/m{number}-GGUF", LABEL))
            await jobs[-1].result()
        assert engine.jobs() == jobs[2:]
        with pytest.raises(JobNotFound):
            engine.job(jobs[0].id)
        await engine.forget(jobs[3].id)
        assert engine.jobs() == [jobs[2]]
        with pytest.raises(JobNotFound):
            await engine.forget(jobs[3].id)
        hub.add(REPO, {FILE: coded(MiB)})
        hub.script(Stall(100), times=None)
        running = await engine.download(REPO, LABEL)
        with pytest.raises(InvalidState, match="is not over"):
            await engine.forget(running.id)
        assert engine.jobs() == [jobs[2], running]


async def test_jobs_are_forgotten_by_age_but_not_while_they_run(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(MiB), "tiny-Q8_0.gguf": coded(MiB, 2)})
    async with Engine(**settings_for(hub, finished_seconds=0)) as engine:
        await (await engine.download(REPO, LABEL)).result()
        hub.script(Stall(100), times=None)
        running = await engine.download(REPO, "Q8_0")
        assert engine.jobs() == [running]


async def test_models_that_are_there_are_told_apart_in_the_engines_events(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add(REPO, {FILE: coded(10), "tiny-Q8_0.gguf": coded(20)})
    for label in (LABEL, "Q8_0"):
        await (await engine.download(REPO, label)).result()
    events = engine.events()
    for _ in engine.jobs():
        await anext(events)
    for label in (LABEL, "Q8_0"):
        await engine.download(REPO, label)
    seen = [await anext(events), await anext(events)]
    assert [status.total_size_bytes for status in seen] == [10, 20]


async def test_the_end_does_not_wait_for_a_connection_that_rests(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would rest for ten minutes, and the test has one.
    monkeypatch.setattr("modelfetch.worker.random.random", lambda: 0.999)
    patient = RetryPolicy(attempts=4, base_seconds=600.0, max_seconds=600.0)
    content = coded(4 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Status(500), times=1)
    async with Engine(**settings_for(hub, retry=patient, connections=4)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_what_came_is_flushed_beside_the_end_of_the_hash(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = coded(17 * MiB)
    hub.add(REPO, {FILE: content})
    is_flushed, flush, hash_into = threading.Event(), PartialFile.flush, PartialFile.hash_into

    def flushing(self: PartialFile) -> None:
        is_all = self.unflushed_bytes == content.size
        flush(self)
        if is_all:
            is_flushed.set()

    def hashing(self: PartialFile, hasher: Hasher, span: Span, block: memoryview) -> None:
        if span.stop == content.size:
            assert is_flushed.wait(5)
        hash_into(self, hasher, span, block)

    monkeypatch.setattr(PartialFile, "flush", flushing)
    monkeypatch.setattr(PartialFile, "hash_into", hashing)
    settings = settings_for(hub, flush_seconds=60.0, flush_bytes=1 << 40)
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
