"""Ids of model catalogues: what a model.yaml says, the built-in table, and comparing names.

A catalogue gives a model a name of its own, such as `qwen/qwen3-4b-2507`, and says which
repositories hold it. The format is model.yaml (https://modelyaml.org), of which three fields count
here:

    model: qwen/qwen3-8b
    base:                     # a text is another catalogue's model; a list, repositories to take
      - key: lmstudio-community/qwen3-8b-gguf
        sources:
          - {type: huggingface, user: lmstudio-community, repo: Qwen3-8B-GGUF}

Nothing in it tells which repository holds GGUF and which the same model for another runtime, so
names decide what is tried first, and the listing on the Hub what is taken.

The name of the repository cannot be computed from an id: `-it`, `-Instruct`, a date or the owner
are added or dropped at will. `same_model` therefore only undoes what never tells models apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from modelfetch.core.refs import ModelRef
from modelfetch.errors import InvalidReference

__all__ = ["BUILT_IN", "CatalogModel", "read_model", "same_model", "same_name", "search_word"]

MAX_SOURCES = 100

# What a catalogue leaves out of an id when there is only one such model.
_UNTOLD = frozenset({"instruct", "it"})


class CatalogModel(NamedTuple):
    """What one catalogue knows of one id.

    Attributes:
        model: The id.
        base: Another catalogue id that this one stands for, if it has no repositories itself.
        repos: Repositories that hold the model, those with GGUF in the name first.
    """

    model: str
    base: str | None = None
    repos: tuple[str, ...] = ()


# Each pair was seen in the place that its line names, and leads to a repository with GGUF files.
BUILT_IN: Mapping[str, str] = {
    # `lms ls` and the file's own path, size and SHA-256 (8cdb57cb…) in an LM Studio of 2025
    "qwen/qwen3-4b-2507": "lmstudio-community/Qwen3-4B-Instruct-2507-GGUF",
    # the thinking half of the same release, published under the same rule
    "qwen/qwen3-4b-thinking-2507": "lmstudio-community/Qwen3-4B-Thinking-2507-GGUF",
    # the example of LM Studio's documentation of model.yaml
    "qwen/qwen3-8b": "lmstudio-community/Qwen3-8B-GGUF",
    # LM Studio's REST documentation (POST /api/v1/models/download), and its model.yaml
    "openai/gpt-oss-20b": "lmstudio-community/gpt-oss-20b-GGUF",
    # the files that LM Studio fetches: gpt-oss-120b-MXFP4-0000x-of-00002.gguf
    "openai/gpt-oss-120b": "lmstudio-community/gpt-oss-120b-GGUF",
    # the file that LM Studio fetches: gemma-3-12b-it-Q6_K.gguf
    "google/gemma-3-12b": "lmstudio-community/gemma-3-12b-it-GGUF",
    # size and SHA-256 (ee46f8f2…) of the Q4_K_M that LM Studio fetches
    "mistralai/ministral-3-3b": "lmstudio-community/Ministral-3-3B-Instruct-2512-GGUF",
    # size and SHA-256 (083af225…) of the Q4_K_M that LM Studio fetches
    "nvidia/nemotron-3-nano-4b": "lmstudio-community/NVIDIA-Nemotron-3-Nano-4B-GGUF",
    # its model.yaml
    "essentialai/rnj-1": "lmstudio-community/rnj-1-instruct-GGUF",
}


def read_model(document: object) -> CatalogModel:
    """Return what a parsed model.yaml says.

    Args:
        document: The document, of any type: files are written by anybody.

    Raises:
        ValueError: It is no model.yaml; the message says why.
    """
    if not isinstance(document, Mapping):
        raise ValueError("it is not a mapping")
    model, base = _repo(document.get("model"), "model"), document.get("base")
    if isinstance(base, str):
        return CatalogModel(model, base=_repo(base, "base"))
    if not isinstance(base, list):
        raise ValueError("base is neither a text nor a list")
    sources = [source for concrete in base[:MAX_SOURCES] for source in _sources(concrete)]
    repos = [_source(s) for s in sources[:MAX_SOURCES] if s.get("type") == "huggingface"]
    if not repos:
        raise ValueError("base names no repository of the Hub")
    unique = dict.fromkeys(repos)
    return CatalogModel(model, repos=tuple(sorted(unique, key=lambda repo: not _says_gguf(repo))))


def same_name(one: str, other: str) -> bool:
    """Return whether two repositories are called the same, whoever publishes them.

    Case and separators do not count, nor `GGUF`, nor the name of the first one's owner in front
    (`Qwen/Qwen3-4B` and `x/Qwen_Qwen3-4B-GGUF`). Anything else tells models apart: a size, a
    version, a date, a variant.
    """
    owner = one.partition("/")[0]
    return _normal(one, owner) == _normal(other, owner)


def same_model(model: str, repo: str) -> bool:
    """Return whether a catalogue's id may be that repository.

    As `same_name`, but the repository may say `Instruct` or `it` where the id does not: catalogues
    leave that out. What the id does say is there for a reason.
    """
    owner = model.partition("/")[0]
    mine = _normal(model, owner)
    untold = _UNTOLD.difference(mine)
    return mine == [word for word in _normal(repo, owner) if word not in untold]


def search_word(repo: str) -> str:
    """Return the word that a search for `repo` had best look for: its longest one with a letter."""
    words = [word for word in _words(repo.partition("/")[2]) if word not in _UNTOLD]
    return max(words, key=lambda word: (any(map(str.isalpha, word)), len(word)), default=repo)


def _normal(repo: str, owner: str) -> list[str]:
    words = [word for word in _words(repo.partition("/")[2]) if word != "gguf"]
    return words[1:] if len(words) > 1 and words[0] == owner.lower() else words


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_ ]", name.lower()) if word]


def _says_gguf(repo: str) -> bool:
    return "gguf" in _words(repo.partition("/")[2])


def _sources(concrete: object) -> Iterable[Mapping[str, object]]:
    sources = concrete.get("sources") if isinstance(concrete, Mapping) else None
    if not isinstance(sources, list):
        raise ValueError("an entry of base has no sources")
    return [source for source in sources if isinstance(source, Mapping)]


def _source(source: Mapping[str, object]) -> str:
    user, repo = source.get("user"), source.get("repo")
    is_named = isinstance(user, str) and isinstance(repo, str)
    return _repo(f"{user}/{repo}" if is_named else None, "a source")


def _repo(text: object, field: str) -> str:
    try:
        if isinstance(text, str):
            return ModelRef(text).repo
    except InvalidReference:
        pass
    raise ValueError(f"{field} is not of the form owner/name")
