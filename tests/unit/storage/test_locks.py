"""What a lock says of itself: whether it is known to keep everybody else out."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.storage import locks, machine
from modelfetch.storage.locks import BlobLock

fcntl = pytest.importorskip("fcntl")


def refuse(code: int) -> Callable[[int, int], None]:
    def flock(fd: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    return flock


def test_a_lock_of_a_local_disk_is_exclusive_while_it_is_held(tmp_path: Path) -> None:
    one, other = BlobLock(tmp_path / "a" / "lock"), BlobLock(tmp_path / "a" / "lock")
    assert one.try_acquire()
    assert one.is_exclusive
    assert not other.try_acquire()
    assert not other.is_exclusive
    one.release()
    assert not one.is_exclusive
    assert other.try_acquire()
    other.release()


FORKING = """
import os, sys
from pathlib import Path
from modelfetch.storage.locks import BlobLock
lock, (reader, writer) = BlobLock(Path(sys.argv[1])), os.pipe()
assert lock.try_acquire()
if os.fork() == 0:
    os.read(reader, 1)
    os._exit(0)
lock.release()
print(lock.try_acquire())
os.write(writer, b"x")
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked there")
def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    "flock",
    [lambda fd, operation: None]
    + [refuse(code) for code in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)],
)
def test_a_lock_that_excludes_nobody_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flock: Callable[[int, int], None]
) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", flock)
    lock = BlobLock(tmp_path / "lock")
    assert lock.try_acquire()
    assert not lock.is_exclusive
    lock.release()


def test_on_a_network_disk_a_lock_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "is_network", lambda device: True)
    lock = BlobLock(tmp_path / "lock")
    assert lock.try_acquire()
    assert not lock.is_exclusive
    assert not BlobLock(tmp_path / "lock").try_acquire(), "it spares work all the same"
    lock.release()


def test_a_lock_file_that_was_removed_and_made_anew_is_not_held_twice(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = BlobLock(path)
    real = locks._lock

    def removed_in_between(fd: int) -> None:
        path.unlink()
        path.touch()
        real(fd)

    locks._lock = removed_in_between
    try:
        assert not lock.try_acquire()
    finally:
        locks._lock = real
    assert lock.try_acquire()
    lock.release()


MOUNTS = """\
21 26 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
40 26 0:51 / /models rw,relatime shared:9 - {} server:/models rw,vers=4.2
"""


@pytest.mark.parametrize(
    ("kind", "is_network"),
    [("nfs4", True), ("lustre", True), ("fuse.sshfs", True), ("fuseblk", False), ("xfs", False)],
)
def test_the_kind_of_a_disk_is_read_from_the_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_network: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind))
    monkeypatch.setattr(machine, "_MOUNTS", mounts)
    ask = machine.is_network
    assert ask(os.makedev(0, 51)) is is_network
    assert ask(os.makedev(0, 20)) is False
    assert ask(os.makedev(7, 7)) is False
    monkeypatch.setattr(machine, "_MOUNTS", tmp_path / "nothing")
    assert ask(os.makedev(0, 51)) is False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_a_process_is_gone_only_when_that_is_sure() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = machine.writer_id()
    assert own is not None
    space = own.partition("@")[2]
    assert machine.is_gone(f"{ended.pid}@{space}")
    for name in (own, f"1@{space}", f"{ended.pid}@pid:[1]", f"0@{space}", f"-1@{space}"):
        assert not machine.is_gone(name)
    for name in ("", "x", f"{'9' * 30}@{space}", None):
        assert not machine.is_gone(name)
