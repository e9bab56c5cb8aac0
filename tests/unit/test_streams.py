"""What a thread asks the kernel and OpenSSL for: no more than there can be."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.authority import server_context

from modelfetch import streams as module
from modelfetch.streams import Sealed, Wired

FAR = 30.0
LONG_AGO = 0.0  # a deadline that has passed


class Counted(socket.socket):
    """A socket that counts how often it was asked for bytes."""

    asked = 0

    def recv_into(self, *args: Any) -> int:
        self.asked += 1
        return super().recv_into(*args)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Counted]]:
    far, near = socket.socketpair()
    with far, Counted(fileno=near.detach()) as counted:
        yield far, counted


def finds_nothing(stream: Wired | Sealed) -> None:
    with pytest.raises(TimeoutError):
        stream.read_into(memoryview(bytearray(10)), LONG_AGO)


def test_who_had_to_wait_waits_first_the_next_time(
    pair: tuple[socket.socket, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", -1.0)  # whatever comes was waited for
    far, near = pair
    stream, buffer = Wired(near), memoryview(bytearray(10))
    finds_nothing(stream)
    assert near.asked == 1, "nobody knew"
    finds_nothing(stream)
    assert near.asked == 1
    far.sendall(b"abc")
    assert stream.read_into(buffer, time.monotonic() + FAR) == 3
    assert near.asked == 2
    finds_nothing(stream)
    assert near.asked == 2


def test_who_finds_bytes_at_once_asks_first_again(
    pair: tuple[socket.socket, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_SECONDS", FAR)  # nothing was waited for
    far, near = pair
    stream = Wired(near)
    finds_nothing(stream)
    far.sendall(b"abc")
    assert stream.read_into(memoryview(bytearray(10)), time.monotonic() + FAR) == 3
    assert near.asked == 2
    finds_nothing(stream)
    assert near.asked == 3


def test_what_is_there_is_taken_after_the_deadline_too(pair: tuple[socket.socket, Counted]) -> None:
    far, near = pair
    stream, buffer = Wired(near), memoryview(bytearray(10))
    finds_nothing(stream)
    far.sendall(b"abc")
    assert stream.read_into(buffer, LONG_AGO) == 3
    assert bytes(buffer[:3]) == b"abc"


def sealed(serve: Callable[[ssl.SSLSocket], object]) -> tuple[Sealed, threading.Thread]:
    far, near = socket.socketpair()

    def run() -> None:
        with far, server_context().wrap_socket(far, server_side=True) as end:
            serve(end)

    thread = threading.Thread(target=run)
    thread.start()
    return Sealed(Wired(near), ssl.create_default_context(), "127.0.0.1"), thread


class Asked:
    """OpenSSL, with a count of how often it was asked for a record."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls, self.times = tls, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls, name)

    def read(self, *args: Any) -> Any:
        self.times += 1
        return self._tls.read(*args)


def test_openssl_is_not_asked_for_a_record_when_there_are_no_bytes() -> None:
    done = threading.Event()

    def serve(far: ssl.SSLSocket) -> None:
        far.sendall(b"x" * 1000)
        done.wait(FAR)

    stream, thread = sealed(serve)
    buffer, count = memoryview(bytearray(2000)), 0
    while count < 1000:
        count += stream.read_into(buffer, time.monotonic() + FAR)
    asked = Asked(stream._tls)
    stream._tls = asked  # type: ignore[assignment]
    for _ in range(3):
        finds_nothing(stream)
    assert asked.times == 0
    done.set()
    thread.join()
    stream.close()


@pytest.mark.parametrize("says_so", [False, True])
def test_the_end_of_tls_is_seen_whether_it_is_announced_or_not(says_so: bool) -> None:
    def serve(far: ssl.SSLSocket) -> None:
        far.sendall(b"abc")
        if says_so:
            far.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):
                far.unwrap()  # sends the alert, and would wait for ours

    stream, thread = sealed(serve)
    buffer = memoryview(bytearray(10))
    assert stream.read_into(buffer, time.monotonic() + FAR) == 3
    thread.join()
    for _ in range(2):
        assert stream.read_into(buffer, time.monotonic() + FAR) == 0
    stream.close()


def test_a_record_that_does_not_fit_is_given_out_in_parts() -> None:
    content, done = bytes(range(251)) * 60, threading.Event()

    def serve(far: ssl.SSLSocket) -> None:
        far.sendall(content)
        done.wait(FAR)  # the end of the connection would be a reason to ask again

    stream, thread = sealed(serve)
    buffer, came = memoryview(bytearray(1000)), b""
    while len(came) < len(content):
        came += bytes(buffer[: stream.read_into(buffer, time.monotonic() + FAR / 10)])
    assert came == content
    done.set()
    thread.join()
    stream.close()
