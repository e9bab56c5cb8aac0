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
from http.client import HTTPException
from pathlib import Path
from textwrap import dedent

import pytest

from modelfetch import direct
from modelfetch.direct import FAILURES, Answer, Direct
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
    """Says what it was given, an answer for each request, over as few connections as it can."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api/x?blobs=true"
        self.connections, self.heads = 0, list[bytes]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._answers:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while self._answers and (head := connection.recv(65536)):
                    self.heads.append(head)
                    answer = self._answers.pop(0)
                    with contextlib.suppress(OSError):
                        connection.sendall(answer)
                    if b"Content-Length: 99999" in answer or answer.endswith(b"GONE"):
                        break

    def close(self) -> None:
        self._answers.clear()
        self._listening.shutdown(socket.SHUT_RDWR)
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
    "answer",
    [
        ok(BODY),
        ok(PACKED, "Content-Encoding: GZIP"),
        chunked(BODY[:7], BODY[7:], b""),
        chunked(BODY[:7], BODY[7:], b"").replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
    ],
    ids=["plain", "gzip", "chunked", "close"],
)
def test_answers_are_read_to_their_end_and_the_connection_is_kept(answer: bytes) -> None:
    with serving(answer, ok(b"[]")) as (server, ask):
        told = ask()
        assert (told.status, told.json()["sha"][:3]) == (200, "012")
        assert ask().json() == []
        assert server.connections == (2 if b"close" in answer else 1)
        line, *fields = server.heads[0].decode().split("\r\n")
        assert line == "GET /api/x?blobs=true HTTP/1.1"
        assert f"Host: {server.url.split('/')[2]}" in fields
        assert {"User-Agent: u", "Authorization: Bearer t", "Accept-Encoding: gzip"} <= {*fields}


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\nGONE",
        b"GONE",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\nGONE",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\nGONE",
        ok(PACKED[:-9] + b"GONE", "Content-Encoding: gzip"),
        ok(b"no gzip, GONE", "Content-Encoding: gzip"),
        ok(PACKED[:100], "Content-Encoding: gzip", length=99999),
        ok(BODY[:100], length=99999),
    ],
    ids=["ssh", "junk", "fields", "chunk", "gzip", "no gzip", "short gzip", "short"],
)
def test_what_is_no_answer_is_an_error_of_the_known_ones_and_the_next_is_asked_anew(
    answer: bytes,
) -> None:
    with serving(answer, ok(b"[]")) as (server, ask):
        with pytest.raises(FAILURES):
            ask().json()
        assert ask().json() == []
        assert server.connections == 2


ZEROS = bytes(64 << 20)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_answer_without_end_is_not_read_to_it(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MOST_BYTES", 1 << 20)
    body = gzip.compress(ZEROS) if packed else ZEROS
    answer = ok(body, "Content-Encoding: gzip" if packed else "X: y")
    with serving(answer) as (_, ask):
        tracemalloc.start()
        with pytest.raises(ValueError, match="longer"):
            ask()
        assert tracemalloc.get_traced_memory()[1] < len(ZEROS) // 8
        tracemalloc.stop()


def test_who_says_nothing_is_not_waited_for_longer_than_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Direct(None, 0.05)
        with pytest.raises(TimeoutError):
            client.get(f"http://127.0.0.1:{silent.getsockname()[1]}/", {})
        client.close()


@pytest.mark.parametrize("url", ["ftp://x/y", "http:///y", "http://x/a b", "http://x/\u00fc"])
def test_what_is_no_url_is_not_asked(url: str) -> None:
    with pytest.raises((ValueError, HTTPException)):
        Direct(None, 5.0).get(url, {})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        (['<https://h/a?cursor=1>; rel="next"'], "https://h/a?cursor=1"),
        (["</a?cursor=1>;rel=next"], "/a?cursor=1"),
        (['<a>; rel="prev", <b>; title="x"; rel="last next"'], "b"),
        (['<a>; rel="prev"', '<b>; REL="NEXT"'], "b"),
        (['<a>; rel="nextish"', "<b>; rel=nextish"], None),
    ],
)
def test_the_next_page_is_what_the_links_say(fields: list[str], expected: str | None) -> None:
    with serving(ok(b"[]", *(f"Link: {field}" for field in fields))) as (_, ask):
        assert ask().next_page == expected


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
