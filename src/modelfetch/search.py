"""Finding repositories on the Hub: `GET /api/models`; blocking.

A search is a convenience of the Hub: mirrors often have none, and its answers are what publishers
say of their own repositories. So it never decides alone; see `repositories`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from modelfetch.config import Config
from modelfetch.core.refs import ModelRef
from modelfetch.errors import InvalidReference
from modelfetch.hubcall import HubCall

__all__ = ["Found", "Query", "search_models"]

# The Hub gives at most 1000 on a page. What is said by so many repositories is no answer anyway.
PAGE_SIZE = 100
MAX_FOUND = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; all of it must be so.

    Attributes:
        filters: Tags, such as `gguf` or `base_model:quantized:Qwen/Qwen3-4B`.
        author: Owner of the repositories.
        word: A part of their names.
    """

    filters: tuple[str, ...] = ()
    author: str | None = None
    word: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A repository that a search found.

    Attributes:
        repo: `owner/name`.
        downloads: In the last 30 days, as the Hub counts them.
    """

    repo: str
    downloads: int


def search_models(
    config: Config, token: str | None, about: str, query: Query
) -> tuple[list[Found], bool]:
    """Return what the Hub finds, most downloaded first, and whether that is all of it.

    Args:
        config: The endpoint, and how long it may take.
        token: Access token, `None` for none.
        about: `owner/name` for which the search is made, for errors.
        query: What to look for.

    Raises:
        ModelFetchError: As `hub.list_files`; `ModelNotFound` when the endpoint has no search.
    """
    fields = [("filter", tag) for tag in query.filters]
    fields += [("author", query.author)] if query.author else []
    fields += [("search", query.word)] if query.word else []
    fields += [("sort", "downloads"), ("direction", "-1"), ("limit", str(PAGE_SIZE))]
    call = HubCall(config, token, about, "main")
    listed = call.pages(f"{config.endpoint}/api/models?{urlencode(fields)}")
    with call.understood():
        first = list(itertools.islice(listed, MAX_FOUND + 1))
        return list(_read(first[:MAX_FOUND])), len(first) <= MAX_FOUND


def _read(entries: Iterable[Any]) -> Iterable[Found]:
    for entry in entries:
        downloads = entry.get("downloads", 0)
        try:
            repo = ModelRef(entry["id"]).repo
        except InvalidReference:
            continue  # such as the Hub's oldest models, which have no owner
        yield Found(repo, downloads if isinstance(downloads, int) else 0)
