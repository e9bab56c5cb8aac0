"""Jobs that are written down: over restarts, between engines, in line, and under cancellation."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, until

from modelfetch import (
    Engine,
    InsufficientSpace,
    InvalidConfiguration,
    InvalidState,
    Job,
    JobCancelled,
    JobNotFound,
    JobState,
    JobStatus,
    LocalModel,
    NetworkError,
    StorageError,
)
from modelfetch.storage.ledger import News
from modelfetch.testing import FakeHub, Stall, Status

Settings = Callable[..., dict[str, Any]]
CONTENT = coded(8 * MiB)


def add(hub: FakeHub, number: int = 0, size: int = 8 * MiB) -> str:
    repo = f"acme/m{number}-GGUF"
    hub.add(repo, {FILE: coded(size, number + 1)})
    return repo


async def slow_job(hub: FakeHub, engine: Engine) -> Job:
    """Return a job of which some bytes came, and the rest is slow."""
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = MiB // 4
    job = await engine.download(REPO, LABEL)
    await until(job.events(), lambda status: status.downloaded_bytes > 0)
    return job


async def seen_as(engine: Engine, job: Job, is_so: Callable[[Job], bool]) -> Job:
    """Return the job as another engine has it, once that has noticed."""
    assert job.id is not None
    other = await engine.find(job.id)
    while not is_so(other):
        await asyncio.sleep(0.02)
    return other


def die(engine: Engine) -> Any:
    """Return what ends an engine as `kill -9` would: locks go, nothing is written any more."""
    scribe = engine._jobs._desk.scribe  # type: ignore[attr-defined]
    scribe.is_open = False
    for job in engine.jobs():
        assert job.id is not None
        scribe.release(job.id)


def record(state_dir: Path, job: Job) -> Path:
    return state_dir / "jobs" / f"{job.id}.json"


# --- over restarts --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["paused", "closed", "killed"])
async def test_an_unfinished_job_is_there_after_a_restart(
    hub: FakeHub, settings_for: Settings, how: str
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        old = await slow_job(hub, engine)
        if how == "paused":
            await old.pause()
        if how == "killed":
            await until(old.events(), lambda status: status.downloaded_bytes > MiB)
            written = old.status
            await old.life._written()
            die(engine)
    last = written if how == "killed" else old.status
    last_number = old.status.sequence
    hub.rate = None
    async with Engine(**settings_for(hub)) as engine:
        (job,) = engine.jobs()
        assert (job.id, job.plan, job.state) == (old.id, old.plan, JobState.PAUSED)
        if how == "killed":
            assert job.status.pause_reason == "The process that ran it has ended."
        else:
            assert job.status.pause_reason == old.status.pause_reason
        assert job.status.downloaded_bytes >= last.downloaded_bytes > 0
        assert job.status.sequence >= last_number
        assert job.status.started_at == last.started_at
        assert engine.job(str(old.id)) is job
        seen = [job.status]
        await job.resume()
        seen += [status async for status in job.events()]
        assert_is(await job.result(), CONTENT)
    assert hub.bytes_sent_twice(FILE) < MiB
    assert [s.downloaded_bytes for s in seen] == sorted(s.downloaded_bytes for s in seen)
    assert [s.sequence for s in seen] == sorted({s.sequence for s in seen})


async def test_a_request_after_a_restart_gets_the_same_job(
    hub: FakeHub, settings_for: Settings
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        old = await slow_job(hub, engine)
    hub.rate = None
    async with Engine(**settings_for(hub)) as engine:
        job = await engine.download(REPO, LABEL)
        assert job.id == old.id
        assert_is(await job.result(), CONTENT)
        assert engine.jobs() == [job]


async def test_finished_jobs_stay_listed_and_have_their_results(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    failing, cancelled = add(hub, 1), add(hub, 2)
    async with Engine(**settings_for(hub)) as engine:
        good = await engine.download(REPO, LABEL)
        await good.result()
        hub.script(Status(403), on="resolve", times=None)
        bad = await engine.download(failing, LABEL)
        assert (await bad.wait()).state is JobState.FAILED
        hub.unscript()
        hub.rate = MiB // 4
        gone = await engine.download(cancelled, LABEL)
        await gone.cancel()
    async with Engine(**settings_for(hub)) as engine:
        assert [job.state for job in engine.jobs()].count(JobState.FAILED) == 2
        again = engine.job(str(good.id))
        assert again.status.to_dict() == good.status.to_dict()
        assert_is(await again.result(), CONTENT)
        assert engine.job(str(bad.id)).status.to_dict() == bad.status.to_dict()
        with pytest.raises(JobCancelled):
            await engine.job(str(gone.id)).result()
        for blob in place.rglob("blobs/*"):
            blob.unlink()
    async with Engine(**settings_for(hub)) as engine:
        with pytest.raises(StorageError, match="not in the cache"):
            await engine.job(str(good.id)).result()


async def test_jobs_that_ran_go_on_by_themselves_if_so_set(
    hub: FakeHub, settings_for: Settings
) -> None:
    repos = [add(hub, number) for number in range(4)]
    hub.rate = MiB // 4
    async with Engine(**settings_for(hub, max_jobs=2)) as engine:
        jobs = [await engine.download(repo, LABEL) for repo in repos]
        await jobs[1].pause()
        ids = [job.id for job in jobs]
    hub.rate = None
    async with Engine(**settings_for(hub, max_jobs=1, resume_on_start=True)) as engine:
        done = [engine.job(str(ids[number])) for number in (0, 2, 3)]
        for number, job in zip((0, 2, 3), done, strict=True):
            while job.state is JobState.PAUSED:
                await asyncio.sleep(0.02)
            assert_is(await job.result(), coded(8 * MiB, number + 1))
        ends = [job.status.completed_at for job in done]
        assert ends == sorted(ends, key=lambda end: end or 0)
        assert engine.job(str(ids[1])).state is JobState.PAUSED


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda text: text[: len(text) // 2], "set aside"),
        (lambda text: "", "set aside"),
        (lambda text: "[]", "set aside"),
        (lambda text: text.replace(FILE, "../../../etc/passwd"), "set aside"),
        (lambda text: text.replace('"size_bytes": ', '"size_bytes": -'), "set aside"),
        (lambda text: text.replace('"paused"', '"asleep"'), "set aside"),
        (lambda text: json.dumps({**json.loads(text), "version": 2}), "later modelfetch"),
    ],
)
async def test_a_record_that_makes_no_sense_is_set_aside_with_a_warning(
    hub: FakeHub,
    settings_for: Settings,
    state_dir: Path,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[str], str],
    word: str,
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        old = await slow_job(hub, engine)
    path = record(state_dir, old)
    harmed = harm(path.read_text())
    path.write_text(harmed)
    hub.rate = None
    for _ in range(2):
        async with Engine(**settings_for(hub)) as engine:
            assert engine.jobs() == []
        assert caplog.text.count(str(path)) == (1 if word == "set aside" else _ + 1)
    assert word in caplog.text
    kept = path if word != "set aside" else path.with_name(path.name + ".bad")
    assert kept.read_text() == harmed
    async with Engine(**settings_for(hub)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert hub.bytes_sent_twice(FILE) < MiB


async def test_an_engine_sees_the_jobs_of_its_own_cache_and_hub(
    hub: FakeHub, settings_for: Settings, tmp_path: Path
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        await slow_job(hub, engine)
    async with Engine(**settings_for(hub, cache_dir=tmp_path / "other")) as engine:
        assert engine.jobs() == []
    async with Engine(**settings_for(hub, endpoint=hub.endpoint + "/x")) as engine:
        assert engine.jobs() == []


async def test_records_hold_no_secret_and_are_for_this_user_alone(
    hub: FakeHub, settings_for: Settings, state_dir: Path
) -> None:
    token = "hf_" + "s3cret" * 6
    hub.add(REPO, {FILE: CONTENT}, gated=True, allowed=[token])
    async with Engine(**settings_for(hub, token=token)) as engine:
        hub.script(Status(403), on="cdn", times=None)
        job = await engine.download(REPO, LABEL)
        with pytest.raises(NetworkError):
            await job.result()
    stored = b"".join(p.read_bytes() for p in state_dir.rglob("*") if p.is_file())
    assert str(job.id).encode() in stored
    for secret in (token, "Signature", "Expires"):
        assert secret.encode() not in stored
    assert state_dir.stat().st_mode & 0o077 == 0


async def test_a_state_folder_that_cannot_be_used_costs_no_download(
    hub: FakeHub, settings_for: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = 4 * MiB
    async with Engine(**settings_for(hub, state_dir=tmp_path / "file")) as engine:
        first, second = await asyncio.gather(
            engine.download(REPO, LABEL), engine.download(REPO, LABEL)
        )
        assert first is second
        await first.pause()
        await first.resume()
        assert_is(await first.result(), CONTENT)
        await engine.forget(str(first.id))
        with pytest.raises(JobNotFound):
            await engine.find(str(first.id))
    assert "not written down" in caplog.text


async def test_a_state_folder_that_fills_up_costs_no_download(
    hub: FakeHub,
    settings_for: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from modelfetch.storage import ledger

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    hub.add(REPO, {FILE: CONTENT})
    async with Engine(**settings_for(hub)) as engine:
        monkeypatch.setattr(ledger, "write_text", full)
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert caplog.text.count("cannot be written down") == 1


async def test_a_state_folder_that_goes_away_costs_no_download(
    hub: FakeHub, settings_for: Settings, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        job = await slow_job(hub, engine)
        shutil.rmtree(state_dir)
        other = await engine.download(add(hub, 1), LABEL)
        await job.pause()
        state_dir.rename(state_dir.with_name("away"))
        state_dir.write_text("in the way")
        another = await engine.download(add(hub, 2), LABEL)
        hub.rate = None
        assert_is(await other.result(), coded(8 * MiB, 2))
        assert_is(await another.result(), coded(8 * MiB, 3))
        await job.resume()
        assert_is(await job.result(), CONTENT)
        assert len(engine.jobs()) == 3
    assert caplog.text.count("WARNING") == 1


async def test_a_job_that_is_writing_its_end_and_is_forgotten_does_not_come_back(
    hub: FakeHub, settings_for: Settings, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelfetch.storage import ledger

    may_write, write = threading.Event(), ledger.write_text

    def slow(path: Path, text: str) -> None:
        assert '"state": "completed"' not in text or may_write.wait(20)
        write(path, text)

    monkeypatch.setattr(ledger, "write_text", slow)
    hub.add(REPO, {FILE: coded(1000)})
    async with Engine(**settings_for(hub)) as engine:
        job = await engine.download(REPO, LABEL)
        await job.result()
        forgetting = asyncio.create_task(engine.forget(str(job.id)))
        await asyncio.wait({forgetting}, timeout=0.2)
        may_write.set()
        await forgetting
    assert not record(state_dir, job).exists()


async def test_old_jobs_are_forgotten_in_the_folder_too(
    hub: FakeHub, settings_for: Settings, state_dir: Path
) -> None:
    async with Engine(**settings_for(hub, finished_jobs=1)) as engine:
        jobs = []
        for number in range(3):
            jobs.append(await engine.download(add(hub, number, 1000), LABEL))
            await jobs[-1].result()
        while record(state_dir, jobs[0]).exists() or record(state_dir, jobs[1]).exists():
            await asyncio.sleep(0.02)
        assert engine.jobs() == jobs[2:]
        await engine.forget(str(jobs[2].id))
        names = [path.name for path in (state_dir / "jobs").iterdir()]
        assert names == []


async def test_a_job_that_was_to_be_forgotten_and_is_retried_is_kept(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.script(Status(403), on="cdn", times=None)
    async with Engine(**settings_for(hub, finished_jobs=0)) as engine:
        job = await engine.download(add(hub), LABEL)
        await job.wait()
        assert engine.jobs() == []
        hub.unscript()
        hub.script(Stall(1000), times=None)
        await job.retry()
        await engine._jobs._remove_old()
        assert engine.jobs() == [job]
        assert await engine.find(str(job.id)) is job


async def test_jobs_are_listed_oldest_first_after_a_restart(
    hub: FakeHub, settings_for: Settings
) -> None:
    async with Engine(**settings_for(hub)) as engine:
        ids = [(await engine.download(add(hub, n, 1000), LABEL)).id for n in range(12)]
    async with Engine(**settings_for(hub)) as engine:
        assert [job.id for job in engine.jobs()] == ids


# --- between engines ------------------------------------------------------------------------------


async def test_another_engine_sees_a_job_live_and_its_end(
    hub: FakeHub, settings_for: Settings
) -> None:
    # Two connections might share the tail of a file, which sends a little of it twice.
    settings = settings_for(hub, connections=1)
    async with Engine(**settings) as one, Engine(**settings) as two:
        job = await slow_job(hub, one)
        other = await seen_as(two, job, lambda o: o.status.downloaded_bytes > 0)
        assert other.state is JobState.DOWNLOADING
        assert other.status.bytes_per_second > 0
        assert await two.download(REPO, LABEL) is other
        events = asyncio.ensure_future(all_of(other))
        hub.rate = None
        assert_is(await other.result(), CONTENT)
        seen = await events
        assert seen[-1].state is JobState.COMPLETED
        assert [s.sequence for s in seen] == sorted({s.sequence for s in seen})
        assert other.status.to_dict() == job.status.to_dict()
    assert hub.bytes_sent_twice(FILE) == 0


async def all_of(job: Job) -> list[JobStatus]:
    return [status async for status in job.events()]


@pytest.mark.parametrize("delete", [False, True])
async def test_another_engine_can_pause_resume_and_cancel(
    hub: FakeHub, settings_for: Settings, place: Path, delete: bool
) -> None:
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        other = await seen_as(two, job, lambda o: o.state is JobState.DOWNLOADING)
        await other.resume()
        await other.pause()
        await other.pause()
        assert job.state is other.state is JobState.PAUSED
        await job.resume()
        await seen_as(two, job, lambda o: o.state is JobState.DOWNLOADING)
        await other.cancel(delete=delete)
        await other.cancel(delete=delete)
        assert job.status.to_dict()["error"]["type"] == "cancelled"
        with pytest.raises(JobCancelled):
            await other.result()
        with pytest.raises(InvalidState):
            await other.pause()
        assert bool(list(place.rglob("*.incomplete"))) is not delete


async def test_a_paused_job_goes_on_in_whichever_engine_resumes_it(
    hub: FakeHub, settings_for: Settings
) -> None:
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        await job.pause()
        other = await seen_as(two, job, lambda o: o.state is JobState.PAUSED)
        await other.resume()
        assert other.life.is_ours
        await seen_as(one, job, lambda o: o.state is JobState.DOWNLOADING)
        assert not job.life.is_ours
        hub.rate = None
        assert_is(await job.result(), CONTENT)
        assert_is(await other.result(), CONTENT)


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_who_waits_for_a_job_takes_it_over_when_its_engine_is_gone(
    hub: FakeHub, settings_for: Settings, how: str
) -> None:
    one = await Engine(**settings_for(hub)).__aenter__()
    job = await slow_job(hub, one)
    async with Engine(**settings_for(hub)) as two, Engine(**settings_for(hub)) as three:
        other = await two.download(REPO, LABEL)
        assert (other.id, other.life.is_ours) == (job.id, False)
        await three.find(str(job.id))
        if how == "killed":
            die(one)
        await one.close()
        hub.rate = None
        assert_is(await other.result(), CONTENT)
        assert other.life.board.model is not None, "it ran here"
        bystander = await seen_as(three, job, lambda o: o.state is JobState.COMPLETED)
        assert bystander.life.board.model is None


@pytest.mark.parametrize("is_noticed", [False, True])
async def test_a_job_of_a_process_that_died_can_be_taken_over_by_hand(
    hub: FakeHub, settings_for: Settings, is_noticed: bool
) -> None:
    one = await Engine(**settings_for(hub)).__aenter__()
    job = await slow_job(hub, one)
    async with Engine(**settings_for(hub)) as two:
        other = await two.find(str(job.id))
        if not is_noticed:
            two._jobs._watch._watching.cancel()
        die(one)
        await one.close()
        if is_noticed:
            await seen_as(two, job, lambda o: o.state is JobState.PAUSED)
            assert "ended" in (other.status.pause_reason or "")
        hub.rate = None
        await other.resume()
        assert_is(await other.result(), CONTENT)


async def test_requests_of_two_engines_at_once_are_one_job(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = 4 * MiB
    # Two connections might share the tail of a file, which sends a little of it twice.
    settings = settings_for(hub, connections=1)
    async with Engine(**settings) as one, Engine(**settings) as two:
        jobs = await asyncio.gather(
            *(engine.download(REPO, LABEL) for engine in (one, two) for _ in range(5))
        )
        assert len({job.id for job in jobs}) == 1
        assert len(set(map(id, jobs))) == 2
        for job in jobs:
            assert_is(await job.result(), CONTENT)
    assert hub.bytes_sent_twice(FILE) == 0


async def test_an_engine_that_does_not_answer_is_named(
    hub: FakeHub, settings_for: Settings, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.life.PATIENCE_SECONDS", 0.3)
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        other = await two.find(str(job.id))
        one._jobs._watch._watching.cancel()
        with pytest.raises(InvalidState, match="does not answer"):
            await other.pause()
        assert job.state is JobState.DOWNLOADING
        assert not list(state_dir.rglob("*.ask.json*"))
        with pytest.raises(InvalidState, match="another process"):
            await other.prioritize(3)


async def test_a_job_that_another_engine_forgets_is_gone(
    hub: FakeHub, settings_for: Settings
) -> None:
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        hub.add(REPO, {FILE: coded(1000)})
        job = await one.download(REPO, LABEL)
        await job.result()
        await seen_as(two, job, lambda o: o.state is JobState.COMPLETED)
        await two.forget(str(job.id))
        while one.jobs():
            await asyncio.sleep(0.02)


async def test_a_job_that_another_engine_has_just_forgotten_is_not_brought_back(
    hub: FakeHub, settings_for: Settings, state_dir: Path
) -> None:
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        stale = await seen_as(two, job, lambda o: o.state is JobState.DOWNLOADING)
        two._jobs._watch._watching.cancel()
        await job.cancel()
        await one.forget(str(job.id))
        for ask in (stale.pause, stale.resume, stale.cancel):
            with pytest.raises(JobNotFound):
                await ask()
        assert list((state_dir / "jobs").iterdir()) == []
        hub.rate = None
        new = await two.download(REPO, LABEL)
        assert new.id != job.id
        assert_is(await new.result(), CONTENT)


async def test_who_waits_for_a_job_whose_end_nobody_showed_him_is_told_that_it_is_forgotten(
    hub: FakeHub, settings_for: Settings
) -> None:
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        other = await seen_as(two, job, lambda o: o.state is JobState.DOWNLOADING)
        waiting = asyncio.create_task(other.wait())
        two._jobs._watch._watching.cancel()
        await job.cancel()
        await one.forget(str(job.id))
        await two._jobs._watch.refresh()
        with pytest.raises(JobNotFound, match="forgotten"):
            await waiting


async def cancelled_job(
    hub: FakeHub, settings_for: Settings, state_dir: Path, is_written_down: bool
) -> tuple[Engine, Job]:
    """Return a job that was cancelled, and its engine, which can write it down or cannot."""
    if not is_written_down:
        state_dir.mkdir()
        (state_dir / "jobs").write_bytes(b"in the way")
    engine = await Engine(**settings_for(hub)).__aenter__()
    job = await slow_job(hub, engine)
    await job.cancel()
    return engine, job


@pytest.mark.parametrize("is_written_down", [True, False])
async def test_a_forgotten_job_takes_nothing_more(
    hub: FakeHub, settings_for: Settings, state_dir: Path, is_written_down: bool
) -> None:
    engine, job = await cancelled_job(hub, settings_for, state_dir, is_written_down)
    await engine.forget(str(job.id))
    for _ in range(2):
        for ask in (job.pause, job.resume, job.cancel, job.retry, lambda: job.prioritize(1)):
            with pytest.raises(JobNotFound):
                await ask()
        await engine.close()
    with pytest.raises(JobCancelled):
        await job.result()


@pytest.mark.parametrize("is_written_down", [True, False])
@pytest.mark.parametrize("step", range(0, 24, 2))
async def test_what_is_asked_of_a_job_that_is_being_forgotten_ends_before_the_engine_does(
    hub: FakeHub, settings_for: Settings, state_dir: Path, step: int, is_written_down: bool
) -> None:
    engine, job = await cancelled_job(hub, settings_for, state_dir, is_written_down)
    asked = [asyncio.create_task(engine.forget(str(job.id)))]
    await asyncio.sleep(0)
    asked += [asyncio.create_task(ask()) for ask in (job.retry, job.pause, job.retry)]
    for _ in range(step):
        await asyncio.sleep(0)
    await engine.close()
    for ended in await asyncio.gather(*asked, return_exceptions=True):
        assert ended is None or isinstance(ended, (InvalidState, JobNotFound)), repr(ended)
    assert not job.life.board.is_live


async def test_a_list_that_lacks_a_record_for_a_moment_is_not_believed(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems leave out of a list what is being replaced."""
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        other = await seen_as(two, job, lambda o: o.state is JobState.DOWNLOADING)
        ledger = two._jobs._scribe._ledger

        def empty(known: Any, settled: Any) -> News:
            return News()

        with monkeypatch.context() as patched:
            patched.setattr(ledger, "news", empty)
            await two._jobs._watch.refresh()
        assert two.job(str(job.id)) is other
        await other.pause()
        assert job.state is JobState.PAUSED


