"""A program with an event loop: two models at once, with their progress.

    pip install modelfetch
    python asyncio_program.py unsloth/Qwen3-0.6B-GGUF:Q4_K_M unsloth/gemma-3-270m-it-GGUF:Q8_0

Ctrl-C stops it; the next run goes on where this one was.
"""

from __future__ import annotations

import asyncio
import sys

import modelfetch


async def get(engine: modelfetch.Engine, name: str) -> modelfetch.LocalModel:
    job = await engine.download(name)
    async for status in job.events():
        share = status.downloaded_bytes / max(1, status.total_size_bytes)
        print(f"{name}: {share:.0%} at {status.bytes_per_second / 1e6:.1f} MB/s", file=sys.stderr)
    return await job.result()


async def main(names: list[str]) -> None:
    async with modelfetch.Engine() as engine:
        async with asyncio.TaskGroup() as tasks:
            getting = [tasks.create_task(get(engine, name)) for name in names]
        for task in getting:
            print(task.result().path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
