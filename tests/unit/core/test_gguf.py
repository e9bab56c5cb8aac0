"""The head of a GGUF file: as llama.cpp's own package writes it, and as nobody should."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from modelfetch.core.gguf import (
    MAX_HEADER,
    MAX_STRINGS,
    MAX_TENSORS,
    MAX_TEXT,
    Flaw,
    HeaderReader,
)
from modelfetch.core.tensors import BLOCKS, Header, Tensor
from modelfetch.testing import build_gguf

HUGE = 1 << 62


def read(data: bytes, size: int | None = None, portion: int = 1 << 20) -> HeaderReader:
    """Feed `data` until the reader has enough."""
    reader = HeaderReader(len(data) if size is None else size)
    for start in range(0, len(data), portion):
        if reader.is_done:
            break
        reader.feed(data[start : start + portion])
    return reader


def header_of(data: bytes, size: int | None = None) -> Header:
    reader = read(data, size)
    assert reader.flaw is None
    assert reader.header is not None
    return reader.header


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def head(values: Sequence[bytes] = (), tensors: Sequence[bytes] = (), *, version: int = 3) -> bytes:
    counts = struct.pack("<IQQ", version, len(tensors), len(values))
    return b"GGUF" + counts + b"".join(values) + b"".join(tensors)


def value(key: str, kind: int, packed: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + packed


def tensor(name: str, dims: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., bytes]:
    """A file that llama.cpp's package writes."""

    def write(endianess: Any = gguf.GGUFEndian.LITTLE, alignment: int = 32) -> bytes:
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, "qwen3", endianess=endianess)
        writer.add_custom_alignment(alignment)
        writer.add_name("Tïny")
        writer.add_context_length(40960)
        writer.add_file_type(15)
        writer.add_rope_freq_base(1e6)
        writer.add_add_bos_token(True)
        writer.add_chat_template("x" * 10_000)
        writer.add_token_list([f"word {n}" for n in range(3000)])
        writer.add_token_scores([n / 7 for n in range(3000)])
        writer.add_array("mixed.flags", [True, False])
        writer.add_uint16("split.no", 0)
        writer.add_tensor("token_embd.weight", np.arange(96, dtype=np.float32).reshape(3, 32))
        writer.add_tensor("output.weight", np.arange(99, dtype=np.float16).reshape(9, 11))
        quantized = np.zeros((4, 144), dtype=np.uint8)
        writer.add_tensor("blk.0.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q4_K)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()

    return write


@pytest.mark.parametrize("portion", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("alignment", [32, 4096])
def test_what_llama_cpp_s_package_writes_is_read_as_that_package_reads_it(
    written: Callable[..., bytes], tmp_path: Path, portion: int, alignment: int
) -> None:
    data = written(alignment=alignment)
    theirs = gguf.GGUFReader(tmp_path / "model.gguf")
    reader = read(data, portion=portion)
    ours = reader.header
    assert ours is not None
    assert (ours.version, ours.is_big_endian, ours.alignment) == (3, False, alignment)
    assert ours.data_start == theirs.data_offset
    assert reader.fed < ours.data_start + portion
    assert [(*t[:3], ours.data_start + t.offset, t.size_bytes) for t in ours.tensors] == [
        (t.name, tuple(t.shape.tolist()), int(t.tensor_type), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    ]
    assert ours.least_size is not None
    assert ours.least_size <= len(data) < ours.least_size + alignment
    single = {
        name: field.contents()
        for name, field in theirs.fields.items()
        if not name.startswith("GGUF.") and field.types[0] != gguf.GGUFValueType.ARRAY
    }
    assert len(single.pop("tokenizer.chat_template")) == 10_000  # too long to be of interest
    assert ours.values == single


def test_a_file_in_the_other_byte_order_is_read_too(written: Callable[..., bytes]) -> None:
    little, big = header_of(written()), header_of(written(gguf.GGUFEndian.BIG))
    assert big.is_big_endian
    assert big.values == little.values
    assert big.tensors == little.tensors


def test_the_sizes_of_tensors_are_those_of_llama_cpp_s_package() -> None:
    assert {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == BLOCKS


def test_the_files_of_the_fake_hub() -> None:
    data = build_gguf(size_bytes=5000, metadata={"llama.context_length": 4096}).read(0, 5000)
    header = header_of(data)
    assert header.values["llama.context_length"] == 4096
    assert header.least_size == 5000
    assert [t.name for t in header.tensors] == ["blk.0.weight"]


def test_nothing_is_asked_for_beyond_what_is_needed() -> None:
    data = build_gguf(size_bytes=5000).read(0, 5000)
    reader = HeaderReader(5000)
    while not reader.is_done:
        assert reader.fed < reader.needed <= 5000
        reader.feed(data[reader.fed : reader.needed])
    assert reader.header is not None
    start = reader.header.data_start
    assert start - reader.header.alignment < reader.fed <= start


def test_the_words_of_a_long_list_are_not_waited_for_one_by_one() -> None:
    words = b"".join(text(f"w{n}") for n in range(50_000))
    data = head([value("tokens", 9, struct.pack("<IQ", 8, 50_000) + words)])
    reader, portions = HeaderReader(len(data)), 0
    while not reader.is_done:
        reader.feed(data[reader.fed : reader.fed + (64 << 10)])
        portions += 1
    assert reader.header is not None
    assert portions <= len(data) // (64 << 10) + 1


@pytest.mark.parametrize("data", [b"", b"GGU", b"PK\3\4", b"<!doctype html>", bytes(4096)])
def test_what_begins_otherwise_is_no_gguf(data: bytes) -> None:
    assert read(data).flaw is Flaw.NOT_GGUF


@pytest.mark.parametrize("size", [4, 7, 8, 23, 24, 100, 150])
def test_a_head_that_ends_with_the_file_is_cut_short(size: int) -> None:
    data = build_gguf().read(0, size)
    assert read(data).flaw is Flaw.TRUNCATED


TOO_LONG: dict[str, bytes] = {
    "values": b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE),
    "tensors": b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0),
    "a key": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE),
    "a string": head([value("k", 8, struct.pack("<Q", HUGE))]),
    "an array of numbers": head([value("k", 9, struct.pack("<IQ", 12, HUGE))]),
    "an array of strings": head([value("k", 9, struct.pack("<IQ", 8, HUGE))]),
    "a string in an array": head([value("k", 9, struct.pack("<IQQ", 8, 1, HUGE))]),
    "a tensor's name": head([], [struct.pack("<Q", HUGE)]),
}


@pytest.mark.parametrize("data", TOO_LONG.values(), ids=TOO_LONG)
def test_a_length_beyond_the_file_cuts_it_short_and_nothing_is_reserved(data: bytes) -> None:
    reader = read(data + bytes(64), size=1 << 40)
    assert reader.flaw is Flaw.TRUNCATED
    assert reader.fed <= len(data) + 64


OPAQUE: dict[str, bytes] = {
    "version 1": head(version=1),
    "version 4": head(version=4),
    "no version": head(version=0),
    "too many values": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 30),
    "too many tensors": b"GGUF" + struct.pack("<IQQ", 3, 1 << 30, 0),
    "too many words": head([value("k", 9, struct.pack("<IQ", 8, MAX_STRINGS + 1))]),
    "too many words in two lists": head(
        [value("k", 9, struct.pack("<IQ", 8, n) + text("") * 2) for n in (2, MAX_STRINGS - 1)]
    ),
    "too large": head([value("k", 9, struct.pack("<IQ", 0, MAX_HEADER))]),
    "an unknown type": head([value("k", 13, b"")]),
    "an array of arrays": head([value("k", 9, struct.pack("<IQ", 9, 1))]),
    "an array of an unknown type": head([value("k", 9, struct.pack("<IQ", 13, 1))]),
    "a tensor's name beyond all bounds": head([], [text(bytes(70_000)) + bytes(64)]),
    "nine dimensions": head([], [tensor("t", (1,) * 9, 0)]),
    "an alignment of 0": head([value("general.alignment", 4, struct.pack("<I", 0))]),
    "an alignment of 48": head([value("general.alignment", 4, struct.pack("<I", 48))]),
    "an alignment in words": head([value("general.alignment", 8, text("32"))]),
    "a huge alignment": head([value("general.alignment", 4, struct.pack("<I", 1 << 31))]),
}