async def test_what_another_engine_has_fetched_and_forgotten_is_there(
    hub: FakeHub, settings_for: Settings
) -> None:
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await slow_job(hub, one)
        other = await seen_as(two, job, lambda o: o.state is JobState.DOWNLOADING)
        two._jobs._watch._watching.cancel()
        hub.rate = None
        await job.result()
        await one.forget(str(job.id))
        await two._jobs._watch.refresh()
        assert_is(await other.result(), CONTENT)
        with pytest.raises(JobNotFound):
            await other.wait()


@pytest.mark.parametrize("step", range(0, 12, 2))
async def test_a_result_that_is_looked_up_ends_before_the_engine_does(
    hub: FakeHub, settings_for: Settings, step: int
) -> None:
    hub.add(REPO, {FILE: coded(1000)})
    async with Engine(**settings_for(hub)) as one:
        job = await one.download(REPO, LABEL)
        await job.result()
        two = await Engine(**settings_for(hub)).__aenter__()
        other = await seen_as(two, job, lambda o: o.state is JobState.COMPLETED)
        looking = asyncio.create_task(other.result())
        for _ in range(step):
            await asyncio.sleep(0)
        await two.close()
        (ended,) = await asyncio.gather(looking, return_exceptions=True)
        assert isinstance(ended, (InvalidState, LocalModel)), repr(ended)


