"""An aiohttp.web server with LM Studio's download API beside its own routes.

    pip install modelfetch
    python aiohttp_server.py

    curl http://127.0.0.1:8000/api/v1/models/download -H 'Content-Type: application/json' \
        -d '{"model": "unsloth/Qwen3-0.6B-GGUF", "quantization": "Q4_K_M"}'
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from aiohttp import web

import modelfetch
from modelfetch.web import aiohttp_routes

engine = modelfetch.Engine()


async def with_engine(app: web.Application) -> AsyncIterator[None]:
    async with engine:
        yield


async def close_engine(app: web.Application) -> None:
    # Pauses the downloads, and ends the readers of /events, for whom aiohttp would wait.
    await engine.close()


async def ping(request: web.Request) -> web.Response:
    return web.json_response({"downloads": len(engine.jobs())})


app = web.Application()
app.cleanup_ctx.append(with_engine)
app.on_shutdown.append(close_engine)
app.router.add_get("/ping", ping)
app.add_routes(aiohttp_routes(engine))

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
