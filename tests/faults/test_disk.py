"""Disks that are small, full, read-only or gone, real ones where this user may mount them."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

from modelfetch import Engine, InsufficientSpace, Job, JobState, StorageError
from modelfetch.storage import disk, faults
from modelfetch.testing import FakeHub

Settings = Callable[..., dict[str, Any]]
CAPACITY = 24 * MiB
CONTENT = coded(16 * MiB)


class SmallDisk:
    """A file system of `CAPACITY` bytes, and a stranger who fills it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def fill(self) -> None:
        with (self.root / "stranger").open("wb", buffering=0) as stream:
            for size in (1 << 16, 4096):
                try:
                    while stream.write(bytes(size)) == size:
                        pass
                except OSError as full:
                    assert full.errno == errno.ENOSPC

    def clear(self) -> None:
        (self.root / "stranger").unlink()

    def lock(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.root], check=True)


class PretendedDisk(SmallDisk):
    """The same for users who may not mount: refused where `storage.disk` asks the system."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        self._refusal: int | None = None
        real = disk.write_at

        def write_at(fd: int, parts: Any, offset: int) -> None:
            if self._refusal is not None:
                raise OSError(self._refusal, os.strerror(self._refusal))
            real(fd, parts, offset)

        monkeypatch.setattr(disk, "write_at", write_at)

    def fill(self) -> None:
        self._refusal = errno.ENOSPC

    def clear(self) -> None:
        self._refusal = None

    def lock(self) -> None:
        self._refusal = errno.EROFS


@pytest.fixture(params=["real", "pretended"])
def small(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallDisk]:
    root = tmp_path / "disk"
    root.mkdir()
    if request.param == "pretended":
        yield PretendedDisk(root, monkeypatch)
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={CAPACITY}", "none", str(root)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        yield PretendedDisk(root, monkeypatch)
        return
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "-l", root], check=True)


async def started(engine: Engine, at_bytes: int) -> Job:
    job = await engine.download(REPO, LABEL)
    async for status in job.events():
        if status.downloaded_bytes >= at_bytes:
            break
    return job


@pytest.mark.skipif(sys.platform != "linux", reason="nothing to reserve with")
async def test_room_that_was_reserved_cannot_be_taken_by_a_stranger(
    hub: FakeHub, settings_for: Settings, small: SmallDisk
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = 8 * MiB
    # Two connections might share the tail of the file, which sends a little of it twice.
    async with Engine(**settings_for(hub, cache_dir=small.root / "c", connections=1)) as engine:
        job = await started(engine, MiB)
        (partial,) = small.root.rglob("*.modelfetch.incomplete")
        assert disk.allocated_bytes(partial) >= CONTENT.size > partial.stat().st_size
        if not isinstance(small, PretendedDisk):
            await asyncio.to_thread(small.fill)
        assert_is(await job.result(), CONTENT)
    assert hub.sent_bytes(FILE) == CONTENT.size


async def test_a_disk_that_fills_up_pauses_the_job_and_nothing_is_lost(
    hub: FakeHub, settings_for: Settings, small: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on systems that have no such call: there a stranger may take what was free.
    monkeypatch.setattr(disk, "allocate", lambda fd, size_bytes: None)
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = 2 * MiB
    async with Engine(**settings_for(hub, cache_dir=small.root / "c", connections=2)) as engine:
        job = await started(engine, 4 * MiB)
        await asyncio.to_thread(small.fill)
        with pytest.raises(InsufficientSpace) as caught:
            await job.result()
        assert "resume" in (caught.value.hint or "")
        assert job.state is JobState.PAUSED
        assert job.status.pause_reason == "The disk is full; resume when there is room."
        held = job.status.downloaded_bytes
        assert held >= 4 * MiB
        # Resuming on a disk that is still full costs nothing, but changes nothing.
        await job.resume()
        with pytest.raises(InsufficientSpace):
            await job.result()
        assert job.state is JobState.PAUSED
        await asyncio.to_thread(small.clear)
        hub.rate = None
        await job.resume()
        assert_is(await job.result(), CONTENT)
    # Two connections had a piece in hand, and some more on the wire.
    assert hub.sent_bytes(FILE) <= CONTENT.size + 5 * MiB


async def test_a_disk_that_becomes_read_only_is_an_error_that_says_so(
    hub: FakeHub, settings_for: Settings, small: SmallDisk
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = 2 * MiB
    async with Engine(**settings_for(hub, cache_dir=small.root / "c")) as engine:
        if not isinstance(small, PretendedDisk):
            # Not while a file is open for writing; the kernel refuses that.
            job = await started(engine, MiB)
            await job.pause()
            await asyncio.to_thread(small.lock)
            await job.resume()
        else:
            job = await started(engine, MiB)
            small.lock()
        with pytest.raises(StorageError, match="Read-only file system") as caught:
            await job.result()
        assert not isinstance(caught.value, InsufficientSpace)
        assert "read-only" in (caught.value.hint or "")
        assert job.state is JobState.FAILED


async def test_a_cache_that_is_removed_meanwhile_is_an_error_and_begun_anew(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    hub.add(REPO, {FILE: CONTENT})
    hub.rate = MiB
    async with Engine(**settings_for(hub, flush_seconds=0.05)) as engine:
        job = await started(engine, MiB)
        await asyncio.to_thread(shutil.rmtree, place)
        with pytest.raises(StorageError) as caught:
            await job.result()
        assert "ask again" in (caught.value.hint or "").lower()
        hub.rate = None
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.EDQUOT, "quota"),
        (errno.ENOSPC, "Free some space"),
        (errno.EFBIG, "files of this size"),
        (errno.ESTALE, "network share"),
        (errno.EMFILE, "ulimit"),
    ],
)
async def test_what_the_system_says_comes_with_a_way_out(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    def refuse(fd: int, parts: Any, offset: int) -> None:
        raise OSError(code, os.strerror(code))

    hub.add(REPO, {FILE: CONTENT})
    monkeypatch.setattr(disk, "write_at", refuse)
    job = await engine.download(REPO, LABEL)
    with pytest.raises(StorageError) as caught:
        await job.result()
    assert hint in (caught.value.hint or "")
    is_full = code in (errno.EDQUOT, errno.ENOSPC)
    assert isinstance(caught.value, InsufficientSpace) is is_full
    assert job.state is (JobState.PAUSED if is_full else JobState.FAILED)


async def test_jobs_of_one_engine_do_not_count_the_same_free_bytes(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = {f"acme/m{number}-GGUF": coded(4 * MiB, number) for number in (1, 2)}
    for name, content in repos.items():
        hub.add(name, {FILE: content})
    hub.rate = 2 * MiB
    monkeypatch.setattr(disk, "allocate", lambda fd, size_bytes: None)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 7 * MiB)
    async with Engine(**settings_for(hub)) as engine:
        first, second = await asyncio.gather(
            *(fetch(engine, name) for name in repos), return_exceptions=True
        )
        refused = second if isinstance(second, InsufficientSpace) else first
        assert isinstance(refused, InsufficientSpace)
        assert "promised to other downloads" in refused.message
        assert [isinstance(one, InsufficientSpace) for one in (first, second)].count(True) == 1
        # What was promised is free again once the other is there.
        for name, content in repos.items():
            assert_is(await fetch(engine, name), content)


async def fetch(engine: Engine, name: str) -> Any:
    return await (await engine.download(name, LABEL)).result()


def test_a_path_that_is_too_long_for_windows_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "_WINDOWS", True)
    for name, is_told in (("x" * 250, True), ("x", False)):
        path = tmp_path / name
        with pytest.raises(StorageError) as caught, faults.storage_errors(tmp_path):
            path.with_name("y" * 10).joinpath(name).open()
        assert ("LongPathsEnabled" in (caught.value.hint or "")) is is_told