async def test_a_result_that_was_not_asked_for_before_the_engine_closed_is_not_looked_up(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {FILE: coded(1000)})
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        job = await one.download(REPO, LABEL)
        await job.result()
        other = await seen_as(two, job, lambda o: o.state is JobState.COMPLETED)
        await two.forget(str(job.id))
    with pytest.raises((InvalidState, JobNotFound)):
        await other.result()


async def test_a_job_that_was_over_at_once_leaves_nothing_behind(
    hub: FakeHub, settings_for: Settings, state_dir: Path
) -> None:
    hub.add(REPO, {FILE: coded(1000)})
    async with Engine(**settings_for(hub)) as engine:
        await (await engine.download(REPO, LABEL)).result()
        job = await engine.download(REPO, LABEL)
        assert job.id is None
        files = sorted((state_dir / "jobs").iterdir())
        with pytest.raises(InvalidState):
            await job.prioritize(1)
        assert sorted((state_dir / "jobs").iterdir()) == files


# --- in line --------------------------------------------------------------------------------------


async def test_jobs_wait_in_line_and_can_be_put_elsewhere(
    hub: FakeHub, settings_for: Settings
) -> None:
    repos = [add(hub, number, MiB) for number in range(6)]
    hub.script(Stall(1000), times=None)
    async with Engine(**settings_for(hub, max_jobs=1, read_timeout=60.0)) as engine:
        jobs = [await engine.download(repo, LABEL) for repo in repos]
        while not jobs[1].status.is_queued:
            await asyncio.sleep(0)
        waiting = jobs[1].status
        assert waiting.state is JobState.DOWNLOADING
        assert waiting.to_dict()["bytes_per_second"] == 0.0
        assert not jobs[0].status.is_queued
        await engine.move(str(jobs[4].id), 0)
        await jobs[5].prioritize(1)
        await engine.move(str(jobs[1].id), 99)
        await jobs[2].pause()
        with pytest.raises(InvalidState, match="does not wait"):
            await engine.move(str(jobs[0].id), 0)
        with pytest.raises(InvalidState, match="does not wait"):
            await engine.move(str(jobs[2].id), 0)
        hub.unscript()
        await jobs[0].pause()
        await jobs[0].resume()
        ended: list[str | None] = []
        engine.on_status(lambda status: status.state.is_terminal and ended.append(status.job_id))
        for number in (0, 1, 3, 4, 5):
            await jobs[number].result()
        # The fifth has priority; the first gave up its turn and has the place that it had.
        assert ended == [jobs[n].id for n in (5, 0, 4, 3, 1)]
        assert jobs[2].state is JobState.PAUSED


