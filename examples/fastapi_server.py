"""A FastAPI server with LM Studio's download API beside its own routes.

    pip install modelfetch fastapi uvicorn
    python fastapi_server.py

    curl http://127.0.0.1:8000/ping
    curl http://127.0.0.1:8000/api/v1/models/download -H 'Content-Type: application/json' \
        -d '{"model": "unsloth/Qwen3-0.6B-GGUF", "quantization": "Q4_K_M"}'
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

import modelfetch
from modelfetch.web import asgi_app

engine = modelfetch.Engine()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine:  # at the end, running downloads are paused and flushed
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/ping")
async def ping() -> dict[str, int]:
    return {"downloads": len(engine.jobs())}


# Last, because it answers everything below "/" that no route before it does.
app.mount("/", asgi_app(engine))

if __name__ == "__main__":
    # Without the limit, uvicorn waits at its end for every reader of /events to leave.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=3)
