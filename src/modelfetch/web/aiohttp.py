"""The API as routes of an aiohttp.web server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from modelfetch.engine import Engine
from modelfetch.web.handler import Api
from modelfetch.web.messages import Problem, Request, Response
from modelfetch.web.settings import WebConfig
from modelfetch.web.table import PATHS

__all__ = ["aiohttp_routes"]


def aiohttp_routes(
    engine: Engine,
    config: WebConfig | None = None,
    *,
    prefix: str = "",
    fallback: bool = False,
    **overrides: Any,
) -> list[web.RouteDef]:
    """Return the routes of the API, for `app.add_routes`, of a sub-application too.

    Whoever has the app opens the engine before the first request and closes it in `on_shutdown`:
    that ends the streams of events, which else hold up the shutdown.

    Args:
        engine: Does the work.
        config: Settings; defaults when left out.
        prefix: Put before every path, such as `/models`.
        fallback: Whether paths that are unknown below `prefix` get LM Studio's answer too. For a
            server or a sub-application that has nothing else.
        **overrides: Fields of `WebConfig`.

    Raises:
        InvalidConfiguration: A setting cannot work.
    """
    api = Api(engine, config, **overrides)

    def route(path: str, pattern: str) -> web.RouteDef:
        async def handle(request: web.Request) -> web.StreamResponse:
            below = re.sub(r"\{(\w+)\}", lambda field: request.match_info[field[1]], path)
            response = await api.handle(_request(request, below))
            return await _send(request, response)

        return web.route("*", prefix + pattern, handle)

    routes = [route(path, path) for path in PATHS]
    if fallback:
        routes.append(route("/{rest}", "/{rest:(?s:.*)}"))
    return routes


def _request(request: web.Request, path: str) -> Request:
    transport = request.transport
    sockname = transport and transport.get_extra_info("sockname")
    return Request(
        method=request.method.upper(),
        path=path,
        query=request.rel_url.raw_query_string,
        headers=[(name.lower(), value) for name, value in request.headers.items()],
        body=_body(request),
        root=request.path.removesuffix(path),
        local_address=sockname[0] if isinstance(sockname, tuple) else None,
    )


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.content.iter_any():
            yield piece
    except (web.RequestPayloadError, ConnectionError) as error:
        text = "The body did not arrive whole."
        raise Problem(400, "invalid_request", text, code="incomplete_body") from error


async def _send(request: web.Request, response: Response) -> web.StreamResponse:
    if response.events is None:
        return web.Response(
            status=response.status, body=response.body or None, headers=response.headers
        )
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    try:
        await stream.prepare(request)
        async for piece in response.events:
            await stream.write(piece)
    except ConnectionError:
        pass  # the reader has left
    finally:
        await response.events.aclose()
    return stream
