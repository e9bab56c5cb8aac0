"""What the head of a GGUF file says: its values and its table of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

__all__ = ["BLOCKS", "Header", "Tensor", "Value"]

Value = int | float | bool | str

# How many elements share a block, and its bytes, by ggml_type (ggml/src/ggml.c, type_traits).
BLOCKS: dict[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip


class Tensor(NamedTuple):
    """One record of the table.

    Attributes:
        name: Its name; bytes that are not UTF-8 are kept as surrogates.
        dims: Elements along each dimension, fastest first.
        type: Its `ggml_type`.
        offset: Where it is, counted from the file's `data_start`.
    """

    name: str
    dims: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """Number of its elements."""
        return prod(self.dims)

    @property
    def size_bytes(self) -> int | None:
        """Bytes of its data; `None` when the type is unknown or a row is no whole blocks."""
        block, nbytes = BLOCKS.get(self.type, (0, 0))
        row = self.dims[0] if self.dims else 1
        return self.elements // block * nbytes if block and row % block == 0 else None


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a GGUF file says.

    Attributes:
        version: Of the format: 2 or 3.
        is_big_endian: Whether its numbers are.
        values: Its single values by key, without strings of more than 256 bytes and without arrays.
        tensors: Its tensors, in the order of the table.
        alignment: What offsets of tensors are multiples of.
        data_start: Offset in the file from which those of tensors count.
        elements: Number of elements of all tensors.
        least_size: Bytes that a file with this table must have; `None` when a size is unknown.
    """

    version: int
    is_big_endian: bool
    values: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_start: int
    elements: int = field(init=False)
    least_size: int | None = field(init=False)

    def __post_init__(self) -> None:
        # Here, where a thread reads the head, and not where the host's loop asks.
        object.__setattr__(self, "elements", sum(tensor.elements for tensor in self.tensors))
        object.__setattr__(self, "least_size", self._least_size())

    def _least_size(self) -> int | None:
        stop = self.data_start
        for tensor in self.tensors:
            size = tensor.size_bytes
            if size is None:
                return None
            stop = max(stop, self.data_start + tensor.offset + size)
        return stop
