"""The CDN of the FakeHub: signed URLs, ranges, and its own idea of an ETag."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from modelfetch.testing.faults import Reply
from modelfetch.testing.repos import Entry
from modelfetch.testing.sending import send

if TYPE_CHECKING:
    from modelfetch.testing.hub import FakeHub

__all__ = ["Cdn", "ranged"]

_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'


@dataclass
class _Grant:
    repo: str
    entry: Entry
    expires_at: float


class Cdn:
    """Serves what the Hub has signed, to whoever shows the URL byte for byte."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub
        self._grants: dict[str, _Grant] = {}

    def app(self) -> web.Application:
        """Return the server."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    def sign(self, repo: str, entry: Entry) -> str:
        """Return a URL for a file, good for the Hub's `url_lifetime`."""
        # Escapes that a client changes when it parses and rebuilds a URL: doubled quotes,
        # lower-case hex, escaped letters that need no escape, a plus and a tilde.
        name = quote(entry.path.rpartition("/")[2], safe="")
        target = (
            f"/xet-bridge-us/{entry.etag[:24]}/{entry.cdn_etag}"
            f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={int(self._hub.url_lifetime)}"
            f"&response-content-disposition=inline%3B+filename*%3DUTF-8%27%27{name}%3b"
            f"&Policy=%7e~%2F%2f&X-Amz-Signature={secrets.token_hex(16)}%3D"
        )
        self._grants[target] = _Grant(repo, entry, time.time() + self._hub.url_lifetime)
        return self._hub.cdn_url + target

    def expire_all(self) -> None:
        """Let every URL given so far be expired."""
        for grant in self._grants.values():
            grant.expires_at = 0.0

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        record = self._hub.record("cdn", request)
        grant = self._grants.get(request.raw_path)
        if grant is None:
            reply = _refusal("SignatureDoesNotMatch", "The request signature does not match.")
        else:
            record.repo, record.file = grant.repo, grant.entry.path
            if grant.expires_at < time.time():
                reply = _refusal("AccessDenied", "Request has expired")
            else:
                reply = ranged(request, grant.entry, f'"{grant.entry.cdn_etag}"')
        reply = self._hub.scripted("cdn", record, reply)
        return await send(request, reply, record, lambda: self._hub.rate)


def ranged(request: web.Request, entry: Entry, etag: str) -> Reply:
    """Return the right answer to a GET or HEAD of a file (RFC 9110 section 14)."""
    content = entry.content
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Cache-Control": "max-age=31536000",
    }
    whole = Reply(200, headers, content=content, stop=content.size)
    if_range = request.headers.get("If-Range", etag)
    try:
        asked = request.http_range
    except ValueError:
        return whole  # section 14.2: a Range that is not understood is ignored
    if (asked.start is None and asked.stop is None) or if_range != etag:
        return whole
    start = asked.start or 0
    stop = content.size if asked.stop is None else min(asked.stop, content.size)
    if request.headers["Range"].replace(" ", "").endswith("=-0"):
        start = stop  # a suffix of nothing, which aiohttp reads as everything
    if start < 0:
        start = max(0, content.size + start)
    if start >= stop:
        return Reply(416, {"Content-Range": f"bytes */{content.size}", "ETag": etag})
    partial = Reply(206, headers, content=content, start=start, stop=stop)
    return partial.with_headers(Content_Range=f"bytes {start}-{stop - 1}/{content.size}")


def _refusal(code: str, message: str) -> Reply:
    body = _ERROR.format(code, message).encode()
    return Reply(403, {"Content-Type": "application/xml"}, body)
