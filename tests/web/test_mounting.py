"""The adapters inside a host's own application."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import fastapi
import pytest
from aiohttp import web
from tests.helpers import FILE, REPO, coded
from tests.web.conftest import on_aiohttp, on_uvicorn

import modelfetch
from modelfetch import Engine
from modelfetch.testing import FakeHub
from modelfetch.web import aiohttp_routes, asgi_app

ROOT = "/api/v1/models/download"
Settings = Callable[..., dict[str, Any]]


async def message_of(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as answer:
        assert answer.status == 404
        return str((await answer.json())["error"]["message"])


async def test_routes_of_aiohttp_leave_the_host_s_other_paths_alone(
    engine: Engine, http: aiohttp.ClientSession
) -> None:
    async def ping(request: web.Request) -> web.Response:
        return web.Response(text="pong")

    app = web.Application()
    app.add_routes(aiohttp_routes(engine, prefix="/models"))
    app.router.add_get("/ping", ping)
    async with on_aiohttp(app) as url:
        async with http.get(f"{url}/ping") as answer:
            assert await answer.text() == "pong"
        async with http.get(f"{url}/nothing") as answer:
            assert (answer.status, await answer.text()) == (404, "404: Not Found")
        async with http.get(f"{url}/models{ROOT}") as answer:
            assert await answer.json() == {"jobs": []}
        async with http.get(url + ROOT) as answer:
            assert answer.status == 404


async def test_a_reader_who_leaves_is_no_error_of_the_host_s(
    hub: FakeHub, engine: Engine, http: aiohttp.ClientSession
) -> None:
    ends: list[BaseException | None] = []

    @web.middleware
    async def watching(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except BaseException as error:
            ends.append(error)
            raise
        ends.append(None)
        return response

    app = web.Application(middlewares=[watching])
    app.add_routes(aiohttp_routes(engine, heartbeat_seconds=0.02))
    async with on_aiohttp(app) as url:
        answer = await http.get(f"{url}{ROOT}/events")
        await answer.content.readline()
        answer.close()
        while not ends:
            await asyncio.sleep(0.01)
    assert ends == [None]


async def test_a_sub_application_of_aiohttp(engine: Engine, http: aiohttp.ClientSession) -> None:
    sub, app = web.Application(), web.Application()
    sub.add_routes(aiohttp_routes(engine, fallback=True))
    app.add_subapp("/models", sub)
    async with on_aiohttp(app) as url:
        async with http.get(f"{url}/models{ROOT}") as answer:
            assert await answer.json() == {"jobs": []}
        text = await message_of(http, f"{url}/models/v1/chat")
        assert text == "Unexpected endpoint or method. (GET /v1/chat)"
        text = await message_of(http, f"{url}/models{ROOT}/status/job_1")
        assert text == "Download job with id 'job_1' not found"


async def test_fastapi_at_two_places(engine: Engine, http: aiohttp.ClientSession) -> None:
    app = fastapi.FastAPI()
    app.mount("/models", asgi_app(engine, api_token="x"))
    app.mount("/", asgi_app(engine))
    async with on_uvicorn(app) as url:
        async with http.get(f"{url}/models{ROOT}") as answer:
            assert answer.status == 401
        async with http.get(url + ROOT) as answer:
            assert await answer.json() == {"jobs": []}
        async with http.get(f"{url}/openapi.json") as answer:
            # FastAPI's own, which comes first.
            assert (await answer.json())["info"]["title"] == "FastAPI"


async def test_a_server_of_nothing_else_opens_and_closes_the_engine(
    hub: FakeHub, settings_for: Settings, http: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {FILE: coded(1 << 20)})
    hub.rate = 20_000
    engine = Engine(**settings_for(hub))
    async with on_uvicorn(asgi_app(engine)) as url:
        async with http.post(url + ROOT, json={"model": REPO}) as answer:
            assert answer.status == 200
        (job,) = engine.jobs()
        assert job.state == "downloading"
    assert job.state == "paused"
    with pytest.raises(modelfetch.InvalidState):
        await engine.plan(REPO)


async def test_an_engine_that_was_open_stays_open(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(9)})
    async with on_uvicorn(asgi_app(engine)):
        pass
    assert (await engine.plan(REPO)).repo == REPO


async def test_an_engine_that_does_not_open_is_the_server_s_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(engine: Engine) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(Engine, "__aenter__", broken)
    sent: list[Any] = []
    messages = iter([{"type": "lifespan.startup"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi_app(engine)({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": "no disk"}]


async def test_a_websocket_is_refused(engine: Engine, http: aiohttp.ClientSession) -> None:
    async with on_uvicorn(asgi_app(engine), ws="none") as url:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(url + ROOT)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi_app(engine)({"type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("root", "path", "below"),
    [
        ("", "/openapi.json", True),
        ("/m", "/m/openapi.json", True),  # what the specification says
        ("/m", "/openapi.json", True),  # what some servers and frameworks did
        ("/m/", "/m/openapi.json", True),
        ("/m", "/mopenapi.json", False),
    ],
)
async def test_where_it_is_mounted(engine: Engine, root: str, path: str, below: bool) -> None:
    scope = {
        "type": "http", "method": "GET", "path": path, "root_path": root, "headers": [],
        "query_string": b"", "server": ("models.example", 80),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi_app(engine)(scope, receive, send)
    assert sent[0]["status"] == (200 if below else 404)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("he has left")])
async def test_a_stream_that_breaks_is_an_error_unless_the_reader_left(
    engine: Engine, error: Exception
) -> None:
    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise error

    scope = {
        "type": "http", "method": "GET", "path": f"{ROOT}/events", "headers": [],
        "query_string": b"",
    }  # fmt: skip
    serving = asgi_app(engine)(scope, receive, send)
    if isinstance(error, OSError):
        await serving
    else:
        with pytest.raises(RuntimeError, match="a bug"):
            await serving
    assert not engine._broadcast._readers


def test_importing_is_cheap_and_each_adapter_needs_only_its_own() -> None:
    code = "import sys, modelfetch.web; modelfetch.web.{}; print(*sys.modules)"
    loaded = {}
    for name in ("WebConfig", "asgi_app"):
        command = [sys.executable, "-c", code.format(name)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        loaded[name] = {module.partition(".")[0] for module in out.split()}
    assert not loaded["WebConfig"] & {"aiohttp", "huggingface_hub", "asyncio"}
    assert not loaded["asgi_app"] & {"starlette", "fastapi", "uvicorn"}
    assert modelfetch.web.asgi_app is asgi_app
    with pytest.raises(AttributeError):
        _ = modelfetch.web.nothing
