"""Several endpoints: the next is asked when one does not help, and the token goes to one only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded, failure

from modelfetch import (
    Engine,
    GatedModel,
    HubUnavailable,
    InvalidConfiguration,
    ModelFetchError,
    ModelNotFound,
    NetworkError,
)
from modelfetch.core.concurrency import START
from modelfetch.hub import Source
from modelfetch.shared import Signer
from modelfetch.testing import FakeHub, Fault, HtmlPage, RateLimited, Reset, Stall, Status
from modelfetch.testing.wire import Altered, Raw

CONTENT = coded(6 * MiB + 5)
TOKEN = "hf_" + "s3cret" * 4
Settings = Callable[..., dict[str, Any]]


@pytest.fixture
async def hub(hub: FakeHub) -> FakeHub:
    """The Hub, for which the token is."""
    hub.tokens.add(TOKEN)
    hub.add(REPO, {FILE: CONTENT})
    return hub


@pytest.fixture
async def mirror() -> AsyncIterator[FakeHub]:
    """Another, with the same repository, that comes first."""
    async with FakeHub() as mirror:
        mirror.add(REPO, {FILE: CONTENT})
        yield mirror


@pytest.fixture
def settings(hub: FakeHub, mirror: FakeHub, settings_for: Settings) -> dict[str, Any]:
    order = [mirror.endpoint, hub.endpoint]
    more = {"endpoints": order, "token": TOKEN, "headers": {"X-Key": "k"}, "hub_timeout": 0.5}
    return settings_for(hub, **more)


@pytest.fixture(autouse=True)
def no_secret_goes_elsewhere(hub: FakeHub, mirror: FakeHub) -> Any:
    yield
    secret = {"authorization", "x-key"}
    others = [*mirror.log, *hub.requests("cdn")]
    assert not any(secret & set(record.headers) for record in others)
    assert all(secret <= set(record.headers) for record in hub.requests("hub"))


def host(hub: FakeHub) -> str:
    return hub.endpoint.partition("://")[2]


PASSED_ON: list[tuple[str, Fault]] = [
    ("500", Status(500)),
    ("silence", Stall(0)),
    ("reset", Reset(0)),
    ("a page", HtmlPage()),
    ("429", RateLimited(retry_after=99)),
    ("404", Status(404)),
    ("401", Status(401, headers={"X-Error-Code": "GatedRepo"})),
    ("403", Status(403)),
    ("no revision", Status(404, headers={"X-Error-Code": "RevisionNotFound"})),
]


@pytest.mark.parametrize("fault", [it for _, it in PASSED_ON], ids=[name for name, _ in PASSED_ON])
async def test_a_plan_comes_from_the_next_endpoint_and_says_so(
    fault: Fault, hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(fault, on="api", times=None)
    async with Engine(**settings) as engine:
        plan = await engine.plan(REPO, LABEL)
    assert plan.files[0].sha256 == CONTENT.sha256
    assert f"from {host(hub)}. {host(mirror)}: " in plan.rule
    assert mirror.log
    assert hub.log


async def test_the_first_that_answers_is_the_only_one_that_is_asked(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    async with Engine(**settings) as engine:
        job = await engine.download(REPO, LABEL)
        assert_is(await job.result(), CONTENT)
        assert host(mirror) not in job.plan.rule
    assert hub.log == []


async def test_an_endpoint_that_is_down_is_not_asked_for_a_while(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(Status(500), on="api", times=None)
    async with Engine(**settings) as engine:
        await engine.plan(REPO, LABEL)
        asked = len(mirror.log)
        plan = await engine.plan(REPO, LABEL)
        assert len(mirror.log) == asked
        assert f"from {host(hub)}" in plan.rule
        hub.script(Status(404), on="api", times=None)
        with pytest.raises(ModelNotFound):
            await engine.plan(REPO, LABEL)
        assert len(mirror.log) > asked, "when nobody else helps, it is"


async def test_what_the_hub_itself_refuses_nobody_else_is_asked_for(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    hub.script(Status(403, headers={"X-Error-Code": "GatedRepo"}), on="api", times=None)
    order = [hub.endpoint, mirror.endpoint]
    async with Engine(**{**settings, "endpoints": order}) as engine:
        assert isinstance(await failure(engine, REPO, LABEL), GatedModel)
    assert mirror.log == []


async def test_what_the_hub_does_not_have_another_may(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.add("acme/own-GGUF", {FILE: CONTENT})
    order = [hub.endpoint, mirror.endpoint]
    async with Engine(**{**settings, "endpoints": order}) as engine:
        job = await engine.download("acme/own-GGUF", LABEL)
        assert_is(await job.result(), CONTENT)
        assert f"from {host(mirror)}. {host(hub)}: There is no model" in job.plan.rule


async def test_when_none_helps_the_hub_s_word_counts(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    await mirror.stop()
    async with Engine(**settings) as engine:
        error = await failure(engine, "acme/none-GGUF", LABEL)
    assert isinstance(error, ModelNotFound)
    assert error.host == host(hub)
    assert f"Also asked: {host(mirror)}: " in str(error)


async def test_when_none_answers_the_cache_does(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
        mirror.script(Status(404), on="api", times=None)
        hub.script(Status(500), on="api", times=None)
        plan = await engine.plan(REPO, LABEL)
    assert "from the cache" in plan.rule


async def test_a_search_is_made_where_there_is_one(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(Status(404), on="api", path="/api/models", times=None)
    hub.add("lmstudio-community/Some-GGUF", {FILE: CONTENT})
    async with Engine(**settings) as engine:
        plan = await engine.plan("acme/some", LABEL)
    assert plan.repo == "lmstudio-community/Some-GGUF"


async def test_a_link_to_any_endpoint_is_understood(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    async with Engine(**settings) as engine:
        for each in (hub, mirror):
            assert (await engine.plan(f"{each.endpoint}/{REPO}/blob/main/{FILE}")).repo == REPO


def another_hash(reply: Any) -> Any:
    return reply.with_headers(X_Linked_ETag=f'"{"0" * 64}"')


@pytest.mark.parametrize(
    "fault",
    [Status(500), Status(404), Status(401), Raw(), Altered(another_hash)],
    ids=["500", "404", "401", "nothing", "another file"],
)
async def test_a_file_that_one_endpoint_does_not_locate_another_does(
    fault: Fault, hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(fault, on="resolve", times=None)
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    (commit,) = mirror.repos[REPO].commits
    assert {it.path.split("/")[4] for it in hub.requests("hub")} == {commit}
    assert mirror.requests("cdn") == []


async def test_an_endpoint_that_goes_down_in_the_middle(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.rate = MiB // 2
    async with Engine(**settings) as engine:
        job = await engine.download(REPO, LABEL)
        async for status in job.events():
            if status.downloaded_bytes >= 2 * MiB:
                break
        await mirror.stop()
        assert_is(await job.result(), CONTENT)
    assert 0 < hub.sent_bytes(FILE) < CONTENT.size - MiB, "what came from the other was kept"


async def test_a_cdn_that_goes_down_while_its_endpoint_does_not(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(Reset(MiB // 2), on="cdn", times=4)
    mirror.script(Reset(0), on="cdn", times=None)
    async with Engine(**{**settings, "connections": 4}) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert 0 < hub.sent_bytes(FILE) < CONTENT.size, "what came from the other was kept"
    assert hub.bytes_sent_twice(FILE) == 0
    assert len(hub.requests("hub")) == 1, "all connections went over to it at once"


async def test_wrong_bytes_of_one_endpoint_are_fetched_again_from_another(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    bad = bytearray(CONTENT.read(0, CONTENT.size))
    bad[MiB] ^= 1

    def changed(reply: Any) -> Any:
        if reply.content is None:
            return reply
        from modelfetch.testing.content import as_content

        return replace(reply, content=as_content(bytes(bad)))

    mirror.script(Altered(changed), on="cdn", times=None)
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert hub.sent_bytes(FILE) == CONTENT.size


async def test_urls_that_one_endpoint_gives_in_vain_are_asked_of_another(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(Status(403), on="cdn", times=None)
    async with Engine(**settings) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert hub.sent_bytes(FILE) == CONTENT.size


@pytest.mark.parametrize("fault", [Status(403), Reset(0)], ids=["expired", "reset"])
async def test_one_fault_is_no_reason_to_leave_an_endpoint(
    fault: Fault, hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(fault, on="cdn", times=1)
    async with Engine(**{**settings, "connections": 1}) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert hub.log == []


async def test_an_endpoint_that_did_not_locate_a_file_is_asked_last_from_then_on(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    mirror.script(Status(500), on="resolve", times=None)
    hub.script(Status(403), on="cdn", times=1)
    async with Engine(**{**settings, "connections": 1}) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert len([it for it in mirror.log if "/resolve/" in it.path]) == 1
    assert len(hub.requests("hub")) == 2


async def test_a_fault_that_may_pass_counts_for_more_than_a_refusal(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    hub.script(Status(404), on="resolve", times=None)
    mirror.script(Status(500), on="resolve", times=2)
    async with Engine(**{**settings, "connections": 1}) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)


async def test_a_file_that_the_hub_itself_refuses_nobody_else_is_asked_for(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    hub.script(Status(403, headers={"X-Error-Code": "GatedRepo"}), on="resolve", times=None)
    order = [hub.endpoint, mirror.endpoint]
    async with Engine(**{**settings, "endpoints": order}) as engine:
        assert isinstance(await failure(engine, REPO, LABEL), GatedModel)
    assert mirror.log == []


async def test_only_who_has_the_url_in_use_can_say_that_it_is_of_no_use() -> None:
    shunned: list[str] = []
    urls = iter("abc")

    async def locate() -> Source:
        url = next(urls)
        return Source(url, shun=lambda: shunned.append(url))

    signer = Signer(locate)
    first = await signer.current()
    signer.stumbled(first)
    second = await signer.current()
    signer.stumbled(first)  # another connection, which was still at the first
    assert await signer.current() is second
    assert shunned == ["a"]
    signer.distrust()
    assert shunned == ["a", "b"]


async def test_an_endpoint_that_is_slow_is_left_and_its_bytes_kept(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.shared.MEASURE_SECONDS", 0.5)
    content = coded(24 * MiB)
    for each in (hub, mirror):
        each.add(REPO, {FILE: content})
    mirror.rate = 100_000.0
    async with Engine(**{**settings, "connections": 16, "slow_endpoint_rate": 10e6}) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert 0 < mirror.sent_bytes() < hub.sent_bytes() / 2
    assert mirror.sent_bytes() + hub.sent_bytes() < content.size + MiB
    assert len(mirror.requests("cdn")) == START, "who waited for its turn there went elsewhere"


@pytest.mark.parametrize("more", [{"slow_endpoint_rate": 0}, {"max_bytes_per_second": 2.0 * MiB}])
async def test_nobody_else_is_asked_where_slow_is_what_the_user_wants(
    hub: FakeHub,
    mirror: FakeHub,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
) -> None:
    monkeypatch.setattr("modelfetch.shared.MEASURE_SECONDS", 0.5)
    mirror.rate = 1.0 * MiB
    async with Engine(**{**settings, "slow_endpoint_rate": 100e6, **more}) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)
    assert hub.log == []


async def test_when_all_are_down_the_budget_ends_it(
    hub: FakeHub, mirror: FakeHub, settings: dict[str, Any]
) -> None:
    for each in (hub, mirror):
        each.script(Reset(0), on="cdn", times=None)
    async with Engine(**settings) as engine:
        async with asyncio.timeout(20):
            error = await failure(engine, REPO, LABEL)
    assert isinstance(error, NetworkError | HubUnavailable)
    assert hub.requests("cdn")
    assert mirror.requests("cdn")


async def test_a_mirror_may_be_http_when_the_token_is_for_another(
    hub: FakeHub, settings: dict[str, Any]
) -> None:
    order = ["http://mirror.example", hub.endpoint]
    async with Engine(**{**settings, "endpoints": order}) as engine:
        assert (await engine.plan(REPO, LABEL)).repo == REPO
    error: ModelFetchError | None = None
    order = [hub.endpoint, "http://mirror.example"]
    more = {"endpoint": "http://mirror.example", "endpoints": order}
    async with Engine(**{**settings, **more}) as engine:
        hub.script(Status(404), on="api", times=None)
        hub.log.clear()
        error = await failure(engine, REPO, LABEL)
        hub.log.clear()  # asked without the token: it is for the other
    assert isinstance(error, InvalidConfiguration)
