"""What the parts of the engine cost: each still ends with a file, each patch still fits."""

from __future__ import annotations

import os

import pytest
from benchmarks.cases import Case, staged
from benchmarks.memory import settled
from benchmarks.parts import FLOOR, PARTS, taken, to_markdown

SIZE = 3 << 20


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    case = Case("t", "small", SIZE, SIZE, tls=False, fails=True)
    with staged(case, tmp_path_factory.mktemp("served"), SIZE) as stage:
        yield stage


@pytest.mark.parametrize("name", [*PARTS, FLOOR])
def test_without_a_part_there_is_a_file_all_the_same(stage, name, tmp_path):
    found = taken(name, stage, tmp_path / "run")
    assert found["seconds"] > 0 < found["cpu"]


def test_a_patch_that_reaches_nothing_is_an_error(stage, tmp_path, monkeypatch):
    monkeypatch.setitem(PARTS, "nothing", ("from modelfetch.engine import absent", {}))
    with pytest.raises(RuntimeError, match="absent"):
        taken("nothing", stage, tmp_path / "run")


def test_the_table_compares_with_the_whole():
    runs = [{"seconds": 2.0, "cpu": 4.0}]
    raw = {"size": 10**9, "rows": {"whole": runs, "half": [{"seconds": 1.0, "cpu": 2.0}]}}
    assert "| half | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) | 0.50 |" in to_markdown(raw)


@pytest.mark.parametrize(("droppable", "count"), [([8 << 30] * 3, 2), ([8 << 30, 1 << 30], 1)])
def test_settling_takes_no_room_on_disk_and_gives_back_what_it_held(
    tmp_path, monkeypatch, droppable, count
):
    free, held = [4 << 30, 4 << 30, 0, 1 << 30, 1 << 30, 0], []
    monkeypatch.setattr("benchmarks.memory.is_lent", lambda: True)
    monkeypatch.setattr("benchmarks.memory._about", lambda name: free.pop(0))
    monkeypatch.setattr("benchmarks.memory.free_memory", lambda: droppable.pop(0))
    monkeypatch.setattr("benchmarks.memory.mmap.mmap", lambda *_: held.append(Held()) or held[-1])
    with settled(tmp_path, 1 << 20):
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), settled(tmp_path, 1 << 30):
        (left,) = tmp_path.iterdir()
        assert left.stat().st_blocks == 0
        assert [memory.is_held for memory in held] == [True] * count
        raise KeyError  # a run that fails
    assert [memory.is_held for memory in held] == [False] * count


@pytest.mark.parametrize("size", [1 << 20, 1 << 30])
def test_a_run_begins_when_the_disk_is_done_with_what_was_before(tmp_path, monkeypatch, size):
    done = []
    monkeypatch.setattr("benchmarks.memory.is_lent", lambda: False)
    monkeypatch.setattr("benchmarks.memory.os.sync", lambda: done.append(True))
    with settled(tmp_path, size):
        assert done == [True]


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="Linux")
def test_what_is_served_is_in_memory_when_a_run_begins(tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.write_bytes(bytes(3 << 20))

    def drop(path):
        with served.open("r+b") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    monkeypatch.setattr("benchmarks.memory.is_lent", lambda: True)
    monkeypatch.setattr("benchmarks.memory._fill", drop)
    monkeypatch.setattr("benchmarks.memory._hold", lambda held: None)
    with settled(tmp_path, 1 << 30, [served]), served.open("rb") as file:
        assert os.preadv(file.fileno(), [bytearray(4 << 20)], 0, os.RWF_NOWAIT) == 3 << 20


class Held:
    is_held = True

    def __setitem__(self, where, content):
        assert len(content) == 64 << 20

    def close(self):
        self.is_held = False
