"""The CDN of the FakeHub: signed URLs, ranges, and its own idea of an ETag."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from modelfetch.testing.faults import Reply
from modelfetch.testing.log import asked_span
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
    """Serves what the Hub has signed, to whoever shows the URL byte for byte.

    Attributes:
        busy: Responses that are being sent now.
    """

    def __init__(self, hub: FakeHub) -> None:
        self.busy = 0
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
        now, lifetime = self._hub.clock(), self._hub.url_lifetime
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        name = quote(entry.path.rpartition("/")[2], safe="")
        escapes = (
            f"&response-content-disposition=inline%3B+filename*%3DUTF-8%27%27{name}%3b"
            "&Policy=%7e~%2F%2f"
        )
        signature = secrets.token_hex(16) + "%3D" * self._hub.has_escapes
        target = (
            f"/xet-bridge-us/{entry.etag[:24]}/{entry.cdn_etag}"
            f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}&X-Amz-Expires={int(lifetime)}"
            f"{escapes * self._hub.has_escapes}&X-Amz-Signature={signature}"
        )
        self._grants[target] = _Grant(repo, entry, now + lifetime)
        return self._hub.cdn_url + target

    def expire_all(self) -> None:
        """Let every URL given so far be expired."""
        for grant in self._grants.values():
            grant.expires_at = -math.inf

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        record = self._hub.record("cdn", request)
        grant = self._grants.get(request.raw_path)
        if grant is None:
            reply = _refusal("SignatureDoesNotMatch", "The request signature does not match.")
        else:
            self._hub.about(record, grant.repo, grant.entry)
            if grant.expires_at <= self._hub.clock():
                reply = _refusal("AccessDenied", "Request has expired")
            else:
                reply = ranged(request, grant.entry, f'"{grant.entry.cdn_etag}"')
        reply = self._hub.scripted("cdn", record, reply)
        reply = reply.with_headers(X_Request_Id=secrets.token_hex(8))
        self.busy += 1
        try:
            return await send(request, reply, record, lambda: self._hub.rate)
        finally:
            self.busy -= 1


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
    asked = asked_span(request.headers.get("Range"), content.size)
    if asked is None or request.headers.get("If-Range", etag) != etag:
        return whole
    start, stop = asked[0], min(asked[1], content.size)
    if start >= stop:
        return Reply(416, {"Content-Range": f"bytes */{content.size}", "ETag": etag})
    partial = Reply(206, headers, content=content, start=start, stop=stop)
    return partial.with_headers(Content_Range=f"bytes {start}-{stop - 1}/{content.size}")


def _refusal(code: str, message: str) -> Reply:
    body = _ERROR.format(code, message).encode()
    return Reply(403, {"Content-Type": "application/xml"}, body)