@pytest.mark.parametrize("data", OPAQUE.values(), ids=OPAQUE)
def test_what_is_beyond_us_gets_no_verdict(data: bytes) -> None:
    reader = read(data + bytes(64), size=1 << 40)
    assert reader.flaw is Flaw.OPAQUE
    assert reader.header is None


def test_of_a_key_that_comes_twice_the_first_counts() -> None:
    twice = [value("k", 0, b"\1"), value("k", 0, b"\2")]
    assert header_of(head(twice)).values == {"k": 1}


def test_a_key_or_text_beyond_all_bounds_is_passed_over() -> None:
    long = [value("k" * 70_000, 0, b"\1"), value("k", 8, text("x" * 5000)), value("n", 0, b"\2")]
    assert header_of(head(long)).values == {"n": 2}


def test_text_that_is_no_utf_8_stays_apart() -> None:
    tensors = [text(name) + tensor("", (1,), 24)[8:] for name in (b"\xff", b"\xfe")]
    first, second = header_of(head([], tensors), size=1 << 20).tensors
    assert first.name != second.name


def test_a_head_without_tensors_needs_no_padding() -> None:
    data = head([value("k", 0, b"\1")])
    assert header_of(data).data_start == header_of(data).least_size == len(data)


def test_a_head_whose_padding_is_not_there_is_cut_short() -> None:
    data = head([value("k", 0, b"\1")], [tensor("t", (0,), 24)])
    assert len(data) % 32
    assert read(data).flaw is Flaw.TRUNCATED


