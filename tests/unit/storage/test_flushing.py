"""What is made durable, and what of it a file system may refuse."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.helpers import MiB, coded

from modelfetch import StorageError
from modelfetch.storage import disk, records
from modelfetch.storage.layout import Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.storage.recovery import proved
from modelfetch.types import RemoteFile, Span

CONTENT = coded(MiB)
FILE = RemoteFile("m.gguf", CONTENT.size, CONTENT.sha256)


def refused(code: int) -> Callable[[int], None]:
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        real(fd)

    return fsync


def publish(root: Path) -> Path:
    paths = Layout(root).blob("a/b", FILE.blob_name)
    partial = PartialFile(paths, FILE)
    try:
        partial.open()
        partial.write(0, [CONTENT.read(0, CONTENT.size)])
        partial.publish()
    finally:
        partial.close()
    return paths.final


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_that_flushes_no_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", refused(code))
    assert publish(tmp_path).read_bytes() == CONTENT.read(0, CONTENT.size)


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refused(errno.EIO))
    with pytest.raises(StorageError):
        publish(tmp_path)


def test_a_folder_that_cannot_be_opened_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def closed(path: Path, flags: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", closed)
    records.fsync_folder(tmp_path)


@pytest.mark.parametrize("is_refused", [True, False])
def test_on_macos_the_drive_is_told_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    calls: list[object] = []

    def fcntl(fd: int, command: int) -> None:
        calls.append(command)
        if is_refused:
            raise OSError(errno.ENOTSUP, "not here")

    monkeypatch.setattr(disk, "_FULL_FSYNC", 51)
    monkeypatch.setitem(__import__("sys").modules, "fcntl", SimpleNamespace(fcntl=fcntl))
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("fsync"))
    disk.flush(7)
    assert calls == ([51, "fsync"] if is_refused else [51])


def test_the_journal_is_there_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one is durable, with its name, at the first flush; before it vouches for nothing."""
    happened: list[str] = []
    rename, fsync, fdatasync = Path.replace, os.fsync, os.fdatasync

    def named(fd: int) -> str:
        return Path(f"/proc/self/fd/{fd}").readlink().name.removeprefix(FILE.blob_name)

    def saw_rename(self: Path, target: Path) -> Path:
        happened.append("rename")
        return rename(self, target)

    def saw_fsync(fd: int) -> None:
        happened.append(f"fsync {named(fd)}")
        fsync(fd)

    def saw_fdatasync(fd: int) -> None:
        happened.append(f"flush {named(fd)}")
        fdatasync(fd)

    monkeypatch.setattr(Path, "replace", saw_rename)
    monkeypatch.setattr(os, "fsync", saw_fsync)
    monkeypatch.setattr(os, "fdatasync", saw_fdatasync)
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    partial = PartialFile(paths, FILE, alone=True)
    partial.open()
    assert happened == ["rename"]
    happened.clear()
    partial.write(0, [CONTENT.read(0, 1000)])
    partial.flush()
    assert happened == [
        "flush .modelfetch.incomplete", "fsync blobs", "flush .modelfetch.journal"
    ]  # fmt: skip
    happened.clear()
    partial.write(1000, [CONTENT.read(1000, CONTENT.size)])
    partial.flush()
    assert happened == ["flush .modelfetch.incomplete", "flush .modelfetch.journal"]
    partial.close()

    happened.clear()
    partial = PartialFile(paths, FILE, alone=True)
    partial.open()
    # Its content is flushed before it gets the name of the old one, and the folder after.
    assert happened == ["flush .modelfetch.journal.tmp", "rename", "fsync blobs"]
    partial.forget([Span(0, CONTENT.size)])
    happened.clear()
    partial.write(0, [CONTENT.read(0, CONTENT.size)])
    partial.publish()
    assert happened == ["flush .modelfetch.incomplete", "rename", "fsync blobs", "rename"]
    partial.close()


def test_what_a_killed_process_had_not_flushed_is_flushed_by_the_next(tmp_path: Path) -> None:
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    first = PartialFile(paths, FILE, alone=True)
    first.open()
    first.write(0, [CONTENT.read(0, 1000)])
    second = PartialFile(paths, FILE, alone=True)
    second.open()
    assert second.unflushed_bytes == 1000
    second.flush()
    assert [len(pieces) for pieces in proved(second._paths.journal, second._header)] == [1, 0]
    second.close()
    first._close_both()
