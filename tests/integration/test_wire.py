"""What the FakeHub puts on the wire when it is told to misbehave below HTTP, read from a socket."""

from __future__ import annotations

import socket
import ssl

import pytest
from tests.authority import server_context
from tests.helpers import FILE, REPO, coded

from modelfetch.testing import (
    Altered,
    Drip,
    Ending,
    FakeHub,
    Fault,
    Framing,
    Hints,
    LongBody,
    Raw,
    Redirect,
    Reply,
    ShortBody,
)

CONTENT = coded(1000)


def ask(hub: FakeHub, *, requests: int = 1, tls: bool = False, method: str = "GET") -> bytes:
    """Return all that comes for the first ten bytes, until the end."""
    commit = hub.repos[REPO].commit_of("main")
    url = hub.cdn.sign(REPO, hub.repos[REPO].commits[commit or ""][FILE])
    target = url.removeprefix(hub.cdn_url)
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n"
    sent = (head + "\r\n") * (requests - 1) + head + "Connection: close\r\n\r\n"
    with connected(int(hub.cdn_url.rpartition(":")[2]), tls) as stream:
        stream.sendall(sent.encode())
        found = b""
        while data := stream.recv(65536):
            found += data
        return found


def connected(port: int, tls: bool) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), 10)
    if not tls:
        return plain
    context = ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


@pytest.fixture
def hub() -> object:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: CONTENT}, lfs=lambda path, content: True)
        yield hub


def scripted(hub: FakeHub, fault: Fault, **more: object) -> bytes:
    hub.script(fault)
    return ask(hub, **more)  # type: ignore[arg-type]


def test_raw_bytes_are_all_that_comes(hub: FakeHub) -> None:
    assert scripted(hub, Raw(b"SSH-2.0-x\r\n")) == b"SSH-2.0-x\r\n"
    assert scripted(hub, Raw()) == b""
    with pytest.raises(ConnectionResetError):
        scripted(hub, Raw(b"HTTP/1.1 206", Ending.RESET))
    assert [record.status for record in hub.requests("cdn")] == [0, 0, 0]


def test_a_framing_of_one_s_own_has_no_other(hub: FakeHub) -> None:
    answer = scripted(hub, Framing(["Content-Length: 5", "Content-Length: 7"], "1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 206 Partial Content\r\n")
    assert head.count(b"Content-Length") == 2
    assert b"Content-Range: bytes 0-9/1000" in head
    assert body == CONTENT.read(0, 10)
    assert hub.requests("cdn")[0].sent == 10
    assert scripted(hub, Framing(), method="HEAD").endswith(b"\r\n\r\n")


def test_interim_responses_come_first(hub: FakeHub) -> None:
    answer = scripted(hub, Hints((100, 103)))
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 206 "
    assert answer.startswith(hints)
    assert answer.endswith(CONTENT.read(0, 10))


def test_a_long_body_goes_on_after_its_end(hub: FakeHub) -> None:
    answer = scripted(hub, LongBody(3), requests=2)
    first, second = answer.split(b"HTTP/1.1 206")[1:]
    assert b"Content-Length: 10\r\n" in first
    assert first.endswith(CONTENT.read(0, 10) + b"\xa5\xa5\xa5")
    assert second.endswith(CONTENT.read(0, 10))


def test_a_drip_is_slow_and_right(hub: FakeHub) -> None:
    assert scripted(hub, Drip(1000)).endswith(CONTENT.read(0, 10))


def test_a_redirect_leads_anywhere_or_nowhere(hub: FakeHub) -> None:
    answer = scripted(hub, Redirect("file:///x", 307))
    assert answer.startswith(b"HTTP/1.1 307 ")
    assert b"\r\nLocation: file:///x\r\n" in answer
    assert b"Location" not in scripted(hub, Redirect(None))


def test_a_function_may_be_a_fault(hub: FakeHub) -> None:
    answer = scripted(hub, Altered(lambda reply: Reply(299, {"X-Was": str(reply.status)})))
    assert answer.startswith(b"HTTP/1.1 299 ")
    assert b"X-Was: 206" in answer


def test_tls_ends_with_a_notice_unless_it_is_cut() -> None:
    with FakeHub.in_thread(ssl_context=server_context()) as hub:
        hub.add(REPO, {FILE: CONTENT}, lfs=lambda path, content: True)
        assert scripted(hub, ShortBody(5), tls=True).endswith(CONTENT.read(0, 5))
        with pytest.raises(ssl.SSLEOFError):
            scripted(hub, Altered(lambda _: Reply(0, head=b"x", ending=Ending.CUT)), tls=True)
