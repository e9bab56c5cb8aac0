"""The fake Hub is held to what the real one does: by raw sockets, and by the official client."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import aiohttp
import pytest
import trustme
from huggingface_hub import (
    HfApi,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from yarl import URL

from modelfetch.testing import (
    ChangedETag,
    Content,
    Delay,
    Encoded,
    FakeHub,
    Fault,
    HtmlPage,
    IgnoreRange,
    PositionCoded,
    RateLimited,
    Reply,
    Reset,
    ShiftedRange,
    ShortBody,
    Stall,
    Status,
    WrongBytes,
    WrongTotal,
    build_gguf,
)
from modelfetch.testing.clock import ManualClock

REPO, FILE, NOTE = "acme/tiny-GGUF", "tiny-Q4_K_M.gguf", "README.md"
SIZE = 10_003
CONTENT = PositionCoded(SIZE, 1)
NOTE_TEXT = "# tiny\nä\n"
QUIET_SECONDS = 0.1


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        auto_decompress=False, headers={"Accept-Encoding": "identity"}
    ) as client:
        yield client


@pytest.fixture
def commit(hub: FakeHub) -> str:
    """A repository with a large file and a plain one."""
    return hub.add(REPO, {FILE: CONTENT, NOTE: NOTE_TEXT})


async def ask(
    client: aiohttp.ClientSession, url: str, *, method: str = "GET", **fields: str
) -> Answer:
    """Send one request as it is, follow nothing; `_` in the name of a field stands for `-`."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    target = URL(url, encoded=True)
    async with client.request(method, target, headers=headers, allow_redirects=False) as response:
        return Answer(response.status, response.headers, await response.read())


async def signed(client: aiohttp.ClientSession, hub: FakeHub, file: str = FILE) -> str:
    answer = await ask(client, f"{hub.endpoint}/{REPO}/resolve/main/{file}", method="HEAD")
    assert answer.status == 302
    return answer.headers["Location"]


async def watch(
    url: str, span: str | None = None, *, quiet_after: int | None = None
) -> tuple[bytes, bytes, Exception | None]:
    """Ask on a bare socket; return head, body, and how it ended: `None` is a clean close.

    From `quiet_after` bytes of the body on, silence is an ending too: a `TimeoutError`.
    """
    loop, target = asyncio.get_running_loop(), URL(url, encoded=True)
    lines = [f"GET {target.raw_path_qs} HTTP/1.1", f"Host: {target.authority}"]
    lines += [f"Range: bytes={span}"] if span is not None else []
    head, body, ending = b"", b"", None
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, (target.host, target.port))
        await loop.sock_sendall(connection, "\r\n".join([*lines, "", ""]).encode())
        received = b""
        try:
            while True:
                head, end, body = received.partition(b"\r\n\r\n")
                count = len(body) if end else -1
                may_be_quiet = quiet_after is not None and count >= quiet_after
                async with asyncio.timeout(QUIET_SECONDS if may_be_quiet else None):
                    chunk = await loop.sock_recv(connection, 1 << 16)
                if not chunk:
                    break
                received += chunk
        except (OSError, TimeoutError) as error:
            ending = error
    return head, body, ending


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize("at", [0, 100], ids=["at once", "in the middle"])
@pytest.mark.parametrize(
    ("fault", "ending"),
    [(Reset, ConnectionResetError), (Stall, TimeoutError), (ShortBody, type(None))],
)
async def test_a_broken_body_ends_where_it_is_told_and_in_the_way_it_is_told(
    hub: FakeHub,
    client: aiohttp.ClientSession,
    fault: Callable[[int], Fault],
    ending: type[Exception],
    at: int,
) -> None:
    url = await signed(client, hub)
    hub.script(fault(at))
    head, body, how = await watch(
        url, "1000-1499", quiet_after=at if ending is TimeoutError else None
    )
    assert head.startswith(b"HTTP/1.1 206 ")
    assert b"Content-Length: 500" in head, "more is promised than comes"
    assert body == CONTENT.read(1000, 1000 + at)
    assert type(how) is ending
    record = hub.log[-1]
    assert (record.sent, record.is_finished) == (at, False)
    assert sum(stop - start for start, stop in record.spans) == at


