"""What servers do to clients that ask for ranges, as a table: a conformance suite for such clients.

Each row is one misbehaviour, when it happens, and what a good client makes of it. Nothing here
knows modelfetch: `tests/faults/test_conformance.py` runs the table against it in process,
`benchmarks/faults.py` against other programs. A client is given a URL of a Hub that redirects to a
signed URL of a CDN (another origin), the size and the SHA-256; the rows say what either server
does wrong. The bytes of the file tell their position, so that a byte at a wrong offset shows.

Whatever the row: the file is right, or it is absent under its final name and the client says so.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from modelfetch.testing import (
    Altered,
    ChangedETag,
    Delay,
    Drip,
    Encoded,
    Ending,
    FakeHub,
    Fault,
    Framing,
    Hints,
    HtmlPage,
    IgnoreRange,
    LoggedRequest,
    LongBody,
    RateLimited,
    Raw,
    Redirect,
    Reply,
    Reset,
    ShiftedRange,
    ShortBody,
    Stall,
    Status,
    WrongBytes,
    WrongTotal,
)

__all__ = ["CASES", "CONNECTIONS", "SIZE", "Case", "Verdict"]

MiB = 1 << 20
SIZE = 4 * MiB - 13
CONNECTIONS = 4


class Verdict(StrEnum):
    """What a good client makes of it, as far as the servers can see."""

    TAKEN = "taken"
    """Odd, but sound: used, and nothing is asked for again."""
    RETRIED = "retried"
    """Not used, or used as far as it was sound; the rest is asked for again at the same URL."""
    RESIGNED = "re-signed"
    """The URL is of no more use: a fresh one is asked for."""
    WAITED = "waited"
    """All connections leave the host alone for as long as it wants."""
    WHOLE = "whole"
    """The host ignores ranges: its whole file is taken from zero, once."""
    REPAIRED = "repaired"
    """Nothing shows before the hash; what is wrong is fetched again."""
    GAVE_UP = "gave up"
    """An error that says why; nothing under the final name."""


@dataclass(frozen=True)
class Case:
    """One misbehaviour.

    Attributes:
        id: What the server does.
        fault: The same for the machine; a function of the Hub where it depends on that.
        verdict: What becomes of it.
        on: Which server does it.
        times: How many requests get it, `None` for all.
        skip: How many requests go right before.
        wasted: Most bytes of the file that leave the CDN more often than once.
        requests: Most requests to the CDN.
        says: What the error names, as a regular expression.
        connections: How many the client has, where that matters.
        scheme: `http` or `https`, where it matters.
        when: Which requests get it.
        bug: Why modelfetch does otherwise so far.
    """

    id: str
    fault: Fault | Callable[[FakeHub], Fault]
    verdict: Verdict
    on: Literal["resolve", "cdn"] = "cdn"
    times: int | None = 1
    skip: int = 0
    wasted: int = MiB
    requests: int = 12
    says: str = ""
    connections: int = CONNECTIONS
    scheme: str | None = None
    when: Callable[[FakeHub], Callable[[LoggedRequest], bool]] | None = None
    bug: str = ""

    def script(self, hub: FakeHub, fault: Fault | None = None) -> None:
        """Let the servers of `hub` behave like this."""
        made = fault or (self.fault(hub) if callable(self.fault) else self.fault)
        extra = None if self.when is None else self.when(hub)

        def fits(request: LoggedRequest) -> bool:
            # A client may look before it leaps: a HEAD, or a range of one byte, is not the point.
            span = request.asked
            is_probe = request.method == "HEAD" or (span is not None and span[1] - span[0] <= 1)
            if self.on == "cdn" and is_probe:
                return False
            return extra is None or extra(request)

        hub.script(made, on=self.on, times=self.times, skip=self.skip, when=fits)


def _with(**fields: str) -> Fault:
    return Altered(lambda reply: reply.with_headers(**fields))


def _without(name: str) -> Fault:
    def change(reply: Reply) -> Reply:
        kept = {key: value for key, value in reply.headers.items() if key != name}
        return replace(reply, headers=kept)

    return Altered(change)


def _both(*faults: Fault) -> Fault:
    def change(reply: Reply) -> Reply:
        for fault in faults:
            reply = fault.apply(reply)
        return reply

    return Altered(change)


def _body_of(reply: Reply) -> bytes:
    assert reply.content is not None
    return reply.content.read(reply.start, reply.stop)


def _with_body(reply: Reply, body: bytes) -> Reply:
    return replace(reply, content=None, body=body)


def _shorter(by: int) -> Fault:
    def change(reply: Reply) -> Reply:
        if reply.content is None or reply.status != 206:
            return reply
        shorter = replace(reply, stop=reply.stop - by)
        text = f"bytes {reply.start}-{reply.stop - by - 1}/{reply.content.size}"
        return shorter.with_headers(Content_Range=text)

    return Altered(change)


def _longer(by: int) -> Fault:
    def change(reply: Reply) -> Reply:
        if reply.content is None or reply.status != 206:
            return reply
        stop = min(reply.content.size, reply.stop + by)
        text = f"bytes {reply.start}-{stop - 1}/{reply.content.size}"
        return replace(reply, stop=stop).with_headers(Content_Range=text)

    return Altered(change)


def _whole_body(*, chunked: bool = False, says_so: bool = False) -> Fault:
    def change(reply: Reply) -> Reply:
        if reply.content is None or reply.status != 206:
            return reply
        size = reply.content.size
        whole = replace(reply, start=0, stop=size, has_length=not chunked)
        return whole.with_headers(Content_Range=f"bytes 0-{size - 1}/{size}") if says_so else whole

    return Altered(change)


def _part_as_200() -> Fault:
    return Altered(lambda reply: replace(reply, status=200))


def _page_in_range() -> Fault:
    def change(reply: Reply) -> Reply:
        body = b"<!doctype html>".ljust(reply.length)
        return _with_body(reply, body).with_headers(Content_Type="text/html")

    return Altered(change)


def _gzipped() -> Fault:
    def change(reply: Reply) -> Reply:
        body = gzip.compress(_body_of(reply), 1)
        return _with_body(reply, body).with_headers(Content_Encoding="gzip")

    return Altered(change)


def _multipart() -> Fault:
    def change(reply: Reply) -> Reply:
        part = f"--x\r\nContent-Range: {reply.headers.get('Content-Range', '')}\r\n\r\n".encode()
        made = _with_body(reply, part + _body_of(reply) + b"\r\n--x--\r\n")
        kept = {key: value for key, value in made.headers.items() if key != "Content-Range"}
        kept["Content-Type"] = "multipart/byteranges; boundary=x"
        return replace(made, headers=kept)

    return Altered(change)


def _zeros() -> Fault:
    return Altered(lambda reply: _with_body(reply, bytes(reply.length)))


def _chunked_broken(tail: bytes) -> Fault:
    def change(reply: Reply) -> Reply:
        body = _body_of(reply)
        half = len(body) // 2
        framed = b"%x\r\n" % half + body[:half] + b"\r\n" + tail
        return Framing(["Transfer-Encoding: chunked"]).apply(_with_body(reply, framed))

    return Altered(change)


def _unique_tags() -> Fault:
    seen: list[int] = []

    def change(reply: Reply) -> Reply:
        seen.append(0)
        return reply.with_headers(ETag=f'"edge-{len(seen)}"')

    return Altered(change)


def _flood(count: int, size: int) -> Fault:
    flood = {f"X-Flood-{number}": "x" * size for number in range(count)}
    return Altered(lambda reply: replace(reply, headers={**reply.headers, **flood}))


def _url(hub: FakeHub) -> str:
    """The URL of the request that is being answered."""
    asked = next(record for record in reversed(hub.log) if record.server == "cdn")
    return f"{hub.cdn_url}{asked.path}?{asked.query}"


def _redirect(code: int) -> Callable[[FakeHub], Fault]:
    return lambda hub: Altered(lambda reply: Redirect(_url(hub), code).apply(reply))


def _to_hub(hub: FakeHub) -> Fault:
    def change(reply: Reply) -> Reply:
        first = next(record for record in hub.log if "/resolve/" in record.path)
        return Redirect(hub.endpoint + first.path).apply(reply)

    return Altered(change)


def _to_http(hub: FakeHub) -> Fault:
    return Altered(lambda reply: Redirect(_url(hub).replace("https:", "http:")).apply(reply))


def _expiring(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
    def expire(request: LoggedRequest) -> bool:
        if len(hub.requests("cdn")) == 2:
            hub.expire_urls()
        return False

    return expire


def _in_a_mebibyte(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
    """Requests that have that byte: the part at the end of the file is shorter."""
    return lambda request: request.asked is not None and request.asked[1] - request.asked[0] >= MiB


def _on_first_url(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
    first: list[str] = []

    def fits(request: LoggedRequest) -> bool:
        first.append(request.query)
        return request.query == first[0]

    return fits


def _on_first_connection(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
    first: list[int] = []

    def fits(request: LoggedRequest) -> bool:
        first.append(request.peer)
        return request.peer == first[0]

    return fits


def _in_the_middle(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
    """Neither from the beginning nor for a short rest, whichever request comes first."""

    def fits(request: LoggedRequest) -> bool:
        start, stop = request.asked or (0, 0)
        return start > 0 and stop - start >= MiB

    return fits


def _again_on_a_connection(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
    seen: set[int] = set()

    def fits(request: LoggedRequest) -> bool:
        is_known = request.peer in seen
        seen.add(request.peer)
        return is_known

    return fits


def _for(seconds: float) -> Callable[[FakeHub], Callable[[LoggedRequest], bool]]:
    """Whether a host still wants to be left alone: that long from the first request on."""

    def rule(hub: FakeHub) -> Callable[[LoggedRequest], bool]:
        import time

        until: list[float] = []

        def fits(request: LoggedRequest) -> bool:
            until.append(time.monotonic() + seconds)
            return time.monotonic() < until[0]

        return fits

    return rule


def _date(seconds: float) -> str:
    import time
    from email.utils import formatdate

    return formatdate(time.time() + seconds, usegmt=True)


T, R, S, W = Verdict.TAKEN, Verdict.RETRIED, Verdict.RESIGNED, Verdict.WAITED
ALL, FIXED, FAILED = Verdict.WHOLE, Verdict.REPAIRED, Verdict.GAVE_UP

_BUSY = {"times": None, "when": _for(0.8), "requests": 16}
_BUSY_HTTP = {**_BUSY, "scheme": "http"}  # each takes a second or two; TLS makes no difference
_EVER = {"times": None, "requests": 64, "wasted": 40 * MiB}
_REPAIR = {"wasted": SIZE + MiB, "requests": 24}

_MIDDLE = _in_the_middle

_STATUS = [
    # Where the body is the whole file, others may be on their way when the first is noticed.
    Case("200 for a range, once", IgnoreRange(), ALL, wasted=4 * SIZE),
    Case("200 for a range, always", IgnoreRange(), ALL, times=None, wasted=4 * SIZE),
    Case("200 chunked, always", IgnoreRange(chunked=True), ALL, times=None, wasted=4 * SIZE),
    # A host that has given ranges is believed at the third 200 in a row.
    Case("200 from the third on", IgnoreRange(), ALL, skip=2, times=None, wasted=7 * SIZE),
    Case("200 of an error's text, chunked",
         Altered(lambda r: replace(r, status=200, headers={"Content-Type": "application/json"},
                                   body=b'{"error": "try again"}', content=None,
                                   has_length=False)), R),
    Case("200 broken in the middle", _both(IgnoreRange(), Reset(2 * MiB)), R, wasted=4 * SIZE),
    Case("200 with the part that was asked for", _part_as_200(), R, skip=1),
    Case("200 with an empty body", Status(200), R),
    Case("201", Status(201), FAILED, says="no meaning", requests=16),
    Case("203 with the whole file", _both(IgnoreRange(), Altered(lambda r: replace(r, status=203))),
         FAILED, says="no meaning", wasted=4 * SIZE),
    Case("204", Status(204), FAILED, says="no meaning", requests=16),
    Case("205", Status(205), FAILED, says="no meaning", requests=16),
    Case("300", Status(300), FAILED, says="no meaning", requests=16),
    Case("304", Status(304), FAILED, says="no meaning", requests=16),
    Case("400, once", Status(400), S),
    Case("401, once", Status(401), S),
    Case("403, once", Status(403, b"<Error><Code>AccessDenied</Code></Error>"), S),
    Case("404, once", Status(404), S),
    Case("410, once", Status(410), S),
    Case("403, always", Status(403), FAILED, says="refuses this URL", **_EVER),
    Case("404, always", Status(404), FAILED, says="refuses this URL", **_EVER),
    Case("407", Status(407), FAILED, says="no meaning", requests=16),
    Case("408", Status(408), R),
    Case("412", Status(412), FAILED, says="no meaning", requests=16),
    Case("416 inside the file", Status(416, headers={"Content-Range": f"bytes */{SIZE}"}), R),
    Case("416 that says nothing", Status(416), R),
    Case("416 of a shorter file", Status(416, headers={"Content-Range": "bytes */5"}), S),
    Case("416, always", Status(416), FAILED, says="denies a range", **_EVER),
    Case("418", Status(418), FAILED, says="no meaning", requests=16),
    Case("425", Status(425), R),
    Case("451", Status(451), FAILED, says="no meaning", requests=16),
    Case("500", Status(500), R),
    Case("500 with a body of a megabyte", Status(500, b"x" * MiB), R),
    Case("502 with a page", Status(502, b"<h1>Bad gateway</h1>"), R),
    Case("503", Status(503), R),
    Case("504", Status(504), R),
    Case("503, always", Status(503), FAILED, says="passing fault", **_EVER),
    Case("599", Status(599), R),
]  # fmt: skip

_WAITS = [
    Case("429 with seconds", RateLimited(1), W, **_BUSY),
    Case("429 with a date", lambda hub: RateLimited(_date(2)), W, **_BUSY_HTTP),
    Case(
        "429 with a date that is past",
        RateLimited("Tue, 14 Nov 2023 22:13:50 GMT"),
        W,
        **_BUSY_HTTP,
    ),
    Case("429 with garbage", RateLimited("soon"), W, **_BUSY_HTTP),
    Case("429 with a number beyond reason", RateLimited("9" * 40), W, **_BUSY_HTTP),
    Case("429 without a time", RateLimited(None), W, **_BUSY_HTTP),
    Case("429 with RateLimit", RateLimited(None, reset=0), W, **_BUSY_HTTP),
    Case("503 with Retry-After", Status(503, headers={"Retry-After": "1"}), W, **_BUSY_HTTP),
]

_RANGES = [
    Case("206 a byte later", ShiftedRange(1), R, when=_MIDDLE),
    Case("206 a byte earlier", ShiftedRange(-1), R, when=_MIDDLE),
    Case("206 a block earlier", ShiftedRange(-4096), R, when=_MIDDLE),
    Case("206 a block later", ShiftedRange(4096), R, when=_MIDDLE),
    Case("206 shifted, always", ShiftedRange(8), FAILED, says="asked for", **_EVER),
    Case("206 that is shorter and says so", _shorter(1000), T),
    Case("206 of a single byte", _shorter(MiB - 1), T, when=_MIDDLE),
    Case("206 that is longer and says so", _longer(1000), R, wasted=MiB + 1000, when=_MIDDLE),
    Case("206 with the whole file, which says so", _whole_body(says_so=True), R,
         wasted=SIZE, when=_MIDDLE),
    Case("206 with the whole file, which lies", _whole_body(), R, wasted=SIZE, when=_MIDDLE),
    Case("206 with the whole file, which lies, chunked", _whole_body(chunked=True), FIXED,
         wasted=2 * SIZE, requests=24, when=_MIDDLE),
    Case("another total", WrongTotal(SIZE + 1), S),
    Case("a smaller total", WrongTotal(SIZE - 1), S),
    Case("another total, always", WrongTotal(5), FAILED, says="has 5 bytes", **_EVER),
    Case("a total of *", WrongTotal(None), S),
    Case("a total of forty digits", _with(Content_Range=f"bytes 0-9/{'9' * 40}"), R),
    Case("no Content-Range", _without("Content-Range"), R),
    Case("an empty Content-Range", _with(Content_Range=""), R),
    Case("another unit", _with(Content_Range=f"items 0-9/{SIZE}"), R),
    Case("a range in reverse", _with(Content_Range=f"bytes 9-0/{SIZE}"), R),
    Case("a negative range", _with(Content_Range=f"bytes -1-9/{SIZE}"), R),
    Case("digits that are not ASCII", _with(Content_Range=f"bytes \u0660-9/{SIZE}"), R),
    Case("multipart/byteranges", _multipart(), R),
    Case("Accept-Ranges: none", _with(Accept_Ranges="none"), T, times=None),
]  # fmt: skip

_MEANING = [
    Case("a page that says 200", HtmlPage(), R),
    Case("a page that says 206", HtmlPage(206), R),
    Case("a page that says 403", HtmlPage(403), S),
    Case("a page that says 503", HtmlPage(503), R),
    Case("a page that says 200, always", HtmlPage(), FAILED, says="a web page", **_EVER),
    Case("a page of the right length in a right 206", _page_in_range(), FIXED, **_REPAIR),
    # Which of two answers comes first is anybody's guess, unless one follows the other.
    Case("another ETag", ChangedETag(), S, when=_again_on_a_connection, connections=2),
    Case("an ETag of its own in each answer", lambda hub: _unique_tags(), S, times=None,
         requests=40, wasted=8 * MiB),
    Case("weak ETags", ChangedETag('W/"x"'), T, times=None),
    Case("a weak ETag after a strong one", ChangedETag('W/"x"'), T, skip=1),
    Case("no ETag", _without("ETag"), T, times=None),
    Case("an ETag without quotes", ChangedETag("abc"), T, times=None),
    Case("an empty ETag", ChangedETag(""), T, times=None),
    Case("a changed Last-Modified", _with(Last_Modified=_date(0)), T),
    Case("Content-Encoding: gzip, and it is not", Encoded(), R),
    Case("Content-Encoding: gzip, and it is", _gzipped(), R),
    Case("Content-Encoding: br", Encoded("br"), R),
    Case("Content-Encoding: identity", Encoded("identity"), T, times=None),
    Case("Content-Encoding: gzip, always", Encoded(), FAILED, says="encoded", **_EVER),
    Case("a Repr-Digest that is wrong", _with(Repr_Digest="sha-256=:AAAA:"), T),
    Case("cookies", _with(Set_Cookie="a=b; Path=/"), T, times=None),
]  # fmt: skip

_BODIES = [
    Case("a short body", ShortBody(70_000), R),
    Case("an empty body", ShortBody(0), R),
    Case("all but one byte", ShortBody(MiB - 1), R, when=_in_a_mebibyte),
    Case("a body that ends with a piece", ShortBody(MiB), R, connections=1),
    Case("a body that ends a byte before a piece", ShortBody(MiB - 1), R, connections=1),
    Case("a body that ends a byte after a piece", ShortBody(MiB + 1), R, connections=1),
    Case("short bodies, always", ShortBody(300_000), R, times=None, requests=40, wasted=8 * MiB),
    Case("a byte too many", LongBody(1), T),
    Case("64 KiB too many", LongBody(64 << 10), T),
    Case("another response that nobody asked for",
         Altered(lambda r: replace(r, after=b"HTTP/1.1 206 Partial Content\r\n"
                                            b"Content-Length: 5\r\n\r\nhello")), T, times=None),
    Case("Content-Length is smaller", Framing(["Content-Length: 1000"]), R),
    Case("Content-Length is larger", Framing([f"Content-Length: {9 * MiB}"]), R),
    Case("Content-Length twice, different",
         Framing(["Content-Length: 1000", f"Content-Length: {MiB}"]), R),
    Case("Content-Length is negative", Framing(["Content-Length: -1"]), R),
    Case("Content-Length is no number", Framing(["Content-Length: many"]), R),
    Case("Content-Length and chunked",
         Framing([f"Content-Length: {MiB}", "Transfer-Encoding: chunked"]), R),
    Case("Transfer-Encoding: gzip, and it is",
         _both(_gzipped(), _without("Content-Encoding"), Framing(["Transfer-Encoding: gzip"])), R),
    Case("chunked", Altered(lambda reply: replace(reply, has_length=False)), T, times=None),
    Case("chunked, ended early", _chunked_broken(b"0\r\n\r\n"), R),
    Case("chunked, broken off", _chunked_broken(b""), R),
    Case("chunked, with a size that is none", _chunked_broken(b"xyz\r\n"), R),
    Case("chunked, with a negative size", _chunked_broken(b"-5\r\n"), R),
    Case("no length: ends with the connection", Framing(), T),
    Case("HTTP/1.0", Framing(version="1.0"), T),
    Case("HTTP/1.0, ended early", _both(Framing(version="1.0"), ShortBody(70_000)), R),
    Case("a byte wrong", WrongBytes(at=1000), FIXED, **_REPAIR),
    Case("the last byte of a part wrong", WrongBytes(at=MiB - 1), FIXED, when=_in_a_mebibyte,
         **_REPAIR),
    Case("zeros", _zeros(), FIXED, skip=1, **_REPAIR),
    Case("bytes wrong, always", WrongBytes(at=5), FAILED, says="published hash", **_EVER),
    Case("bytes wrong at one edge", WrongBytes(at=5), FIXED, times=None, when=_on_first_url,
         **_REPAIR),
    Case("bytes wrong on one connection", WrongBytes(at=5), FIXED, times=None,
         when=_on_first_connection, **_REPAIR),
]  # fmt: skip

_CONNECTIONS = [
    Case("reset before the response", Raw(ending=Ending.RESET), R),
    Case("reset inside the head", Raw(b"HTTP/1.1 206 Partial Con", Ending.RESET), R),
    Case("reset after the head", Reset(0), R),
    Case("reset in the middle", Reset(MiB // 2 + 77), R),
    Case("resets, always", Reset(300_000), R, times=None, requests=40, wasted=8 * MiB),
    Case("reset before the response, always", Raw(ending=Ending.RESET), FAILED, says="broke",
         **_EVER),
    Case("closed before the response", Raw(), R),
    Case("closed inside the head", Raw(b"HTTP/1.1 206 Partial Con"), R),
    Case("closed after an answer, without a word", ShortBody(SIZE), T, times=None),
    Case("closed when it is used again", Raw(), R, when=_again_on_a_connection,
         connections=2),
    Case("no close_notify at the end", Altered(lambda r: replace(r, ending=Ending.CUT)), T,
         scheme="https"),
    Case("no close_notify, no length, in the middle",
         _both(Framing(), Altered(lambda r: replace(r, ending=Ending.CUT, sent_at_most=70_000))),
         R, scheme="https"),
    Case("silence before the response", Raw(ending=Ending.STALL), R),
    Case("silence inside the head", Raw(b"HTTP/1.1 206 Partial Con", Ending.STALL), R),
    Case("silence after the head", Stall(0), R),
    Case("silence in the middle", Stall(MiB // 2 + 1), R),
    Case("silence before the last byte", Stall(MiB - 1), R, when=_in_a_mebibyte),
    Case("silence, always", Raw(ending=Ending.STALL), FAILED, says="silent", **_EVER),
    Case("slow to begin", Delay(0.2), T),
    Case("a drip", Drip(), R),
    Case("100 Continue", Hints((100,)), T, times=None),
    Case("103 Early Hints", Hints((103,)), T, times=None),
    Case("a dozen interim responses", Hints((102, 103, 100) * 4), T),
    Case("a field of 64 KiB", _flood(1, 64 << 10), R),
    Case("a thousand fields", _flood(1000, 60), R),
    Case("a million bytes of head", Raw(b"HTTP/1.1 206 OK\r\n" + b"X-Flood: yes\r\n" * 80_000), R),
    Case("a banner of something else", Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), R),
    Case("a body without a head", Raw(b"\x00\x01\x02GGUF" * 100), R),
    Case("a status that is no number", Raw(b"HTTP/1.1 abc OK\r\n\r\n"), R),
    Case("a status of four digits", Raw(b"HTTP/1.1 2060 OK\r\n\r\n"), R),
    Case("HTTP/2 on its own", Raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)), R),
    Case("plain HTTP on a TLS port", Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), S),
]  # fmt: skip

_REDIRECTS = [
    *(Case(f"{code} to itself, once", _redirect(code), T) for code in (301, 302, 303, 307, 308)),
    Case("a chain of three redirects", _redirect(302), T, times=3, connections=1),
    Case("redirects in a circle", _redirect(302), FAILED, says="without end", times=None,
         requests=160),
    Case("302 without a Location", Redirect(None), FAILED, says="no meaning", requests=16),
    Case("302 to an empty Location", Redirect(""), T),
    Case("302 to file:///etc/passwd", Redirect("file:///etc/passwd"), R, scheme="https"),
    Case("302 to javascript:", Redirect("javascript:alert(1)"), R, scheme="https"),
    Case("302 to no URL", Redirect("http://[::1"), R, scheme="https"),
    Case("302 from http to file:", Redirect("file:///etc/passwd"), R, scheme="http"),
    Case("302 from http to javascript:", Redirect("javascript:x"), R, scheme="http"),
    Case("302 from http to no URL", Redirect("http://[::1"), R, scheme="http"),
    Case("302 to a port where nobody is", Redirect("http://127.0.0.1:1/x"), R, scheme="http"),
    Case("302 to file:, always", Redirect("file:///etc/passwd"), FAILED, says="bad redirect",
         **_EVER),
    Case("302 from https to http", _to_http, R, scheme="https"),
    Case("302 back to the Hub", _to_hub, T),
    Case("URLs that expire on the way", Status(500), S, when=_expiring),
]  # fmt: skip

_HUB = [
    Case("the Hub: 500, once", Status(500), T, on="resolve"),
    Case("the Hub: 503, once", Status(503), T, on="resolve"),
    Case("the Hub: 429, once", RateLimited(1), T, on="resolve"),
    Case("the Hub: reset, once", Raw(ending=Ending.RESET), T, on="resolve"),
    Case("the Hub: silence, once", Raw(ending=Ending.STALL), T, on="resolve"),
    Case("the Hub: 503, always", Status(503), FAILED, on="resolve", says="fault", **_EVER),
    Case("the Hub: 404", Status(404), FAILED, on="resolve", says="no model", times=None),
    Case("the Hub: a redirect to file:", Redirect("file:///etc/passwd"), FAILED, on="resolve",
         says="redirect", times=None, scheme="https"),
    Case("the Hub: a redirect from http to file:", Redirect("file:///etc/passwd"), FAILED,
         on="resolve", says="redirect", times=None, scheme="http"),
]  # fmt: skip

CASES: list[Case] = [
    *_STATUS, *_WAITS, *_RANGES, *_MEANING, *_BODIES, *_CONNECTIONS, *_REDIRECTS, *_HUB,
]  # fmt: skip
