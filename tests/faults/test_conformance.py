"""The table of misbehaviours against modelfetch, over http and TLS."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from tests.authority import server_context
from tests.faults.misbehaviours import CASES, SIZE, Case, Verdict
from tests.helpers import FILE, LABEL, REPO, assert_is, coded, final_names

from modelfetch import Engine, ModelFetchError
from modelfetch.core.retry import RetryPolicy
from modelfetch.testing import FakeHub, LoggedRequest

TOKEN = "hf_conformance"
# Seconds in which anything ends: a bound on hanging, not a measure. What is known to hang, hangs
# no longer than the second.
PATIENCE, BRIEF = 20.0, 1.5
CONTENT = coded(SIZE)


def rows() -> list[object]:
    found = []
    for scheme in ("http", "https"):
        for case in CASES:
            if case.scheme in (None, scheme):
                marks = [pytest.mark.xfail(strict=True, reason=case.bug)] if case.bug else []
                found.append(pytest.param(case, scheme, id=f"{scheme}: {case.id}", marks=marks))
    return found


@pytest.fixture(scope="module")
def certificate() -> ssl.SSLContext:
    return server_context()


@pytest.fixture
async def server(scheme: str, certificate: ssl.SSLContext) -> AsyncIterator[FakeHub]:
    secure = certificate if scheme == "https" else None
    async with FakeHub(ssl_context=secure, tokens=[TOKEN]) as hub:
        hub.add(REPO, {FILE: CONTENT})
        yield hub


@pytest.mark.parametrize(("case", "scheme"), rows())
async def test_conformance(
    case: Case, scheme: str, server: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a lease may look silent, and be given to another connection.
    for name in ("SPLIT_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(f"modelfetch.core.transfer.{name}", 60.0)
    case.script(server)
    async with Engine(
        endpoint=server.endpoint,
        cache_dir=place,
        token=TOKEN,
        connections=case.connections,
        first_byte_timeout=0.4,
        read_timeout=0.4,
        hub_timeout=5.0,
        retry=RetryPolicy(attempts=4, base_seconds=0.01, max_seconds=0.05),
    ) as engine:
        error: ModelFetchError | None = None
        try:
            async with asyncio.timeout(BRIEF if case.bug else PATIENCE):
                job = await engine.download(REPO, LABEL)
                assert_is(await job.result(), CONTENT)
        except ModelFetchError as caught:
            error = caught
        check(case, server, error)
        if error is not None:
            assert final_names(place) == []
            await check_that_nothing_is_poisoned(engine, server)


def check(case: Case, hub: FakeHub, error: ModelFetchError | None) -> None:
    asked = hub.requests("cdn")
    heads = [r for r in hub.requests("hub") if r.method == "HEAD" and r.status == 302]
    told = f"{len(asked)} requests to the CDN, {len(heads)} URLs, {error!r}"
    if case.verdict is Verdict.GAVE_UP:
        assert error is not None, told
        assert re.search(case.says, str(error)), told
        assert error.host in {url.split("/")[2] for url in (hub.cdn_url, hub.endpoint)}, told
        assert "X-Amz" not in str(error), "a signed URL is a secret"
    else:
        assert error is None, told
        assert VERDICTS[case.verdict](case, asked, len(heads)), told
    assert len(asked) <= case.requests, told
    assert hub.bytes_sent_twice(FILE) <= case.wasted, told
    assert not any(request.has_token for request in asked)


def is_taken(case: Case, asked: list[LoggedRequest], urls: int) -> bool:
    starts = [r.asked[0] for r in asked if r.asked is not None and r.status in (200, 206)]
    return urls == 1 and len(starts) == len(set(starts))


def is_retried(case: Case, asked: list[LoggedRequest], urls: int) -> bool:
    return urls == 1 and is_asked_again(asked)


def is_resigned(case: Case, asked: list[LoggedRequest], urls: int) -> bool:
    return urls > 1


def is_waited_for(case: Case, asked: list[LoggedRequest], urls: int) -> bool:
    refused = [request for request in asked if request.status in (429, 503)]
    return urls == 1 and 1 <= len(refused) <= case.connections


def is_whole(case: Case, asked: list[LoggedRequest], urls: int) -> bool:
    return urls == 1 and any(r.status == 200 and r.is_finished for r in asked)


def is_repaired(case: Case, asked: list[LoggedRequest], urls: int) -> bool:
    return is_asked_again(asked)


def is_asked_again(asked: list[LoggedRequest]) -> bool:
    spans = sorted(r.asked for r in asked if r.asked is not None)
    return any(first[1] > second[0] for first, second in pairwise(spans))


VERDICTS = {
    Verdict.TAKEN: is_taken,
    Verdict.RETRIED: is_retried,
    Verdict.RESIGNED: is_resigned,
    Verdict.WAITED: is_waited_for,
    Verdict.WHOLE: is_whole,
    Verdict.REPAIRED: is_repaired,
}


async def check_that_nothing_is_poisoned(engine: Engine, hub: FakeHub) -> None:
    hub.unscript()
    assert_is(await (await engine.download(REPO, LABEL)).result(), CONTENT)


def test_the_table_is_one() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names)) >= 60
    for case in CASES:
        assert (case.verdict is Verdict.GAVE_UP) == bool(case.says), case.id
