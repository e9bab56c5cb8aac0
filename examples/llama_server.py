"""A llama.cpp server that downloads its model, loads it, and answers.

    pip install modelfetch xllamacpp
    python llama_server.py unsloth/gemma-3-270m-it-GGUF Q4_K_M

    curl http://127.0.0.1:8000/health
    curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \
        -d '{"prompt": "The capital of France is", "max_tokens": 8}'

It answers from the first moment: with the progress of the download until the model is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import xllamacpp
from aiohttp import web

import modelfetch


class Llama:
    """A model on its way from the Hub into memory."""

    def __init__(self, name: str, quantization: str | None) -> None:
        self.name, self.quantization = name, quantization
        self.engine = modelfetch.Engine()
        self.job: modelfetch.Job | None = None
        self.server: Any = None
        self.error: str | None = None

    async def start(self) -> None:
        try:
            self.job = await self.engine.download(self.name, self.quantization)
            model = await self.job.result()
            # llama.cpp blocks while it loads.
            self.server = await asyncio.to_thread(load, model)
        except modelfetch.ModelFetchError as error:
            self.error = str(error)

    def progress(self) -> dict[str, Any]:
        if self.server is not None:
            return {"status": "ok"}
        if self.error is not None:
            return {"status": "error", "error": self.error}
        return {"status": "loading", "download": self.job and self.job.status.to_dict()}


LLAMA = web.AppKey("LLAMA", Llama)


def load(model: modelfetch.LocalModel) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = os.fspath(
        model
    )  # of a split model the first part: llama.cpp finds the rest
    if model.mmproj is not None:
        params.mmproj.path = str(model.mmproj)
    params.n_ctx = 512
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = os.cpu_count() or 1
    return xllamacpp.Server(params)


async def loading(app: web.Application) -> AsyncIterator[None]:
    llama = app[LLAMA]
    async with llama.engine:
        starting = asyncio.create_task(llama.start())
        yield
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting


async def health(request: web.Request) -> web.Response:
    progress = request.app[LLAMA].progress()
    return web.json_response(progress, status=200 if progress["status"] == "ok" else 503)


async def completions(request: web.Request) -> web.Response:
    llama = request.app[LLAMA]
    if llama.server is None:
        return web.json_response(llama.progress(), status=503)
    asked = await request.json()
    return web.json_response(await asyncio.to_thread(llama.server.handle_completions, asked))


def main(name: str, quantization: str | None = None) -> None:
    app = web.Application()
    app[LLAMA] = Llama(name, quantization)
    app.cleanup_ctx.append(loading)
    app.router.add_get("/health", health)
    app.router.add_post("/v1/completions", completions)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))


if __name__ == "__main__":
    main(*sys.argv[1:3])