@pytest.mark.parametrize(
    ("dims", "kind", "size"),
    [
        ((), 0, 4),
        ((0,), 0, 0),
        ((256, 3), 12, 432),
        ((255, 3), 12, None),
        ((4, 4), 36, None),
        ((4, 4), 4000, None),
        ((HUGE, HUGE), 0, HUGE * HUGE * 4),
    ],
)
def test_the_size_of_a_tensor(dims: tuple[int, ...], kind: int, size: int | None) -> None:
    assert Tensor("t", dims, kind, 0).size_bytes == size


def test_with_one_unknown_type_the_size_of_the_file_is_unknown() -> None:
    data = head([], [tensor("a", (1,), 24), tensor("b", (1,), 4000, 32)])
    assert header_of(data, size=1 << 20).least_size is None


def test_bytes_after_the_head_are_not_kept() -> None:
    reader = read(build_gguf(size_bytes=4096).read(0, 4096))
    before = reader.header
    for _ in range(10):
        reader.feed(bytes(1 << 20))
    assert reader.header is before
    assert len(reader._data) == 0


def test_of_a_long_list_only_what_is_being_read_is_kept() -> None:
    words = io.BytesIO(b"".join(text("x" * 100) for _ in range(50_000)))
    start = head([value("tokens", 9, struct.pack("<IQ", 8, 50_000))])
    reader, most = HeaderReader(1 << 30), 0
    reader.feed(start)
    while portion := words.read(10_000):
        reader.feed(portion)
        most = max(most, len(reader._data))
    assert reader.header is not None
    assert most < 21_000


def many(size: int, count: int) -> bytes:
    """Names and texts of `size` bytes, of which Python keeps four bytes for each."""
    names = [f"{n:06}\U0001f600".ljust(size - 3, "a") for n in range(count)]
    values = [value(name, 8, text(name)) for name in names]
    return head(values, [tensor(name, ((1 << 64) - 1,) * 8, 0) for name in names])


WORST: dict[str, Callable[[], bytes]] = {
    "names as long as we keep them": lambda: many(MAX_TEXT, MAX_TENSORS),
    "names that are longer": lambda: many(20_000, 1000),
    "a list that is not read": lambda: head(
        [value("k", 9, struct.pack("<IQ", 0, 63 << 20)), bytes(63 << 20)]
    ),
}


@pytest.mark.parametrize("make", WORST.values(), ids=WORST)
def test_no_head_takes_more_than_64_mib(make: Callable[[], bytes]) -> None:
    data = make()
    tracemalloc.start()
    try:
        reader = read(data, size=1 << 60)
        assert reader.header is not None or reader.flaw is not None or reader.fed == len(data)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
