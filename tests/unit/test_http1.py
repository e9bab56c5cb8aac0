"""One HTTP/1.1 connection, against bytes that a socket really sends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.authority import server_context

from modelfetch.http1 import Connection, Fields, Malformed
from modelfetch.streams import Sealed, Stream, Wired

OK = b"HTTP/1.1 200 OK\r\n"
FAR = 5.0  # seconds; nothing here waits for it to end


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Connection]]:
    far, near = socket.socketpair()
    with far, near:
        yield far, Connection(Wired(near), "127.0.0.1")


def asked(pair: tuple[socket.socket, Connection], *answer: bytes, method: str = "GET") -> None:
    far, connection = pair
    far.sendall(b"".join(answer))
    connection.ask(method, "/x?a=%2B", {"Host": "h"})


@contextlib.contextmanager
def sending(pair: tuple[socket.socket, Connection], data: bytes) -> Iterator[None]:
    """Have `data`, which may be more than a socket holds, sent meanwhile, and then the end."""
    far, connection = pair

    def send() -> None:
        with contextlib.suppress(OSError):  # the other end may have heard enough
            far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        connection.abort()
        sender.join()


def body(connection: Connection, step: int = 1000) -> bytes:
    found, buffer = b"", memoryview(bytearray(step))
    while not connection.is_over:
        found += bytes(buffer[: connection.receive(buffer, FAR, 0.0)])
    return found


def test_a_request_is_sent_as_it_is_and_its_answer_read(
    pair: tuple[socket.socket, Connection],
) -> None:
    far, connection = pair
    asked(pair, OK, b"Content-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello")
    assert far.recv(1000) == b"GET /x?a=%2B HTTP/1.1\r\nHost: h\r\n\r\n"
    assert connection.status == 200
    assert connection.fields["X-a"] == "1"
    assert "content-length" in connection.fields
    assert body(connection, 2) == b"hello"
    assert connection.is_reusable


def test_a_connection_serves_one_request_after_the_other(
    pair: tuple[socket.socket, Connection],
) -> None:
    for text in (b"one", b"three", b""):
        asked(pair, OK, b"Content-Length: %d\r\n\r\n" % len(text), text)
        assert body(pair[1]) == text
        assert pair[1].is_reusable
    asked(pair, OK, b"Content-Length: 7\r\n\r\n", method="HEAD")
    assert pair[1].is_over
    assert pair[1].is_reusable


@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Length: 2\r\n\r\nhello",
        b"Content-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["goes on after its end", "said so", "chunks"],
)
def test_who_knows_not_where_the_next_answer_begins_asks_no_more(
    pair: tuple[socket.socket, Connection], answer: bytes
) -> None:
    asked(pair, OK, answer)
    assert body(pair[1]) == b"hello"[: 2 if b": 2" in answer else 5]
    assert not pair[1].is_reusable


def test_what_comes_unasked_spoils_a_connection(pair: tuple[socket.socket, Connection]) -> None:
    asked(pair, OK, b"Content-Length: 0\r\n\r\n")
    assert pair[1].is_reusable
    pair[0].sendall(b"HTTP/1.1 200 OK\r\n")
    assert not pair[1].is_reusable


def test_a_closed_connection_is_not_used_again(pair: tuple[socket.socket, Connection]) -> None:
    asked(pair, OK, b"Content-Length: 0\r\n\r\n")
    pair[0].shutdown(socket.SHUT_WR)
    assert not pair[1].is_reusable


def test_interim_answers_are_passed_over(pair: tuple[socket.socket, Connection]) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    asked(pair, b"HTTP/1.1 100 Continue\r\n\r\n", hints, OK, b"Content-Length: 2\r\n\r\nab")
    assert pair[1].status == 200
    assert "Link" not in pair[1].fields
    assert body(pair[1]) == b"ab"


def test_a_body_without_a_length_ends_with_the_connection(
    pair: tuple[socket.socket, Connection],
) -> None:
    asked(pair, OK, b"\r\nall of it")
    pair[0].shutdown(socket.SHUT_WR)
    assert body(pair[1], 4) == b"all of it"
    assert not pair[1].is_reusable


def test_a_body_that_is_cut_short_is_over(pair: tuple[socket.socket, Connection]) -> None:
    asked(pair, OK, b"Content-Length: 9\r\n\r\nhalf")
    pair[0].shutdown(socket.SHUT_WR)
    assert body(pair[1]) == b"half"
    assert not pair[1].is_reusable


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Content-Length: +5\r\n\r\nhello",
        OK + b"Content-Length: 0x5\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Content-Length: 5\r\n folded\r\n\r\nhello",
        OK + b"X: a\r\n folded\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"A: b\rContent-Length: 3\r\n\r\nhello",
        b"From x\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        OK + b"no field\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        OK + b"X: a\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40 + OK + b"Content-Length: 0\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_answer_that_can_be_read_in_two_ways_is_none(
    pair: tuple[socket.socket, Connection], answer: bytes
) -> None:
    with sending(pair, answer), pytest.raises(Malformed):
        pair[1].ask("GET", "/", {"Host": "h"})
    assert not pair[1].is_reusable


def test_what_is_waited_for_in_chunks_counts(pair: tuple[socket.socket, Connection]) -> None:
    asked(pair, OK, b"Transfer-Encoding: chunked\r\n\r\n")
    before = pair[1].waited
    assert pair[1].receive(memoryview(bytearray(9)), 0.02, 0.0) == 0
    assert pair[1].waited - before >= 0.01


def test_a_long_head_ends_at_once(pair: tuple[socket.socket, Connection]) -> None:
    line = b"Content-Type: multipart/x; " + b"a=b; " * 12_000 + b"\r\n"
    with sending(pair, OK + line * 90), pytest.raises(Malformed):
        pair[1].ask("GET", "/", {"Host": "h"})


def test_an_answer_in_parts_is_an_answer(pair: tuple[socket.socket, Connection]) -> None:
    fields = b"Content-Type: multipart/x; boundary*0*=a; boundary*=b\r\nContent-Length: 2\r\n\r\nab"
    asked(pair, OK, fields)
    assert pair[1].fields["Content-Type"].startswith("multipart/x")
    assert body(pair[1]) == b"ab"


@pytest.mark.parametrize(
    "answer",
    [
        b"5\r\nhel",
        b"zz\r\nhello\r\n",
        b"5\r\nhello\r\nxx",
        b"5\r\nhelloXX0\r\n\r\n",
        b"-1\r\nhello\r\n",
        b"+0x1_0\r\nhello\r\n",
        b"5;" + b"x" * 70_000,
        b"0\r\n" + b"X: y\r\n" * 20_000,
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_chunks_that_are_none_are_an_error_after_what_came_before(
    pair: tuple[socket.socket, Connection], answer: bytes
) -> None:
    asked(pair, OK, b"Transfer-Encoding: chunked\r\n\r\n")
    with sending(pair, answer):
        with pytest.raises(Malformed):
            body(pair[1])
        assert not pair[1].is_reusable


def test_what_is_said_of_an_answer_does_not_quote_it(
    pair: tuple[socket.socket, Connection],
) -> None:
    with pytest.raises(Malformed) as caught:
        asked(pair, b"HTTP/1.1 302 Found\r\nLocation: https://x.test/?sig=secret\0\r\n\r\n")
    assert "secret" not in str(caught.value)
    with pytest.raises(Malformed) as caught:
        pair[1].ask("GET", "/", {"Host": "h", "Authorization": " secret "})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "fields"),
    [("/a b", {}), ("/\r\nX: y", {}), ("/ü", {}), ("/", {"X": "a\r\nY: b"}), ("/", {"X": "→"})],
)
def test_what_no_request_has_is_not_sent(
    pair: tuple[socket.socket, Connection], target: str, fields: dict[str, str]
) -> None:
    far, connection = pair
    with pytest.raises(Malformed):
        connection.ask("GET", target, fields)
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)


def test_what_came_before_a_reset_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        connection = Connection(Wired(near), "127.0.0.1")
        far.sendall(OK + b"Content-Length: 9\r\n\r\nhalf")
        connection.ask("GET", "/", {"Host": "h"})
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.recv(1000)
        far.close()
        buffer = memoryview(bytearray(9))
        assert connection.receive(buffer, FAR, FAR) == 4
        with pytest.raises(ConnectionResetError):
            connection.receive(buffer, FAR, FAR)
        connection.close()


def test_nothing_within_the_time_is_not_the_end(pair: tuple[socket.socket, Connection]) -> None:
    asked(pair, OK, b"Content-Length: 3\r\n\r\n")
    buffer = memoryview(bytearray(9))
    assert pair[1].receive(buffer, 0.0, 0.0) == 0
    assert not pair[1].is_over
    pair[0].sendall(b"abc")
    assert pair[1].receive(buffer, FAR, FAR) == 3
    assert pair[1].is_over


def test_a_chunk_that_waits_does_not_outlast_its_time(
    pair: tuple[socket.socket, Connection],
) -> None:
    asked(pair, OK, b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    buffer = memoryview(bytearray(9))
    assert pair[1].receive(buffer, FAR, 0.0) == 3
    assert pair[1].receive(buffer, 0.0, 0.0) == 0
    assert not pair[1].is_over
    for part in (b"2", b"\r", b"\n", b"\r"):
        assert pair[1].receive(buffer, 0.0, 0.0) == 0
        pair[0].sendall(part)
    assert pair[1].receive(buffer, FAR, 0.0) == 1
    assert bytes(buffer[:1]) == b"\r"  # a body may look like the end of a line
    pair[0].sendall(b"\n\r\n0\r\n\r\n")
    assert pair[1].receive(buffer, FAR, FAR) == 1
    assert pair[1].is_over


def over_tls(serve: Callable[[ssl.SSLSocket], None]) -> tuple[Stream, threading.Thread]:
    far, near = socket.socketpair()

    def run() -> None:
        with far, server_context().wrap_socket(far, server_side=True) as sealed:
            serve(sealed)

    thread = threading.Thread(target=run)
    thread.start()
    return Sealed(Wired(near), ssl.create_default_context(), "127.0.0.1"), thread


def test_tls_carries_bytes_both_ways() -> None:
    sent = bytes(range(256)) * 4096

    def serve(far: ssl.SSLSocket) -> None:
        assert far.recv(100).startswith(b"GET / ")
        far.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
        with contextlib.suppress(ssl.SSLError):  # the other end does not say good-bye
            far.unwrap()

    stream, thread = over_tls(serve)
    connection = Connection(stream, "127.0.0.1")
    connection.ask("GET", "/", {"Host": "h"})
    assert body(connection, 100_000) == sent
    stream.abort()
    thread.join()
    connection.close()


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_thread_that_waits_is_ended_by_another(is_sealed: bool) -> None:
    done = threading.Event()
    if is_sealed:
        stream, thread = over_tls(lambda far: done.wait() and None)
        far = None
    else:
        far, near = socket.socketpair()
        stream, thread = Wired(near), None
    failure: list[BaseException] = []

    def wait() -> None:
        try:
            stream.read_into(memoryview(bytearray(10)))
        except OSError as error:
            failure.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    stream.abort()
    waiting.join(FAR)
    assert isinstance(failure[0], ConnectionAbortedError)
    done.set()
    if thread is not None:
        thread.join()
    if far is not None:
        far.close()
    stream.close()


def test_a_deadline_ends_a_wait() -> None:
    far, near = socket.socketpair()
    with far, near, pytest.raises(TimeoutError):
        Wired(near).read_into(memoryview(bytearray(1)), time.monotonic())


def test_fields_are_found_in_any_case_and_the_first_counts() -> None:
    fields = Fields([("A-b", "1"), ("a-B", "2")])
    assert fields["A-B"] == "1"
    assert dict(fields) == {"a-b": "1"}
    assert "A-b" in fields
    assert len(fields) == 1
