"""What the head of a file says of it: whether it can be a model at all, and which.

A verdict is given only where llama.cpp could not load the file either (ggml/src/gguf.cpp and
src/llama-model-loader.cpp): it does not begin as a GGUF file, it ends before its tensors do, it is
in the other byte order, or it is another shard than its name says. All else passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from modelfetch.core.gguf import Flaw, HeaderReader
from modelfetch.core.names import read_name
from modelfetch.core.tensors import Header
from modelfetch.types import FileRole, ModelMetadata, Plan, PlannedFile

__all__ = [
    "FILE_TYPES",
    "Problem",
    "Subject",
    "described_by",
    "metadata_of",
    "subject_of",
    "verdict",
]

# By llama_ftype, without `LLAMA_FTYPE_` and `MOSTLY_`. The numbers left out belong to formats that
# nothing loads any more.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
_GUESSED = 1024  # LLAMA_FTYPE_GUESSED, a flag


class Subject(NamedTuple):
    """A file whose head is of interest.

    Attributes:
        path: What it is called, in the repository.
        size_bytes: Its size; of a model cut into byte parts, that of the whole.
    """

    path: str
    size_bytes: int


class Problem(NamedTuple):
    """Why a file is of no use.

    Attributes:
        code: One of `not_gguf`, `truncated`, `byte_order`, `wrong_shard`.
        message: What is wrong, in one sentence.
    """

    code: str
    message: str


def subject_of(plan: Plan, file: PlannedFile) -> Subject | None:
    """Return what of `file` to inspect; `None` when its name promises no head of a GGUF file."""
    if file.role is FileRole.BYTE_PART:
        parts = [part for part in plan.files if part.role is FileRole.BYTE_PART]
        if file != parts[0]:
            return None
        whole = sum(part.size_bytes for part in parts)
        return Subject(plan.joined_path or file.path, whole)
    return Subject(file.path, file.size_bytes) if file.path.lower().endswith(".gguf") else None


def verdict(subject: Subject, reader: HeaderReader, *, big_endian: bool) -> Problem | None:
    """Return what makes the file useless, as far as its head tells; `None` when nothing does.

    Args:
        subject: The file.
        reader: Has read its head.
        big_endian: Whether this machine is.
    """
    path, size = subject.path, subject.size_bytes
    header = reader.header
    if reader.flaw is Flaw.NOT_GGUF:
        return Problem("not_gguf", f"{path} is no GGUF file: it begins with something else.")
    if reader.flaw is Flaw.TRUNCATED:
        return Problem("truncated", f"{path} announces more than its {size:,} bytes can hold.")
    if header is None:
        return None
    if header.is_big_endian is not big_endian:
        kind = "big" if header.is_big_endian else "little"
        return Problem("byte_order", f"{path} is for {kind}-endian machines; this one is not.")
    least = header.least_size
    if least is not None and least > size:
        told = f"{path} was cut short: it has {size:,} bytes, and its tensors end at {least:,}."
        return Problem("truncated", told)
    return _wrong_shard(path, header)


def _wrong_shard(path: str, header: Header) -> Problem | None:
    # Of every shard llama.cpp looks at the number; of the first alone, at how many there are.
    name = read_name(path)
    number, count = _number(header, "split.no"), _number(header, "split.count")
    if name.shard is None or number is None or count is None or count < 2:
        return None
    index, total = name.shard
    if number == index - 1 and (index > 1 or count == total):
        return None
    told = f"{path} says of itself that it is shard {number + 1} of {count}."
    return Problem("wrong_shard", told)


def described_by(plan: Plan) -> list[str]:
    """Return the paths of the files whose heads describe the model, in order."""
    roles = (FileRole.MODEL, FileRole.BYTE_PART)
    models = [file for file in plan.files if file.role in roles and subject_of(plan, file)]
    return [file.path for file in models]


def metadata_of(headers: Iterable[Header | None]) -> ModelMetadata | None:
    """Return what the heads of a model's files say; `None` when the first of them is not known.

    Args:
        headers: Of its model files, in order; `None` for one that is not known.
    """
    shards = list(headers)
    first = shards[0] if shards else None
    if first is None:
        return None
    architecture, name = _text(first, "general.architecture"), _text(first, "general.name")
    kind = _number(first, "general.file_type")
    return ModelMetadata(
        architecture=architecture,
        name=name,
        parameter_count=_parameters(first, shards),
        context_length=_number(first, f"{architecture}.context_length"),
        file_type=None if kind is None else FILE_TYPES.get(kind & ~_GUESSED),
    )


def _parameters(first: Header, shards: list[Header | None]) -> int | None:
    if (declared := _number(first, "general.parameter_count")) is not None:
        return declared
    known = [header for header in shards if header is not None]
    if len(known) < len(shards):
        return None
    return sum(header.elements for header in known)


def _text(header: Header, key: str) -> str | None:
    value = header.values.get(key)
    return value if isinstance(value, str) else None


def _number(header: Header, key: str) -> int | None:
    value = header.values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
