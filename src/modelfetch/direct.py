"""Metadata of a host that is connected to directly, by Python's own HTTP client; blocking.

huggingface_hub's HTTP library, with what that needs, takes half as long to import as all else here:
a tenth of a second before the first byte, for one short answer. Where no proxy stands in between,
and nobody asks for that library, this is enough.

A connection is kept for the next question. Answers are read to their end, and may be compressed,
since the listing of a large repository is long; neither form may be longer than `MOST_BYTES`.
"""

from __future__ import annotations

import json
import re
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from modelfetch.core.origins import origin, target_of
from modelfetch.http1 import Fields

__all__ = ["FAILURES", "Answer", "Direct"]

# The Hub's longest listings have some megabytes.
MOST_BYTES = 256 << 20
_GZIP = 16 + zlib.MAX_WBITS  # zlib.h: a gzip header, and no other
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_IS_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\s*(?:[;,]|$))', re.I)

FAILURES = (OSError, HTTPException, ValueError, zlib.error)
"""What is raised for a host that gives no answer, or none that is HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said.

    Attributes:
        status: Status code.
        headers: Fields; lookup ignores case.
        links: The field Link (RFC 8288), all lines of it.
    """

    status: int
    headers: Mapping[str, str]
    links: str
    _body: bytes

    def json(self) -> Any:
        """Return what the body says. Raises `ValueError` where that is not JSON."""
        return json.loads(self._body)

    @property
    def next_page(self) -> str | None:
        """The link to the next page, as it stands there."""
        links = _LINK.findall(self.links)
        return next((url for url, about in links if _IS_NEXT.search(about)), None)


class Direct:
    """Connections to hosts, one for each; not for two threads at once.

    Args:
        trust: Whose certificates count; `None` for OpenSSL's choice, which is loaded when needed.
        seconds: How long to wait for each step.
    """

    def __init__(self, trust: ssl.SSLContext | None, seconds: float) -> None:
        self._trust, self._seconds = trust, seconds
        self._kept: dict[tuple[str, str, int], HTTPConnection] = {}

    def get(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Return the answer to GET of `url`; follows nothing.

        Raises:
            OSError, HTTPException, ValueError, zlib.error: There is none; see `FAILURES`.
        """
        connection = self._connection(url)
        try:
            connection.request("GET", target_of(url), headers={"Accept-Encoding": "gzip", **fields})
            response = connection.getresponse()
            answer = _read(response)
        except BaseException:
            connection.close()
            raise
        if not response.isclosed():  # the connection ended before the body
            connection.close()
        return answer

    def close(self) -> None:
        """Close the connections."""
        for connection in self._kept.values():
            connection.close()

    def _connection(self, url: str) -> HTTPConnection:
        scheme, host, port = key = origin(url)
        if key not in self._kept:
            self._kept[key] = (
                HTTPConnection(host, port, timeout=self._seconds)
                if scheme == "http"
                else HTTPSConnection(host, port, timeout=self._seconds, context=self._trusted())
            )
        return self._kept[key]

    def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = ssl.create_default_context()
        return self._trust


def _read(response: HTTPResponse) -> Answer:
    headers = response.headers
    body = _bounded(response.read(MOST_BYTES + 1))
    if headers.get("Content-Encoding", "").strip().lower() == "gzip":
        unpacking = zlib.decompressobj(_GZIP)
        body = _bounded(unpacking.decompress(body, MOST_BYTES + 1))
        if not unpacking.eof:
            raise ValueError("cut short")
    links = ", ".join(headers.get_all("Link", []))
    return Answer(response.status, Fields(headers.items()), links, body)


def _bounded(body: bytes) -> bytes:
    if len(body) > MOST_BYTES:
        raise ValueError("longer than any answer of a Hub")
    return body
