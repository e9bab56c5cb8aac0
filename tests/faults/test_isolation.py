"""Transfers in a process of their own: as in a thread, whatever happens to either process."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

import modelfetch
from modelfetch import Engine, Job, JobState, ModelFetchError, beside, errors
from modelfetch.aside import NICENESS
from modelfetch.cli import _cli
from modelfetch.core.retry import RetryPolicy
from modelfetch.frames import Cancel, Message, Run, send
from modelfetch.testing import FakeHub, Status, WrongBytes, build_gguf

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs inherited sockets")
Settings = Callable[..., dict[str, Any]]
SLOW = MiB // 2


@pytest.fixture
def isolated(settings_for: Settings) -> Settings:
    return lambda hub, **changes: settings_for(hub, isolation="process", **changes)


def child_of(engine: Engine) -> subprocess.Popen[bytes]:
    beside = engine._transfers._beside
    assert beside is not None
    assert beside._process is not None
    return beside._process


async def begun(engine: Engine) -> Job:
    job = await engine.download(REPO, LABEL)
    async for status in job.events():
        if status.downloaded_bytes > 0:
            return job
    raise AssertionError("it ended before it began")


async def test_it_is_as_in_a_thread(hub: FakeHub, isolated: Settings) -> None:
    content = build_gguf(size_bytes=9 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 8.0 * MiB
    # Two connections might share the tail of the file, which sends a little of it twice.
    async with Engine(**isolated(hub, connections=1)) as engine:
        job = await engine.download(REPO, LABEL)
        seen = [status async for status in job.events()]
        model = await job.result()
        assert model.metadata is not None
        assert any(0 < status.downloaded_bytes < content.size for status in seen)
        assert any(status.connections for status in seen)
        assert seen[-1].downloaded_bytes == content.size
        child = child_of(engine)
    assert child.returncode == 0
    assert hub.sent_bytes(FILE) < 1.1 * content.size


async def test_errors_come_through(hub: FakeHub, isolated: Settings) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    hub.script(WrongBytes(), times=None)
    async with Engine(**isolated(hub)) as engine:
        with pytest.raises(ModelFetchError, match="published hash") as caught:
            await (await engine.download(REPO, LABEL)).result()
        assert caught.value.host is not None


async def test_a_pause_is_over_when_everything_is_written(hub: FakeHub, isolated: Settings) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = SLOW
    async with Engine(**isolated(hub)) as engine:
        job = await begun(engine)
        await job.pause()
        kept, sent = job.status.downloaded_bytes, hub.sent_bytes()
        assert job.state is JobState.PAUSED
        assert kept > 0
        hub.rate = None
        await job.resume()
        assert_is(await job.result(), content)
    assert hub.sent_bytes() <= content.size + sent - kept + MiB


async def test_when_the_process_is_killed_another_goes_on(hub: FakeHub, isolated: Settings) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = SLOW
    async with Engine(**isolated(hub)) as engine:
        job = await begun(engine)
        landed = job.status.downloaded_bytes
        child_of(engine).kill()
        hub.rate = None
        assert_is(await job.result(), content)
        assert job.status.downloaded_bytes >= landed
    assert hub.sent_bytes() < 2 * content.size


async def test_a_process_that_is_always_killed_is_an_error_that_says_so(
    hub: FakeHub, isolated: Settings
) -> None:
    hub.add(REPO, {FILE: coded(8 * MiB)})
    policy = RetryPolicy(attempts=1000, base_seconds=0.2)
    async with Engine(**isolated(hub, retry=policy)) as engine:
        hub.script(Status(503), times=None, when=lambda _: child_of(engine).kill() or True)
        with pytest.raises(ModelFetchError, match="ended from outside"):
            await (await engine.download(REPO, LABEL)).result()


async def test_a_stop_of_all_processes_is_a_pause(hub: FakeHub, isolated: Settings) -> None:
    hub.add(REPO, {FILE: coded(8 * MiB)})
    hub.rate = SLOW
    async with Engine(**isolated(hub)) as engine:
        job = await begun(engine)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child_of(engine).pid, number)
        await job.pause()
        assert job.state is JobState.PAUSED
        child = child_of(engine)
    assert child.returncode == 0


HOST = """
import asyncio, sys
from modelfetch import Engine

