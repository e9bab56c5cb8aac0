"""What a model.yaml says, and which names mean the same model."""

from __future__ import annotations

from typing import Any

import pytest

from modelfetch.core.catalog import (
    BUILT_IN,
    CatalogModel,
    read_model,
    same_model,
    same_name,
    search_word,
)
from modelfetch.core.refs import is_catalog_id


def concrete(*repos: str, kind: str = "huggingface") -> dict[str, Any]:
    """One entry of `base`."""
    sources = [{"type": kind, "user": r.split("/")[0], "repo": r.split("/")[1]} for r in repos]
    return {"key": "k", "sources": sources}


def test_repositories_with_gguf_in_the_name_go_first() -> None:
    base = [concrete("a/M-MLX-4bit"), concrete("a/M"), concrete("a/M-GGUF", "b/M.gguf-x")]
    document = {"model": "a/m", "base": base, "tags": ["x"]}
    assert read_model(document) == CatalogModel(
        "a/m", repos=("a/M-GGUF", "a/M-MLX-4bit", "a/M", "b/M.gguf-x")
    )


def test_a_model_may_stand_on_another() -> None:
    assert read_model({"model": "a/m", "base": "b/n"}) == CatalogModel("a/m", base="b/n")


def test_sources_that_are_not_on_the_hub_do_not_count() -> None:
    base = [concrete("a/M-GGUF", kind="download"), concrete("a/N-GGUF"), concrete("a/N-GGUF")]
    assert read_model({"model": "a/m", "base": base}).repos == ("a/N-GGUF",)


@pytest.mark.parametrize(
    "document",
    [
        None,
        "a/m",
        [],
        {},
        {"model": "a/m"},
        {"model": 5, "base": "b/n"},
        {"model": "m", "base": "b/n"},
        {"model": "a/../m", "base": "b/n"},
        {"model": "a/m", "base": "n"},
        {"model": "a/m", "base": []},
        {"model": "a/m", "base": ["b/n"]},
        {"model": "a/m", "base": [{"key": "k"}]},
        {"model": "a/m", "base": [{"sources": ["x"]}]},
        {"model": "a/m", "base": [{"sources": [{"type": "huggingface"}]}]},
        {"model": "a/m", "base": [{"sources": [{"type": "huggingface", "user": 1, "repo": 2}]}]},
        {"model": "a/m", "base": [concrete("../x")]},
        {"model": "a/m", "base": [concrete("a/M-GGUF", kind="download")]},
    ],
)
def test_what_is_no_model_yaml(document: object) -> None:
    with pytest.raises(ValueError, match=r"base|model|source|mapping"):
        read_model(document)


def test_a_long_list_is_cut() -> None:
    base = [concrete(*(f"a/M{n}-GGUF" for n in range(300)))] * 300
    assert len(read_model({"model": "a/m", "base": base}).repos) == 100


@pytest.mark.parametrize(
    ("model", "repo"),
    [
        ("qwen/qwen3.6-35b-a3b", "lmstudio-community/Qwen3.6-35B-A3B-GGUF"),
        ("qwen/qwen3.8-27b", "lmstudio-community/Qwen3.8-27B-GGUF"),
        ("google/gemma-4-31b", "lmstudio-community/gemma-4-31B-it-GGUF"),
        ("liquid/lfm2-24b-a2b", "lmstudio-community/LFM2-24B-A2B-GGUF"),
        ("essentialai/rnj-1", "lmstudio-community/rnj-1-instruct-GGUF"),
        ("nvidia/nemotron-3-nano-4b", "lmstudio-community/NVIDIA-Nemotron-3-Nano-4B-GGUF"),
        ("qwen/qwen3-4b-2507", "lmstudio-community/Qwen3-4B-Instruct-2507-GGUF"),
        ("openai/gpt-oss-20b", "bartowski/openai_gpt-oss-20b-GGUF"),
    ],
)
def test_names_that_mean_the_same_model(model: str, repo: str) -> None:
    assert same_model(model, repo)


@pytest.mark.parametrize(
    ("model", "repo"),
    [
        ("qwen/qwen3-4b", "x/Qwen3-4B-Instruct-2507-GGUF"),
        ("qwen/qwen3-4b-2507", "x/Qwen3-4B-Thinking-2507-GGUF"),
        ("qwen/qwen3-8b", "x/Qwen-3-8B-GGUF"),
        ("qwen/qwen3-8b", "x/Qwen3-8B-128K-GGUF"),
        ("qwen/qwen3-8b", "x/Qwen3-0.8B-GGUF"),
        ("acme/tiny-1b", "x/Tiny-11B-GGUF"),
        ("acme/tiny-1-1b", "x/Tiny-11b-GGUF"),
        ("google/gemma-3-12b", "x/gemma-3-12b-it-qat-GGUF"),
        ("acme/acme", "x/GGUF"),
    ],
)
def test_names_that_do_not(model: str, repo: str) -> None:
    assert not same_model(model, repo)


def test_a_base_model_is_not_its_instruct_tuning() -> None:
    assert not same_name("Qwen/Qwen2.5-7B", "x/Qwen2.5-7B-Instruct-GGUF")
    assert not same_name("Qwen/Qwen2.5-7B-Instruct", "x/Qwen2.5-7B-GGUF")
    assert same_name("Qwen/Qwen2.5-7B-Instruct", "x/Qwen_Qwen2.5-7B-Instruct-gguf")
    assert same_name("google/gemma-3-12b-it", "x/gemma_3_12b_IT-GGUF")


@pytest.mark.parametrize(
    ("repo", "word"),
    [("a/qwen3-4b-2507", "qwen3"), ("a/rnj-1", "rnj"), ("a/0123456789-x", "x"), ("a/12", "12")],
)
def test_the_word_to_search_for(repo: str, word: str) -> None:
    assert search_word(repo) == word


def test_the_built_in_table_is_of_ids_and_repositories() -> None:
    for model, repo in BUILT_IN.items():
        assert is_catalog_id(model)
        assert repo.endswith("-GGUF")