@pytest.mark.usefixtures("commit")
async def test_a_library_sees_a_short_body_as_an_error(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.script(ShortBody(10))
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(client, url)


PAGE = HtmlPage().apply(Reply(206)).body
TOO_MANY = b"Too Many Requests"
ANSWERS: list[tuple[Fault, int, dict[str, str | None], bytes]] = [
    (Status(500, b"oops"), 500, {"Content-Length": "4"}, b"oops"),
    (Status(503, headers={"Retry-After": "7"}), 503, {"Retry-After": "7"}, b""),
    (HtmlPage(), 200, {"Content-Type": "text/html; charset=utf-8"}, PAGE),
    (HtmlPage(206), 206, {"Content-Range": None}, PAGE),
    (RateLimited(retry_after=3), 429, {"Retry-After": "3", "RateLimit": None}, TOO_MANY),
    (
        RateLimited("Tue, 14 Nov 2023 22:13:50 GMT"),
        429,
        {"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"},
        TOO_MANY,
    ),
    (
        RateLimited(retry_after=None, reset=9),
        429,
        {"Retry-After": None, "RateLimit": '"resolvers";r=0;t=9'},
        TOO_MANY,
    ),
    (
        RateLimited(retry_after=2, reset=9),
        429,
        {"Retry-After": "2", "RateLimit": '"resolvers";r=0;t=9'},
        TOO_MANY,
    ),
    (ShiftedRange(50), 206, {"Content-Range": f"bytes 1050-1549/{SIZE}"}, CONTENT.read(1050, 1550)),
    (ShiftedRange(-9), 206, {"Content-Range": f"bytes 991-1490/{SIZE}"}, CONTENT.read(991, 1491)),
    (
        IgnoreRange(),
        200,
        {"Content-Range": None, "Content-Length": str(SIZE)},
        CONTENT.read(0, SIZE),
    ),
    (
        IgnoreRange(chunked=True),
        200,
        {"Content-Range": None, "Content-Length": None, "Transfer-Encoding": "chunked"},
        CONTENT.read(0, SIZE),
    ),
    (
        WrongBytes(at=3, count=2),
        206,
        {"Content-Range": f"bytes 1000-1499/{SIZE}", "Content-Length": "500"},
        CONTENT.read(1000, 1003)
        + bytes(byte ^ 0xFF for byte in CONTENT.read(1003, 1005))
        + CONTENT.read(1005, 1500),
    ),
    (WrongTotal(5), 206, {"Content-Range": "bytes 1000-1499/5"}, CONTENT.read(1000, 1500)),
    (WrongTotal(None), 206, {"Content-Range": "bytes 1000-1499/*"}, CONTENT.read(1000, 1500)),
    (Encoded(), 206, {"Content-Encoding": "gzip"}, CONTENT.read(1000, 1500)),
    (Encoded("br"), 206, {"Content-Encoding": "br"}, CONTENT.read(1000, 1500)),
    (ChangedETag(), 206, {"ETag": '"changed"'}, CONTENT.read(1000, 1500)),
    (ChangedETag('W/"x"'), 206, {"ETag": 'W/"x"'}, CONTENT.read(1000, 1500)),
]  # fmt: skip


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"), ANSWERS, ids=[repr(answer[0]) for answer in ANSWERS]
)
async def test_a_wrong_answer_is_exactly_the_one_that_was_scripted(
    hub: FakeHub,
    client: aiohttp.ClientSession,
    fault: Fault,
    status: int,
    headers: dict[str, str | None],
    body: bytes,
) -> None:
    url = await signed(client, hub)
    hub.script(fault)
    answer = await ask(client, url, Range="bytes=1000-1499")
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in headers} == headers
    assert answer.body == body
    assert hub.log[-1].status == status
    after = await ask(client, url, Range="bytes=1000-1499")
    assert (after.status, after.body) == (206, CONTENT.read(1000, 1500)), "once, and no more"


