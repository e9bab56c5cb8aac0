from __future__ import annotations

import pytest

from modelfetch.core.ranges import Action, judge, range_headers, strong_etag
from modelfetch.types import Span

ASKED = Span(100, 200)
SIZE = 1000
GOOD = {"Content-Range": "bytes 100-199/1000", "Content-Length": "100", "ETag": '"a"'}


def action(status: int, headers: dict[str, str], etag: str | None = None) -> Action:
    return judge(ASKED, SIZE, etag, status, headers).action


def test_the_inclusive_end_is_made_here() -> None:
    assert range_headers(Span(0, 1)) == {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    with pytest.raises(ValueError, match="empty"):
        range_headers(Span(5, 5))


def test_a_206_as_asked_is_written() -> None:
    verdict = judge(ASKED, SIZE, '"a"', 206, GOOD)
    assert (verdict.action, verdict.span, verdict.etag) == (Action.WRITE, ASKED, '"a"')


def test_a_shorter_206_is_written_as_far_as_it_goes() -> None:
    verdict = judge(ASKED, SIZE, None, 206, {"Content-Range": "bytes 100-149/1000"})
    assert verdict.span == Span(100, 150)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Content-Range": "bytes 96-195/1000"}, Action.RETRY),
        ({"Content-Range": "bytes 101-199/1000", "Content-Length": "99"}, Action.RETRY),
        ({"Content-Range": "bytes 100-200/1000", "Content-Length": "101"}, Action.RETRY),
        ({"Content-Range": "bytes 100-99/1000", "Content-Length": "0"}, Action.RETRY),
        ({"Content-Range": "items 100-199/1000"}, Action.RETRY),
        ({"Content-Range": "100-199/1000"}, Action.RETRY),
        ({"Content-Range": ""}, Action.RETRY),
        ({"Content-Range": "bytes 100-199/1001"}, Action.RESIGN),
        ({"Content-Range": "bytes 100-199/*"}, Action.RESIGN),
        ({"Content-Encoding": "gzip"}, Action.RETRY),
        ({"Content-Length": "99"}, Action.RETRY),
        ({"Content-Type": "multipart/byteranges; boundary=x", "Content-Range": ""}, Action.RETRY),
        ({"ETag": '"b"'}, Action.RESIGN),
    ],
)
def test_a_206_that_differs_is_not_written(changes: dict[str, str], expected: Action) -> None:
    verdict = judge(ASKED, SIZE, '"a"', 206, GOOD | changes)
    assert (verdict.action, verdict.span) == (expected, None)


def test_a_weak_validator_proves_nothing() -> None:
    assert strong_etag({"ETag": 'W/"a"'}) is None
    assert strong_etag({"ETag": "a"}) is None
    assert action(206, GOOD | {"ETag": 'W/"zzz"'}, etag='"a"') is Action.WRITE


def test_a_200_is_the_whole_file_from_zero() -> None:
    verdict = judge(ASKED, SIZE, None, 200, {"Content-Length": "1000"})
    assert (verdict.action, verdict.span) == (Action.WHOLE, Span(0, 1000))
    assert action(200, {}) is Action.WHOLE  # chunked: the length shows at the end


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "999"},
        {"Content-Length": "100"},
        {"Content-Type": "text/html; charset=utf-8"},
        {"Content-Length": "1000", "Content-Type": "text/html"},
        {"Content-Length": "1000", "Content-Encoding": "br"},
    ],
)
def test_a_200_of_something_else_is_not_written(headers: dict[str, str]) -> None:
    assert judge(ASKED, SIZE, None, 200, headers).span is None


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (416, {"Content-Range": "bytes */1000"}, Action.RETRY),
        (416, {"Content-Range": "bytes */900"}, Action.RESIGN),
        (416, {}, Action.RETRY),
        (429, {}, Action.WAIT),
        (503, {"Retry-After": "3"}, Action.WAIT),
        (503, {}, Action.RETRY),
        (500, {}, Action.RETRY),
        (522, {}, Action.RETRY),
        (408, {}, Action.RETRY),
        (400, {}, Action.RESIGN),
        (401, {}, Action.RESIGN),
        (403, {}, Action.RESIGN),
        (404, {}, Action.RESIGN),
        (410, {}, Action.RESIGN),
        (204, {}, Action.GIVE_UP),
        (304, {}, Action.GIVE_UP),
        (407, {}, Action.GIVE_UP),
        (412, {}, Action.GIVE_UP),
    ],
)
def test_the_meaning_of_a_status(status: int, headers: dict[str, str], expected: Action) -> None:
    assert action(status, headers) is expected
