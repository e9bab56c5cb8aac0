"""Heads of GGUF files that somebody has tampered with: an answer within bounds, and no crash."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfetch.core.gguf import MAX_HEADER, Flaw, HeaderReader
from modelfetch.testing import build_gguf

words = st.lists(st.binary(max_size=12), max_size=20)
numbers = st.sampled_from(
    [0, 1, 2, 3, 8, 9, 12, 13, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 1 << 63]
)


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def word_list(key: bytes, items: list[bytes]) -> bytes:
    return text(key) + struct.pack("<IIQ", 9, 8, len(items)) + b"".join(map(text, items))


def scalar_list(key: bytes, items: bytes) -> bytes:
    return text(key) + struct.pack("<IIQ", 9, 0, len(items)) + items


def tensor(name: bytes, dims: list[int], kind: int, offset: int) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


values = st.one_of(
    st.builds(word_list, st.binary(min_size=1, max_size=8), words),
    st.builds(scalar_list, st.binary(min_size=1, max_size=8), st.binary(max_size=40)),
    st.binary(max_size=9).map(lambda data: text(b"text") + struct.pack("<I", 8) + text(data)),
    st.integers(0, 2**32 - 1).map(lambda n: text(b"n") + struct.pack("<II", 4, n)),
)
tensors = st.builds(
    tensor,
    st.binary(max_size=8),
    st.lists(st.integers(0, 1 << 20), max_size=4),
    st.integers(0, 45),
    st.integers(0, 1 << 30),
)


@st.composite
def sound(draw: st.DrawFn) -> bytes:
    """A head as the format wants it, with some bytes after it."""
    pairs, table = draw(st.lists(values, max_size=6)), draw(st.lists(tensors, max_size=6))
    counts = struct.pack("<IQQ", draw(st.sampled_from([2, 3])), len(table), len(pairs))
    return b"GGUF" + counts + b"".join(pairs) + b"".join(table) + bytes(draw(st.integers(0, 100)))


@st.composite
def tampered(draw: st.DrawFn) -> bytes:
    """A head in which some bytes were overwritten, inserted, or left out."""
    data = bytearray(draw(st.one_of(sound(), st.binary(max_size=200).map(lambda b: b"GGUF" + b))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.one_of(st.binary(max_size=9), numbers.map(lambda n: struct.pack("<Q", n))))
        data[at : at + draw(st.sampled_from([0, len(new), 8]))] = new
    return bytes(data)


def outcome(data: bytes, size: int, cuts: list[int]) -> HeaderReader:
    """Feed `data`, cut where the test says, and check what must hold at every step."""
    reader = HeaderReader(size)
    for start, stop in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})):
        reader.feed(data[start:stop])
        assert reader.is_done or reader.fed < reader.needed <= min(size, MAX_HEADER)
        assert len(reader._data) <= len(data)
    return reader


def check(data: bytes, missing: int, cuts: list[int]) -> None:
    size = len(data) + missing
    reader = outcome(data, size, cuts)
    if not missing:
        assert reader.is_done
    again = outcome(data, size, [])
    assert (reader.flaw, reader.header, reader.is_done) == (again.flaw, again.header, again.is_done)
    if (header := reader.header) is not None:
        assert header.data_start <= size
        assert header.least_size is None or header.least_size >= header.data_start


cuts = st.lists(st.integers(0, 1 << 20), max_size=5)
missing = st.sampled_from([0, 1, 1 << 20, 1 << 40])


@given(tampered(), missing, cuts)
def test_no_head_crashes_the_reader(data: bytes, missing: int, cuts: list[int]) -> None:
    check(data, missing, cuts)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=10_000)
@given(tampered(), missing, cuts)
def test_no_head_crashes_the_reader_in_many_examples(
    data: bytes, missing: int, cuts: list[int]
) -> None:
    check(data, missing, cuts)


@given(sound(), cuts)
def test_a_sound_head_is_read_and_any_prefix_of_it_is_cut_short(
    data: bytes, cuts: list[int]
) -> None:
    whole = outcome(data + bytes(64), len(data) + 64, cuts)
    assert whole.flaw is None or whole.flaw is Flaw.OPAQUE
    assert whole.flaw is None or b"general.alignment" in data
    end = len(data.rstrip(b"\0"))
    prefix = data[: (cuts or [0])[0] % max(1, end)]
    reader = outcome(prefix, len(prefix), [])
    assert reader.is_done
    if len(prefix) < 24:
        assert reader.flaw in (Flaw.TRUNCATED, Flaw.NOT_GGUF)


@given(st.integers(0, 3000))
def test_any_prefix_of_a_file_is_recognised_as_such(size: int) -> None:
    data = build_gguf(size_bytes=4000).read(0, size)
    reader = outcome(data, size, [])
    if reader.header is None:
        assert reader.flaw is (Flaw.NOT_GGUF if size < 4 else Flaw.TRUNCATED)
    else:
        assert reader.header.least_size == 4000
