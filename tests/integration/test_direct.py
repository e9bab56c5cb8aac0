"""Metadata without huggingface_hub's library: what comes over the socket, and who asks."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from modelfetch import Config, InvalidToken, direct
from modelfetch.direct import FAILURES, Answer, Direct
from modelfetch.http1 import Malformed
from modelfetch.hubtoken import _needs_library, find_token
from modelfetch.testing import FakeHub

BODY = b'{"sha": "' + bytes(range(0x30, 0x3A)) * 5000 + b'"}'
PACKED = gzip.compress(BODY)


def ok(body: bytes, *fields: str, length: int | None = None) -> bytes:
    fields = (f"Content-Length: {len(body) if length is None else length}", *fields)
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


class Server:
    """Says what it was given, an answer for each request, over as few connections as it can.

    After an answer that ends in `GONE` it leaves without a word.
    """

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api/x?blobs=true"
        self.connections, self.heads = 0, list[bytes]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._answers:
            connection, _ = self._listening.accept()
            self.connections += 1
            with connection, contextlib.suppress(OSError):
                while self._answers and (head := connection.recv(65536)):
                    self.heads.append(head)
                    answer = self._answers.pop(0)
                    connection.sendall(answer.removesuffix(b"GONE"))
                    if answer.endswith(b"GONE"):
                        break

    def close(self) -> None:
        if self._answers:  # nobody asked for them
            self._answers.clear()
            with contextlib.suppress(OSError):
                socket.create_connection(self._listening.getsockname()).close()
        self._thread.join()
        self._listening.close()


@contextlib.contextmanager
def serving(*answers: bytes) -> Iterator[tuple[Server, Callable[[], Answer]]]:
    server, client = Server(*answers), Direct(None, 5.0)
    try:
        yield (
            server,
            lambda: client.get(server.url, {"User-Agent": "u", "Authorization": "Bearer t"}),
        )
    finally:
        client.close()
        server.close()


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (ok(BODY), 1),
        (ok(PACKED, "Content-Encoding: GZIP"), 1),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(BODY), 1),
        (chunked(BODY[:7], BODY[7:], b""), 2),
        (ok(BODY, "Connection: close"), 2),
        (b"HTTP/1.0 200 OK\r\n\r\n" + BODY + b"GONE", 2),
        (ok(BODY) + b"GONE", 2),
    ],
    ids=["plain", "gzip", "hints", "chunked", "close", "1.0", "left"],
)
def test_answers_are_read_to_their_end_and_a_connection_that_is_good_is_kept(
    answer: bytes, connections: int
) -> None:
    with serving(answer, ok(b"[]")) as (server, ask):
        told = ask()
        assert (told.status, told.json()["sha"][:3]) == (200, "012")
        assert ask().json() == []
        assert server.connections == connections
        line, *fields = server.heads[0].decode().split("\r\n")
        assert line == "GET /api/x?blobs=true HTTP/1.1"
        assert f"Host: {server.url.split('/')[2]}" in fields
        assert {"User-Agent: u", "Authorization: Bearer t", "Accept-Encoding: gzip"} <= {*fields}


def test_who_leaves_in_the_moment_of_a_question_is_asked_again() -> None:
    with serving(ok(b"[]"), b"GONE", ok(b"[1]")) as (server, ask):
        assert ask().json() == []
        assert ask().json() == [1]
        assert (server.connections, len(server.heads)) == (2, 3)


def test_who_leaves_at_once_is_not_asked_again() -> None:
    with serving(b"GONE", ok(b"[]")) as (server, ask):
        with pytest.raises(ConnectionError):
            ask()
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\nGONE",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\nGONE",
        b"HTTP/1.1 200 OK\r\nX" + b"y" * 70_000 + b": z\r\n\r\nGONE",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\nGONE",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n[]GONE",
        chunked(b"[]") + b"GONE",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n[]GONE",
        ok(b"[]", "Content-Length: 3") + b"GONE",
        ok(PACKED[:-4], "Content-Encoding: gzip") + b"GONE",
        ok(b"no gzip, ", "Content-Encoding: gzip") + b"GONE",
        ok(PACKED[:100], "Content-Encoding: gzip", length=9999) + b"GONE",
        ok(b"[]", length=3) + b"GONE",
    ],
    ids=[
        "ssh", "fields", "field", "chunk", "minus", "chunks", "both", "lengths", "gzip", "no gzip",
        "short gzip", "short",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_of_the_known_ones_and_the_next_is_asked_anew(
    answer: bytes,
) -> None:
    with serving(answer, ok(b"[]")) as (server, ask):
        with pytest.raises(FAILURES):
            ask()
        assert ask().json() == []
        assert server.connections == 2


@pytest.mark.parametrize("status", ["204 No Content", "302 Found", "403 Forbidden", "500 Oh"])
def test_the_body_of_what_is_no_success_is_not_looked_at(status: str) -> None:
    answer = ok(b"junk", "Content-Encoding: gzip", "X-Error-Code: GatedRepo", length=10**9)
    with serving(answer.replace(b"200 OK", status.encode()) + b"GONE", ok(b"[]")) as (_, ask):
        told = ask()
        assert (f"{told.status}", told.headers["x-error-code"]) == (status[:3], "GatedRepo")
        assert ask().json() == []


ZEROS = bytes(64 << 20)


@pytest.mark.parametrize(
    "answer",
    [
        ok(ZEROS),
        b"HTTP/1.1 200 OK\r\n\r\n" + ZEROS,
        ok(gzip.compress(ZEROS), "Content-Encoding: gzip"),
        chunked(*[b"[]"] * (1 << 15)),
        chunked(ZEROS),
    ],
    ids=["length", "end", "gzip", "small chunks", "a chunk"],
)
def test_an_answer_without_end_is_not_read_to_it(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MOST_BYTES", 1 << 15)
    with serving(answer) as (_, ask):
        tracemalloc.start()
        try:
            with pytest.raises(Malformed, match="more than"):
                ask()
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


def test_the_next_address_is_tried_where_one_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct, "_ADDRESS_SECONDS", 0.1)
    with socket.create_server(("127.0.0.2", 0), backlog=0) as deaf, serving(ok(b"[]")) as (two, _):
        port = int(two.url.split(":")[2].split("/")[0])
        with contextlib.ExitStack() as waiting:
            for _ in range(3):  # nobody accepts: from now on nobody is answered
                full = waiting.enter_context(socket.socket())
                full.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    full.connect(deaf.getsockname())
            found = [deaf.getsockname(), ("127.0.0.3", 1), ("127.0.0.1", port)]
            told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]
            with monkeypatch.context() as patched:
                real = socket.getaddrinfo

                def resolved(host: str, port: int, *args: Any, **more: Any) -> Any:
                    return told if host == "hub.example" else real(host, port, *args, **more)

                patched.setattr(socket, "getaddrinfo", resolved)
                client = Direct(None, 5.0)
                assert client.get(f"http://hub.example:{port}/", {}).json() == []
                connected = client._kept[1].stream._below._socket  # type: ignore[index]
                assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                client.close()


def test_one_connection_is_kept_and_no_more() -> None:
    client = Direct(None, 5.0)
    with serving(ok(b"[]"), ok(b"[]")) as (one, _), serving(ok(b"[]")) as (two, _):
        for server in one, two, one:
            assert client.get(server.url, {}).json() == []
        assert (one.connections, two.connections) == (2, 1)
        client.close()


def test_who_says_nothing_is_not_waited_for_longer_than_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Direct(None, 0.05)
        with pytest.raises(TimeoutError):
            client.get(f"http://127.0.0.1:{silent.getsockname()[1]}/", {})
        client.close()


@pytest.mark.parametrize("url", ["ftp://x/y", "http:///y", "http://x/a b", "http://x/\u00fc"])
def test_what_is_no_url_is_not_asked(url: str) -> None:
    with pytest.raises(FAILURES):
        Direct(None, 5.0).get(url, {})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        (['<https://h/a?cursor=1>; rel="next"'], "https://h/a?cursor=1"),
        (["</a?cursor=1>;rel=next"], "/a?cursor=1"),
        (['<a>; rel="prev", <b>; title="x"; rel="last next"'], "b"),
        (['<a>; rel="prev"', '<b>; REL="NEXT"'], "b"),
        (['<a>; rel="nextish"', "<b>; rel=nextish", "c; rel=next"], None),
        (['<a>; rel="' + "next " * 1000], None),
        (['<a>; title="x; rel=next"; rel="prev"'], None),
        ([r'<a>; title="x \" < y > z, <c>; rel=next"; rel="next"'], "a"),
        (["<a>; rel; x=; rel = next ; y"], "a"),
        (["<a>; x; rel=next"], "a"),
    ],
)
def test_the_next_page_is_what_the_links_say(fields: list[str], expected: str | None) -> None:
    with serving(ok(b"[]", *(f"Link: {field}" for field in fields))) as (_, ask):
        assert ask().next_page == expected


def test_links_without_end_are_not_looked_through() -> None:
    answer = Answer(200, {}, '<a>; rel="' + " next" * 100_000, b"[]")
    with pytest.raises(ValueError, match="links"):
        _ = answer.next_page


def program(code: str, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", dedent(code), *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, **environ},
    )  # fmt: skip
    return done.stdout


PLAN = """
    import sys
    {before}
    from modelfetch import Config
    from modelfetch.hub import list_files
    from modelfetch.hubtoken import find_token
    config = Config(endpoint=sys.argv[1], allow_http_token=True)
    token = find_token(config)
    assert list_files(config, token, "a/b", "main").files
    loaded = [name for name in sys.modules if name.startswith(("huggingface_hub", "httpx"))]
    print(token, *loaded)