@pytest.mark.usefixtures("commit")
async def test_a_shifted_range_stays_inside_the_file(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.script(ShiftedRange(SIZE))
    hub.script(ShiftedRange(-SIZE))
    late = await ask(client, url, Range="bytes=0-99")
    early = await ask(client, url, Range="bytes=100-199")
    assert late.headers["Content-Range"] == f"bytes {SIZE - 1}-{SIZE - 1}/{SIZE}"
    assert late.body == CONTENT.read(SIZE - 1, SIZE)
    assert early.headers["Content-Range"].startswith("bytes 0-")
    assert len(early.body) == int(early.headers["Content-Length"])


@pytest.mark.usefixtures("commit")
async def test_a_delay_is_silence_before_the_right_answer(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.script(Delay(0.001))
    answer = await ask(client, url)
    assert answer.body == CONTENT.read(0, SIZE)
    hub.script(Delay(3600))
    head, body, ending = await watch(url, quiet_after=-1)
    assert (head, body) == (b"", b"")
    assert isinstance(ending, TimeoutError)


# The script ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("commit")
async def test_a_rule_counts_only_what_fits_and_passes_what_it_skips(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.script(Status(500), skip=1, times=2, when=lambda r: r.asked is not None and r.asked[0] == 0)
    answers = [
        (await ask(client, url, Range=f"bytes={start}-9")).status for start in (0, 1, 0, 1, 0, 0)
    ]
    assert answers == [206, 206, 500, 206, 500, 206]


@pytest.mark.usefixtures("commit")
async def test_a_rule_without_a_number_lasts_until_the_script_is_torn_up(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.script(Status(500), times=None)
    assert {(await ask(client, url)).status for _ in range(5)} == {500}
    hub.unscript()
    assert (await ask(client, url)).status == 200


@pytest.mark.usefixtures("commit")
async def test_the_first_rule_that_fits_counts_and_the_next_follows_when_it_is_used_up(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.script(Status(500))
    hub.script(Status(502), times=2)
    assert [(await ask(client, url)).status for _ in range(4)] == [500, 502, 502, 200]


async def test_a_rule_is_for_one_server_and_for_the_files_it_names(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {"a.gguf": b"a", "b.gguf": b"b", NOTE: NOTE_TEXT})
    base = f"{hub.endpoint}/{REPO}/resolve/main"
    info = f"{hub.endpoint}/api/models/{REPO}"
    url = await signed(client, hub, "a.gguf")
    hub.script(Status(500), on="cdn", path="b.*", times=None)
    hub.script(Status(502), on="resolve", path="b.*", times=None)
    hub.script(Status(503), on="api", path="/api/models/*/tree/*", times=None)
    assert (await ask(client, url)).status == 200
    assert (await ask(client, f"{base}/a.gguf")).status == 302
    assert (await ask(client, f"{base}/b.gguf")).status == 502
    assert (await ask(client, f"{info}/revision/main")).status == 200
    assert (await ask(client, f"{info}/tree/main")).status == 503


@pytest.mark.usefixtures("commit")
async def test_a_plain_file_is_served_by_the_hub_so_its_faults_are_those_of_the_redirect(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.script(Status(500), on="cdn", times=None)
    hub.script(Status(502), on="resolve", skip=1)
    first = await ask(client, f"{hub.endpoint}/{REPO}/resolve/main/{NOTE}")
    assert first.status == 307
    second = await ask(client, hub.endpoint + first.headers["Location"])
    assert second.status == 502


# Signed URLs --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("commit")
async def test_a_signed_url_is_good_byte_for_byte_and_only_so(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    assert (await ask(client, url)).status == 200
    spellings = {
        "as yarl rebuilds it": str(URL(url)),
        "percent signs doubled": url.replace("%27", "%2527"),
        "hex in upper case": url.replace("%3b", "%3B"),
        "a tilde for its escape": url.replace("%7e", "~"),
        "a space for its plus": url.replace("+", "%20"),
        "one parameter more": url + "&x=1",
        "no query": url.partition("?")[0],
    }
    for how, spelling in spellings.items():
        assert spelling != url, how
        answer = await ask(client, spelling)
        assert answer.status == 403, how
        assert b"<Code>SignatureDoesNotMatch</Code>" in answer.body, how
        assert answer.headers["Content-Type"] == "application/xml"


@pytest.mark.usefixtures("commit")
async def test_urls_that_were_given_expire_and_later_ones_are_good(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    old = await signed(client, hub)
    hub.expire_urls()
    new = await signed(client, hub)
    refusal = await ask(client, old)
    assert refusal.status == 403
    assert b"Request has expired" in refusal.body
    assert new != old
    assert (await ask(client, new)).status == 200


@pytest.mark.usefixtures("commit")
async def test_the_lifetime_of_a_url_is_in_it_and_holds(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.url_lifetime = 77
    lasting = await signed(client, hub)
    assert "X-Amz-Expires=77&" in lasting
    hub.url_lifetime = -1
    assert (await ask(client, await signed(client, hub))).status == 403
    assert (await ask(client, lasting)).status == 200


async def test_the_clock_by_which_urls_expire_may_be_moved(client: aiohttp.ClientSession) -> None:
    clock = ManualClock(time=0.0)
    async with FakeHub(clock=clock.time) as hub:
        hub.add(REPO, {FILE: CONTENT})
        hub.url_lifetime = 60
        url = await signed(client, hub)
        assert "&X-Amz-Date=19700101T000000Z&" in url
        clock.advance(59)
        assert (await ask(client, url)).status == 200
        clock.advance(1)
        assert b"Request has expired" in (await ask(client, url)).body
        url = await signed(client, hub)
        clock.set_time(0)
        assert (await ask(client, url)).status == 200
        hub.expire_urls()
        assert (await ask(client, url)).status == 403


# Ranges -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize(
    ("span", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("1000-1499", 1000, 1500),
        ("9000-", 9000, SIZE),
        ("-7", SIZE - 7, SIZE),
        ("-99999", 0, SIZE),
        (f"{SIZE - 1}-99999", SIZE - 1, SIZE),
        (f"0-{SIZE - 1}", 0, SIZE),
    ],
)
async def test_a_range_inside_the_file_is_a_206_that_says_what_it_is(
    hub: FakeHub, client: aiohttp.ClientSession, span: str, start: int, stop: int
) -> None:
    url = await signed(client, hub)
    answer = await ask(client, url, Range=f"bytes={span}")
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.body == CONTENT.read(start, stop)
    assert hub.log[-1].spans == [(start, stop)]


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize("span", [f"{SIZE}-", f"{SIZE}-{SIZE}", "99999-100000", "-0"])
async def test_a_range_with_no_byte_of_the_file_is_a_416_with_its_size(
    hub: FakeHub, client: aiohttp.ClientSession, span: str
) -> None:
    url = await signed(client, hub)
    answer = await ask(client, url, Range=f"bytes={span}")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert answer.body == b""


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize(
    ("span", "asked"),
    [
        ("0-0", (0, 1)),
        ("9000-", (9000, SIZE)),
        ("-7", (SIZE - 7, SIZE)),
        ("9000-99999", (9000, 100_000)),
        ("99999-", (99_999, 99_999)),
    ],
)
async def test_the_log_tells_the_asked_range_half_open_on_both_servers(
    hub: FakeHub, client: aiohttp.ClientSession, span: str, asked: tuple[int, int]
) -> None:
    url = await signed(client, hub)
    await ask(client, url, Range=f"bytes={span}")
    await ask(client, f"{hub.endpoint}/{REPO}/resolve/main/{FILE}", Range=f"bytes={span}")
    assert [(record.server, record.asked) for record in hub.log[-2:]] == [
        ("cdn", asked), ("hub", asked),
    ]  # fmt: skip


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize("field", [None, "bytes=9-3", "bytes=0-1,5-6", "bytes=x-", "lines=0-4"])
async def test_without_a_range_that_it_understands_the_cdn_sends_the_whole(
    hub: FakeHub, client: aiohttp.ClientSession, field: str | None
) -> None:
    url = await signed(client, hub)
    answer = await ask(client, url, **({} if field is None else {"Range": field}))
    assert answer.status == 200
    assert "Content-Range" not in answer.headers
    assert answer.body == CONTENT.read(0, SIZE)
    assert hub.log[-1].asked is None


@pytest.mark.usefixtures("commit")
async def test_if_range_gives_the_range_for_the_same_validator_and_the_whole_for_another(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    etag = (await ask(client, url, method="HEAD")).headers["ETag"]
    same = await ask(client, url, Range="bytes=0-9", If_Range=etag)
    other = await ask(client, url, Range="bytes=0-9", If_Range=f'"{CONTENT.sha256}"')
    past_the_end = await ask(client, url, Range="bytes=99999-", If_Range='"other"')
    assert (same.status, len(same.body)) == (206, 10)
    assert (other.status, len(other.body)) == (200, SIZE)
    assert past_the_end.status == 200


@pytest.mark.usefixtures("commit")
async def test_the_cdn_has_a_tag_of_its_own_that_looks_like_the_hash_and_is_not(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    answer = await ask(client, await signed(client, hub), method="HEAD")
    etag = answer.headers["ETag"].strip('"')
    assert len(etag) == 64
    assert int(etag, 16) >= 0
    assert etag != CONTENT.sha256
    assert (answer.body, answer.headers["Content-Length"]) == (b"", str(SIZE))


async def test_an_empty_file_is_served_as_such(hub: FakeHub, client: aiohttp.ClientSession) -> None:
    hub.add(REPO, {FILE: b""})
    url = await signed(client, hub)
    assert (await ask(client, url)).body == b""
    assert (await ask(client, url, Range="bytes=0-")).status == 416


# What the Hub's own routes answer -----------------------------------------------------------------


async def test_a_large_file_is_a_302_to_another_origin_that_describes_the_file(
    hub: FakeHub, client: aiohttp.ClientSession, commit: str
) -> None:
    answer = await ask(client, f"{hub.endpoint}/{REPO}/resolve/main/{FILE}")
    assert answer.status == 302
    assert answer.headers["Location"].startswith(hub.cdn_url + "/")
    assert URL(hub.cdn_url).port != URL(hub.endpoint).port
    assert answer.headers["X-Repo-Commit"] == commit
    assert answer.headers["X-Linked-Size"] == str(SIZE)
    assert answer.headers["X-Linked-ETag"] == f'"{CONTENT.sha256}"'
    assert answer.headers["Content-Length"] == str(len(answer.body)) != str(SIZE)


async def test_a_plain_file_is_a_relative_307_whose_query_belongs_to_it(
    hub: FakeHub, client: aiohttp.ClientSession, commit: str
) -> None:
    answer = await ask(client, f"{hub.endpoint}/{REPO}/resolve/main/{NOTE}")
    location = answer.headers["Location"]
    assert answer.status == 307
    assert location.startswith(f"/api/resolve-cache/models/{REPO}/{commit}/{NOTE}?")
    assert "X-Linked-Size" not in answer.headers
    assert "X-Linked-ETag" not in answer.headers
    final = await ask(client, hub.endpoint + location)
    assert final.status == 200
    assert final.body == NOTE_TEXT.encode()
    assert final.headers["ETag"] == answer.headers["ETag"]
    assert final.headers["X-Repo-Commit"] == commit


async def test_names_with_spaces_and_folders_lead_to_their_files(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {"a folder/ä %.gguf": b"large", "a folder/ä %.txt": b"plain"})
    base = f"{hub.endpoint}/{REPO}/resolve/main/a%20folder/%C3%A4%20%25"
    large = await ask(client, f"{base}.gguf")
    assert (await ask(client, large.headers["Location"])).body == b"large"
    plain = await ask(client, f"{base}.txt")
    assert (await ask(client, hub.endpoint + plain.headers["Location"])).body == b"plain"


async def test_a_branch_a_pull_request_and_a_commit_all_name_a_revision(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    first = hub.add(REPO, {FILE: b"first"})
    second = hub.add(REPO, {FILE: b"second"})
    third = hub.add(REPO, {FILE: b"third"}, branch="refs/pr/1")
    assert len({first, second, third}) == 3
    for revision, wanted in [
        ("main", second), (first, first), ("refs%2Fpr%2F1", third), (third, third),
    ]:  # fmt: skip
        answer = await ask(client, f"{hub.endpoint}/api/models/{REPO}/revision/{revision}")
        assert f'"sha": "{wanted}"'.encode() in answer.body
        answer = await ask(client, f"{hub.endpoint}/{REPO}/resolve/{revision}/{FILE}")
        assert answer.headers["X-Repo-Commit"] == wanted


async def test_every_answer_of_the_hub_has_an_id_and_says_how_much_is_left(
    hub: FakeHub, client: aiohttp.ClientSession, commit: str
) -> None:
    resolved = await ask(client, f"{hub.endpoint}/{REPO}/resolve/{commit}/{FILE}")
    listed = await ask(client, f"{hub.endpoint}/api/models/{REPO}/revision/{commit}")
    unknown = await ask(client, f"{hub.endpoint}/no/such/route")
    assert len({a.headers["X-Request-Id"] for a in (resolved, listed, unknown)}) == 3
    assert resolved.headers["RateLimit"].startswith('"resolvers";r=')
    assert listed.headers["RateLimit"].startswith('"api";r=')


async def test_every_answer_of_the_cdn_has_an_id_too(
    hub: FakeHub, client: aiohttp.ClientSession, commit: str
) -> None:
    del commit
    url = await signed(client, hub)
    answers = [await ask(client, url), await ask(client, url + "x")]
    hub.script(Status(500))
    answers.append(await ask(client, url))
    assert [answer.status for answer in answers] == [200, 403, 500]
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 3


async def test_a_page_of_the_tree_is_as_long_as_asked_and_no_longer_than_allowed(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {f"{number}.txt": b"x" for number in range(120)})
    tree = f"{hub.endpoint}/api/models/{REPO}/tree/main"

    async def lengths(url: str | None) -> list[int]:
        found = []
        while url is not None:
            answer = await ask(client, url)
            found.append(len(json.loads(answer.body)))
            link = answer.headers.get("Link")
            url = link and link.removeprefix("<").removesuffix('>; rel="next"')
        return found

    assert await lengths(tree) == [120]
    assert await lengths(f"{tree}?limit=7") == [7] * 17 + [1]
    assert await lengths(f"{tree}?expand=true&recursive=1") == [50, 50, 20]
    hub.page_size = 60
    assert await lengths(f"{tree}?limit=100") == [60, 60]
    assert (await ask(client, f"{tree}?limit=many")).status == 400


async def test_paths_may_be_asked_about_in_json_too(
    hub: FakeHub, client: aiohttp.ClientSession, commit: str
) -> None:
    url = f"{hub.endpoint}/api/models/{REPO}/paths-info/{commit}"
    async with client.post(url, json={"paths": [FILE, "nothing"], "expand": True}) as response:
        (found,) = await response.json()
    assert (found["path"], found["lfs"]["oid"]) == (FILE, CONTENT.sha256)
    assert found["lastCommit"]["id"] == commit
    assert "xetHash" not in found
    hub.announces_xet = True
    async with client.post(url, json={"paths": [FILE, NOTE]}) as response:
        large, plain = await response.json()
    assert len(large["xetHash"]) == 64
    assert "xetHash" not in plain
    assert (await ask(client, url)).status == 404, "it is a POST"


@pytest.mark.usefixtures("commit")
async def test_a_mirror_may_leave_sizes_and_hashes_out_of_the_info_answer(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = f"{hub.endpoint}/api/models/{REPO}/revision/main"
    assert CONTENT.sha256.encode() in (await ask(client, f"{url}?blobs=true")).body
    assert CONTENT.sha256.encode() not in (await ask(client, url)).body
    assert CONTENT.sha256.encode() not in (await ask(client, f"{url}?blobs=false")).body
    hub.lists_sizes = False
    assert CONTENT.sha256.encode() not in (await ask(client, f"{url}?blobs=true")).body


# Refusals -----------------------------------------------------------------------------------------

UNLISTED, LISTED = "hf_unlisted", "hf_listed"
BAD_TOKEN = "Invalid credentials in Authorization header"
UNKNOWN = "Invalid username or password."


@pytest.fixture
def refusing(hub: FakeHub) -> FakeHub:
    """A repository of each kind that refuses, and one valid token that is let in nowhere."""
    files: dict[str, Content | str] = {FILE: CONTENT, NOTE: NOTE_TEXT}
    hub.tokens.add(UNLISTED)
    hub.add("acme/open", files)
    hub.add("acme/gated", files, gated=True, allowed=[LISTED])
    hub.add("acme/private", files, private=True, allowed=[LISTED])
    hub.add("acme/shut", files, disabled=True)
    return hub


# status, X-Error-Code, X-Error-Message (`None` for "whatever it says"); for the info route and for
# a file.
Shape = tuple[int, str | None, str | None]
FINE: Shape = (200, None, None)
FOUND: Shape = (302, None, None)
REFUSALS: list[tuple[str, str | None, Shape, Shape]] = [
    ("acme/none", None, (401, "RepoNotFound", UNKNOWN), (401, "RepoNotFound", UNKNOWN)),
    ("acme/none", UNLISTED, (404, "RepoNotFound", None), (404, "RepoNotFound", None)),
    ("acme/none", "hf_bad", (401, None, BAD_TOKEN), (401, None, BAD_TOKEN)),
    ("acme/open", "hf_bad", (401, None, BAD_TOKEN), (401, None, BAD_TOKEN)),
    ("acme/open", UNLISTED, FINE, FOUND),
    ("acme/gated", None, FINE, (401, "GatedRepo", None)),
    ("acme/gated", UNLISTED, FINE, (403, "GatedRepo", None)),
    ("acme/gated", LISTED, FINE, FOUND),
    ("acme/private", None, (401, "RepoNotFound", UNKNOWN), (401, "RepoNotFound", UNKNOWN)),
    ("acme/private", UNLISTED, (404, "RepoNotFound", None), (404, "RepoNotFound", None)),
    ("acme/private", LISTED, FINE, FOUND),
    (
        "acme/shut",
        None,
        (403, None, "Access to this resource is disabled."),
        (403, None, "Access to this resource is disabled."),
    ),
]


@pytest.mark.parametrize(("repo", "token", "info", "file"), REFUSALS)
async def test_a_refusal_has_the_shape_of_the_real_one(
    refusing: FakeHub,
    client: aiohttp.ClientSession,
    repo: str,
    token: str | None,
    info: Shape,
    file: Shape,
) -> None:
    fields = {} if token is None else {"Authorization": f"Bearer {token}"}
    base = refusing.endpoint
    for url, (status, code, message) in [
        (f"{base}/api/models/{repo}/revision/main", info),
        (f"{base}/{repo}/resolve/main/{FILE}", file),
    ]:
        for method in ("GET", "HEAD"):
            answer = await ask(client, url, method=method, **fields)
            assert answer.status == status
            assert answer.headers.get("X-Error-Code") == code
            if message is not None:
                assert answer.headers["X-Error-Message"] == message
            assert ("X-Error-Message" in answer.headers) == (status >= 400)
            assert ("Location" in answer.headers) == (status == 302)


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/api/models/{REPO}/revision/nowhere", "RevisionNotFound"),
        (f"/api/models/{REPO}/tree/nowhere", "RevisionNotFound"),
        (f"/{REPO}/resolve/nowhere/{FILE}", "RevisionNotFound"),
        (f"/{REPO}/resolve/{'0' * 40}/{FILE}", "RevisionNotFound"),
        (f"/{REPO}/resolve/main/nothing.gguf", "EntryNotFound"),
    ],
)
async def test_what_a_repository_lacks_is_a_404_with_its_kind(
    hub: FakeHub, client: aiohttp.ClientSession, path: str, code: str
) -> None:
    answer = await ask(client, hub.endpoint + path)
    assert (answer.status, answer.headers["X-Error-Code"]) == (404, code)


async def test_a_gate_has_no_way_around_it(
    refusing: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = f"{refusing.endpoint}/acme/gated/resolve/main/{NOTE}"
    listed = {"Authorization": f"Bearer {LISTED}"}
    cached = refusing.endpoint + (await ask(client, url, **listed)).headers["Location"]
    assert (await ask(client, cached, **listed)).status == 200
    assert (await ask(client, cached)).headers["X-Error-Code"] == "GatedRepo"


# The log ------------------------------------------------------------------------------------------


async def test_the_log_tells_what_was_asked_and_what_was_sent(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {"a.gguf": CONTENT, "b.gguf": CONTENT})
    first, second = await signed(client, hub, "a.gguf"), await signed(client, hub, "b.gguf")
    hub.reset_log()
    await ask(client, first, Range="bytes=0-99")
    await ask(client, first, Range="bytes=50-149")
    await ask(client, first, Range="bytes=60-69")
    await ask(client, second)
    await ask(client, first, method="HEAD")
    assert hub.sent_bytes() == 100 + 100 + 10 + SIZE
    assert hub.sent_bytes("a.gguf") == 210
    assert hub.bytes_sent_twice("a.gguf") == 50 + 10
    assert hub.bytes_sent_twice("b.gguf") == 0
    assert [r.asked for r in hub.requests("cdn", "a.gguf")] == [
        (0, 100), (50, 150), (60, 70), None,
    ]  # fmt: skip
    assert [r.sequence for r in hub.log] == list(range(5))
    assert hub.requests("hub") == []
    assert all(r.is_finished and r.repo == REPO for r in hub.log)
    assert (hub.log[0].method, hub.log[-1].method, hub.log[-1].sent) == ("GET", "HEAD", 0)
    assert f"{hub.cdn_url}{hub.log[0].path}?{hub.log[0].query}" == first


@pytest.mark.usefixtures("commit")
async def test_the_log_tells_who_showed_a_token_and_where(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    hub.tokens.add(LISTED)
    url = f"{hub.endpoint}/{REPO}/resolve/main/{FILE}"
    await ask(client, url, Authorization=f"Bearer {LISTED}")
    await ask(client, url)
    assert [r.has_token for r in hub.log] == [True, False]
    assert [r.file for r in hub.requests("hub")] == [FILE, FILE]


@pytest.mark.usefixtures("commit")
async def test_the_log_tells_connections_apart(hub: FakeHub, client: aiohttp.ClientSession) -> None:
    url = await signed(client, hub)
    await ask(client, url)
    await ask(client, url)
    await watch(url, quiet_after=SIZE)
    peers = [record.peer for record in hub.requests("cdn")]
    assert peers[0] == peers[1] != peers[2], "two requests on one connection, then another one"


# Speed, threads, TLS ------------------------------------------------------------------------------


@pytest.mark.usefixtures("commit")
async def test_a_rate_lets_bytes_out_one_after_the_other(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    url = await signed(client, hub)
    hub.rate = 0.001  # a byte each quarter of an hour
    head, body, ending = await watch(url, quiet_after=1)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == CONTENT.read(0, 1)
    assert isinstance(ending, TimeoutError)
    assert hub.sent_bytes() == 1
    hub.rate = 1e9
    assert (await ask(client, url)).body == CONTENT.read(0, SIZE)
    hub.rate = None
    assert (await ask(client, url)).body == CONTENT.read(0, SIZE)


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize("faster", [None, 1e9])
async def test_a_rate_may_change_in_the_middle_of_an_answer(
    hub: FakeHub, client: aiohttp.ClientSession, faster: float | None
) -> None:
    url = await signed(client, hub)
    hub.rate = 0
    async with client.get(URL(url, encoded=True)) as response:
        assert await response.content.readexactly(1) == CONTENT.read(0, 1)
        assert hub.sent_bytes() == 1
        hub.rate = faster
        assert await response.read() == CONTENT.read(1, SIZE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what has not arrived yet")
async def test_all_that_comes_before_a_reset_arrives(
    hub: FakeHub, client: aiohttp.ClientSession
) -> None:
    content, at = PositionCoded(64 << 20), 3_000_001
    hub.add(REPO, {FILE: content})
    url = await signed(client, hub)
    hub.script(Reset(at))
    _, body, ending = await watch(url)
    assert isinstance(ending, ConnectionResetError)
    assert body == content.read(0, at), "though a reset discards what the kernel still holds"


def opened(url: str, context: ssl.SSLContext | None = None) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        return bytes(response.read())


def test_in_a_thread_it_serves_programs_without_a_loop_and_ends_with_the_block() -> None:
    with FakeHub.in_thread(tokens=[LISTED]) as hub:
        hub.add(REPO, {FILE: CONTENT, NOTE: NOTE_TEXT})
        for name, content in ((FILE, CONTENT.read(0, SIZE)), (NOTE, NOTE_TEXT.encode())):
            assert opened(f"{hub.endpoint}/{REPO}/resolve/main/{name}") == content
        with pytest.raises(HTTPError) as refused:
            opened(f"{hub.endpoint}/{REPO}/resolve/main/nothing")
        refused.value.close()
        assert refused.value.code == 404
        assert hub.tokens == {LISTED}
        assert hub.sent_bytes(FILE) == SIZE
    for url in (hub.endpoint, hub.cdn_url):
        with pytest.raises(URLError) as closed:
            opened(url)
        assert isinstance(closed.value.reason, ConnectionRefusedError)


def test_a_block_that_fails_ends_the_thread_too() -> None:
    with pytest.raises(ZeroDivisionError), FakeHub.in_thread() as hub:
        raise ZeroDivisionError
    with pytest.raises(URLError):
        opened(hub.endpoint)


async def test_stopping_does_not_wait_for_clients_that_are_being_served(
    hub: FakeHub, client: aiohttp.ClientSession, commit: str
) -> None:
    del commit
    url = await signed(client, hub)
    hub.script(Stall(5))
    async with client.get(URL(url, encoded=True)) as response:
        assert await response.content.readexactly(5) == CONTENT.read(0, 5)
        await hub.stop()
        with pytest.raises(aiohttp.ClientError):
            await response.content.readexactly(1)


def test_both_servers_speak_tls_with_the_certificate_that_was_given() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusting = ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    with FakeHub.in_thread(ssl_context=server) as hub:
        hub.add(REPO, {FILE: CONTENT})
        assert hub.endpoint.startswith("https://127.0.0.1:")
        assert hub.cdn_url.startswith("https://127.0.0.1:")
        url = f"{hub.endpoint}/{REPO}/resolve/main/{FILE}"
        assert opened(url, trusting) == CONTENT.read(0, SIZE)
        with pytest.raises(URLError) as refused:
            opened(url, ssl.create_default_context())
        assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)


# The official client ------------------------------------------------------------------------------

MODEL = build_gguf(size_bytes=3 << 20)
FILES: dict[str, Content | bytes] = {
    "config.json": b"{}",
    "empty.txt": b"",
    "folder/note.txt": NOTE_TEXT.encode(),
    "folder/deeper/plain.md": b"x" * 70_000,
    "tiny-Q4_K_M.gguf": MODEL,
    "tiny-Q8_0/tiny-Q8_0-00001-of-00002.gguf": build_gguf(split=(0, 2)),
    "tiny-Q8_0/tiny-Q8_0-00002-of-00002.gguf": build_gguf(split=(1, 2), seed=1),
}


def as_bytes(value: Content | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.read(0, value.size)


@pytest.fixture
def official(hub: FakeHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


async def test_the_official_client_reads_the_info_answer(hub: FakeHub, official: HfApi) -> None:
    commit = hub.add(REPO, FILES)
    info = await asyncio.to_thread(official.model_info, REPO, files_metadata=True)
    assert (info.id, info.sha, info.private, info.gated) == (REPO, commit, False, False)
    assert info.siblings is not None
    found = {sibling.rfilename: sibling for sibling in info.siblings}
    assert found.keys() == FILES.keys()
    assert {name: item.size for name, item in found.items()} == {
        name: len(as_bytes(value)) for name, value in FILES.items()
    }
    lfs = found["tiny-Q4_K_M.gguf"].lfs
    assert lfs is not None
    assert (lfs.sha256, lfs.size) == (MODEL.sha256, MODEL.size)
    assert found["config.json"].lfs is None
    assert all(item.blob_id is not None for item in found.values())


async def test_the_official_client_reads_the_tree_over_several_pages(
    hub: FakeHub, official: HfApi
) -> None:
    hub.page_size = 3
    hub.add(REPO, FILES)

    def listing() -> list[Any]:
        return list(official.list_repo_tree(REPO, recursive=True))

    entries = await asyncio.to_thread(listing)
    assert {e.path for e in entries if isinstance(e, RepoFolder)} == {
        "folder", "folder/deeper", "tiny-Q8_0",
    }  # fmt: skip
    assert [entry.path for entry in entries if isinstance(entry, RepoFile)] == list(FILES)
    large = next(entry for entry in entries if entry.path == "tiny-Q4_K_M.gguf")
    assert (large.lfs.sha256, large.size) == (MODEL.sha256, MODEL.size)
    pages = [r for r in hub.requests("hub") if "/tree/" in r.path]
    assert len(pages) == 4, "ten entries, three on a page"
    assert all("recursive=" in page.query for page in pages), "the next link keeps the query"


async def test_the_official_client_lists_one_folder_and_what_is_known_of_it(
    hub: FakeHub, official: HfApi
) -> None:
    commit = hub.add(REPO, FILES)

    def listing(folder: str | None, **options: Any) -> list[Any]:
        return list(official.list_repo_tree(REPO, folder, **options))

    top = await asyncio.to_thread(listing, None)
    assert [entry.path for entry in top] == [
        "config.json", "empty.txt", "folder", "tiny-Q4_K_M.gguf", "tiny-Q8_0",
    ]  # fmt: skip
    inside = await asyncio.to_thread(listing, "folder", recursive=True, expand=True)
    assert [entry.path for entry in inside] == [
        "folder/note.txt", "folder/deeper", "folder/deeper/plain.md",
    ]  # fmt: skip
    assert {entry.last_commit.oid for entry in inside} == {commit}
    with pytest.raises(EntryNotFoundError):
        await asyncio.to_thread(listing, "nowhere")


async def test_the_official_client_asks_about_single_paths(hub: FakeHub, official: HfApi) -> None:
    commit = hub.add(REPO, FILES)
    paths = ["tiny-Q4_K_M.gguf", "nothing", "folder", "config.json"]
    large, folder, plain = await asyncio.to_thread(official.get_paths_info, REPO, paths)
    assert isinstance(large, RepoFile)
    assert large.lfs is not None
    assert (large.path, large.lfs.sha256, large.last_commit) == (paths[0], MODEL.sha256, None)
    assert isinstance(folder, RepoFolder)
    assert isinstance(plain, RepoFile)
    assert (plain.path, plain.size, plain.lfs) == ("config.json", 2, None)
    (known,) = await asyncio.to_thread(official.get_paths_info, REPO, "config.json", expand=True)
    assert known.last_commit is not None
    assert known.last_commit.oid == commit
    with pytest.raises(RevisionNotFoundError):
        await asyncio.to_thread(official.get_paths_info, REPO, paths, revision="nowhere")


async def test_the_official_client_lists_branches_and_names(hub: FakeHub, official: HfApi) -> None:
    commit = hub.add(REPO, FILES)
    other = hub.add(REPO, FILES, branch="dev")
    hub.add("else/where", FILES)
    refs = await asyncio.to_thread(official.list_repo_refs, REPO)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": commit, "dev": other}
    assert refs.pull_requests is None
    proposed = hub.add(REPO, FILES, branch="refs/pr/1")
    refs = await asyncio.to_thread(official.list_repo_refs, REPO, include_pull_requests=True)
    assert refs.pull_requests is not None
    assert {ref.ref: ref.target_commit for ref in refs.pull_requests} == {"refs/pr/1": proposed}

    def search() -> list[str]:
        return [model.id for model in official.list_models(search="tiny", author="acme")]

    assert await asyncio.to_thread(search) == [REPO]


async def test_the_official_client_finds_models_by_tag_and_sees_no_private_ones(
    hub: FakeHub, official: HfApi
) -> None:
    hub.page_size = 2
    names = [f"acme/model-{number}" for number in range(5)]
    for name in names:
        hub.add(name, {FILE: b"large"})
    hub.add("acme/plain", {NOTE: NOTE_TEXT})
    hub.add("acme/secret", {FILE: b"large"}, private=True, allowed=[LISTED])

    def found(**query: Any) -> list[str]:
        return [model.id for model in official.list_models(**query)]

    assert await asyncio.to_thread(found, filter="gguf") == names
    assert await asyncio.to_thread(found, filter="gguf", limit=3) == names[:3]
    assert await asyncio.to_thread(found, filter=["gguf", "safetensors"]) == []
    assert await asyncio.to_thread(found, author="acme") == [*names, "acme/plain"]
    assert "acme/secret" in await asyncio.to_thread(found, filter="gguf", token=LISTED)


async def test_the_official_client_learns_who_it_is(hub: FakeHub, official: HfApi) -> None:
    hub.tokens.add(LISTED)
    assert (await asyncio.to_thread(official.whoami, token=LISTED))["name"] == "tester"
    with pytest.raises(HfHubHTTPError):
        await asyncio.to_thread(official.whoami, token="hf_bad")


async def test_the_official_client_is_led_to_xet_where_that_is_announced(hub: FakeHub) -> None:
    hub.add(REPO, {FILE: CONTENT, NOTE: NOTE_TEXT})

    def metadata(file: str) -> Any:
        url = hf_hub_url(REPO, file, endpoint=hub.endpoint)
        return get_hf_file_metadata(url, token=False, endpoint=hub.endpoint)

    assert (await asyncio.to_thread(metadata, FILE)).xet_file_data is None
    hub.announces_xet = True
    announced = await asyncio.to_thread(metadata, FILE)
    assert announced.etag == CONTENT.sha256
    assert announced.xet_file_data.file_hash not in ("", CONTENT.sha256)
    assert announced.xet_file_data.refresh_route.startswith(hub.endpoint)
    assert (await asyncio.to_thread(metadata, NOTE)).xet_file_data is None


@pytest.mark.parametrize("name", FILES)
async def test_the_official_client_downloads_each_file_byte_for_byte(
    hub: FakeHub, tmp_path: Path, name: str
) -> None:
    commit = hub.add(REPO, FILES)
    path = await asyncio.to_thread(
        hf_hub_download, REPO, name, cache_dir=tmp_path, endpoint=hub.endpoint, token=False
    )
    assert Path(path).read_bytes() == as_bytes(FILES[name])
    assert Path(path) == tmp_path / "models--acme--tiny-GGUF" / "snapshots" / commit / name
    assert Path(path).resolve().name == hub.repos[REPO].commits[commit][name].etag
    assert hub.sent_bytes(name) == (len(as_bytes(FILES[name])) if name.endswith(".gguf") else 0)


async def test_the_official_client_downloads_a_snapshot_over_several_pages(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.page_size = 3
    hub.add(REPO, FILES, branch="refs/pr/1")
    folder = Path(
        await asyncio.to_thread(
            snapshot_download,
            REPO,
            revision="refs/pr/1",
            cache_dir=tmp_path,
            endpoint=hub.endpoint,
            token=False,
        )
    )
    got = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert got == {name: as_bytes(value) for name, value in FILES.items()}


async def test_the_official_client_shows_its_token_to_the_hub_and_not_to_the_cdn(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.add(REPO, {FILE: CONTENT}, gated=True, allowed=[LISTED])
    path = await asyncio.to_thread(
        hf_hub_download, REPO, FILE, cache_dir=tmp_path, endpoint=hub.endpoint, token=LISTED
    )
    assert Path(path).read_bytes() == CONTENT.read(0, SIZE)
    assert {record.has_token for record in hub.requests("hub")} == {True}
    assert {record.has_token for record in hub.requests("cdn")} == {False}


@pytest.mark.parametrize(
    ("repo", "token", "error"),
    [
        ("acme/none", False, RepositoryNotFoundError),
        ("acme/none", UNLISTED, RepositoryNotFoundError),
        ("acme/private", UNLISTED, RepositoryNotFoundError),
        ("acme/gated", False, GatedRepoError),
        ("acme/gated", UNLISTED, GatedRepoError),
        ("acme/shut", False, DisabledRepoError),
    ],
)
async def test_the_official_client_raises_its_typed_error_for_a_file(
    refusing: FakeHub, repo: str, token: str | bool, error: type[Exception]
) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        url = hf_hub_url(repo, FILE, endpoint=refusing.endpoint)
        await asyncio.to_thread(get_hf_file_metadata, url, token=token, endpoint=refusing.endpoint)
    assert type(caught.value) is error
    assert caught.value.request_id is not None


async def test_the_official_client_tells_a_wrong_token_from_a_missing_repository(
    refusing: FakeHub,
) -> None:
    api = HfApi(endpoint=refusing.endpoint, token="hf_bad")
    with pytest.raises(HfHubHTTPError) as caught:
        await asyncio.to_thread(api.model_info, "acme/open")
    assert type(caught.value) is HfHubHTTPError
    assert caught.value.response.status_code == 401
    assert "Invalid credentials" in str(caught.value)


@pytest.mark.parametrize(
    ("repo", "revision", "file", "error"),
    [
        ("acme/none", "main", FILE, RepositoryNotFoundError),
        ("acme/open", "nowhere", FILE, RevisionNotFoundError),
        ("acme/open", "main", "nothing.gguf", EntryNotFoundError),
        ("acme/gated", "main", FILE, GatedRepoError),
    ],
)
async def test_the_official_download_raises_its_typed_error(
    refusing: FakeHub,
    tmp_path: Path,
    repo: str,
    revision: str,
    file: str,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        await asyncio.to_thread(
            hf_hub_download,
            repo,
            file,
            revision=revision,
            cache_dir=tmp_path,
            endpoint=refusing.endpoint,
            token=False,
        )
