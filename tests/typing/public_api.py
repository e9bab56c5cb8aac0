"""Type-checked, never run: what users write, and the types that they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import modelfetch


def blocking() -> None:
    model = modelfetch.fetch("owner/name", "Q4_K_M", on_status=lambda status: None)
    assert_type(model, modelfetch.LocalModel)
    assert_type(model.path, Path)
    assert_type(model.mmproj, Path | None)


async def embedding() -> None:
    config = modelfetch.Config(connections=4)
    async with modelfetch.Engine(config, cache_dir="/models") as engine:
        plan = await engine.plan("owner/name:Q4_K_M")
        assert_type(plan.total_size_bytes, int)
        offered = await engine.variants("owner/name", memory_bytes=12_000_000_000)
        assert_type(offered, modelfetch.ModelVariants)
        assert_type(offered.default, modelfetch.VariantInfo | None)
        assert_type(offered.variants[0].fit, modelfetch.Fit | None)
        assert_type(offered.to_dict(), dict[str, Any])
        job = await engine.download("owner/name", "Q4_K_M", revision="main")
        assert_type(job, modelfetch.Job)
        async for status in job.events():
            assert_type(status, modelfetch.JobStatus)
            assert_type(status.state, modelfetch.JobState)
        assert_type(await job.result(), modelfetch.LocalModel)
        assert_type(job.metadata, modelfetch.ModelMetadata | None)
        await job.pause()
        await job.resume()
        await job.cancel(delete=True)
        assert_type(engine.jobs(), list[modelfetch.Job])


def failing(error: modelfetch.ModelFetchError) -> str:
    match error:
        case modelfetch.QuantizationNotFound(available=available):
            return ", ".join(variant.label for variant in available)
        case modelfetch.InsufficientMemory(needed_bytes=needed) if needed is not None:
            return str(needed)
        case modelfetch.RateLimited(retry_after=seconds) if seconds is not None:
            return str(seconds + 1)
        case _:
            return error.message
