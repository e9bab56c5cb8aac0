"""Small real GGUF files, written with `struct` alone.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The files have sound headers,
key/values and one tensor of position-coded bytes; readers accept them, and no engine can run them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from modelfetch.testing.content import BytesContent, Content, Joined, PositionCoded

__all__ = ["build_gguf"]

_ALIGNMENT = 32
_UINT32, _INT32, _BOOL, _STRING, _UINT16 = 4, 5, 7, 8, 2
_I8 = 24  # a tensor type of one byte an element, so any size can be had
_MOSTLY_Q4_K_M = 15


def build_gguf(
    *,
    size_bytes: int = 4096,
    architecture: str = "llama",
    name: str = "tiny",
    file_type: int = _MOSTLY_Q4_K_M,
    split: tuple[int, int] | None = None,
    metadata: Mapping[str, str | int | bool] | None = None,
    seed: int = 0,
) -> Content:
    """Return a GGUF file of version 3, the same for the same arguments.

    Args:
        size_bytes: Size of the file; raised to that of its header and one byte.
        architecture: Value of `general.architecture`.
        name: Value of `general.name`.
        file_type: Value of `general.file_type` (llama.cpp's `llama_ftype`).
        split: `(number from 0, count)` for a part of a split model.
        metadata: Further key/values.
        seed: Files of different seeds differ in every word of their tensor.
    """
    pairs: dict[str, str | int | bool] = {
        "general.architecture": architecture,
        "general.name": name,
        "general.file_type": file_type,
        **(metadata or {}),
    }
    values = b"".join(_pair(key, value) for key, value in pairs.items())
    count = len(pairs)
    if split is not None:
        number, parts = split
        values += _typed("split.no", _UINT16, struct.pack("<H", number))
        values += _typed("split.count", _UINT16, struct.pack("<H", parts))
        values += _typed("split.tensors.count", _INT32, struct.pack("<i", parts))
        count += 3
    start = struct.pack("<4sIQQ", b"GGUF", 3, 1, count) + values
    # The size of the header does not depend on the size of the tensor, which is a fixed-width
    # field.
    header_size = len(_padded(start + _tensor(1)))
    elements = max(1, size_bytes - header_size)
    header = _padded(start + _tensor(elements))
    return Joined(BytesContent(header), PositionCoded(elements, seed))


def _tensor(elements: int) -> bytes:
    dimensions = struct.pack("<IQ", 1, elements)
    return _text("blk.0.weight") + dimensions + struct.pack("<IQ", _I8, 0)


def _pair(key: str, value: str | int | bool) -> bytes:
    if isinstance(value, bool):
        return _typed(key, _BOOL, struct.pack("<?", value))
    if isinstance(value, int):
        return _typed(key, _UINT32, struct.pack("<I", value))
    return _typed(key, _STRING, _text(value))


def _typed(key: str, kind: int, packed: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + packed


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