"""


@pytest.fixture
def api() -> Iterator[FakeHub]:
    with FakeHub.in_thread(tokens=["hf_abc"]) as hub:
        hub.add("a/b", {"c.gguf": b"GGUF"}, gated=True, allowed=["hf_abc"])
        yield hub


@pytest.mark.parametrize(
    ("variable", "token"), [("HF_TOKEN", "hf_abc"), ("HUGGING_FACE_HUB_TOKEN", " hf_abc\n")]
)
def test_a_program_that_does_not_use_huggingface_hub_does_not_get_it(
    variable: str, token: str, api: FakeHub, tmp_path: Path
) -> None:
    code = PLAN.format(before="")
    out = program(code, api.endpoint, HF_HOME=str(tmp_path), **{variable: token})
    assert out.split() == ["hf_abc"]


def test_a_token_that_was_stored_is_looked_up_by_who_stored_it(
    api: FakeHub, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hf_abc\n")
    token, *loaded = program(PLAN.format(before=""), api.endpoint, HF_HOME=str(tmp_path)).split()
    assert token == "hf_abc"
    assert "huggingface_hub" in loaded
    assert "huggingface_hub.hf_api" not in loaded


def test_no_token_is_found_without_looking_it_up(tmp_path: Path) -> None:
    with FakeHub.in_thread() as hub:
        hub.add("a/b", {"c.gguf": b"GGUF"})
        code = PLAN.format(before="")
        assert program(code, hub.endpoint, HF_HOME=str(tmp_path)).split() == ["None"]


def test_what_a_program_has_set_in_huggingface_hub_counts(api: FakeHub, tmp_path: Path) -> None:
    before = """
    import huggingface_hub, importlib
    from huggingface_hub.errors import HfHubHTTPError
    base = next(it for it in HfHubHTTPError.__mro__ if it.__name__ == "HTTPError")
    library = importlib.import_module(base.__module__.partition(".")[0])
    def factory():
        return library.Client(headers={"X-Host": "it is"}, trust_env=False)
    huggingface_hub.set_client_factory(factory)
    """
    program(PLAN.format(before=before), api.endpoint, HF_HOME=str(tmp_path), HF_TOKEN="hf_abc")
    assert [request.headers.get("x-host") for request in api.log] == ["it is"]


@pytest.mark.parametrize(
    ("environ", "is_found"),
    [
        ({"HF_HOME": "{place}"}, True),
        ({"HF_TOKEN_PATH": "{place}/token"}, True),
        ({"XDG_CACHE_HOME": "{place}/cache"}, True),
        ({"HOME": "{place}/home"}, True),
        ({"HF_HOME": "$PLACE", "PLACE": "{place}"}, True),
        ({"HF_HOME": "~/.cache/huggingface", "HOME": "{place}/home"}, True),
        ({"HF_HOME": "~nosuchuser/hf"}, False),
        ({"HF_HOME": "{place}/nothing"}, False),
    ],
)
def test_a_token_is_looked_for_where_huggingface_hub_has_it(
    environ: dict[str, str], is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in "", "cache/huggingface", "home/.cache/huggingface":
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "token").write_text("hf_abc")
    told = {name: value.format(place=tmp_path) for name, value in environ.items()}
    for name, value in {"HOME": str(tmp_path / "nobody"), **told}.items():
        monkeypatch.setenv(name, value)
    assert _needs_library(dict(os.environ)) == is_found
    code = "from huggingface_hub import get_token; print(get_token())"
    assert program(code).strip() == ("hf_abc" if is_found else "None")


@pytest.mark.parametrize("token", ["hf_\u00fc", "hf a", "hf\x1b"])
def test_what_is_no_token_is_not_sent(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InvalidToken) as raised:
        find_token(Config())
    assert token not in str(raised.value)