async def test_no_more_than_so_many_run_at_once(hub: FakeHub, settings_for: Settings) -> None:
    repos = [add(hub, number, 2 * MiB) for number in range(8)]
    hub.rate = 4 * MiB
    most = 0

    def count(_: JobStatus) -> None:
        nonlocal most
        running = [s for s in (job.status for job in engine.jobs()) if s.connections > 0]
        most = max(most, len(running))

    async with Engine(**settings_for(hub, max_jobs=2)) as engine:
        engine.on_status(count)
        duplicated = [repo for repo in repos for _ in range(3)]
        jobs = await asyncio.gather(*(engine.download(repo, LABEL) for repo in duplicated))
        assert len(set(map(id, jobs))) == len(engine.jobs()) == 8
        for job in jobs:
            await job.result()
    assert most == 2


async def test_two_hundred_requests_at_once_for_fifty_models(
    hub: FakeHub, settings_for: Settings
) -> None:
    """Each is downloaded once, in the order of the requests, however the Hub's answers come."""
    repos = [add(hub, number, 1000) for number in range(50)]
    hub.script(Stall(0), times=None)
    async with Engine(**settings_for(hub, max_jobs=1, read_timeout=60.0)) as engine:
        first = await engine.download(add(hub, 99, 1000), LABEL)
        asked = [engine.download(repos[number % 50], LABEL) for number in range(200)]
        jobs = await asyncio.gather(*asked)
        assert [jobs[number] is jobs[number % 50] for number in range(200)] == [True] * 200
        assert sorted(str(job.id) for job in engine.jobs()) == sorted(
            str(job.id) for job in {first, *jobs}
        )
        ended: list[str | None] = []
        engine.on_status(lambda status: status.state.is_terminal and ended.append(status.job_id))
        hub.unscript()
        await first.pause()
        await first.resume()
        for job in jobs:
            await job.result()
    assert [job_id for job_id in ended if job_id != first.id] == [job.id for job in jobs[:50]]
    assert hub.sent_bytes() == 51 * 1000


