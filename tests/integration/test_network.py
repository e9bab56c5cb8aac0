"""Proxies, certificates and headers, for the Hub's metadata and for the bytes, on real sockets."""

from __future__ import annotations

import contextlib
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from huggingface_hub import close_session, constants
from tests.authority import server_context
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, failure
from tests.proxy import Proxy, running

from modelfetch import (
    Engine,
    HubUnavailable,
    InvalidConfiguration,
    ModelFetchError,
    NetworkError,
    Offline,
)
from modelfetch.testing import FakeHub, Redirect, Status

CONTENT = coded(3 * MiB + 5)
Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def fresh_session() -> Iterator[None]:
    """huggingface_hub's session reads the environment once, when it is made."""
    close_session()
    yield
    close_session()


@contextlib.asynccontextmanager
async def a_hub(ssl_context: ssl.SSLContext | None = None, **more: Any) -> AsyncIterator[FakeHub]:
    async with FakeHub(ssl_context=ssl_context, tokens=["hf_abc"]) as hub:
        hub.add(REPO, {FILE: CONTENT}, **more)
        yield hub


def real_hosts(hub: FakeHub) -> dict[str, str]:
    return {url.partition("://")[2]: url for url in (hub.endpoint, hub.cdn_url)}


@contextlib.asynccontextmanager
async def proxied(
    monkeypatch: pytest.MonkeyPatch, *, tls: bool = True, **more: Any
) -> AsyncIterator[tuple[FakeHub, Proxy]]:
    """A hub, and a proxy that leads to it; nothing is exempt."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    context = server_context() if tls else None
    async with a_hub(context) as hub, running(Proxy(real_hosts(hub), **more)) as proxy:
        yield hub, proxy


async def fetched(settings: dict[str, Any]) -> None:
    async with Engine(**settings) as engine:
        job = await engine.download(REPO, LABEL)
        assert_is(await job.result(), CONTENT)


def with_login(proxy: Proxy, login: str = "joe:s%40cret") -> str:
    return proxy.url.replace("://", f"://{login}@")


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
async def test_a_proxy_that_is_set_takes_metadata_and_bytes(
    tls: bool, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(monkeypatch, tls=tls, login="joe:s@cret") as (hub, proxy):
        async with Engine(**settings_for(hub, proxy=with_login(proxy))) as engine:
            await engine.plan(REPO, LABEL)
        assert len(proxy.asked) == 1
        await fetched(settings_for(hub, proxy=with_login(proxy)))
        asked = " ".join(proxy.asked)
        assert all(host in asked for host in real_hosts(hub))
        assert asked.count("CONNECT") == (len(proxy.asked) if tls else 0)
        if tls:
            assert "authorization: bearer" not in " ".join(proxy.heads).lower()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_proxy_of_the_environment_takes_metadata_and_bytes(
    name: str, settings_for: Settings, monkeypatch: pytest.MonkeyPatch, fresh_session: None
) -> None:
    async with proxied(monkeypatch, login="joe:s@cret") as (hub, proxy):
        monkeypatch.setenv(name, with_login(proxy))
        await fetched(settings_for(hub))
        assert all(any(host in it for it in proxy.asked) for host in real_hosts(hub))


async def test_no_proxy_exempts_hosts_and_false_all_of_them(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch, place: Path, fresh_session: None
) -> None:
    async with proxied(monkeypatch) as (hub, proxy):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        cdn = hub.cdn_url.partition("://")[2]
        monkeypatch.setenv("NO_PROXY", f"elsewhere.example,{cdn}")
        await fetched(settings_for(hub))
        assert proxy.asked
        assert not any(cdn in line for line in proxy.asked)
        asked = len(proxy.asked)
        await fetched(settings_for(hub, proxy=False, cache_dir=place / "2"))
        assert len(proxy.asked) == asked
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        await fetched(settings_for(hub, proxy=proxy.url, cache_dir=place / "3"))
        assert len(proxy.asked) == asked


async def test_a_token_for_this_machine_is_not_shown_to_a_proxy_that_is_not_for_it(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch, fresh_session: None
) -> None:
    async with proxied(monkeypatch, tls=False) as (hub, proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        # huggingface_hub's session reads no lists with spaces.
        monkeypatch.setenv("NO_PROXY", "hub.example 127.0.0.1")
        await fetched(settings_for(hub, token="hf_abc"))
        assert proxy.asked == []


@pytest.mark.parametrize("is_set", [True, False], ids=["set", "environment"])
@pytest.mark.parametrize(("status", "hint"), [(407, "password"), (403, "NO_PROXY")])
async def test_a_proxy_that_refuses_is_an_error_that_names_it(
    is_set: bool, status: int, hint: str, settings_for: Settings,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fresh_session: None,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    async with proxied(monkeypatch, status=status) as (hub, proxy):
        monkeypatch.setenv("HTTPS_PROXY", with_login(proxy, "joe:hunter2"))
        more = {"proxy": with_login(proxy, "joe:hunter2")} if is_set else {}
        async with Engine(**settings_for(hub, **more)) as engine:
            with pytest.raises(HubUnavailable) as raised:
                await engine.plan(REPO, LABEL)
        _names_the_proxy(raised.value, proxy, status, hint)
        assert len(proxy.asked) == 1, "asking again does not help"
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
async def test_a_proxy_that_refuses_in_the_middle_is_an_error_at_once(
    tls: bool, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(monkeypatch, tls=tls) as (hub, proxy):
        async with Engine(**settings_for(hub, proxy=with_login(proxy, "joe:hunter2"))) as engine:
            await engine.plan(REPO, LABEL)
            cdn = hub.cdn_url.partition("://")[2]
            proxy.login = "somebody:else"
            error = await job_error(engine, hub, proxy)
        assert isinstance(error, NetworkError)
        _names_the_proxy(error, proxy, 407, "password")
        assert cdn not in " ".join(proxy.asked), "the first one that was refused was enough"


async def job_error(engine: Engine, hub: FakeHub, proxy: Proxy) -> ModelFetchError:
    # The plan is made while the proxy lets everybody pass.
    wanted, proxy.login = proxy.login, None
    job = await engine.download(REPO, LABEL)
    await job.pause()
    proxy.login = wanted
    proxy.asked.clear()
    await job.resume()
    with pytest.raises(ModelFetchError) as raised:
        await job.result()
    return raised.value


def _names_the_proxy(error: ModelFetchError, proxy: Proxy, status: int, hint: str) -> None:
    assert error.status == status
    assert error.host == proxy.url.partition("://")[2]
    assert error.code == error.to_dict()["code"] == "proxy"
    assert error.is_final
    assert hint in str(error)
    assert "joe" not in str(error) + repr(error)
    assert error.__cause__ is None or "hunter2" not in repr(error.__cause__)


async def test_a_proxy_that_is_not_there(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(monkeypatch) as (hub, proxy):
        url = with_login(proxy, "joe:hunter2")
    async with Engine(**settings_for(hub, proxy=url)) as engine:
        error = await failure(engine, REPO, LABEL)
    assert isinstance(error, HubUnavailable)
    assert f"through the proxy {proxy.url.partition('://')[2]}" in error.message
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("is_set", [True, False], ids=["set", "environment"])
async def test_a_proxy_for_socks_is_refused_rather_than_gone_round(
    is_set: bool, settings_for: Settings, monkeypatch: pytest.MonkeyPatch, fresh_session: None
) -> None:
    url = "socks5h://joe:hunter2@127.0.0.1:9050"
    async with proxied(monkeypatch) as (hub, _):
        if not is_set:
            monkeypatch.setenv("ALL_PROXY", url)
        with pytest.raises(InvalidConfiguration, match=r"socks5h://127\.0\.0\.1:9050") as raised:
            async with Engine(**settings_for(hub, **({"proxy": url} if is_set else {}))) as engine:
                await engine.plan(REPO, LABEL)
        assert "hunter2" not in str(raised.value)
        assert hub.log == []


async def test_certificates_that_cannot_be_used_beside_a_proxy(
    settings_for: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    async with proxied(monkeypatch) as (hub, proxy):
        settings = settings_for(hub, proxy=proxy.url, ca_bundle=tmp_path / "none.pem")
        with pytest.raises(InvalidConfiguration, match=r"none\.pem"):
            async with Engine(**settings) as engine:
                await engine.plan(REPO, LABEL)


async def test_offline_mode_of_the_session_is_said_as_such(
    metadata: str, settings_for: Settings, monkeypatch: pytest.MonkeyPatch, fresh_session: None
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    async with a_hub() as hub, Engine(**settings_for(hub, offline=False)) as engine:
        if metadata == "session":
            assert isinstance(await failure(engine, REPO, LABEL), Offline)
        else:  # nobody else's settings count
            assert (await engine.plan(REPO, LABEL)).repo == REPO


async def test_secrets_of_the_surroundings_are_not_shown(settings_for: Settings) -> None:
    async with a_hub() as hub:
        url = "http://joe:hunter2@proxy.example:3128"
        engine = Engine(**settings_for(hub, proxy=url, headers={"X-Key": "hunter2"}))
    assert "hunter2" not in repr(engine.config)


@pytest.fixture
def other_authority() -> trustme.CA:
    """One that no client here trusts by itself."""
    return trustme.CA()


def context_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def bundle(other_authority: trustme.CA, tmp_path: Path) -> Path:
    """The certificate of an authority that this machine does not know."""
    bundle = tmp_path / "company.pem"
    other_authority.cert_pem.write_to_path(str(bundle))
    return bundle


@pytest.mark.parametrize("variable", [None, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_a_bundle_is_trusted_for_metadata_and_bytes(
    variable: str | None, settings_for: Settings, other_authority: trustme.CA, bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async with a_hub(context_of(other_authority)) as hub:
        async with Engine(**settings_for(hub)) as engine:
            assert isinstance(await failure(engine, REPO, LABEL), HubUnavailable)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        if variable is None:
            await fetched(settings_for(hub, ca_bundle=bundle))
            return
        monkeypatch.setenv(variable, str(bundle))
        async with Engine(**settings_for(hub)) as engine:  # SSL_CERT_FILE says another
            assert isinstance(await failure(engine, REPO, LABEL), HubUnavailable)
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        await fetched(settings_for(hub))


async def test_a_bundle_is_trusted_in_place_of_what_else_is(
    settings_for: Settings, bundle: Path
) -> None:
    async with a_hub(server_context()) as hub:
        async with Engine(**settings_for(hub, ca_bundle=bundle)) as engine:
            assert isinstance(await failure(engine, REPO, LABEL), HubUnavailable)
        assert hub.log == []


@pytest.mark.parametrize("text", [None, "", "not a certificate"])
async def test_a_bundle_that_cannot_be_used_says_so(
    text: str | None, settings_for: Settings, tmp_path: Path
) -> None:
    bundle = tmp_path / "company.pem"
    if text is not None:
        bundle.write_text(text)
    async with a_hub() as hub, Engine(**settings_for(hub, ca_bundle=bundle)) as engine:
        error = await failure(engine, REPO, LABEL)
    assert isinstance(error, InvalidConfiguration)
    assert str(bundle) in error.message
    assert error.hint


async def test_a_bundle_works_through_a_proxy_that_looks_inside(
    settings_for: Settings, other_authority: trustme.CA, bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    context = context_of(other_authority)
    async with a_hub(context) as hub, running(Proxy(real_hosts(hub))) as proxy:
        await fetched(settings_for(hub, ca_bundle=bundle, proxy=proxy.url))
        assert len(proxy.asked) > 1


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
async def test_a_proxy_may_itself_be_https(
    tls: bool, settings_for: Settings, other_authority: trustme.CA, bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    context = context_of(other_authority)
    async with proxied(monkeypatch, tls=False) as (plain, _), a_hub(context) as secure:
        hub = secure if tls else plain
        async with running(Proxy(real_hosts(hub), login="joe:s@cret"), context) as proxy:
            await fetched(settings_for(hub, ca_bundle=bundle, proxy=with_login(proxy)))
            assert all(any(host in line for line in proxy.asked) for host in real_hosts(hub))


@pytest.mark.skipif(sys.platform == "win32", reason="no such process there")
async def test_all_of_it_holds_for_transfers_in_a_process_of_their_own(
    settings_for: Settings, other_authority: trustme.CA, bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    context = context_of(other_authority)
    async with a_hub(context) as hub, a_hub(context) as mirror:
        mirror.script(Status(500), on="resolve", times=None)
        hosts = real_hosts(hub) | real_hosts(mirror)
        async with running(Proxy(hosts, login="joe:s@cret")) as proxy:
            await fetched(
                settings_for(
                    hub,
                    endpoints=[mirror.endpoint, hub.endpoint],
                    isolation="process",
                    ca_bundle=bundle,
                    proxy=with_login(proxy),
                    headers=HEADERS,
                    token="hf_abc",
                )
            )
        assert all(any(host in line for line in proxy.asked) for host in real_hosts(hub))
        assert all("x-api-key" in record.headers for record in hub.requests("hub"))
        elsewhere = [*mirror.log, *hub.requests("cdn")]
        assert not any("x-api-key" in record.headers for record in elsewhere)
        assert hub.sent_bytes() == CONTENT.size


HEADERS = {"X-Team": "models", "X-Api-Key": "hunter2"}


async def test_headers_go_to_the_endpoint_only(settings_for: Settings) -> None:
    async with a_hub() as hub:
        await fetched(settings_for(hub, headers=HEADERS, token="hf_abc"))
        on_hub, on_cdn = hub.requests("hub"), hub.requests("cdn")
        assert {record.method for record in on_hub} == {"GET", "HEAD"}
        assert on_cdn
        for record in on_hub:
            assert record.headers["x-team"] == "models"
            assert record.headers["authorization"] == "Bearer hf_abc"
        for record in on_cdn:
            assert not {"x-team", "x-api-key", "authorization"} & set(record.headers)


async def test_an_authorization_of_one_s_own_takes_the_place_of_the_token(
    settings_for: Settings,
) -> None:
    async with a_hub() as hub:
        settings = settings_for(hub, headers={"authorization": "Basic am9lOng="}, token="hf_abc")
        await fetched(settings)
        sent = {record.headers["authorization"] for record in hub.requests("hub")}
        assert sent == {"Basic am9lOng="}


@pytest.mark.parametrize("is_own", [True, False], ids=["own client", "shared client"])
async def test_metadata_that_leads_elsewhere_takes_no_secret_there(
    is_own: bool, settings_for: Settings
) -> None:
    async with a_hub() as hub, a_hub() as other:
        path = f"/api/models/{REPO}/revision/main?blobs=true"
        hub.script(Redirect(other.endpoint + path, 307), on="api")
        more = {"proxy": False} if is_own else {}
        settings = settings_for(hub, headers=HEADERS, token="hf_abc", **more)
        async with Engine(**settings) as engine:
            await engine.plan(REPO, LABEL)
        (record,) = other.log
        assert not {"x-team", "x-api-key", "authorization"} & set(record.headers)


async def test_metadata_redirects_that_lead_nowhere(settings_for: Settings) -> None:
    async with a_hub() as hub, Engine(**settings_for(hub)) as engine:
        for location in ("file:///etc/passwd", "http://[::1", f"/{'a' * 70_000}", "//a..b"):
            hub.script(Redirect(location), on="api")
            assert isinstance(await failure(engine, REPO, LABEL), HubUnavailable)
        hub.script(Redirect(f"/api/models/{REPO}/revision/main"), on="api", times=None)
        error = await failure(engine, REPO, LABEL)
        assert "redirects without end" in error.message
        assert len(hub.log) < 50


async def test_a_status_407_without_a_proxy_is_the_server_s_own(settings_for: Settings) -> None:
    async with a_hub() as hub:
        hub.script(Status(407), on="api", times=None)
        async with Engine(**settings_for(hub)) as engine:
            error = await failure(engine, REPO, LABEL)
        assert error.code is None
        assert error.host == hub.endpoint.partition("://")[2]
