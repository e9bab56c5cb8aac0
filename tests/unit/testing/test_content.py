"""What the fake Hub serves: bytes that tell their position, and hashes that others compute too."""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.testing import BytesContent, Content, FileContent, PositionCoded
from modelfetch.testing.content import Joined, as_content

MiB = 1 << 20
SIZES = [0, 1, 7, 8, 9, 1000, MiB - 1, MiB, MiB + 1, 2 * MiB + 5]


def words(data: bytes) -> list[int]:
    whole = len(data) // 8
    return list(struct.unpack(f">{whole}Q", data[: whole * 8]))


def in_file(folder: Path, data: bytes) -> FileContent:
    path = folder / "content"
    path.write_bytes(data)
    return FileContent(path)


MAKERS: dict[str, Callable[[Path, bytes], Content]] = {
    "bytes": lambda _, data: BytesContent(data),
    "file": in_file,
    "joined": lambda _, data: Joined(BytesContent(data[:7]), BytesContent(data[7:])),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], Content]:
    maker = MAKERS[request.param]
    return lambda data: maker(tmp_path, data)


# Position-coded bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2**32])
def test_every_aligned_word_differs_from_every_other(seed: int) -> None:
    found = words(PositionCoded(MiB, seed).read(0, MiB))
    assert len(set(found)) == len(found) == MiB // 8


def test_files_of_different_seeds_have_no_word_in_common() -> None:
    size = 80_000
    found = [set(words(PositionCoded(size, seed).read(0, size))) for seed in range(10)]
    assert len(set.union(*found)) == 10 * size // 8


def test_a_word_read_at_its_place_is_that_of_no_other_place_far_away() -> None:
    content = PositionCoded(2**43)
    places = [0, 8, 2**20, 2**32 - 8, 2**32, 2**32 + 8, 2**40, 2**43 - 8]
    found = [content.read(place, place + 8) for place in places]
    assert len(set(found)) == len(places)


@pytest.mark.parametrize("seed", [0, 7, 121_393])
def test_a_range_over_the_carry_of_the_counter_continues_it(seed: int) -> None:
    # 121393 is a seed whose counter begins near the top: a huge file must not run over it.
    content = PositionCoded(2**50, seed)
    for carry in (2**16, 2**32, 2**47 - 1):
        found = words(content.read((carry - 2) * 8, (carry + 1) * 8))
        assert [after - before for before, after in pairwise(found)] == [1, 1]


@given(st.integers(0, 400), st.integers(0, 420), st.integers(0, 420), st.integers(0, 9))
def test_any_range_is_the_slice_of_the_whole(size: int, start: int, length: int, seed: int) -> None:
    content = PositionCoded(size, seed)
    whole = content.read(0, size)
    assert len(whole) == content.size == size
    assert content.read(start, start + length) == whole[start : start + length]


def test_the_same_arguments_give_the_same_bytes_and_a_shorter_file_is_a_prefix() -> None:
    assert PositionCoded(1003, 4).read(0, 1003) == PositionCoded(1003, 4).read(0, 1003)
    assert PositionCoded(1003, 4).read(0, 2000)[:77] == PositionCoded(77, 4).read(0, 77)


def test_a_file_larger_than_any_disk_is_readable_anywhere() -> None:
    size = 2**50
    content = PositionCoded(size, 3, sha256="ab" * 32)
    assert content.size == size
    assert content.sha256 == "ab" * 32, "declared, because computing it would take days"
    end = content.read(size - 13, size + 100)
    assert len(end) == 13
    assert end[-8:] == content.read(size - 8, size)
    middle = size // 2 + 3
    assert content.read(middle, middle + 100)[40:60] == content.read(middle + 40, middle + 60)
    assert content.read(size, size + 8) == b""


# Every content ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_hashes_are_those_of_hashlib_and_of_git(
    make: Callable[[bytes], Content], size: int
) -> None:
    data = random.Random(size).randbytes(size)
    content = make(data)
    assert content.size == size
    assert content.read(0, size) == data
    assert content.sha256 == hashlib.sha256(data).hexdigest()
    assert content.git_oid == hashlib.sha1(b"blob %d\0" % size + data).hexdigest()
    assert content.sha256 == hashlib.sha256(data).hexdigest(), "and stay so"


@pytest.mark.parametrize("size", SIZES)
def test_the_hashes_of_position_coded_bytes_are_those_of_the_bytes(size: int) -> None:
    content = PositionCoded(size, 5)
    data = content.read(0, size)
    assert content.sha256 == hashlib.sha256(data).hexdigest()
    assert content.git_oid == hashlib.sha1(b"blob %d\0" % size + data).hexdigest()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_computes_the_same_id(tmp_path: Path) -> None:
    content = in_file(tmp_path, b"a line\nand \x00 another")
    told = subprocess.run(
        ["git", "hash-object", "--no-filters", "content"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert content.git_oid == told.stdout.strip()


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 5), (3, 9), (6, 8), (5, 99), (20, 30)])
def test_a_range_is_cut_at_the_end_of_the_file(
    make: Callable[[bytes], Content], start: int, stop: int
) -> None:
    data = b"0123456789abcdef"
    assert make(data).read(start, stop) == data[start:stop]


def test_joined_contents_follow_each_other() -> None:
    parts = [PositionCoded(13, 1), BytesContent(b""), BytesContent(b"xyz"), PositionCoded(5, 2)]
    joined = Joined(*parts)
    whole = b"".join(part.read(0, part.size) for part in parts)
    assert joined.size == len(whole) == 21
    for start in range(22):
        for stop in range(start, 23):
            assert joined.read(start, stop) == whole[start:stop]


def test_bytes_text_and_paths_are_contents_and_a_content_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"in a file")
    coded = PositionCoded(8)
    assert as_content(b"bytes").read(0, 99) == b"bytes"
    assert as_content("täxt").read(0, 99) == "täxt".encode()
    assert as_content(path).read(0, 99) == b"in a file"
    assert as_content(coded) is coded