async def test_a_waiting_job_can_be_paused_cancelled_and_closed(
    hub: FakeHub, settings_for: Settings
) -> None:
    repos = [add(hub, number, MiB) for number in range(4)]
    hub.script(Stall(1000), times=None)
    async with Engine(**settings_for(hub, max_jobs=1)) as engine:
        jobs = [await engine.download(repo, LABEL) for repo in repos]
        await jobs[1].pause()
        await jobs[2].cancel()
        states = [job.state for job in jobs]
    assert states[1:3] == [JobState.PAUSED, JobState.FAILED]
    assert jobs[3].state is JobState.PAUSED


# --- the bound on the speed -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [32 * MiB, 1000], ids=["on the way", "at the end"])
async def test_the_bound_on_the_speed_can_be_changed_while_a_job_runs(
    hub: FakeHub, settings_for: Settings, size: int
) -> None:
    """A byte a second is never over; without the bound it is, and what waited goes on at once."""
    content = coded(size)
    hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub, max_bytes_per_second=1)) as engine:
        job = await engine.download(REPO, LABEL)
        await until(job.events(), lambda status: status.downloaded_bytes > 0)
        with pytest.raises(InvalidConfiguration):
            engine.set_limit(float("nan"))
        engine.set_limit(2)
        assert engine.config.max_bytes_per_second == 2
        assert job.state is JobState.DOWNLOADING
        engine.set_limit(None)
        assert_is(await job.result(), content)
    with pytest.raises(InvalidState):
        engine.set_limit(None)


