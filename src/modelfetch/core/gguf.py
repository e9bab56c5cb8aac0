"""The head of a GGUF file: key/values and the table of tensors, read from the first bytes on.

Theory
------
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Magic, version, two counts;
then the key/values, of which the tokenizer's arrays make 5 to 20 MB; then a record for each tensor;
then, aligned, their data. Nothing tells the length of the head, so `HeaderReader` is fed as the
file arrives, and says how far the file must have come for it to get on (`needed`). It goes through
each byte once and keeps those of the item it is in, so its memory is that item and what it was fed.

The bytes are whatever a stranger has published. Every length is checked against the size of the
file before anything is done with it: what cannot be in the file makes it `TRUNCATED`, and
llama.cpp would say the same. What is merely larger, newer or odder than we know, or more than we
are ready to read, makes it `OPAQUE`: it may be a good file, and no verdict is given. (llama.cpp's
own limits, in ggml/src/gguf.cpp, are looser than ours.)

It takes 0.03 s for the 6.5 MB of a vocabulary of 262,144 words, 0.8 s for the worst that it reads.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from enum import StrEnum
from struct import Struct
from typing import Any, TypeVar

from modelfetch.core.tensors import Header, Tensor, Value

__all__ = ["Flaw", "HeaderReader"]

MAGIC = b"GGUF"
MAX_HEADER = 64 << 20
MAX_VALUES = 1 << 14
MAX_TENSORS = 1 << 14  # the largest models have a few thousand
MAX_STRINGS = 1 << 21  # the largest vocabularies have 262,144 words and twice as many merges
MAX_DIMENSIONS = 8
# Longer strings are skipped: chat templates, licences. So are values with a longer key; no tensor
# has a longer name, llama.cpp's bound is 63 bytes.
MAX_TEXT = 1 << 8
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 20

_STRING, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# The least that a key/value (length, a letter, type, a byte) and a tensor (length,
# number of dimensions, type, offset) can take.
_LEAST_VALUE, _LEAST_TENSOR = 14, 24


class Flaw(StrEnum):
    """Why a head cannot be had."""

    NOT_GGUF = "not_gguf"
    """The file begins with something else."""
    TRUNCATED = "truncated"
    """What its head announces does not fit into the file."""
    OPAQUE = "opaque"
    """It is beyond what we read; whether it is a good file is not for us to say."""


class _Stop(Exception):
    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw


# What a step of the reader returns; it yields each time that the next bytes are not there yet.
_T = TypeVar("_T")
_Step = Generator[None, None, _T]


class HeaderReader:
    """Reads a head from the bytes of a file, which come in order and in any portions.

    Total: no input raises, takes more than a second or so, or more than `MAX_HEADER` of memory.

    Args:
        size_bytes: Size of the whole file.

    Attributes:
        fed: Bytes of the file that it has had.
        needed: Bytes of the file, from its first, without which it cannot go on; not beyond the
            file's end.
        header: The head, once it is read.
        flaw: Why there will be none.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._data = bytearray()
        self._base = self._at = 0  # offset in the file of the data held; position in that
        self._order = "<"
        self._strings = 0
        self.fed = self.needed = 0
        self.header: Header | None = None
        self.flaw: Flaw | None = None
        self._reading = self._run()
        next(self._reading, None)

    @property
    def is_done(self) -> bool:
        """Whether there is a head or a flaw; more bytes change nothing then."""
        return self.header is not None or self.flaw is not None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Go on with the next bytes of the file."""
        self.fed += len(data)
        if not self.is_done:
            self._data += data
            if self.fed >= self.needed:
                next(self._reading, None)
            else:
                self._forget()

    def _run(self) -> _Step[None]:
        try:
            self.header = yield from self._header()
        except _Stop as stop:
            self.flaw = stop.flaw
        self._data = bytearray()

    def _header(self) -> _Step[Header]:
        version = yield from self._version()
        tensor_count, value_count = yield from self._numbers("QQ")
        self._announced(value_count, MAX_VALUES, _LEAST_VALUE)
        values: dict[str, Value] = {}
        for _ in range(value_count):
            key = yield from self._text()
            value = yield from self._value()
            if key is not None and value is not None:
                values.setdefault(key, value)
        self._announced(tensor_count, MAX_TENSORS, _LEAST_TENSOR)
        tensors = []
        for _ in range(tensor_count):
            tensors.append((yield from self._tensor()))  # noqa: PERF401
        alignment = _alignment(values)
        end = self._base + self._at
        start = -(-end // alignment) * alignment if tensors else end
        if start > self._size:
            raise _Stop(Flaw.TRUNCATED)
        return Header(version, self._order == ">", values, tuple(tensors), alignment, start)

    def _version(self) -> _Step[int]:
        if self._size < len(MAGIC):
            raise _Stop(Flaw.NOT_GGUF)
        magic = yield from self._taken(len(MAGIC))
        if magic != MAGIC:
            raise _Stop(Flaw.NOT_GGUF)
        number = yield from self._taken(4)
        version = int.from_bytes(number, "little")
        if not version & 0xFFFF:  # the low half of a small number in the other byte order
            self._order, version = ">", int.from_bytes(number, "big")
        if version not in (2, 3):
            raise _Stop(Flaw.OPAQUE)
        return version

    def _value(self) -> _Step[Value | None]:
        (kind,) = yield from self._numbers("I")
        if kind == _STRING:
            return (yield from self._text())
        if kind == _ARRAY:
            yield from self._array()
            return None
        if kind not in _CODES:
            raise _Stop(Flaw.OPAQUE)
        value: Value
        (value,) = yield from self._numbers(_CODES[kind])
        return value

    def _array(self) -> _Step[None]:
        kind, count = yield from self._numbers("IQ")
        if kind == _STRING:
            yield from self._strings_of(count)
        elif kind in _CODES:
            self._at += count * Struct(f"<{_CODES[kind]}").size
            yield from self._there(0)
        else:
            raise _Stop(Flaw.OPAQUE)  # llama.cpp refuses arrays of arrays; the format does not

    def _strings_of(self, count: int) -> _Step[None]:
        self._announced(count, MAX_STRINGS, 8)
        self._strings += count
        self._announced(self._strings, MAX_STRINGS, 0)
        length_at = Struct(f"{self._order}Q").unpack_from
        at, last = self._at, len(self._data) - 8
        for _ in range(count):
            if at > last:
                self._at = at
                yield from self._there(8)
                at, last = self._at, len(self._data) - 8
            at += 8 + length_at(self._data, at)[0]
        self._at = at
        yield from self._there(0)

    def _tensor(self) -> _Step[Tensor]:
        name = yield from self._text()
        (dimensions,) = yield from self._numbers("I")
        if name is None or dimensions > MAX_DIMENSIONS:
            raise _Stop(Flaw.OPAQUE)
        *dims, kind, offset = yield from self._numbers(f"{dimensions}QIQ")
        return Tensor(name, tuple(dims), kind, offset)

    def _text(self) -> _Step[str | None]:
        """Return a string, `None` for one that is longer."""
        (length,) = yield from self._numbers("Q")
        if length > MAX_TEXT:
            self._at += length
            yield from self._there(0)
            return None
        data = yield from self._taken(length)
        return data.decode(errors="surrogateescape")

    def _numbers(self, codes: str) -> _Step[tuple[Any, ...]]:
        layout = Struct(self._order + codes)
        return layout.unpack((yield from self._taken(layout.size)))

    def _taken(self, count: int) -> _Step[bytearray]:
        stop = self._at + count
        if stop > len(self._data):
            yield from self._there(count)
            stop = self._at + count
        data = self._data[self._at : stop]
        self._at = stop
        return data

    def _there(self, count: int) -> _Step[None]:
        """Return once the file has come as far as `count` bytes from here."""
        stop = self._base + self._at + count
        if stop > self._size:
            raise _Stop(Flaw.TRUNCATED)
        if stop > MAX_HEADER:
            raise _Stop(Flaw.OPAQUE)
        if stop > self.fed:
            self._forget()
            self.needed = stop
            yield

    def _forget(self) -> None:
        """Drop what was read or is skipped."""
        gone = min(self._at, len(self._data))
        del self._data[:gone]
        self._base, self._at = self._base + gone, self._at - gone

    def _announced(self, count: int, most: int, least_bytes: int) -> None:
        if self._base + self._at + count * least_bytes > self._size:
            raise _Stop(Flaw.TRUNCATED)
        if count > most:
            raise _Stop(Flaw.OPAQUE)


def _alignment(values: Mapping[str, Value]) -> int:
    alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT:
        raise _Stop(Flaw.OPAQUE)
    if alignment & (alignment - 1):
        raise _Stop(Flaw.OPAQUE)  # no power of two
    return alignment
