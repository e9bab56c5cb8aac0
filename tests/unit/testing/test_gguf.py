"""The GGUF files of the fake Hub are real ones: llama.cpp's own Python package reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType

from modelfetch.testing import Content, build_gguf

DEFAULT_SIZE = 4096


def written(folder: Path, content: Content) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content.read(0, content.size))
    return path


def fields_of(path: Path) -> dict[str, Any]:
    """Return the key/values that a file declares."""
    reader = GGUFReader(path)
    return {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }


def test_a_reader_that_we_did_not_write_finds_the_key_values(tmp_path: Path) -> None:
    content = build_gguf(
        architecture="qwen3",
        name="Tïny",
        file_type=int(LlamaFileType.MOSTLY_Q8_0),
        metadata={"qwen3.context_length": 4096, "general.license": "mit", "x.yes": True},
    )
    assert fields_of(written(tmp_path, content)) == {
        "general.architecture": "qwen3",
        "general.name": "Tïny",
        "general.file_type": LlamaFileType.MOSTLY_Q8_0,
        "qwen3.context_length": 4096,
        "general.license": "mit",
        "x.yes": True,
    }


def test_the_defaults_are_a_q4_k_m_llama_of_version_3(tmp_path: Path) -> None:
    path = written(tmp_path, build_gguf())
    assert fields_of(path) == {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": LlamaFileType.MOSTLY_Q4_K_M,
    }
    reader = GGUFReader(path)
    assert reader.fields["GGUF.version"].contents() == 3
    assert reader.fields["GGUF.tensor_count"].contents() == 1
    assert reader.fields["GGUF.kv_count"].contents() == 3


def test_its_tensor_fills_the_rest_of_the_file_from_an_aligned_offset(tmp_path: Path) -> None:
    content = build_gguf(size_bytes=10_001)
    reader = GGUFReader(written(tmp_path, content))
    (tensor,) = reader.tensors
    assert tensor.tensor_type is GGMLQuantizationType.I8
    assert tensor.data_offset % reader.alignment == 0
    assert tensor.data_offset + tensor.n_bytes == content.size == 10_001
    assert tensor.data.tobytes() == content.read(tensor.data_offset, content.size)


@pytest.mark.parametrize("size", [300, 301, 333, DEFAULT_SIZE, 1 << 20, (1 << 20) + 7])
def test_the_size_is_the_one_that_was_ordered(tmp_path: Path, size: int) -> None:
    content = build_gguf(size_bytes=size)
    assert content.size == size
    path = written(tmp_path, content)
    assert path.stat().st_size == size
    assert len(GGUFReader(path).tensors) == 1


def test_a_size_below_that_of_the_header_is_raised_to_it_and_one_byte(tmp_path: Path) -> None:
    content = build_gguf(size_bytes=0)
    (tensor,) = GGUFReader(written(tmp_path, content)).tensors
    assert (tensor.n_bytes, tensor.data_offset + 1) == (1, content.size)


def test_a_huge_file_costs_nothing_until_it_is_read() -> None:
    content = build_gguf(size_bytes=1 << 42)
    assert content.size == 1 << 42
    assert content.read(0, 4) == b"GGUF"
    assert len(content.read(content.size - 3, content.size)) == 3


def test_a_shard_says_which_of_how_many_it_is(tmp_path: Path) -> None:
    fields = fields_of(written(tmp_path, build_gguf(split=(2, 5))))
    assert (fields["split.no"], fields["split.count"]) == (2, 5)
    assert fields["split.tensors.count"] == 5, "each shard has one"
    reader = GGUFReader(tmp_path / "model.gguf")
    kinds = {name: reader.fields[name].types[0].name for name in ("split.no", "split.count")}
    assert kinds == {"split.no": "UINT16", "split.count": "UINT16"}
    assert reader.fields["split.tensors.count"].types[0].name == "INT32"


def test_the_same_arguments_give_the_same_file_and_each_other_one_another() -> None:
    made = [
        build_gguf(),
        build_gguf(seed=1),
        build_gguf(name="other"),
        build_gguf(architecture="gemma"),
        build_gguf(file_type=7),
        build_gguf(split=(0, 2)),
        build_gguf(split=(1, 2)),
        build_gguf(metadata={"a": 1}),
        build_gguf(metadata={"a": True}),
        build_gguf(size_bytes=4097),
    ]
    assert len({content.sha256 for content in made}) == len(made)
    again = build_gguf()
    data = again.read(0, again.size)
    assert again.sha256 == made[0].sha256 == hashlib.sha256(data).hexdigest()
    assert data == made[0].read(0, made[0].size)