async def test_a_job_may_have_a_bound_of_its_own(hub: FakeHub, settings_for: Settings) -> None:
    """A byte a second is never over: not while another job ends, and not in the next engine."""
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.add("owner/other-GGUF", {FILE: content})
    settings = settings_for(hub, resume_on_start=True)
    async with Engine(**settings) as engine:
        with pytest.raises(InvalidConfiguration):
            await engine.download(REPO, LABEL, max_bytes_per_second=0)
        job = await engine.download(REPO, LABEL, max_bytes_per_second=1)
        assert_is(await (await engine.download("owner/other-GGUF", LABEL)).result(), content)
        assert (await engine.download(REPO, LABEL, max_bytes_per_second=5)).id == job.id
        assert job.max_bytes_per_second == 1
        await job.pause()
        await job.set_limit(2)
    async with Engine(**settings) as engine:
        job = engine.job(str(job.id))
        assert job.max_bytes_per_second == 2
        await job.resume()
        await until(job.events(), lambda status: status.downloaded_bytes > 0)
        with pytest.raises(InvalidConfiguration):
            await job.set_limit(float("nan"))
        assert job.state is JobState.DOWNLOADING
        await job.set_limit(None)
        assert_is(await job.result(), content)
        with pytest.raises(InvalidState):
            await job.set_limit(None)


