"""The HTTP API, for any Python server: LM Studio's download calls, and what they lack.

    from modelfetch.web import aiohttp_routes, asgi_app

    app.add_routes(aiohttp_routes(engine))             # aiohttp.web
    app.mount("/models", asgi_app(engine))             # FastAPI, Starlette
    uvicorn.run(asgi_app(Engine()))                    # any ASGI server

docs/http.md describes the API, docs/embedding.md how to mount it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelfetch.web.settings import WebConfig

if TYPE_CHECKING:
    from modelfetch.web.aiohttp import aiohttp_routes as aiohttp_routes
    from modelfetch.web.asgi import asgi_app as asgi_app

__all__ = ["WebConfig", "aiohttp_routes", "asgi_app"]

_LAZY = {"aiohttp_routes": "modelfetch.web.aiohttp", "asgi_app": "modelfetch.web.asgi"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