async def main(endpoint, cache):
    settings = {"endpoint": endpoint, "cache_dir": cache, "token": False}
    async with Engine(isolation="process", **settings) as engine:
        job = await engine.download(sys.argv[3], sys.argv[4])
        async for status in job.events():
            if status.downloaded_bytes > 0:
                print(engine._transfers._beside._process.pid, flush=True)
                await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:3]))
"""


HOSTS = ["-c", "-", "script.py"]


@pytest.mark.parametrize("how", HOSTS)
async def test_the_host_needs_no_main_that_can_be_imported(
    hub: FakeHub, place: Path, tmp_path: Path, how: str
) -> None:
    """As in a notebook, at a prompt, or in a script that does all when it is imported."""
    hub.add(REPO, {FILE: coded(MiB)})
    code = HOST.replace("sleep(600)", "sleep(0)")
    (tmp_path / "script.py").write_text(code)
    words = {"-c": ["-c", code], "-": ["-"], "script.py": [str(tmp_path / "script.py")]}[how]
    host = await asyncio.create_subprocess_exec(
        sys.executable, *words, hub.endpoint, str(place), REPO, LABEL,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    said, complaints = await host.communicate(code.encode() if how == "-" else b"")
    assert (host.returncode, complaints) == (0, b"")
    assert int(said.split()[0]) != host.pid
    assert list(place.rglob("snapshots/*/*.gguf"))


async def test_when_the_host_is_killed_its_process_ends_and_the_bytes_are_kept(
    hub: FakeHub, isolated: Settings, place: Path
) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = SLOW
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, hub.endpoint, str(place), REPO, LABEL,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert host.stdout is not None
    child = int(await host.stdout.readline())
    host.kill()
    await host.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and _state(child) != "Z":
        assert time.monotonic() < deadline, "it lives on without its host"
        await asyncio.sleep(0.02)
    sent = hub.sent_bytes()
    hub.rate = None
    async with Engine(**isolated(hub)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert hub.sent_bytes() < content.size + sent


FORKING = """
import asyncio, os, signal, sys
from modelfetch import Engine