# --- controls -------------------------------------------------------------------------------------


async def test_a_failed_job_can_be_tried_again_with_what_it_had(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = 2 * MiB
    hub.script(Status(404), on="cdn", skip=3, times=None)
    job = await engine.download(REPO, LABEL)
    with pytest.raises(NetworkError):
        await job.result()
    before = job.status.downloaded_bytes
    with pytest.raises(InvalidState):
        await job.resume()
    hub.unscript()
    await job.retry()
    await job.retry()
    assert job.status.error is None
    assert_is(await job.result(), CONTENT)
    assert job.status.downloaded_bytes >= before > 0
    assert hub.bytes_sent_twice(FILE) < MiB
    with pytest.raises(InvalidState):
        await job.retry()


async def test_what_each_control_does_in_each_state(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {FILE: coded(1000)})
    done = await engine.download(REPO, LABEL)
    await done.result()
    here = await engine.download(REPO, LABEL)
    hub.script(Stall(100), times=None)
    paused = await engine.download(add(hub, 1), LABEL)
    await paused.pause()
    cancelled = await engine.download(add(hub, 2), LABEL)
    await cancelled.cancel()
    refused = {
        done: "pause resume cancel retry prioritize",
        here: "pause resume cancel retry prioritize",
        paused: "retry",
        cancelled: "pause resume prioritize",
    }
    for job, names in refused.items():
        state = job.state
        for name in names.split():
            with pytest.raises(InvalidState):
                await getattr(job, name)(*([1] if name == "prioritize" else []))
        assert job.state is state
    with pytest.raises(InvalidState):
        await engine.forget(str(paused.id))


async def test_a_full_disk_is_told_by_the_record_too(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelfetch.storage.partial import PartialFile

    def full(*_: object) -> None:
        raise InsufficientSpace("No room.")

    hub.add(REPO, {FILE: CONTENT})
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as two:
        with monkeypatch.context() as patch:
            patch.setattr(PartialFile, "write", full)
            job = await one.download(REPO, LABEL)
            for engine in (one, two):
                with pytest.raises(InsufficientSpace):
                    await (await engine.find(str(job.id))).result()
            assert job.state is JobState.PAUSED
        await job.resume()
        assert_is(await job.result(), CONTENT)


class Steps:
    """Counts the points at which a coroutine waits, and cancels it at one of them."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    async def run(self, work: Any) -> bool:
        """Return whether the work ended before its step came."""
        task = asyncio.ensure_future(work)
        while not task.done():
            if self.count == self.at:
                task.cancel()
            self.count += 1
            await asyncio.sleep(0)
        return not task.cancelled()


CONTROLS: dict[str, Callable[[Job], Any]] = {
    "pause": lambda job: job.pause(),
    "resume": lambda job: job.resume(),
    "cancel": lambda job: job.cancel(),
    "delete": lambda job: job.cancel(delete=True),
    "retry": lambda job: job.retry(),
    "prioritize": lambda job: job.prioritize(5),
    "set_limit": lambda job: job.set_limit(1e9),
}


@pytest.mark.parametrize("name", CONTROLS)
async def test_a_control_may_be_cancelled_anywhere(
    hub: FakeHub, settings_for: Settings, place: Path, name: str
) -> None:
    """At every step of the loop while a control is under way, its caller is cancelled once."""
    content = coded(2 * MiB)
    hub.add(REPO, {FILE: content})
    step, is_over = 0, False
    async with Engine(**settings_for(hub)) as engine:
        while not is_over:
            hub.script(Stall(MiB // 2), times=None)
            job = await engine.download(REPO, LABEL)
            if name == "resume":
                await job.pause()
            if name == "retry":
                await job.cancel()
            is_over = await Steps(step).run(CONTROLS[name](job))
            # Whatever was cancelled, the control is done or was never begun, and all still works.
            assert job.life.is_ours is (job.state is JobState.DOWNLOADING)
            again = await engine.find(str(job.id))
            assert again is job
            hub.unscript()
            model = await (await engine.download(REPO, LABEL)).result()
            assert_is(model, content)
            for path in place.rglob("*"):
                if path.is_file() or path.is_symlink():
                    path.unlink()
            # Steps in which nothing but a thread is waited for are many, and alike.
            step += 1 if step < 40 else 25
    assert step > 3


async def test_forgetting_may_be_cancelled_anywhere(
    hub: FakeHub, settings_for: Settings, state_dir: Path
) -> None:
    hub.add(REPO, {FILE: coded(1000)})
    hub.script(Stall(100), times=None)
    step, is_over = 0, False
    async with Engine(**settings_for(hub)) as engine:
        while not is_over:
            job = await engine.download(REPO, LABEL)
            await job.cancel()
            is_over = await Steps(step).run(engine.forget(str(job.id)))
            if engine.jobs():  # it was never begun
                assert record(state_dir, job).exists()
                await engine.forget(str(job.id))
            assert engine.jobs() == []
            assert list((state_dir / "jobs").iterdir()) == []
            step += 1 if step < 40 else 25
    assert step > 3


async def test_a_request_may_be_cancelled_anywhere(
    hub: FakeHub, settings_for: Settings, state_dir: Path
) -> None:
    """Either there is no job, or there is one that runs and is written down."""
    step, is_over = 0, False
    hub.script(Stall(100), on="cdn", times=None)
    async with Engine(**settings_for(hub, max_jobs=1000)) as engine:
        while not is_over:
            known = engine.jobs()
            is_over = await Steps(step).run(engine.download(add(hub, step, 1000), LABEL))
            for job in set(engine.jobs()) - set(known):
                assert job.state is JobState.DOWNLOADING
                assert job.life.is_ours
                assert record(state_dir, job).exists()
                await job.cancel()
            step += 1 if step < 40 else 25
    assert step > 3
