"""What a partial is worth after a crash, a power cut, or a disk that did not keep its word."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers import MiB, coded

from modelfetch.storage import disk, partial
from modelfetch.storage.layout import BlobPaths, Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.types import RemoteFile, Span

CONTENT = coded(4 * MiB)
FILE = RemoteFile("m.gguf", CONTENT.size, CONTENT.sha256)


@pytest.fixture
def paths(tmp_path: Path) -> BlobPaths:
    return Layout(tmp_path).blob("a/b", FILE.blob_name)


@pytest.fixture
def after(paths: BlobPaths) -> Iterator[list[PartialFile]]:
    left: list[PartialFile] = []
    yield left
    for one in left:
        one._close_both()


def opened(paths: BlobPaths, after: list[PartialFile], *, durable: bool = True) -> PartialFile:
    one = PartialFile(paths, FILE, durable=durable, alone=True)
    after.append(one)
    one.open()
    return one


def put(one: PartialFile, start: int, stop: int) -> None:
    one.write(start, [CONTENT.read(start, stop)])


def spoil(paths: BlobPaths, offset: int) -> None:
    with paths.partial.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


def test_after_a_power_cut_what_was_not_flushed_is_for_its_checksum_to_prove(
    paths: BlobPaths, after: list[PartialFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(paths, after)
    put(first, 0, MiB)
    first.flush()
    put(first, MiB, 2 * MiB)
    put(first, 2 * MiB, 3 * MiB)
    spoil(paths, 3 * MiB - 1)
    monkeypatch.setattr(disk, "boot_id", lambda: "the next day")
    again = opened(paths, after)
    assert list(again.done) == [Span(0, 2 * MiB)]
    assert [[p.span for p in pieces] for pieces in again._pieces()] == [
        [Span(0, MiB)],
        [Span(MiB, 2 * MiB)],
    ]


def test_without_a_boot_id_and_without_flushing_a_pause_loses_nothing(
    paths: BlobPaths, after: list[PartialFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "boot_id", lambda: None)
    first = opened(paths, after, durable=False)
    put(first, 0, MiB)
    put(first, 3 * MiB, 4 * MiB)
    first.close()
    assert opened(paths, after, durable=False).done.size == 2 * MiB


def test_a_piece_that_trickles_in_is_one_piece(paths: BlobPaths, after: list[PartialFile]) -> None:
    first = opened(paths, after)
    for start in range(0, MiB + 5 * 1024, 1024):
        put(first, start, start + 1024)
    put(first, 2 * MiB + 7, 2 * MiB + 9)
    assert first.unflushed_bytes == MiB + 5 * 1024 + 2
    again = opened(paths, after)
    assert list(again.done) == [Span(0, MiB + 5 * 1024), Span(2 * MiB + 7, 2 * MiB + 9)]
    assert again._journal.pieces <= 5
    assert again.damaged() == []
    spoil(paths, 4321)
    assert [span.size for span in again.damaged()] == [MiB]


def test_a_journal_that_grows_long_is_written_anew(
    paths: BlobPaths, after: list[PartialFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "LONG_JOURNAL", 20)
    first = opened(paths, after)
    sizes = []
    for start in range(0, 4 * MiB, 1 << 15):
        put(first, start, start + (1 << 15))
        if start % (5 << 15) == 0:
            first.flush()
            sizes.append(paths.journal.stat().st_size)
    assert max(sizes) < 21 * 40
    put_last = first.unflushed_bytes
    again = opened(paths, after)
    assert again.done.size == 4 * MiB
    assert sum(piece.span.size for piece in again._pieces()[1]) <= put_last + MiB
    assert again.damaged() == []


def test_what_is_forgotten_does_not_make_the_rest_less_durable(
    paths: BlobPaths, after: list[PartialFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(paths, after)
    for number in range(4):
        put(first, number * MiB, (number + 1) * MiB)
    first.flush()
    first.forget([Span(MiB, 2 * MiB)])
    put(first, MiB, 2 * MiB)
    assert [len(pieces) for pieces in first._pieces()] == [3, 1]
    spoil(paths, MiB)
    monkeypatch.setattr(disk, "boot_id", lambda: "the next day")
    assert list(opened(paths, after).done) == [Span(0, MiB), Span(2 * MiB, 4 * MiB)]


def test_a_sector_that_cannot_be_read_is_damaged(
    paths: BlobPaths, after: list[PartialFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(paths, after)
    put(first, 0, MiB)
    put(first, MiB, 2 * MiB)
    real = disk.read_at

    def bad(fd: int, buffer: memoryview, offset: int) -> int:
        if offset == MiB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, buffer, offset)

    monkeypatch.setattr(disk, "read_at", bad)
    assert first.damaged() == [Span(MiB, 2 * MiB)]
