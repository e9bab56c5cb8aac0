"""Servers on real sockets, one for each adapter, around the same engine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from blockbuster import BlockBuster, blockbuster_ctx

from modelfetch import Engine
from modelfetch.testing import FakeHub
from modelfetch.web import aiohttp_routes, asgi_app

Serving = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    with blockbuster_ctx("modelfetch") as guard:
        yield guard


@pytest.fixture
async def engine(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]]
) -> AsyncIterator[Engine]:
    # Server, clients and the Hub share one loop here: hundreds of them may keep a body waiting.
    async with Engine(**settings_for(hub, read_timeout=30, first_byte_timeout=30)) as engine:
        yield engine


@contextlib.asynccontextmanager
async def on_aiohttp(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, lingering_time=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def on_uvicorn(app: Any, **settings: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=1, **settings
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@contextlib.asynccontextmanager
async def aiohttp_server(engine: Engine, **settings: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(aiohttp_routes(engine, fallback=True, **settings))
    async with on_aiohttp(app) as url:
        yield url


@contextlib.asynccontextmanager
async def asgi_server(engine: Engine, **settings: Any) -> AsyncIterator[str]:
    async with on_uvicorn(asgi_app(engine, **settings)) as url:
        yield url


@pytest.fixture(params=[aiohttp_server, asgi_server], ids=["aiohttp", "asgi"])
def serving(request: pytest.FixtureRequest) -> Serving:
    """Starts a server: `async with serving(engine, api_token="x") as url`."""
    started: Serving = request.param
    return started


@pytest.fixture
async def url(serving: Serving, engine: Engine) -> AsyncIterator[str]:
    """The address of a server with default settings."""
    async with serving(engine) as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
