"""What a request must be, over both adapters."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.helpers import FILE, REPO, coded
from tests.web.conftest import Serving
from yarl import URL

from modelfetch import Engine, HubUnavailable
from modelfetch.testing import FakeHub

ROOT = "/api/v1/models/download"
JSON = {"Content-Type": "application/json"}


async def sent(
    http: aiohttp.ClientSession, url: str, body: bytes, **headers: str
) -> tuple[Any, ...]:
    async with http.post(url + ROOT, data=body, headers={**JSON, **headers}) as answer:
        return answer.status, (await answer.json())["error"]


async def raw(url: str, request: bytes) -> bytes:
    """Send bytes that no HTTP client would, and return all that comes back."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


MISSING = {
    "type": "invalid_request",
    "message": '"model" is required',
    "code": "missing_required_parameter",
    "param": "model",
}


async def test_without_a_model_the_answer_is_lm_studio_s(
    url: str, http: aiohttp.ClientSession
) -> None:
    for body in (b"{}", b"", b" \n", b'{"quantization":"Q4_K_M"}'):
        assert await sent(http, url, body) == (400, MISSING)


BODIES: list[tuple[bytes, str, str | None]] = [
    (b"{", "invalid_json", None),
    (b"model=x", "invalid_json", None),
    (b'{"model":NaN}', "invalid_json", None),
    (b'{"model":"\xff"}', "invalid_json", None),
    ('{"model":"a/b"}'.encode("utf-16"), "invalid_json", None),
    (b"[" * 50_000, "invalid_json", None),
    (b'{"model":' + b"9" * 5000 + b"}", "invalid_json", None),
    (b'["model"]', "invalid_type", None),
    (b"null", "invalid_type", None),
    (b'{"model":"a/b","model":"c/d"}', "duplicate_parameter", None),
    (b'{"model":1}', "invalid_type", "model"),
    (b'{"model":null}', "invalid_type", "model"),
    (b'{"model":["a/b"]}', "invalid_type", "model"),
    (b'{"model":""}', "invalid_value", "model"),
    (b'{"model":"\\ud800"}', "invalid_value", "model"),
    (b'{"model":"' + b"a" * 2049 + b'"}', "invalid_value", "model"),
    (b'{"model":"a/b","quantization":true}', "invalid_type", "quantization"),
    (b'{"model":"a/b","quantization":""}', "invalid_value", "quantization"),
    (b'{"model":"a/b","endpoint":"http://evil"}', "unknown_parameter", "endpoint"),
    (b'{"model":"a/b","\\r\\nX: y":1}', "unknown_parameter", "??X??y"),
]


async def test_a_body_that_is_not_what_is_documented(
    hub: FakeHub, url: str, http: aiohttp.ClientSession
) -> None:
    for body, code, param in BODIES:
        status, error = await sent(http, url, body)
        assert (status, error["type"], error["code"]) == (400, "invalid_request", code), body
        assert error.get("param") == param, body
    assert hub.log == []


