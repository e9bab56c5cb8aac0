"""Bytes of one file into another, with and without the kernel's help."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from modelfetch.storage import disk

SIZE = 3 * (1 << 20) + 77
DATA = os.urandom(SIZE)


def refusing(code: int) -> Any:
    def call(*args: Any) -> int:
        raise OSError(code, os.strerror(code))

    return call


def stingy(source: int, target: int, count: int, start: int, offset: int) -> int:
    return os.pwrite(target, os.pread(source, min(count, 1000), start), offset)


WAYS = {
    "the kernel": None,
    "a little at a time": stingy,
    "none here": "absent",
    "another file system": refusing(errno.EXDEV),
    "not supported": refusing(errno.EOPNOTSUPP),
    "a kernel that says it is done": lambda *args: 0,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_bytes_asked_for_arrive_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Any
) -> None:
    if way == "absent":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif way is not None:
        monkeypatch.setattr(os, "copy_file_range", way, raising=False)
    (tmp_path / "old").write_bytes(DATA)
    (tmp_path / "new").write_bytes(b"x" * 200)
    with (tmp_path / "old").open("rb") as old, (tmp_path / "new").open("r+b") as new:
        disk.copy_range(old.fileno(), 33, new.fileno(), 100, SIZE - 50)
    assert (tmp_path / "new").read_bytes() == b"x" * 100 + DATA[33 : SIZE - 17]


def test_a_source_that_ends_too_early_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(DATA)
    with (tmp_path / "old").open("rb") as old, (tmp_path / "new").open("wb") as new:
        with pytest.raises(OSError, match="cut short") as caught:
            disk.copy_range(old.fileno(), 10, new.fileno(), 0, SIZE)
        assert caught.value.errno == errno.EIO


def test_a_full_disk_is_not_taken_for_a_missing_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", refusing(errno.ENOSPC), raising=False)
    (tmp_path / "old").write_bytes(DATA)
    with (
        (tmp_path / "old").open("rb") as old,
        (tmp_path / "new").open("wb") as new,
        pytest.raises(OSError, match="No space"),
    ):
        disk.copy_range(old.fileno(), 0, new.fileno(), 0, SIZE)