async def main(endpoint, cache, repo, label):
    async with Engine(endpoint=endpoint, cache_dir=cache, state_dir=cache + "/state", token=False,
                      isolation="process", adopt=False) as engine:
        job = await engine.download(repo, label)
        async for status in job.events():
            if status.downloaded_bytes:
                break
        forked = os.fork()
        if not forked:
            signal.pause()
        print(forked, engine._transfers._beside._process.pid, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await job.pause()
        await job.resume()
    os.kill(forked, 0)
    print("closed", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_child_that_the_host_forked_keeps_nothing_going(
    hub: FakeHub, place: Path, is_killed: bool
) -> None:
    """It has the host's end of the socket, and the locks, for as long as it lives."""
    hub.add(REPO, {FILE: coded(8 * MiB)})
    hub.rate = SLOW
    # Not asyncio's, which waits for the pipes to be closed by all who have them.
    host = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKING, hub.endpoint, str(place), REPO, LABEL],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert host.stdin is not None
    assert host.stdout is not None
    forked, child = map(int, (await asyncio.to_thread(host.stdout.readline)).split())
    try:
        if is_killed:
            host.kill()
        else:
            host.stdin.write("\n")
            host.stdin.flush()
            assert await asyncio.to_thread(host.stdout.readline) == "closed\n"
        await asyncio.to_thread(host.wait)
        while Path(f"/proc/{child}").exists() and _state(child) != "Z":
            await asyncio.sleep(0.02)
    finally:
        os.kill(forked, signal.SIGKILL)
        host.kill()
        host.communicate()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def test_its_warnings_are_the_hosts(
    hub: FakeHub, isolated: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    async with Engine(**isolated(hub)) as engine:
        await (await engine.download(REPO, LABEL)).result()
        beside = engine._transfers._beside
        assert beside is not None
        assert beside._writer is not None
        with caplog.at_level(logging.ERROR):
            send(beside._writer, Run(99, None, {}, None, None))  # type: ignore[arg-type]
            for _ in range(500):
                if caplog.records:
                    break
                await asyncio.sleep(0.01)
    assert "nobody foresaw" in caplog.text


async def test_the_rate_of_one_job_can_be_changed_there_too(
    hub: FakeHub, isolated: Settings
) -> None:
    content = coded(4 * MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**isolated(hub)) as engine:
        job = await engine.download(REPO, LABEL, max_bytes_per_second=1)
        async for status in job.events():
            if status.downloaded_bytes:
                break
        await job.set_limit(None)
        assert_is(await job.result(), content)


async def test_the_rate_can_be_changed_there_too(hub: FakeHub, isolated: Settings) -> None:
    content = coded(4 * MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**isolated(hub, max_bytes_per_second=10_000.0)) as engine:
        job = await begun(engine)
        engine.set_limit(None)
        assert_is(await job.result(), content)


# --- by default -----------------------------------------------------------------------------------


@pytest.fixture
def default(settings_for: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("MODELFETCH_ISOLATION")
    return settings_for


async def test_an_engine_has_a_process_where_there_can_be_one(
    hub: FakeHub, default: Settings
) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    async with Engine(**default(hub)) as engine:
        assert engine.config.isolation == "auto"
        assert_is(await (await engine.download(REPO, LABEL)).result(), coded(MiB))
        child = child_of(engine)
        # Where the processor is short, the host goes first.
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == os.nice(0) + NICENESS
        assert os.getsid(child.pid) == os.getsid(0)  # or it would count for nothing


@pytest.mark.parametrize("why", ["frozen", "embedded", "nameless"])
async def test_what_is_no_python_is_not_started_again(
    hub: FakeHub, default: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    """A program that has Python in it would be run a second time."""
    program = tmp_path / "my-server"
    program.write_text(f"#!/bin/sh\necho started >> {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", "" if why == "nameless" else str(program))
    if why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        monkeypatch.setattr(sys, "executable", str(program.rename(tmp_path / "python-server")))
    hub.add(REPO, {FILE: coded(MiB)})
    async with Engine(**default(hub)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), coded(MiB))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("how", ["missing", "broken"])
async def test_where_no_process_can_be_had_it_is_a_thread(
    hub: FakeHub,
    default: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    python = tmp_path / "python3"
    if how == "broken":
        python.write_text("#!/bin/sh\nexit 7\n")
        python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    hub.add(REPO, {FILE: coded(MiB)})
    hub.add("acme/other-GGUF", {FILE: coded(MiB, 2)})
    async with Engine(**default(hub)) as engine:
        jobs = [await engine.download(repo, LABEL) for repo in (REPO, "acme/other-GGUF")]
        assert_is(await jobs[0].result(), coded(MiB))
        assert_is(await jobs[1].result(), coded(MiB, 2))
    assert "No process for the transfers can be started: " in caplog.text
    assert ("exit code 7" in caplog.text) == (how == "broken")
    async with Engine(**default(hub, isolation="process")) as engine:
        hub.add("acme/third-GGUF", {FILE: coded(MiB, 3)})
        job = await engine.download("acme/third-GGUF", LABEL)
        with pytest.raises(ModelFetchError, match="isolation='thread' does without"):
            await job.result()


async def test_the_process_has_the_path_of_its_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was put into `sys.path` by a program holds there too."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    tell = "import os, sys; sys.path[:] = sys.argv[2:]; os.write(int(sys.argv[1]), repr(sys.path)"
    monkeypatch.setattr(beside, "_START", f"{tell}.encode())")
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as told:
        process = beside._spawned(write_end)
        os.close(write_end)
        assert told.read() == repr([*sys.path, str(Path(beside.__file__).parents[1])])
    process.wait()


def test_a_signal_while_it_starts_is_the_hosts_business(tmp_path: Path) -> None:
    """Nothing of it has been imported when signals are ignored already."""
    (tmp_path / "modelfetch").mkdir()
    (tmp_path / "modelfetch" / "aside.py").write_text(
        "import os, signal\n"
        "found = [signal.getsignal(number).name for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "def main(fd): os.write(fd, ' '.join(found).encode())\n"
    )
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as told:
        words = [sys.executable, "-c", beside._START, str(write_end), str(tmp_path)]
        subprocess.run(words, pass_fds=(write_end,), check=True)
        os.close(write_end)
        assert told.read() == "SIG_IGN SIG_IGN"


async def test_stopping_while_it_starts_leaves_no_process(
    hub: FakeHub, isolated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    started: list[subprocess.Popen[bytes]] = []
    spawned = beside._spawned
    monkeypatch.setattr(beside, "_spawned", lambda fd: started.append(spawned(fd)) or started[-1])
    for steps in range(0, 40, 8):
        async with Engine(**isolated(hub)) as engine:
            job = await engine.download(REPO, LABEL)
            for _ in range(steps):
                await asyncio.sleep(0)
            await job.cancel()
        assert all(process.returncode == 0 for process in started)
    assert started


async def test_stopping_at_once_is_answered(
    hub: FakeHub, isolated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word to stop may come with the word to begin."""
    sent: list[Message] = []
    monkeypatch.setattr(beside, "send", lambda to, it: sent.append(it) or send(to, it))
    hub.add(REPO, {FILE: coded(MiB)})
    hub.add("acme/other-GGUF", {FILE: coded(MiB, 2)})
    async with Engine(**isolated(hub)) as engine:
        await (await engine.download("acme/other-GGUF", LABEL)).result()
        sent.clear()
        child_of(engine).send_signal(signal.SIGSTOP)
        job = await engine.download(REPO, LABEL)
        while not sent:
            await asyncio.sleep(0)
        pausing = asyncio.create_task(job.pause())
        while len(sent) < 2:
            await asyncio.sleep(0)
        assert [type(it) for it in sent] == [Run, Cancel]
        child_of(engine).send_signal(signal.SIGCONT)
        await pausing
        assert job.state is JobState.PAUSED
        await job.resume()
        assert_is(await job.result(), coded(MiB))


@pytest.mark.parametrize("inside", ["fetch", "get"])
def test_who_only_waits_for_a_download_has_a_thread(
    default: Settings, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    def never(_: int) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(beside, "_spawned", never)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: coded(MiB)})
        settings = default(hub)
        if inside == "fetch":
            assert_is(modelfetch.fetch(REPO, LABEL, **settings), coded(MiB))
        else:
            words = ["get", REPO, "--endpoint", hub.endpoint, "--cache-dir", settings["cache_dir"]]
            done = CliRunner().invoke(_cli, [str(word) for word in words])
            assert done.exit_code == 0, done.output


def of_transfers() -> list[type[ModelFetchError]]:
    """The errors that a transfer may end with; planning, which is in the host, tells the others."""
    known = (getattr(errors, name) for name in errors.__all__)
    kinds = [kind for kind in known if issubclass(kind, ModelFetchError)]
    return [kind for kind in kinds if "__init__" not in vars(kind)]


@pytest.mark.parametrize("kind", of_transfers())
def test_errors_survive_the_way(kind: type[ModelFetchError]) -> None:
    error = kind("No.", hint="Do.", host="a.example", status=503, request_id="1", path="x")
    error.note = 5
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (kind, str(error), vars(error))
