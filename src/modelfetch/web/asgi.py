"""The API as a plain ASGI application, https://asgi.readthedocs.io/en/latest/specs/main.html."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from modelfetch.engine import Engine
from modelfetch.errors import InvalidState
from modelfetch.web.handler import Api
from modelfetch.web.messages import Problem, Request, Response
from modelfetch.web.settings import WebConfig

__all__ = ["AsgiApp", "asgi_app"]

_log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiApp:
    """An ASGI 3 application; see `asgi_app`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._opened_engine = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection, or the life of the server."""
        if scope["type"] == "http":
            response = await self._api.handle(_request(scope, receive))
            await _send(response, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._open()
                except Exception as error:
                    _log.exception("the engine does not open")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._opened_engine:
                    await self._api.engine.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _open(self) -> None:
        try:
            await self._api.engine.__aenter__()
        except InvalidState:
            return  # open already: whoever opened it closes it
        self._opened_engine = True


def asgi_app(engine: Engine, config: WebConfig | None = None, **overrides: Any) -> AsgiApp:
    """Return the API as an ASGI application, to serve as it is or to mount in another.

    Served as it is, it opens the engine when the server starts and closes it at its end. Mounted,
    it is not told of either: the host's lifespan does it, with `async with engine`.

    Args:
        engine: Does the work.
        config: Settings; defaults when left out.
        **overrides: Fields of `WebConfig`.

    Raises:
        InvalidConfiguration: A setting cannot work.
    """
    return AsgiApp(Api(engine, config, **overrides))


def _request(scope: MutableMapping[str, Any], receive: Receive) -> Request:
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    # Servers and frameworks have not always agreed whether `path` begins with `root_path`.
    below = path[len(root) :] if path.startswith(f"{root}/") else path
    server = scope.get("server")
    return Request(
        method=scope["method"].upper(),
        path=below,
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=[
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ],
        body=_body(receive),
        root=root,
        # Without a port it is the path of a socket.
        local_address=server[0] if server and server[1] is not None else None,
    )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            text = "The body did not arrive whole."
            raise Problem(400, "invalid_request", text, code="incomplete_body")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _send(response: Response, receive: Receive, send: Send) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if response.events is None and response.status != 204:
        headers["content-length"] = str(len(response.body))
    start = {
        "type": "http.response.start",
        "status": response.status,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    if response.events is None:
        await send(start)
        await send({"type": "http.response.body", "body": response.body})
        return
    leaving = asyncio.ensure_future(_until_gone(receive))
    sending = asyncio.ensure_future(_send_events(start, response, send))
    try:
        await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (leaving, sending):
            task.cancel()
        _, error = await asyncio.gather(leaving, sending, return_exceptions=True)
        await response.events.aclose()
    # That nobody is there any more is no error (servers say it with an OSError); all else is one.
    if isinstance(error, Exception) and not isinstance(error, OSError):
        raise error


async def _send_events(start: Message, response: Response, send: Send) -> None:
    assert response.events is not None
    await send(start)
    async for piece in response.events:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    """Return when the reader has left; some servers do not tell those who only send."""
    while (await receive())["type"] != "http.disconnect":
        pass
