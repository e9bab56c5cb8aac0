"""Several downloads do not each count the same free bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelfetch import FileRole, InsufficientSpace, Plan, PlannedFile
from modelfetch.storage import disk, snapshots, space
from modelfetch.storage.layout import Layout

KB = 4096  # what a disk gives at least
NAMES = (f"{number:064x}" for number in count(1))


@pytest.fixture(autouse=True)
def nothing_promised() -> Iterator[None]:
    assert space._ledger == []
    yield
    space._ledger.clear()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk of 100 blocks."""
    state = SimpleNamespace(bytes=100 * KB)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: state.bytes)
    return state


def plan(*blocks: int, name: str | None = None, role: FileRole = FileRole.MODEL) -> Plan:
    files = tuple(
        PlannedFile(f"m{number}.gguf", size * KB, name or next(NAMES), None, role)
        for number, size in enumerate(blocks)
    )
    joined = "m.gguf" if role is FileRole.BYTE_PART else None
    return Plan("a/b", "main", "c" * 40, "Q4", "rule", files, joined)


def test_what_is_promised_to_one_is_not_free_for_another(
    tmp_path: Path, free: SimpleNamespace
) -> None:
    layout = Layout(tmp_path)
    first = snapshots.room_for(layout, plan(40, 20))
    first.take()
    with pytest.raises(InsufficientSpace, match="promised to other downloads") as caught:
        snapshots.check_space(layout, plan(41))
    assert (caught.value.needed_bytes, caught.value.free_bytes) == (41 * KB, 40 * KB)
    second = snapshots.room_for(layout, plan(40))
    second.take()
    third = snapshots.room_for(layout, plan(1))
    with pytest.raises(InsufficientSpace):
        third.take()
    third.release()
    first.release()
    first.release()
    third.take()


def test_what_has_come_is_not_promised_any_more(tmp_path: Path, free: SimpleNamespace) -> None:
    layout, one = Layout(tmp_path), plan(60)
    snapshots.room_for(layout, one).take()
    paths = layout.blob("a/b", one.files[0].blob_name)
    paths.final.parent.mkdir(parents=True)
    for path, size in ((paths.private("12ab").partial, 30), (paths.partial, 50)):
        path.write_bytes(os.urandom(size * KB))
    free.bytes = 50 * KB
    snapshots.check_space(layout, plan(40))
    with pytest.raises(InsufficientSpace):
        snapshots.check_space(layout, plan(41))
    paths.final.write_bytes(os.urandom(60 * KB))
    snapshots.check_space(layout, plan(50))


def test_the_same_file_is_promised_once(tmp_path: Path, free: SimpleNamespace) -> None:
    name = next(NAMES)
    snapshots.room_for(Layout(tmp_path), plan(60, name=name)).take()
    snapshots.room_for(Layout(tmp_path), plan(60, name=name)).take()
    snapshots.check_space(Layout(tmp_path), plan(40))


def test_a_draft_of_the_whole_counts_as_come(tmp_path: Path, free: SimpleNamespace) -> None:
    layout, one = Layout(tmp_path), plan(20, 20, role=FileRole.BYTE_PART)
    snapshots.check_space(layout, plan(20))
    snapshots.room_for(layout, one).take()
    with pytest.raises(InsufficientSpace):
        snapshots.check_space(layout, plan(21))
    draft = layout.blob("a/b", one.files[0].blob_name).draft("12ab")
    draft.parent.mkdir(parents=True)
    draft.write_bytes(os.urandom(40 * KB))
    free.bytes = 60 * KB
    snapshots.check_space(layout, plan(20))
    with pytest.raises(InsufficientSpace):
        snapshots.check_space(layout, plan(21))


def test_another_disk_has_its_own_room(
    tmp_path: Path, free: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "device", lambda folder: hash(folder.name))
    snapshots.room_for(Layout(tmp_path / "one"), plan(60)).take()
    snapshots.check_space(Layout(tmp_path / "other"), plan(100))
    with pytest.raises(InsufficientSpace):
        snapshots.check_space(Layout(tmp_path / "one"), plan(100))


def test_a_disk_that_does_not_tell_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(total=0, free=0))
    snapshots.check_space(Layout(tmp_path), plan(1 << 40))
