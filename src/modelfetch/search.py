"""Finding repositories on the Hub: `GET /api/models`; blocking.

A search is a convenience of the Hub: mirrors often have none, or one that ignores what it does not
know, and its answers are what publishers say of their own repositories. So who asks looks at each
answer again; see `repositories`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from modelfetch.config import Config
from modelfetch.core.refs import ModelRef
from modelfetch.errors import InvalidReference, InvalidToken, ModelFetchError, RateLimited
from modelfetch.hubcall import HubCall

__all__ = ["Answer", "Found", "Query", "search_models"]

PAGE_SIZE = 100
# The Hub gives at most 1000 on a page. What is said by so many repositories is no answer anyway.
MAX_FOUND = 1000
MAX_PAGES = 2 * MAX_FOUND // PAGE_SIZE


class Query(NamedTuple):
    """What to look for; all of it must be so.

    Attributes:
        filters: Tags, such as `gguf` or `base_model:quantized:Qwen/Qwen3-4B`.
        author: Owner of the repositories.
        word: A part of their names.
    """

    filters: tuple[str, ...] = ()
    author: str | None = None
    word: str | None = None


class Found(NamedTuple):
    """A repository that a search found.

    Attributes:
        repo: `owner/name`.
        downloads: In the last 30 days, as the Hub counts them.
        tags: Its tags, those of its card included.
    """

    repo: str
    downloads: int
    tags: frozenset[str] = frozenset()


class Answer(NamedTuple):
    """What a search says.

    Attributes:
        found: The repositories, each once, most downloaded first.
        is_all: Whether there are no more.
        is_possible: Whether the endpoint has a search.
    """

    found: tuple[Found, ...] = ()
    is_all: bool = True
    is_possible: bool = True


def search_models(config: Config, token: str | None, about: str, query: Query) -> Answer:
    """Return what the Hub finds.

    Args:
        config: The endpoint, and how long it may take.
        token: Access token, `None` for none.
        about: `owner/name` for which the search is made, for errors.
        query: What to look for.

    Raises:
        InvalidToken, HubUnavailable: As `hub.list_files`.
    """
    fields = [("filter", tag) for tag in query.filters]
    fields += [("author", query.author)] if query.author else []
    fields += [("search", query.word)] if query.word else []
    fields += [("sort", "downloads"), ("direction", "-1"), ("limit", str(PAGE_SIZE))]
    try:
        with HubCall(config, token, about, "main") as call, call.understood():
            listed = call.pages(f"{config.endpoint}/api/models?{urlencode(fields)}", MAX_PAGES)
            first = list(itertools.islice(listed, MAX_FOUND + 1))
            found = {it.repo: it for it in _read(first[:MAX_FOUND])}
    except ModelFetchError as error:
        if _means_no_search(error):
            return Answer(is_possible=False)
        raise
    return Answer(tuple(found.values()), is_all=len(first) <= MAX_FOUND)


def _means_no_search(error: ModelFetchError) -> bool:
    is_refused = error.status is not None and (400 <= error.status < 500 or error.status == 501)
    return is_refused and not isinstance(error, RateLimited | InvalidToken)


def _read(entries: Iterable[Any]) -> Iterable[Found]:
    for entry in entries:
        downloads, tags = entry.get("downloads", 0), entry.get("tags") or ()
        try:
            repo = ModelRef(entry["id"]).repo
        except InvalidReference:
            continue  # such as the Hub's oldest models, which have no owner
        known = frozenset(tag for tag in tags if isinstance(tag, str))
        yield Found(repo, downloads if isinstance(downloads, int) else 0, known)
