"""Endpoints that are not huggingface.co: below a path, with links elsewhere, over plain http."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, failure
from tests.mirror import mirrored
from tests.proxy import Proxy, running

from modelfetch import Engine, InvalidConfiguration
from modelfetch.testing import FakeHub
from modelfetch.testing.wire import Altered

CONTENT = coded(2 * MiB + 5)
TOKEN = "hf_" + "s3cret" * 4
Settings = Callable[..., dict[str, Any]]


@pytest.fixture
async def hub(hub: FakeHub) -> FakeHub:
    hub.tokens.add(TOKEN)
    files = {FILE: CONTENT, "small-Q8_0.gguf": b"x" * 100, "README.md": "y"}
    hub.add(REPO, files, lfs=lambda path, content: path == FILE)
    return hub


async def test_a_mirror_below_a_path_is_never_left_for_metadata(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.lists_sizes, hub.page_size = False, 1  # the links of pages name the Hub itself
    async with mirrored(hub) as mirror:
        settings = settings_for(hub, endpoint=mirror.endpoint, token=TOKEN)
        async with Engine(**settings) as engine:
            assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
            small = await engine.download(REPO, "Q8_0")
            assert (await small.result()).path.read_bytes() == b"x" * 100
    assert len([path for path, _ in mirror.asked if "/tree/" in path]) == 6
    assert any("/api/resolve-cache/" in path for path, _ in mirror.asked), "a relative redirect"
    assert all("via" in record.headers for record in hub.requests("hub"))
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, headers in mirror.asked)
    assert not any("authorization" in record.headers for record in hub.requests("cdn"))


async def test_a_mirror_that_leads_to_the_hub_itself(hub: FakeHub, settings_for: Settings) -> None:
    async with mirrored(hub) as mirror:
        mirror.leads_away = True
        settings = settings_for(hub, endpoint=mirror.endpoint, token=TOKEN, headers={"X-Key": "k"})
        async with Engine(**settings) as engine:
            assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    direct = [record for record in hub.requests("hub") if "via" not in record.headers]
    assert direct
    assert not any({"authorization", "x-key"} & set(record.headers) for record in direct)


@pytest.mark.parametrize("link", ["relative", "query", "protocol", "prefix"])
async def test_links_of_pages_of_any_form_stay_on_the_endpoint(
    link: str, hub: FakeHub, settings_for: Settings
) -> None:
    hub.lists_sizes, hub.page_size = False, 1

    def changed(reply: Any) -> Any:
        url, _, rest = reply.headers.get("Link", "").partition(">")
        path = url.removeprefix(f"<{hub.endpoint}")
        forms = {
            "relative": path,
            "query": f"?{path.partition('?')[2]}",
            "protocol": f"//elsewhere.example{path}",
            "prefix": f"https://elsewhere.example{path}",
        }
        return reply.with_headers(Link=f"<{forms[link]}>{rest}") if rest else reply

    hub.script(Altered(changed), on="api", path="*/tree/*", times=None)
    async with (
        mirrored(hub) as mirror,
        Engine(**settings_for(hub, endpoint=mirror.endpoint)) as engine,
    ):
        assert (await engine.plan(REPO, LABEL)).files[0].sha256 == CONTENT.sha256
    assert len([path for path, _ in mirror.asked if "/tree/" in path]) == 3


async def test_a_path_that_only_begins_like_that_of_the_endpoint(
    hub: FakeHub, settings_for: Settings
) -> None:
    from modelfetch import Config
    from modelfetch.hubcall import HubCall

    config = Config(endpoint="https://mirror.example/api", token=False)
    with HubCall(config, None, REPO, "main") as call:
        asked = "https://mirror.example/api/apiary?cursor=1"
        assert call._on_endpoint("https://huggingface.co/apiary?cursor=1") == asked
        assert call._on_endpoint("https://mirror.example/api/apiary?cursor=1") == asked


@pytest.fixture
def open_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is exempt from proxies, so that hosts can have any name."""
    for name in ("NO_PROXY", "no_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


HUB = "http://hub.example"


@pytest.mark.parametrize("way", ["token", "found", "headers"])
async def test_a_secret_does_not_go_over_http_unless_it_may(
    way: str, hub: FakeHub, settings_for: Settings, open_network: None,
    monkeypatch: pytest.MonkeyPatch, place: Path,
) -> None:  # fmt: skip
    secrets = {"token": {"token": TOKEN}, "headers": {"headers": {"X-Key": TOKEN}}}
    if way == "found":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        secrets["found"] = {"token": None}
    hosts = {"hub.example:80": hub.endpoint, "hub.example": hub.endpoint}
    hosts[hub.cdn_url.partition("://")[2]] = hub.cdn_url
    async with running(Proxy(hosts)) as proxy:
        settings = settings_for(hub, endpoint=HUB, proxy=proxy.url, **secrets[way])
        async with Engine(**settings) as engine:
            error = await failure(engine, REPO, LABEL)
        assert isinstance(error, InvalidConfiguration)
        assert "hub.example" in error.message
        assert "allow_http_token" in str(error)
        assert TOKEN not in str(error)
        assert proxy.asked == []
        async with Engine(**{**settings, "allow_http_token": True}) as engine:
            assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
        assert sum(TOKEN in head for head in proxy.heads) == len(hub.requests("hub"))
        nothing = {"token": False, "headers": {}, "cache_dir": place / "2"}
        async with Engine(**{**settings, **nothing}) as engine:
            assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)


async def test_loopback_through_a_proxy_is_not_this_machine(
    hub: FakeHub, settings_for: Settings, open_network: None
) -> None:
    async with running(Proxy({})) as proxy:
        async with Engine(**settings_for(hub, token=TOKEN, proxy=proxy.url)) as engine:
            assert isinstance(await failure(engine, REPO, LABEL), InvalidConfiguration)
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("endpoint", "is_open"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8080", False),
        ("http://localhost", False),
        ("http://hub.localhost:80", False),
        ("https://hub.example", False),
        ("http://hub.example", True),
        ("http://10.0.0.1", True),
        ("http://localhost.example", True),
        ("http://127.0.0.1.example", True),
        ("http://notlocalhost", True),
        ("http://0.0.0.0", True),
    ],
)
def test_which_endpoints_are_open_to_all(endpoint: str, is_open: bool) -> None:
    from modelfetch import Config
    from modelfetch.surroundings import hub_fields

    config = Config(endpoint=endpoint, proxy=False)
    assert hub_fields(config, None) == {}
    if is_open:
        with pytest.raises(InvalidConfiguration, match="http"):
            hub_fields(config, TOKEN)
    else:
        assert hub_fields(config, TOKEN) == {"Authorization": f"Bearer {TOKEN}"}
