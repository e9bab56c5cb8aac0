"""The gate: which request asks for a span, and whether its response may be written.

Theory
------
The commonest corruption of range downloaders is a body written at an offset that it does not belong
to: a 200 in answer to a range, a 206 that begins elsewhere, the page of a proxy, a part of a newer
file. So nothing reaches the disk before `judge` has said WRITE or WHOLE, and it says so only when
every field of the response that it can check agrees with the request:

* RFC 9110 section 15.3.7: a client must inspect Content-Range of a 206; its start must be ours, its
  end not beyond ours, and its total the size that the Hub published.
* Section 15.3.7.3: parts may be combined only under one strong validator, so the ETag must be the
  one that the first part of this file came with. (A weak one proves nothing and is not compared.)
* Section 14.2: a server may ignore Range at any time. A 200 is the whole file, from zero.
* Section 8.4: ranges count bytes of the *encoded* representation, so no encoding is acceptable; nor
  is a transfer coding but `chunked` (RFC 9112 section 7), as nobody would undo it.

Status codes get their meaning here and in no other place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from modelfetch.types import Span

__all__ = ["Action", "Verdict", "judge", "range_headers", "strong_etag"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})", re.IGNORECASE)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_REFUSED = frozenset({400, 401, 403, 404, 410})
_PASSING = frozenset({408, 425})


class Action(StrEnum):
    """What to do with a response."""

    WRITE = "write"
    """Write the body at the start of the span that was asked for."""
    WHOLE = "whole"
    """The body is the whole file from zero: the server ignores ranges."""
    RETRY = "retry"
    """Drop it and ask again later."""
    RESIGN = "resign"
    """Drop it, ask the Hub for a fresh URL, and ask again there."""
    WAIT = "wait"
    """The host asks everybody to slow down."""
    GIVE_UP = "give_up"
    """Asking again cannot help."""


class Verdict(NamedTuple):
    """The gate's answer.

    Attributes:
        action: What to do.
        reason: Why, for people.
        span: What the body holds, for WRITE and WHOLE.
        etag: The strong validator of the response, if it has one.
    """

    action: Action
    reason: str
    span: Span | None = None
    etag: str | None = None


def range_headers(span: Span) -> dict[str, str]:
    """Return the headers that ask for `span` (RFC 9110 section 14.1.2: the end is inclusive).

    Raises:
        ValueError: The span is empty; HTTP cannot ask for that.
    """
    if span.size == 0:
        raise ValueError("HTTP has no empty range")
    return {"Range": f"bytes={span.start}-{span.stop - 1}", "Accept-Encoding": "identity"}


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """Return the strong entity tag (RFC 9110 section 8.8.3), `None` when weak, bad or absent."""
    etag = headers.get("ETag", "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else None


def judge(
    asked: Span, size_bytes: int, etag: str | None, status: int, headers: Mapping[str, str]
) -> Verdict:
    """Decide what a response to a ranged GET is good for.

    Args:
        asked: The span that was asked for; not empty.
        size_bytes: Size of the file, as the Hub published it.
        etag: Strong validator of the earlier parts of this file, `None` before the first.
        status: Status code of the response.
        headers: Its fields; lookup must ignore case.
    """
    if status == 206:
        return _judge_partial(asked, size_bytes, etag, headers)
    if status == 200:
        return _judge_whole(size_bytes, etag, headers)
    if status == 416:
        return _judge_unsatisfied(size_bytes, headers)
    if status == 429 or (status == 503 and "Retry-After" in headers):
        return Verdict(Action.WAIT, "the host asks to slow down")
    if status in _PASSING or 500 <= status <= 599:
        return Verdict(Action.RETRY, "the host has a passing fault")
    if status in _REFUSED:
        return Verdict(Action.RESIGN, "the host refuses this URL")
    return Verdict(Action.GIVE_UP, "no meaning for a ranged request")


def _judge_partial(
    asked: Span, size_bytes: int, etag: str | None, headers: Mapping[str, str]
) -> Verdict:
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return Verdict(Action.RETRY, "206 without a usable Content-Range")
    first, last, total = match.groups()
    if total == "*" or int(total) != size_bytes:
        return Verdict(Action.RESIGN, f"the host's file has {total} bytes, not {size_bytes}")
    start, stop = int(first), int(last) + 1
    if start != asked.start or not asked.start < stop <= asked.stop:
        return Verdict(Action.RETRY, f"asked for {asked}, got [{start}, {stop})")
    return _judge_body(Action.WRITE, Span(start, stop), etag, headers)


def _judge_whole(size_bytes: int, etag: str | None, headers: Mapping[str, str]) -> Verdict:
    kind = _page_kind(headers)
    if kind is not None:
        return Verdict(Action.RETRY, f"a {kind} in place of the file")
    return _judge_body(Action.WHOLE, Span(0, size_bytes), etag, headers)


def _judge_unsatisfied(size_bytes: int, headers: Mapping[str, str]) -> Verdict:
    # We only ask inside the published size, so 416 never means "you have it all".
    match = _UNSATISFIED.fullmatch(headers.get("Content-Range", "").strip())
    if match is not None and int(match[1]) != size_bytes:
        return Verdict(Action.RESIGN, f"the host's file has {match[1]} bytes, not {size_bytes}")
    return Verdict(Action.RETRY, "the host denies a range that exists")


def _judge_body(
    action: Action, span: Span, etag: str | None, headers: Mapping[str, str]
) -> Verdict:
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        return Verdict(Action.RETRY, "the body is encoded")
    if headers.get("Transfer-Encoding", "chunked").strip().lower() not in ("chunked", "identity"):
        return Verdict(Action.RETRY, "the body is coded for the transfer")
    length = headers.get("Content-Length")
    if length is not None and length.strip() != str(span.size):
        return Verdict(Action.RETRY, f"Content-Length is {length.strip()}, not {span.size}")
    seen = strong_etag(headers)
    if etag is not None and seen is not None and seen != etag:
        return Verdict(Action.RESIGN, "the host's file has another ETag than its first part had")
    return Verdict(action, "as asked", span, seen)


def _page_kind(headers: Mapping[str, str]) -> str | None:
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        return "web page"
    # Some servers call what they do not know text; then the length tells it from an error's text.
    is_text = kind.startswith("text/") or kind.endswith(("/json", "+json", "/xml", "+xml"))
    return "text" if is_text and "Content-Length" not in headers else None