async def test_a_body_may_have_64_kib_and_no_more(url: str, http: aiohttp.ClientSession) -> None:
    status, error = await sent(http, url, b" " * (64 << 10))
    assert (status, error) == (400, MISSING)
    status, error = await sent(http, url, b" " * ((64 << 10) + 1))
    assert (status, error["code"]) == (413, "body_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b" " * 1024

    async with http.post(url + ROOT, data=pieces(), headers=JSON) as answer:
        assert answer.status == 413


FORMS: list[dict[str, str]] = [
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": ""},
    {"Content-Type": "application/json-seq"},
    {"Content-Encoding": "gzip"},
]


@pytest.mark.parametrize("path", [ROOT, f"{ROOT}/job_0123456789/pause"])
async def test_what_a_form_could_send_is_415(
    url: str, http: aiohttp.ClientSession, path: str
) -> None:
    for headers in FORMS:
        body = gzip.compress(b"{}") if "Content-Encoding" in headers else b"{}"
        async with http.post(url + path, data=body, headers={**JSON, **headers}) as answer:
            assert answer.status == 415, headers
            assert (await answer.json())["error"]["code"] == "unsupported_media_type"


async def test_a_charset_is_welcome(url: str, http: aiohttp.ClientSession) -> None:
    kind = 'Application/JSON; charset="UTF-8"'
    async with http.post(url + ROOT, data=b"{}", headers={"Content-Type": kind}) as answer:
        assert answer.status == 400


QUERIES = [
    ("?delete_partial=yes", "invalid_type"),
    ("?delete_partial=", "invalid_type"),
    ("?delete_partial=true&delete_partial=false", "duplicate_parameter"),
    ("?delete_partials=true", "unknown_parameter"),
    ("?delete_partial=%ff", "invalid_value"),
    ("?" + "&".join(f"a{n}=1" for n in range(40)), "invalid_value"),
]


async def test_a_query_that_is_not_what_is_documented(
    url: str, http: aiohttp.ClientSession
) -> None:
    for query, code in QUERIES:
        async with http.delete(f"{url}{ROOT}/job_0123456789{query}") as answer:
            assert answer.status == 400, query
            assert (await answer.json())["error"]["code"] == code


UNKNOWN = [
    ("GET", "/", 404, "GET /"),
    ("GET", "/api/v1/models", 404, "GET /api/v1/models"),
    ("POST", "/v1/chat/completions", 404, "POST /v1/chat/completions"),
    ("GET", "/a%0d%0ab", 404, "GET /a%0D%0Ab"),
    ("GET", "/x" * 500, 404, "GET " + "/x" * 100),
    ("PUT", ROOT, 405, f"PUT {ROOT}"),
    ("DELETE", ROOT, 405, f"DELETE {ROOT}"),
    ("POST", f"{ROOT}/events", 405, f"POST {ROOT}/events"),
    ("GET", f"{ROOT}/job_0123456789/pause", 405, f"GET {ROOT}/job_0123456789/pause"),
    ("PROPFIND", ROOT, 405, f"PROPFIND {ROOT}"),
]


async def test_an_unknown_path_or_method_gets_lm_studio_s_text(
    url: str, http: aiohttp.ClientSession
) -> None:
    for method, path, status, shown in UNKNOWN:
        async with http.request(method, url + path) as answer:
            assert answer.status == status, shown
            error = (await answer.json())["error"]
            assert error["message"] == f"Unexpected endpoint or method. ({shown})"
            assert error["type"] == "invalid_request"
            assert ("Allow" in answer.headers) == (status == 405)


async def test_methods_are_told(url: str, http: aiohttp.ClientSession) -> None:
    for path, allowed in [
        (ROOT, "GET, HEAD, OPTIONS, POST"),
        (f"{ROOT}/events", "DELETE, GET, HEAD, OPTIONS"),
        (f"{ROOT}/status/job_0123456789", "GET, HEAD, OPTIONS"),
        (f"{ROOT}/job_0123456789", "DELETE, OPTIONS"),
    ]:
        async with http.options(url + path) as answer:
            assert (answer.status, answer.headers["Allow"]) == (204, allowed)
    async with http.options(f"{url}/nothing") as answer:
        assert answer.status == 404


async def test_head_is_get_without_the_body(url: str, http: aiohttp.ClientSession) -> None:
    for path in (ROOT, "/openapi.json", f"{ROOT}/status/job_0123456789"):
        async with http.get(url + path) as answer:
            wanted = answer.status, answer.headers["Content-Length"]
        host = urlsplit(url).netloc
        head = f"HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        lines = (await raw(url, head)).decode().split("\r\n")
        assert int(lines[0].split()[1]) == wanted[0]
        assert f"content-length: {wanted[1]}" in [line.lower() for line in lines]
        assert lines[-2:] == ["", ""]
    async with http.head(f"{url}{ROOT}/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_answers_are_json_and_not_kept(url: str, http: aiohttp.ClientSession) -> None:
    async with http.get(url + ROOT) as answer:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_repeated_header_is_refused(url: str) -> None:
    host = urlsplit(url).netloc
    body = b"{}"
    lines = [
        f"POST {ROOT} HTTP/1.1",
        f"Host: {host}",
        "Connection: close",
        "Content-Type: text/plain",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    answer = await raw(url, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    assert answer.split()[1] == b"400"
    assert Engine.__name__.encode() not in answer


async def test_a_body_that_never_comes_is_408(
    engine: Engine, serving: Serving, http: aiohttp.ClientSession
) -> None:
    async with serving(engine, request_timeout=0.05) as url:
        host = urlsplit(url).netloc
        head = f"POST {ROOT} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        answer = await raw(url, f"{head}Content-Length: 2\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 408")


async def test_an_answer_that_never_comes_is_504(
    hub: FakeHub, engine: Engine, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(engine, "download", never)
    async with (
        serving(engine, request_timeout=0.05) as url,
        aiohttp.ClientSession() as http,
        http.post(url + ROOT, json={"model": REPO}) as answer,
    ):
        assert answer.status == 504
        assert (await answer.json())["error"]["type"] == "timeout"


async def test_a_caller_who_leaves_in_the_middle_of_his_body_harms_nobody(
    hub: FakeHub, url: str, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(url)
    head = f"POST {ROOT} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    for framing in (b"Content-Length: 20\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{"):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(head.encode() + framing)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    hub.add(REPO, {FILE: coded(9)})
    async with http.post(url + ROOT, json={"model": REPO}) as answer:
        assert answer.status == 200
        assert json.loads(await answer.text())["status"] in ("downloading", "completed")
    assert "failed" not in caplog.text


async def test_nothing_of_a_request_makes_a_line_of_the_log(
    engine: Engine,
    url: str,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = iter([RuntimeError("a"), HubUnavailable("b\nERROR c\x1b[31m")])

    async def broken(*args: Any) -> None:
        raise next(errors)

    monkeypatch.setattr(engine, "find", broken)
    for status in (500, 502):
        target = URL(f"{url}{ROOT}/a%0D%0AERROR%20it%20is%20me%1B%5B31m", encoded=True)
        async with http.delete(target) as answer:
            assert answer.status == status
    told = [record.getMessage() for record in caplog.records if record.name.startswith("modelf")]
    assert len(told) == 2
    assert all(text.isprintable() for text in told)
