"""A mirror of a FakeHub below a path, as repository managers have them, on a real socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from modelfetch.testing import FakeHub

__all__ = ["Mirror", "mirrored"]

ROOT = "/repository/hub"


@dataclass
class Mirror:
    """What it is told, and what it was asked.

    Attributes:
        hub: What it has copied.
        endpoint: Its URL.
        leads_away: Whether files are redirected to the Hub's own address.
        status: What it says to everything, `None` to do its work.
        asked: Path and headers of each request.
    """

    hub: FakeHub
    endpoint: str = ""
    leads_away: bool = False
    status: int | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer with what the Hub says; its links and absolute redirects are passed on as is."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.raw_path, headers))
        if self.status is not None:
            return web.Response(status=self.status)
        assert request.raw_path.startswith(f"{ROOT}/"), request.raw_path
        target = self.hub.endpoint + request.raw_path.removeprefix(ROOT)
        if self.leads_away and "/resolve/" in target:
            return web.Response(status=308, headers={"Location": target})
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                URL(target, encoded=True),
                headers={**headers, "via": "1.1 mirror", "host": "hub.example"},
                allow_redirects=False,
            ) as answer,
        ):
            body = await answer.read()
            passed = {k: v for k, v in answer.headers.items() if k not in ("Date", "Server")}
            if passed.get("Location", "").startswith("/"):
                passed["Location"] = ROOT + passed["Location"]
            return web.Response(status=answer.status, headers=passed, body=body)


@contextlib.asynccontextmanager
async def mirrored(hub: FakeHub) -> AsyncIterator[Mirror]:
    """Let a mirror listen."""
    mirror = Mirror(hub)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", mirror.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    mirror.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}{ROOT}"
    try:
        yield mirror
    finally:
        await runner.cleanup()
