"""What the heads of a model's files tell about it."""

from __future__ import annotations

import gguf
import pytest

from modelfetch.core.gguf import HeaderReader
from modelfetch.core.inspection import FILE_TYPES, metadata_of
from modelfetch.core.tensors import Header
from modelfetch.testing import build_gguf
from modelfetch.types import ModelMetadata


def header(elements: int = 100, **more: object) -> Header:
    small = build_gguf(size_bytes=0, **more)  # type: ignore[arg-type]
    content = build_gguf(size_bytes=small.size + elements - 1, **more)  # type: ignore[arg-type]
    reader = HeaderReader(content.size)
    reader.feed(content.read(0, content.size))
    assert reader.header is not None
    return reader.header


def test_the_numbers_of_file_types_are_those_of_llama_cpp_s_package() -> None:
    kinds = {int(kind): kind.name for kind in gguf.LlamaFileType}
    names = {n: name.removeprefix("ALL_").removeprefix("MOSTLY_") for n, name in kinds.items()}
    assert {number: name for number, name in FILE_TYPES.items() if number in names} == {
        number: name for number, name in names.items() if name != "GUESSED" and number < 1000
    }


def test_what_a_model_says_of_itself() -> None:
    head = header(
        1234,
        architecture="qwen3",
        name="Tïny",
        file_type=7,
        metadata={"qwen3.context_length": 40960, "llama.context_length": 1},
    )
    assert metadata_of([head]) == ModelMetadata("qwen3", "Tïny", 1234, 40960, "Q8_0")


def test_what_it_does_not_say_is_none() -> None:
    bare = Header(3, False, {}, (), 32, 24)
    assert metadata_of([bare]) == ModelMetadata(None, None, 0, None, None)


@pytest.mark.parametrize(("kind", "name"), [(1024 + 15, "Q4_K_M"), (4, None), (777, None)])
def test_file_types_that_were_guessed_or_are_unknown(kind: int, name: str | None) -> None:
    metadata = metadata_of([header(file_type=kind)])
    assert metadata is not None
    assert metadata.file_type == name


def test_values_of_the_wrong_type_are_not_taken() -> None:
    odd = header(metadata={"llama.context_length": "long", "general.parameter_count": True})
    metadata = metadata_of([odd])
    assert metadata is not None
    assert (metadata.context_length, metadata.parameter_count) == (None, 100)


def test_the_parameters_of_all_shards_are_summed_once_all_are_known() -> None:
    first, second = header(100, split=(0, 2)), header(23, split=(1, 2))
    sums = [metadata_of(heads) for heads in ([first, second], [first, None], [None, second], [])]
    assert [found and found.parameter_count for found in sums] == [123, None, None, None]
    assert sums[1] is not None
    assert sums[1].architecture == "llama"


def test_a_declared_number_of_parameters_is_taken() -> None:
    declared = header(metadata={"general.parameter_count": 4_000_000_000})
    metadata = metadata_of([declared, None])
    assert metadata is not None
    assert metadata.parameter_count == 4_000_000_000
