"""Journals as files: what is no journal is worth nothing, and stops nobody."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.helpers import MiB, coded

from modelfetch import InsufficientSpace, StorageError
from modelfetch.core.journal import Encoder, Header, Piece
from modelfetch.storage import journals
from modelfetch.storage.journals import JournalFile, read_journal
from modelfetch.storage.layout import Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.types import RemoteFile, Span

CONTENT = coded(MiB)
FILE = RemoteFile("m.gguf", CONTENT.size, CONTENT.sha256)
HEADER = Header(FILE.blob_name, FILE.size_bytes, "boot", "7@pid:[1]")


def plant(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.with_name("elsewhere").write_bytes(Encoder().whole(HEADER, [Piece(Span(0, 9), 0)], []))
        path.symlink_to("elsewhere")
    elif kind == "garbage":
        path.write_bytes(os.urandom(3000))


@pytest.mark.timeout(20)
@pytest.mark.skipif(os.name == "nt", reason="no such files there")
@pytest.mark.parametrize("kind", ["nothing", "pipe", "link", "garbage"])
def test_what_is_in_its_place_is_not_believed_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    plant(paths.journal, kind)
    assert read_journal(paths.journal) is None
    partial = PartialFile(paths, FILE, alone=True)
    partial.open()
    assert partial.done.size == 0
    partial.close()
    assert read_journal(paths.journal) is not None


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    paths.journal.mkdir(parents=True)
    partial = PartialFile(paths, FILE, alone=True)
    with pytest.raises(StorageError):
        partial.open()
    partial.close()


def test_a_disk_that_takes_half_a_record_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so without an error; every connection that writes then is told why."""
    paths = Layout(tmp_path).blob("a/b", FILE.blob_name)
    partial = PartialFile(paths, FILE, alone=True)
    partial.open()
    partial.write(0, [CONTENT.read(0, 1000)])
    write, room = os.write, [7]

    def into_little_room(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", into_little_room)
    for start in (1000, 2000):
        with pytest.raises(InsufficientSpace):
            partial.write(start, [CONTENT.read(start, start + 1000)])
    monkeypatch.undo()
    partial.close()
    again = PartialFile(paths, FILE, alone=True)
    again.open()
    assert list(again.done) == [Span(0, 1000)]
    again.close()


def test_of_one_without_end_the_beginning_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    pieces = [Piece(Span(start, start + 1), start) for start in range(100)]
    data = Encoder().whole(HEADER, [], pieces)
    path.write_bytes(data)
    monkeypatch.setattr(journals, "_MAX_SIZE", len(data) - 30)
    journal = read_journal(path)
    assert journal is not None
    assert list(journal.pieces) == pieces[:98]


def test_nothing_is_put_after_a_record_that_was_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = JournalFile(tmp_path / "journal", durable=False)
    journal.begin(HEADER, [], [])
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: len(data) // 2)
        with pytest.raises(OSError, match="No space"):
            journal.piece(Piece(Span(0, 9), 0))
    assert not journal.is_sound
    with pytest.raises(OSError, match="No space"):
        journal.flushed(1)
    journal.begin(HEADER, [], [])
    journal.piece(Piece(Span(0, 9), 0))
    journal.close()
    read = read_journal(tmp_path / "journal")
    assert read is not None
    assert len(read.pieces) == 1
