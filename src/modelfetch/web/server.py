"""A server that has nothing but the API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from modelfetch.core.origins import is_loopback
from modelfetch.engine import Engine
from modelfetch.errors import InvalidConfiguration
from modelfetch.web.aiohttp import aiohttp_routes
from modelfetch.web.settings import WebConfig

__all__ = ["running"]

# What a stop waits for answers that are under way, and a refusal for the rest of a body.
_PATIENCE_SECONDS = 1.0


@contextlib.asynccontextmanager
async def running(
    engine: Engine, host: str, port: int, config: WebConfig | None = None
) -> AsyncIterator[str]:
    """Serve an open engine inside the `async with`; yield the URL. Closes the engine at the end.

    Args:
        engine: Does the work.
        host: Name or address to listen at.
        port: Port to listen at; 0 for a free one.
        config: Settings of the API.

    Raises:
        InvalidConfiguration: Others could reach it, and there is no token; or it cannot listen
            there.
    """
    config = config or WebConfig()
    if config.api_token is None and host != "localhost" and not is_loopback(host):
        raise InvalidConfiguration(
            f"Whoever reaches {host or 'this machine'} could use the server: it needs a token.",
            hint="Give an API token (--api-token), or listen at 127.0.0.1 only.",
        )
    app = web.Application()
    app.add_routes(aiohttp_routes(engine, config, fallback=True))
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_PATIENCE_SECONDS,
        lingering_time=_PATIENCE_SECONDS,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            text = f"Cannot listen at {host}:{port}: {error.strerror or error}."
            raise InvalidConfiguration(text) from error
        address, actual_port = runner.addresses[0][:2]
        yield f"http://{f'[{address}]' if ':' in address else address}:{actual_port}"
        await site.stop()
    finally:
        try:
            # Pauses the jobs and ends the streams of events, which else would be waited for.
            await engine.close()
        finally:
            await runner.cleanup()
