"""Whose a partial is, where no lock tells."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.helpers import MiB, coded

from modelfetch import InsufficientSpace, StorageError
from modelfetch.storage import claims, disk, machine
from modelfetch.storage.layout import BlobPaths, Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.types import RemoteFile

CONTENT = coded(3 * MiB)
FILE = RemoteFile("m.gguf", CONTENT.size, CONTENT.sha256)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process has a name")


@pytest.fixture
def paths(tmp_path: Path) -> BlobPaths:
    return Layout(tmp_path).blob("a/b", FILE.blob_name)


def opened(paths: BlobPaths, *, alone: bool = False) -> PartialFile:
    partial = PartialFile(paths, FILE, alone=alone)
    partial.open()
    return partial


def put(partial: PartialFile, number: int) -> None:
    partial.write(number * MiB, [CONTENT.read(number * MiB, (number + 1) * MiB)])


def names(paths: BlobPaths) -> list[str]:
    return sorted(path.name for path in paths.final.parent.iterdir())


def crash(partial: PartialFile) -> None:
    """Let go of the files as `kill -9` does."""
    partial._journal.close()
    os.close(partial._fd)
    partial._fd = -1


def test_no_two_writers_have_one_file(paths: BlobPaths) -> None:
    one, other = opened(paths), opened(paths)
    assert len(paths.partials()) == 2
    put(one, 0)
    assert other.done.size == 0
    for number in range(3):
        put(other, number)
    other.publish()
    put(one, 1)
    assert paths.final.read_bytes() == CONTENT.read(0, CONTENT.size)
    assert not any(one.partial.samefile(paths.final) for one in paths.partials())
    one.close()


def test_under_a_lock_for_all_there_is_one_name(paths: BlobPaths) -> None:
    partial = opened(paths, alone=True)
    put(partial, 0)
    crash(partial)
    again = opened(paths, alone=True)
    assert again.done.size == MiB
    again.close()
    assert names(paths) == [paths.partial.name, paths.journal.name]


@pytest.mark.parametrize("alone", [False, True])
def test_what_was_closed_is_taken_over_by_one(paths: BlobPaths, alone: bool) -> None:
    partial = opened(paths)
    put(partial, 1)
    partial.close()
    one = opened(paths, alone=alone)
    other = opened(paths)
    assert (one.done.size, other.done.size) == (MiB, 0)
    assert len(names(paths)) == 4, "nothing is left of the old names"
    one.close()
    other.close()


@pytest.mark.parametrize("boot", ["this one", None])
def test_what_a_process_that_lives_has_closed_is_taken_over(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch, boot: str | None
) -> None:
    space = (machine.writer_id() or "").partition("@")[2]
    monkeypatch.setattr(disk, "boot_id", lambda: boot)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(machine, "writer_id", lambda: f"1@{space}")
        partial = opened(paths)
        put(partial, 1)
        partial.close()
    again = opened(paths)
    assert again.done.size == MiB
    assert opened(paths).done.size == 0
    again.close()


def test_what_the_lock_of_another_time_left_is_taken_over(paths: BlobPaths) -> None:
    partial = opened(paths, alone=True)
    put(partial, 1)
    partial.close()
    again = opened(paths)
    assert again.done.size == MiB
    again.close()


def test_what_a_killed_process_left_is_taken_over(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = machine.writer_id()
    assert own is not None
    writer = f"{ended.pid}@{own.partition('@')[2]}"
    monkeypatch.setattr(machine, "writer_id", lambda: writer)
    partial = opened(paths)
    put(partial, 1)
    crash(partial)
    monkeypatch.undo()
    again = opened(paths)
    assert again.done.size == MiB
    again.close()


@pytest.mark.parametrize("writer", ["1@{}", "77@pid:[1]", None])
def test_what_may_be_somebodys_is_left_alone(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch, writer: str | None
) -> None:
    space = (machine.writer_id() or "").partition("@")[2]
    monkeypatch.setattr(machine, "writer_id", lambda: writer and writer.format(space))
    partial = opened(paths)
    put(partial, 1)
    crash(partial)
    monkeypatch.undo()
    again = opened(paths)
    assert again.done.size == 0
    again.close()
    header = again._header
    claims.sweep(paths, header, alone=True)
    assert len(names(paths)) == 2
    # Nobody has asked for it in a day: whose it was, it is removed, but not gone on with.
    left = paths.partials()[0].partial
    day_ago = time.time() - 25 * 3600
    os.utime(left, (day_ago, day_ago))
    assert opened(paths).done.size == 0
    claims.sweep(paths, header, alone=True)
    assert not left.exists()


def test_another_boots_is_taken_over_once_it_is_quiet(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "boot_id", lambda: "another machine, or another day")
    partial = opened(paths)
    put(partial, 0)
    partial.flush()
    put(partial, 1)
    crash(partial)
    monkeypatch.undo()
    assert opened(paths).done.size == 0
    left = next(one.partial for one in paths.partials() if one.partial.stat().st_size)
    hour_ago = time.time() - 3600
    os.utime(left, (hour_ago, hour_ago))
    assert opened(paths).done.size == MiB, "what was flushed"


def test_whoever_was_taken_for_gone_hears_of_it(paths: BlobPaths) -> None:
    partial = opened(paths)
    put(partial, 0)
    paths.partials()[0].partial.rename(paths.partial)
    with pytest.raises(StorageError, match="removed by somebody"):
        partial.flush()
    crash(partial)


def test_a_writer_that_waits_shows_that_it_lives(paths: BlobPaths) -> None:
    partial = opened(paths)
    path = paths.partials()[0].partial
    os.utime(path, (0, 0))
    partial.flush()
    assert path.stat().st_mtime > time.time() - 60
    partial.close()


def test_one_that_is_filled_by_another_engine_of_this_process_is_not_idle(
    paths: BlobPaths,
) -> None:
    partial = opened(paths)
    put(partial, 0)
    claims.sweep(paths, partial._header, alone=True)
    partial.flush()
    # It could not write its last record, on a full disk, and has let go of the file.
    partial._journal.is_sound = False
    partial.close()
    again = opened(paths)
    assert again.done.size == MiB
    again.close()


def test_a_race_for_one_leaves_the_loser_with_an_empty_one(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = opened(paths)
    put(partial, 0)
    partial.close()
    seen = claims._is_idle

    def another_is_faster(one: BlobPaths, now: claims.Header) -> bool:
        is_idle = seen(one, now)
        one.partial.rename(one.partial.with_name("taken"))
        return is_idle

    monkeypatch.setattr(claims, "_is_idle", another_is_faster)
    again = opened(paths)
    assert again.done.size == 0
    again.close()


def test_a_kill_in_the_middle_of_a_take_over_loses_nothing(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = opened(paths)
    put(partial, 0)
    partial.close()

    class Killed(BaseException):
        pass

    def kill(self: Path, target: Path) -> None:
        raise Killed

    monkeypatch.setattr(Path, "rename", kill)
    with pytest.raises(Killed):
        opened(paths)
    monkeypatch.undo()
    again = opened(paths)
    assert again.done.size == MiB
    again.close()
    # The copy of the journal that was made for nothing goes once it cannot be anybody's.
    stray = next(path for path in paths.final.parent.glob("*.journal") if is_alone(path))
    claims.sweep(paths, again._header._replace(boot_id="later"), alone=True)
    assert stray.exists()
    os.utime(stray, (0, 0))
    claims.sweep(paths, again._header, alone=True)
    assert names(paths) == []


def is_alone(journal: Path) -> bool:
    return not journal.with_name(journal.name.replace(".journal", ".incomplete")).exists()


def test_nothing_is_left_of_one_in_which_nothing_is(
    paths: BlobPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, size_bytes: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    opened(paths).close()
    monkeypatch.setattr(disk, "allocate", full)
    partial = PartialFile(paths, FILE)
    with pytest.raises(InsufficientSpace):
        partial.open()
    partial.close()
    assert names(paths) == []


class TestPublishing:
    def full(self, paths: BlobPaths) -> PartialFile:
        partial = opened(paths)
        for number in range(3):
            put(partial, number)
        return partial

    def test_the_loser_has_the_file_too(self, paths: BlobPaths) -> None:
        one, other = self.full(paths), self.full(paths)
        one.publish()
        other.publish()
        assert paths.final.read_bytes() == CONTENT.read(0, CONTENT.size)
        assert names(paths) == [paths.final.name, paths.sums.name]

    def test_a_partial_that_is_gone_does_no_harm_when_the_file_is_there(
        self, paths: BlobPaths
    ) -> None:
        partial = self.full(paths)
        paths.partials()[0].partial.unlink()
        paths.final.write_bytes(CONTENT.read(0, CONTENT.size))
        partial.publish()
        assert names(paths) == [paths.final.name, paths.sums.name]

    @pytest.mark.parametrize("found", [None, b"short", bytes(CONTENT.size)])
    def test_but_only_when_it_is_the_right_one(self, paths: BlobPaths, found: bytes | None) -> None:
        partial = self.full(paths)
        paths.partials()[0].partial.unlink()
        if found is not None:
            paths.final.write_bytes(found)
        with pytest.raises(StorageError):
            partial.publish()
        crash(partial)
