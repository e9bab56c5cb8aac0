"""A Starlette server with the download API below /models, and a page of its own.

    pip install modelfetch starlette uvicorn
    python starlette_server.py

    curl http://127.0.0.1:8000/models/api/v1/models/download -H 'Content-Type: application/json' \
        -d '{"model": "unsloth/Qwen3-0.6B-GGUF", "quantization": "Q4_K_M"}'
    curl -N http://127.0.0.1:8000/models/api/v1/models/download/events
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import modelfetch
from modelfetch.web import asgi_app

engine = modelfetch.Engine()
finished: list[str] = []


async def watch() -> None:
    """Do something whenever a download has ended."""
    async for status in engine.events():
        if status.state is modelfetch.JobState.COMPLETED and status.job_id is not None:
            plan = engine.job(status.job_id).plan
            finished.append(f"{plan.repo}:{plan.quantization}")


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with engine, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        yield
        watching.cancel()


async def ready(request: Request) -> JSONResponse:
    return JSONResponse(finished)


app = Starlette(
    routes=[Route("/ready", ready), Mount("/models", asgi_app(engine))], lifespan=lifespan
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=3)
