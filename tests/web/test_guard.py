"""Who may call: the token, the Host header, web pages; over both adapters."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.web.conftest import Serving

from modelfetch import Engine, InvalidConfiguration
from modelfetch.core.origins import is_loopback
from modelfetch.web import WebConfig
from modelfetch.web.guard import must_be_allowed, must_be_local
from modelfetch.web.messages import Problem, Request

ROOT = "/api/v1/models/download"
TOKEN = "sk-lm-ours"


async def nothing() -> Any:
    return
    yield


def request(local_address: str | None, *hosts: str) -> Request:
    headers = [("host", host) for host in hosts]
    return Request("GET", ROOT, "", headers, nothing(), local_address=local_address)


async def test_with_a_token_every_call_needs_it(
    engine: Engine, serving: Serving, http: aiohttp.ClientSession
) -> None:
    wrong = ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer sk-lm-other"]
    wrong += [f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN} x", "Bearer sk-lm-öurs"]
    async with serving(engine, api_token=TOKEN) as url:
        for path in (ROOT, "/openapi.json", f"{ROOT}/events", "/nothing"):
            for text in wrong:
                headers = {"Authorization": text} if text else {}
                async with http.get(url + path, headers=headers) as answer:
                    assert answer.status == 401, text
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
                    error = (await answer.json())["error"]
                    assert error["type"] == "unauthorized"
                    assert TOKEN not in str(error)
        async with http.post(url + ROOT, data=b"{}") as answer:
            assert answer.status == 401
        for text in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN}"):
            async with http.get(url + ROOT, headers={"Authorization": text}) as answer:
                assert answer.status == 200


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *both: compared.append(both) or True)
    sent = Request("GET", ROOT, "", [("authorization", "Bearer sk-lm-other")], nothing())
    must_be_allowed(sent, WebConfig(api_token=TOKEN))
    assert compared == [(b"sk-lm-other", TOKEN.encode())]


async def test_without_a_token_authorization_does_not_matter(
    url: str, http: aiohttp.ClientSession
) -> None:
    # LM Studio's own examples send "Bearer " and an empty variable.
    async with http.get(url + ROOT, headers={"Authorization": "Bearer "}) as answer:
        assert answer.status == 200


async def test_over_loopback_the_host_must_be_this_machine(
    engine: Engine, serving: Serving, http: aiohttp.ClientSession
) -> None:
    async with serving(engine, allowed_hosts=["Box.Example"]) as url:
        port = urlsplit(url).port
        for host, status in [
            (f"localhost:{port}", 200),
            ("LOCALHOST", 200),
            ("localhost.:80", 200),
            (f"127.0.0.1:{port}", 200),
            ("127.0.0.9", 200),
            (f"[::1]:{port}", 200),
            ("box.example:99", 200),
            (f"evil.example:{port}", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost.evil.example", 403),
            ("evil.example:127.0.0.1", 403),
            ("10.0.0.1", 403),
            ("[::1]evil", 403),
            ("[2001:db8::1]", 403),
            ("localhost:99x", 403),
            ("localhost:", 200),
        ]:
            async with http.get(url + ROOT, headers={"Host": host}) as answer:
                assert answer.status == status, host
                if status == 403:
                    assert (await answer.json())["error"]["code"] == "forbidden_host"
    async with (
        serving(engine, allowed_hosts=["*"]) as url,
        http.get(url + ROOT, headers={"Host": "any.example"}) as answer,
    ):
        assert answer.status == 200


def test_the_host_matters_over_loopback_only() -> None:
    for address in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(address)
        must_be_local(request(address, "localhost:1"), WebConfig())
        for hosts in [("evil.example",), (), ("localhost", "localhost")]:
            with pytest.raises(Problem) as caught:
                must_be_local(request(address, *hosts), WebConfig())
            assert caught.value.status == (400 if len(hosts) > 1 else 403)
    for elsewhere in ("192.168.0.2", "2001:db8::1", "::ffff:10.0.0.1", None):
        must_be_local(request(elsewhere, "models.example"), WebConfig())


async def test_no_web_page_may_read_unless_its_origin_is_allowed(
    engine: Engine, serving: Serving, url: str, http: aiohttp.ClientSession
) -> None:
    page = {"Origin": "https://app.example"}
    asks = {**page, "Access-Control-Request-Method": "DELETE"}
    for call in (http.get(url + ROOT, headers=page), http.options(url + ROOT, headers=asks)):
        async with call as answer:
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
    async with serving(engine, allow_origins=["https://App.example"], api_token=TOKEN) as ours:
        async with http.get(ours + ROOT, headers=page) as answer:
            assert answer.status == 401  # readable, so that the page can say what is wrong
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert answer.headers["Vary"] == "Origin"
        async with http.options(ours + ROOT, headers=asks) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST"
            assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        for origin in ("https://app.example.evil", "http://app.example", "null", ""):
            async with http.get(ours + ROOT, headers={"Origin": origin}) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers
                assert answer.headers["Vary"] == "Origin"
    async with (
        serving(engine, allow_origins=["*"]) as ours,
        http.get(ours + ROOT, headers=page) as answer,
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "settings",
    [
        {"api_token": ""},
        {"api_token": "two words"},
        {"api_token": "a\r\nX: y"},
        {"api_token": "schlüssel"},
        {"allowed_hosts": "box.example"},
        {"allow_origins": "https://app.example"},
        {"request_timeout": 0},
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        WebConfig(**settings)


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(WebConfig(api_token=TOKEN))
