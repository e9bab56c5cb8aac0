"""A process that is nice leaves the processor to others more often than it has to."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers import MiB, coded

from modelfetch import StorageError
from modelfetch.storage import disk
from modelfetch.storage.layout import Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.storage.verify import hash_span, is_content
from modelfetch.types import RemoteFile, Span

CONTENT = coded(4 * MiB + 1000)
FILE = RemoteFile("m.gguf", CONTENT.size, CONTENT.sha256)
COUNTED = """
import os, sys
os.nice(int(sys.argv[1]))
from modelfetch.storage import disk
print(disk.is_nice())
"""


def being(nice: bool) -> Callable[[], bool]:
    return lambda: nice


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no nice(2)")
@pytest.mark.parametrize("more", [0, 3])
def test_who_was_told_to_be_nice_knows(more: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, str(more)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(os.getpriority(os.PRIO_PROCESS, 0) + more > 0)


@pytest.mark.skipif(not hasattr(os, "sched_yield"), reason="this system has no sched_yield(2)")
@pytest.mark.parametrize(("nice", "times"), [(True, 17), (False, 0)])
def test_a_nice_process_lets_others_in_between_hashing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nice: bool, times: int
) -> None:
    yields: list[None] = []
    monkeypatch.setattr(disk, "is_nice", being(nice))
    monkeypatch.setattr(os, "sched_yield", lambda: yields.append(None))
    (tmp_path / "file").write_bytes(CONTENT.read(0, CONTENT.size))
    hasher = hashlib.sha256()
    with (tmp_path / "file").open("rb") as stream:
        assert hash_span(hasher, stream.fileno(), Span(0, CONTENT.size)) == CONTENT.size
        assert hasher.hexdigest() == CONTENT.sha256
        # One after each quarter of a mebibyte.
        assert len(yields) == times
        assert hash_span(hashlib.sha256(), stream.fileno(), Span(CONTENT.size - 10, 5 * MiB)) == 10


@pytest.mark.parametrize(("nice", "is_refused"), [(True, False), (True, True), (False, False)])
def test_a_nice_process_begins_to_write_little_by_little_before_it_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nice: bool, is_refused: bool
) -> None:
    happened: list[object] = []

    def call(fd: int, start: int, size: int, flags: int) -> int:
        happened.append((start, size))
        return -1 if is_refused else 0

    monkeypatch.setattr(disk, "is_nice", being(nice))
    monkeypatch.setattr(disk, "_linux", lambda name, *_: call if "sync" in name else None)
    fdatasync = os.fdatasync
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    partial = PartialFile(paths, FILE, alone=True)
    partial.open()

    def seen(fd: int) -> None:
        if fd == partial._fd:
            happened.append("flush")
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", seen)
    pieces = [Span(0, MiB), Span(MiB, MiB + 500), Span(3 * MiB, 4 * MiB)]
    for span in pieces:
        partial.write(span.start, [CONTENT.read(span.start, span.stop)])
    partial.flush()
    begun: list[object] = [(0, MiB), (MiB, 500), (3 * MiB, MiB)]
    assert happened == [*(begun[:1] if is_refused else begun if nice else []), "flush"]
    happened.clear()
    partial.write(2 * MiB, [CONTENT.read(2 * MiB, 3 * MiB)])
    partial.flush()
    assert happened == [*([(2 * MiB, MiB)] if nice else []), "flush"]  # and nothing twice
    happened.clear()
    partial.write(4 * MiB, [CONTENT.read(4 * MiB, CONTENT.size)])
    partial.write(MiB + 500, [CONTENT.read(MiB + 500, 2 * MiB)])
    partial.publish()
    last: list[object] = [(MiB + 500, MiB - 500), (4 * MiB, 1000)]
    assert happened == [*(last[:1] if is_refused and nice else last if nice else []), "flush"]


def test_what_the_kernel_is_asked_to_begin_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "is_nice", being(True))
    path = tmp_path / "file"
    path.write_bytes(CONTENT.read(0, CONTENT.size))
    with path.open("r+b") as stream:
        disk.flush(stream.fileno(), [Span(0, CONTENT.size), Span(9 * MiB, 10 * MiB)])
    assert path.read_bytes() == CONTENT.read(0, CONTENT.size)
    with pytest.raises(OSError, match="descriptor"):  # by the flush itself
        disk.flush(9999, [Span(0, MiB)])


def test_a_sandbox_that_tells_nothing_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(which: int, who: int) -> int:
        raise PermissionError(1, "denied")

    monkeypatch.setattr(os, "getpriority", denied)
    disk.is_nice.cache_clear()
    try:
        assert not disk.is_nice()
    finally:
        disk.is_nice.cache_clear()


@pytest.mark.parametrize("at", ["flush", "publish"])
@pytest.mark.parametrize("is_all", [False, True], ids=["file", "disk"])
def test_after_a_flush_that_failed_what_it_was_for_is_fetched_again(
    at: str, is_all: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells once that data were lost; then it gives them from its cache."""
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    partial, fdatasync = PartialFile(paths, FILE, alone=True), os.fdatasync
    partial.open()
    partial.write(0, [CONTENT.read(0, MiB)])
    partial.flush()
    for start in range(MiB, CONTENT.size, MiB):
        partial.write(start, [CONTENT.read(start, min(start + MiB, CONTENT.size))])

    def failing(fd: int) -> None:
        if is_all or fd == partial._fd:
            raise OSError(5, "the disk failed")
        fdatasync(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(StorageError, match="the disk failed"):
            getattr(partial, at)()
    for attempt in partial.flush, partial.publish:  # and now the disk says that all is well
        with pytest.raises(StorageError, match="the disk failed"):
            attempt()
    assert not paths.final.exists()
    partial.close()
    again = PartialFile(paths, FILE, alone=True)
    again.open()
    assert list(again.done) == ([] if is_all else [Span(0, MiB)])
    again.close()


def test_a_file_that_somebody_writes_to_is_not_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT.read(0, CONTENT.size))
    assert is_content(path, FILE)
    real = disk.read_at

    def growing(fd: int, buffer: memoryview, offset: int) -> int:
        with path.open("ab") as stream:
            stream.write(b"more")
        return real(fd, buffer, offset)

    monkeypatch.setattr(disk, "read_at", growing)
    assert not is_content(path, FILE)
